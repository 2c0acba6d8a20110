package tests

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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

func TestCertificateRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, strings.Replace(secure, "DIR/server.key", "DIR/server.key, root_ca: DIR/ca.pem, client_auth_type: verify_client_cert_if_given", 1), nil)
	var failed, resumed atomic.Int64
	config := ca.trust("localhost", ca.client("device", time.Hour))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8) // tickets outlive certificates
	ts := &talkers{t: t, whole: true, dial: func() (net.Conn, error) {
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
