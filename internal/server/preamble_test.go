//go:build go1.25

package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestHandshakeTimeoutIsNoConnection(t *testing.T) {
	for name, sends := range map[string]string{"nothing": "", "half a hello": "\x16\x03\x01\x02\x00\x01"} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(4 << 10)
			begin := time.Now()
			s := serveSecure(t, limits{}, &replies{}, server, client, 0)
			io.WriteString(client, sends)
			<-s.ended
			require.Equal(t, 10*second, time.Since(begin), name)
			require.Equal(t, wire.ReasonHandshake, s.reason)
			require.Empty(t, s.workers.events)
			require.Empty(t, s.workers.reason, "no worker is told")
			require.EqualValues(t, 1, s.stats.Refusals(telemetry.RefusedTLS))
		})
	}
}

func TestInterruptionEndsHandshake(t *testing.T) {
	for name, end := range map[string]func(*connection){
		"drain": func(c *connection) { c.drain(wire.ReasonShutdown) },
		"abort": func(c *connection) { c.abort(wire.ReasonShutdown) },
	} {
		for _, sends := range []string{"", "hello"} {
			t.Run(name+" "+sends, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server, client := streamtest.Pair(10) // too little for the server's part
					gone := make(chan struct{})
					s := serveSecure(t, limits{}, &replies{}, server, slowConn{Conn: client, gone: gone}, 0)
					if sends != "" {
						go s.client.Handshake()
					}
					synctest.Wait()
					begin := time.Now()
					end(s.connection)
					<-s.ended
					require.Zero(t, time.Since(begin))
					require.Equal(t, wire.ReasonShutdown, s.reason)
					require.Empty(t, s.workers.events)
					require.Zero(t, s.stats.Refusals(telemetry.RefusedTLS), "the client is not to blame")
					close(gone)
					synctest.Wait()
				})
			})
		}
	}
}

func TestConnectedDescribesTLS(t *testing.T) {
	server, client := tcpPair(t)
	w := newScript()
	l := testListener(w)
	l.useTLS(t)
	_, ended := l.serveConn(server)
	secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	require.NoError(t, secure.Handshake())
	e := receive(t, w.events)
	require.Equal(t, map[string]any{
		"version": "1.3", "cipher": tls.CipherSuiteName(secure.ConnectionState().CipherSuite), "server_name": "localhost",
	}, e.context["tls"])
	w.replies(reply("CLOSE", ""))
	require.Nil(t, receive(t, w.events).context["tls"], "CONNECTED alone has it")
	secure.Close()
	receive(t, ended)
}

func TestTLSInfoNamesClient(t *testing.T) {
	certificate := &x509.Certificate{
		Raw: []byte("der"), DNSNames: []string{"a.example"}, EmailAddresses: []string{"b@example"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, URIs: []*url.URL{{Scheme: "spiffe", Host: "c"}},
	}
	certificate.Subject.CommonName = "client"
	var got map[string]any
	require.NoError(t, json.Unmarshal(tlsInfo(tls.ConnectionState{
		Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, PeerCertificates: []*x509.Certificate{certificate},
	}), &got))
	require.Equal(t, map[string]any{
		"version": "1.2", "cipher": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "server_name": "",
		"client": map[string]any{
			"subject": "CN=client", "sans": []any{"a.example", "b@example", "127.0.0.1", "spiffe://c"},
			"fingerprint": fmt.Sprintf("%x", sha256.Sum256([]byte("der"))),
		},
	}, got)
}

// What a client makes large in CONNECTED and SECURED waits as long as no worker is free.
func TestLargeServerNameIsMemory(t *testing.T) {
	server, client := tcpPair(t)
	w := newScript()
	l := testListener(w)
	l.useTLS(t)
	_, ended := l.serveConn(server)
	secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true, ServerName: largeName})
	require.NoError(t, secure.Handshake())
	require.Equal(t, largeName, receive(t, w.events).context["tls"].(map[string]any)["server_name"])
	require.Greater(t, l.memory.Used(), int64(6*17_000))
	w.replies(reply(`{"reply":"CONTINUE","state":"x"}`, ""))
	requireEventually(t, func() bool { return l.memory.Used() < 100 })
	secure.Close()
	receive(t, w.events)
	receive(t, ended)
	require.Zero(t, l.memory.Used())
}

