package tests

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const secure = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}}}
  pool: {num_workers: 2}
`

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, secure, nil)
	for version, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		config := ca.trust("localhost")
		config.MaxVersion = version
		c := h.dialTLS("echo", config)
		require.Equal(t, "hello", c.ask("hello"))
		large := string(pattern(3<<20)) + "\r\n"
		go write(c, large)
		got, err := c.r.ReadString('\n')
		require.NoError(t, err)
		require.True(t, large == got)
		write(c, "tail")
		c.closeWrite()
		require.Equal(t, "tail", c.rest())
		s := h.record.of(t, c)
		require.Equal(t, "eof", s.Reason)
		require.Equal(t, packet{"tail", true}, s.packets[2])
		cipher := tls.CipherSuiteName(c.Conn.(*tls.Conn).ConnectionState().CipherSuite)
		require.Equal(t, &tlsContext{Version: name, Cipher: cipher, ServerName: "localhost"}, s.TLS)
	}
}

func TestServerNameCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers:
    echo:
      addr: "127.0.0.1:0"
      tls:
        cert: DIR/server.pem
        key: DIR/server.key
        certs: [{cert: DIR/mail.pem, key: DIR/mail.key}, {cert: DIR/wild.pem, key: DIR/wild.key}]
    list: {addr: "127.0.0.1:0", tls: {certs: [{cert: DIR/mail.pem, key: DIR/mail.key}]}}
  pool: {num_workers: 2}
`, func(dir string) {
		ca.server("mail.example.org", "smtp.example.org").save(t, dir, "mail")
		ca.server("*.example.com").save(t, dir, "wild")
	})
	for name, want := range map[string]string{
		"localhost": "localhost", "mail.example.org": "mail.example.org", "SMTP.example.org": "mail.example.org",
		"a.example.com": "*.example.com", "a.b.example.com": "localhost", "unknown.example": "localhost", "": "localhost",
	} {
		c := h.dialTLS("echo", &tls.Config{ServerName: name, InsecureSkipVerify: true})
		require.Equal(t, want, c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames[0], name)
		require.Equal(t, "hello", c.ask("hello"))
		require.Equal(t, strings.ToLower(name), strings.ToLower(h.record.current(t, c).TLS.ServerName))
	}
	c := h.dialTLS("list", ca.trust("mail.example.org"))
	require.Equal(t, "hello", c.ask("hello"))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t, "ca"), newAuthority(t, "ca")
	good, expired, stranger := ca.client("device", time.Hour), ca.client("late", -time.Minute), foreign.client("device", time.Hour)
	purpose := ca.server("localhost")
	h := startTLS(t, ca, `
tcp:
  servers:
    no: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, root_ca: DIR/ca.pem, client_auth_type: no_client_certs}}
    request: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, client_auth_type: request_client_cert}}
    any: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, client_auth_type: require_any_client_cert}}
    given: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, root_ca: DIR/ca.pem, client_auth_type: verify_client_cert_if_given}}
    verify: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, root_ca: DIR/ca.pem, client_auth_type: require_and_verify_client_cert}}
    default: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, root_ca: DIR/ca.pem}}
  pool: {num_workers: 2}
`, nil)
	served := 0
	for _, test := range []struct {
		client string
		own    []issued
		served string // by
		known  string // to the workers of
	}{
		{"none", nil, "no request given", ""},
		{"good", []issued{good}, "no request any given verify default", "request any given verify default"},
		{"expired", []issued{expired}, "no request any", "request any"},
		{"foreign", []issued{stranger}, "no request any", "request any"},
		{"a server's", []issued{purpose}, "no request any", "request any"},
	} {
		for _, server := range []string{"no", "request", "any", "given", "verify", "default"} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := ca.trust("localhost", test.own...)
				config.MaxVersion = version
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(config.Certificates) == 0 {
						return &tls.Certificate{}, nil
					}
					return &config.Certificates[0], nil // whoever may have issued it
				}
				c := h.dial(server)
				conn := tls.Client(c.Conn, config)
				what := fmt.Sprintf("%s with the certificate of %s, %s", server, test.client, tls.VersionName(version))
				_, err := io.WriteString(conn, "hello\r\n")
				if err == nil {
					_, err = io.ReadFull(conn, make([]byte, len("hello\r\n")))
				}
				if !strings.Contains(" "+test.served+" ", " "+server+" ") {
					require.ErrorContains(t, err, "remote error: tls: ", what+": the alert says why")
					continue
				}
				require.NoError(t, err, what)
				served++
				client := h.record.current(t, c).TLS.Client
				if !strings.Contains(" "+test.known+" ", " "+server+" ") {
					require.Nil(t, client, what)
					continue
				}
				sum := sha256.Sum256(test.own[0].cert.Raw)
				require.Equal(t, hex.EncodeToString(sum[:]), client.Fingerprint, what)
				require.Equal(t, test.own[0].cert.Subject.String(), client.Subject)
				if test.client == "good" {
					require.Equal(t, "CN=device,O=Clients", client.Subject)
					require.Equal(t, []string{"device", "device@example.org", "192.0.2.1", "spiffe://device"}, client.SANs)
				}
				_ = conn.Close()
			}
		}
	}
	require.Len(t, h.record.now(t), served, "workers hear of nobody else")
	require.Empty(t, h.ours("error"))
}

