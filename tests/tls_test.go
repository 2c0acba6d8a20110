package tests

import (
	"crypto/tls"
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
		large := string(pattern(3 << 20))
		require.True(t, large == c.ask(large))
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
  idle_timeout: 3s
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

func TestHandshakeFlood(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers:
    echo: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, handshake_timeout: 1s}}
    good: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, handshake_timeout: 60s}}
  pool: {num_workers: 2}
`, nil)
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
	good := h.dialTLS("good", ca.trust("localhost")) // which has time for its handshake, but the same processors
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