func TestLargeServerNameIsOverMemory(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(&replies{})
	l.memory = stream.NewMemory(300 << 10)
	l.useTLS(t)
	c, ended := l.serveConn(server)
	_ = tls.Client(client, &tls.Config{InsecureSkipVerify: true, ServerName: largeName}).Handshake()
	receive(t, ended)
	require.Equal(t, wire.ReasonMemory, c.reason)
	require.False(t, c.connected)
	require.Zero(t, l.memory.Used())
}

// serveProxied serves a connection behind a proxy, to which one connection of 192.0.2.1 is allowed.
func serveProxied(t *testing.T, timeout time.Duration) (*connection, *streamtest.Conn, *replies, chan struct{}) {
	server, client := streamtest.Pair(1000)
	w := &replies{}
	l := testListener(w)
	l.proxyProtocol, l.byIP.limit = trusting(t, "10.0.0.0/8"), 1
	*l.proxyProtocol.Timeout = timeout
	l.overIP = telemetry.NewThrottledLog(func(int) {})
	c, ended := l.serveConn(server)
	return c, client, w, ended
}

const proxyHeader = "PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n"

func TestProxyHeaderNamesClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := serveProxied(t, 5*second)
		synctest.Wait()
		require.True(t, c.opening.Load())
		io.WriteString(client, proxyHeader[:10])
		time.Sleep(4 * second)
		io.WriteString(client, proxyHeader[10:]+"x\r\n")
		time.Sleep(100 * second) // no deadline is left
		synctest.Wait()
		require.Equal(t, []string{"CONNECTED ", "DATA x\r\n"}, w.events)
		require.Equal(t, "192.0.2.1:12345", clientAddress(c.remote))
		require.Contains(t, string(c.contexts.Data()), `"remote_addr":"192.0.2.1:12345"`)
		require.Len(t, c.byIP.open, 1, "the client is counted, not the proxy")
		require.False(t, c.opening.Load())
		client.Close()
		<-ended
		require.Equal(t, "eof", w.reason)
	})
}

func TestProxyHeaderHasTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]wire.Reason{5 * second: wire.ReasonHandshake, 0: wire.ReasonEOF} {
		synctest.Test(t, func(t *testing.T) {
			c, client, w, ended := serveProxied(t, timeout)
			begin := time.Now()
			io.WriteString(client, proxyHeader[:10])
			if timeout > 0 {
				<-ended
				require.Equal(t, timeout, time.Since(begin))
				require.Empty(t, w.events)
				require.EqualValues(t, 1, c.stats.Refusals(telemetry.RefusedProxy))
			} else {
				time.Sleep(1000 * time.Hour)
				io.WriteString(client, proxyHeader[10:])
				client.Close()
				<-ended
			}
			require.Equal(t, want, c.reason)
		})
	}
}

func TestProxiedClientsAreCountedPerIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := serveProxied(t, 5*second)
		synctest.Wait()
		require.True(t, c.byIP.acquire(tcpAddr(t, "192.0.2.1:1"))) // another connection of the client
		io.WriteString(client, proxyHeader)
		<-ended
		require.Equal(t, wire.ReasonHandshake, c.reason)
		require.ErrorIs(t, c.err, errTooManyPerIP)
		require.Empty(t, w.events)
		require.Empty(t, w.reason)
		require.False(t, c.countedByIP, "it must not be released")
		require.EqualValues(t, 1, c.stats.Refusals(telemetry.RefusedPerIP))
	})
}

func TestDocumentedDialectHasBareIP(t *testing.T) {
	l := testListener(nil)
	l.dialect = wire.DialectDocumented
	for want, addr := range map[string]net.Addr{
		`"remote_addr":"192.0.2.1"`: tcpAddr(t, "192.0.2.1:5"), `"remote_addr":"2001:db8::1"`: tcpAddr(t, "[2001:db8::1]:5"),
		`"remote_addr":"@"`: &net.UnixAddr{Net: "unix"},
	} {
		c := l.newContexts(addr, "u")
		require.Contains(t, string(c.Data()), want)
		require.Contains(t, string(c.Closed(wire.Ending{})), `"event":"CLOSED"`)
	}
	l.dialect = wire.DialectReleased
	c := l.newContexts(tcpAddr(t, "192.0.2.1:5"), "u")
	require.Contains(t, string(c.Data()), `"remote_addr":"192.0.2.1:5"`)
}