func TestBadTLSClients(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers:
    echo: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}}
    modern: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, min_version: 1.3}}
  pool: {num_workers: 2}
`, nil)
	good := h.dialTLS("echo", ca.trust("localhost"))
	require.Equal(t, "hello", good.ask("hello"))
	hello := helloOf(t, ca.trust("localhost"))
	for name, sends := range map[string]string{
		"nothing": "", "a packet": "hello\r\n", "HTTP": "GET / HTTP/1.1\r\n\r\n", "zeros": strings.Repeat("\x00", 1<<16),
		"half a hello": hello[:len(hello)/2], "a hello": hello, "two hellos": hello + hello, "a hello and a packet": hello + "hello\r\n",
		"an empty record": "\x16\x03\x01\x00\x00", "many empty records": strings.Repeat("\x16\x03\x01\x00\x00", 1000),
		"a long record": "\x16\x03\x01\xff\xff" + string(pattern(1<<16)), "an alert": "\x15\x03\x01\x00\x02\x02\x28",
		"data":                 "\x17\x03\x03\x00\x05hello",
		"a handshake too long": "\x16\x03\x01\x40\x00\x01\xff\xff\xff" + string(pattern(0x3ffc)),
	} {
		c := h.dial("echo")
		write(c, sends)
		c.closeWrite()
		_, err := io.Copy(io.Discard, c.r)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
	}
	for server, config := range map[string]*tls.Config{
		"echo":   {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true},
		"modern": {MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true},
	} {
		require.ErrorContains(t, tls.Client(h.dial(server).Conn, config).Handshake(), "protocol version not supported")
	}
	require.Error(t, tls.Client(h.dial("echo").Conn, newAuthority(t, "ca").trust("localhost")).Handshake())
	require.Error(t, tls.Client(h.dial("echo").Conn, ca.trust("other.example")).Handshake())

	require.Equal(t, "hello", good.ask("hello"))
	_ = good.Close()
	h.record.all(t, 1)
	require.Empty(t, h.ours("error"))
	require.Empty(t, h.ours("warn"), "what a client does is nothing to be warned of")
	for _, e := range h.logged("tcp", "connection ended") {
		if e.Reason == "handshake" {
			require.NotEmpty(t, e.Error)
		}
	}
}

// helloOf is the first thing that a client sends.
func helloOf(t *testing.T, config *tls.Config) string {
	t.Helper()
	here, there := net.Pipe()
	go func() { _ = tls.Client(there, config).Handshake() }()
	hello := make([]byte, 1<<16)
	n, err := here.Read(hello)
	require.NoError(t, err)
	_ = here.Close()
	return string(hello[:n])
}

func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := installed(t, "openssl")
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, secure, nil)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		cmd := exec.Command(openssl, "s_client", "-quiet", "-no_ign_eof", "-verify_return_error", version, "-connect", h.addr("echo").String(),
			"-CAfile", h.dir+"/ca.pem", "-servername", "localhost", "-verify_hostname", "localhost")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		go func() { _, _ = io.WriteString(in, "hello\r\n!answer WRITECLOSE bye\r\n") }()
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "hello\r\nbye\r\n")
		require.NotContains(t, string(out), "unexpected eof", "it is told goodbye")
	}
}

// strictConn lets a client see an end without close_notify.
type strictConn struct{ *net.TCPConn }

var errNoGoodbye = errors.New("no close_notify")

func (c strictConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errNoGoodbye
	}
	return n, err
}

func TestTLSCloseNotify(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  idle_timeout: 500ms
  max_packet_size: 64KiB
  servers: {echo: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}}}
  pool: {num_workers: 2}
`, nil)
	for name, test := range map[string]struct {
		sends, answer string
		end           error
		reason        string
	}{
		"WRITECLOSE":              {"!answer WRITECLOSE bye\r\n", "bye\r\n", nil, "worker"},
		"WRITECLOSE, still sends": {"!answer WRITECLOSE bye\r\nunread\r\n", "bye\r\n", nil, "worker"},
		"CLOSE":                   {"!answer CLOSE\r\n", "", nil, "worker"},
		"CLOSE, still sends":      {"!answer CLOSE\r\nunread\r\n", "", nil, "worker"},
		"an error":                {"!error no\r\n", "", nil, "error"},
		"idle":                    {"", "", nil, "idle"},
		"too long":                {string(pattern(64<<10 + 1)), "", nil, "too_long"},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.dial("echo")
			conn := clientOf(t, tls.Client(strictConn{c.Conn.(*net.TCPConn)}, ca.trust("localhost")))
			conn.server = "echo"
			write(conn, test.sends)
			got, err := io.ReadAll(conn)
			require.Equal(t, test.answer, string(got))
			require.ErrorIs(t, err, test.end)
			_ = conn.Close()
			require.Equal(t, test.reason, h.record.of(t, conn).Reason)
		})
	}
	c := h.dialTLS("echo", ca.trust("localhost"))
	require.Equal(t, "hello", c.ask("hello"))
	h.closeConnection(h.record.current(t, c).UUID)
	require.Equal(t, "rpc", h.record.of(t, c).Reason)
}

// The end of a TLS session is not the end of what the client sends: to close with some of that unread would be a reset, and
// destroy the answer on its way.
func TestLastAnswerAfterTLSClose(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}}}
  pool: {num_workers: 2}
`, nil)
	c := h.dialTLS("echo", ca.trust("localhost"))
	c.send(fmt.Sprintf("!bytes WRITE %d", size))
	c.closeWrite()
	c.wait() // TLS lets nothing more be written
	_, err := c.Conn.(*tls.Conn).NetConn().Write(pattern(4000))
	require.NoError(t, err)
	var answer strings.Builder
	for n := int64(64 << 10); n == 64<<10; {
		time.Sleep(5 * time.Millisecond) // a slow reader: there is always something in flight
		n, err = io.CopyN(&answer, c.r, 64<<10)
	}
	require.ErrorIs(t, err, io.EOF)
	require.True(t, string(pattern(size)) == answer.String(), "%d bytes", answer.Len())
	require.NoError(t, c.Close())
	require.Equal(t, "eof", h.record.of(t, c).Reason)
}

func TestCertificateRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, strings.Replace(secure, "DIR/server.key", "DIR/server.key, root_ca: DIR/ca.pem, client_auth_type: verify_client_cert_if_given", 1), nil)
	var failed, resumed atomic.Int64
	config := ca.trust("localhost", ca.client("device", time.Hour))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8) // tickets outlive certificates
	ts := &talkers{t: t, dial: func() (net.Conn, error) {
		conn, err := net.Dial("tcp", h.addr("echo").String())
		if err != nil {
			return nil, err
		}
		secure := tls.Client(conn, config)
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := secure.Handshake(); err != nil {
			failed.Add(1)
			t.Log(err)
			return nil, err
		}
		if secure.ConnectionState().DidResume {
			resumed.Add(1)
		}
		return secure, nil
	}}
	ts.start(6)
	for i := range 4 {
		next := ca.server("localhost", fmt.Sprintf("%d.example.org", i))
		if i%2 == 0 {
			next.save(t, h.dir, "server")
		} else { // as somebody does who knows no better, and slowly: for a while key and certificate do not fit
			require.NoError(t, os.WriteFile(h.dir+"/server.pem", next.pem[:len(next.pem)/2], 0o600))
			time.Sleep(1200 * time.Millisecond)
			require.NoError(t, os.WriteFile(h.dir+"/server.pem", next.pem, 0o600))
			time.Sleep(1200 * time.Millisecond)
			require.NoError(t, os.WriteFile(h.dir+"/server.key", next.key, 0o600))
		}
		eventually(t, "a new client sees the new certificate", func() bool {
			c := h.dialTLS("echo", ca.trust("localhost"))
			_ = c.Close()
			return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Equal(next.cert)
		})
	}
	ts.stop()
	require.Zero(t, failed.Load(), "handshakes")
	require.NotZero(t, resumed.Load(), "sessions")
	require.Greater(t, ts.asked.Load(), int64(100))
	h.record.awaitEnd(t, 0)
	ts.requireTruth(h.record.sentences)
	require.Len(t, h.logged("tcp", "certificates are renewed"), 4)
	require.NotEmpty(t, h.ours("error"), "half a renewal is told of")
}

func TestBrokenCertificateRenewal(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, secure, nil)
	seen := func() string {
		return h.dialTLS("echo", ca.trust("localhost")).Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := seen()
	save(t, h.dir+"/server.pem", []byte("no certificate"))
	eventually(t, "the error is logged", func() bool { seen(); return len(h.ours("error")) > 0 })
	require.Equal(t, old, seen())
	require.Contains(t, h.ours("error")[0].Error, "tcp.servers.echo.tls.cert: "+h.dir+"/server.pem is no file in PEM")
	require.NoError(t, h.tryReset())
	require.Len(t, h.ours("error"), 1, "once")
	require.Equal(t, old, seen())

	ca.server("localhost").save(t, h.dir, "server")
	require.NoError(t, h.tryReset())
	require.NotEqual(t, old, seen())
	require.Len(t, h.ours("error"), 1)
}

func TestHandshakeFlood(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, strings.Replace(secure, "DIR/server.key", "DIR/server.key, handshake_timeout: 1s", 1), nil)
	hello := helloOf(t, ca.trust("localhost"))
	const slow = 200
	begin, clients := time.Now(), make([]*client, slow)
	for i := range clients {
		clients[i] = h.dial("echo")
		write(clients[i], hello[:i])
	}

	var flood sync.WaitGroup
	var over atomic.Bool
	var handshakes atomic.Int64
	for range 4 {
		flood.Add(1)
		go func() { // ends when over is set
			defer flood.Done()
			for !over.Load() {
				if conn, err := net.Dial("tcp", h.addr("echo").String()); err == nil {
					_, _ = io.WriteString(conn, hello)
					_, _ = conn.Read(make([]byte, 1))
					_ = conn.Close()
					handshakes.Add(1)
				}
			}
		}()
	}
	good := h.dialTLS("echo", ca.trust("localhost"))
	for i := 0; time.Since(begin) < 3*time.Second; i++ {
		asked := time.Now()
		require.Equal(t, "hello", good.ask("hello"))
		require.Less(t, time.Since(asked), atOnce)
		if i < slow { // slowloris
			write(clients[i], hello[i:i+1])
		}
	}
	for _, c := range clients {
		_, err := io.Copy(io.Discard, c.r)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "is cut off")
	}
	require.Less(t, time.Since(begin), 4*time.Second+atOnce)
	over.Store(true)
	flood.Wait()
	t.Logf("%d handshakes begun in %s", handshakes.Load(), time.Since(begin))
	require.Equal(t, "hello", good.ask("hello"))
	_ = good.Close()
	h.record.all(t, 1)
	require.Empty(t, h.ours("error"))
	require.Empty(t, h.ours("warn"))
}

func TestStopCutsHandshakes(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, stopsWithin("60s", secure), nil)
	hello := helloOf(t, ca.trust("localhost"))
	idle := h.dialTLS("echo", ca.trust("localhost"))
	require.Equal(t, "hello", idle.ask("hello"))
	var clients []*client
	for i := range 100 {
		c := h.dial("echo")
		write(c, hello[:i%2*len(hello)])
		clients = append(clients, c)
	}
	clients[99].awaitRead()
	begin := time.Now()
	h.terminate()
	for _, c := range clients {
		_, err := io.Copy(io.Discard, c.r)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	idle.requireEnd()
	h.requireExit()
	require.Less(t, time.Since(begin), atOnce)
	for _, s := range h.record.all(t, 1) {
		require.Equal(t, "shutdown", s.Reason)
	}
}
