package tests

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	headerV1 = "PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n"
	headerV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x30\x39\x00\x19" // the same
	localV2  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

const proxied = `
tcp:
  servers:
    echo: {addr: "127.0.0.1:0", proxy_protocol: {trusted: ["127.0.0.1"], timeout: 1s}}
    tls: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}, proxy_protocol: {trusted: ["127.0.0.0/30"], timeout: 1s}}
    unix: {addr: "unix://DIR/socket", proxy_protocol: {timeout: 5s}}
  pool: {num_workers: 2}
`

// dialFromIP is dial from another address of this machine.
func (h *host) dialFromIP(ip, server string) *client {
	h.t.Helper()
	c := dialFrom(h.t, ip, h.addr(server).String())
	c.server = server
	return c
}

func dialFrom(t *testing.T, ip, address string) *client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	conn, err := dialer.Dial("tcp", address)
	require.NoError(t, err)
	return clientOf(t, conn)
}

// remote waits until the workers have heard of a client from there, and returns what.
func (r *record) remote(t *testing.T, server, addr string) (found *sentence) {
	t.Helper()
	r.await(t, addr+" is told of", func() bool {
		for _, s := range r.sentences {
			if s.RemoteAddr == addr && s.Server == server && s.ended {
				found = s
			}
		}
		return found != nil
	})
	delete(r.sentences, found.UUID)
	return found
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, strings.ReplaceAll(proxied, "timeout: 1s", "timeout: 20s"), nil)
	for header, remote := range map[string]string{
		headerV1: "192.0.2.1:12345", headerV2: "192.0.2.1:12345", localV2: "", "PROXY UNKNOWN\r\n": "",
		"PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n": "[2001:db8::1]:12345",
	} {
		for _, server := range []string{"echo", "unix"} {
			for _, cut := range []int{0, 1, len(header) - 1, len(header)} {
				c := h.dial(server)
				write(c, header[:cut])
				c.awaitReadOf(cut)
				write(c, header[cut:]+"hello\r\n") // what is behind the header is not lost
				require.Equal(t, "hello", c.receive())
				require.Equal(t, "again", c.ask("again"))
				_ = c.Close()
				want := remote
				if want == "" { // the proxy's own
					if want = c.LocalAddr().String(); server == "unix" {
						want = "@"
					}
				}
				s := h.record.remote(t, server, want)
				require.Equal(t, []string{"hello\r\n", "again\r\n"}, s.bodies())
				require.Nil(t, s.TLS)
			}
		}

		c := h.dial("tls")
		write(c, header)
		config := ca.trust("localhost")
		secure := clientOf(t, tls.Client(c.Conn, config))
		require.Equal(t, "hello", secure.ask("hello"))
		_ = secure.Close()
		if remote == "" {
			remote = c.LocalAddr().String()
		}
		require.Equal(t, "localhost", h.record.remote(t, "tls", remote).TLS.ServerName)
	}
	require.Empty(t, h.ours("warn"))
}

// awaitReadOf is awaitRead where something was sent and /proc/net/tcp knows the connection.
func (c *client) awaitReadOf(n int) {
	c.t.Helper()
	if _, ok := c.Conn.(*net.TCPConn); ok && n > 0 {
		c.awaitRead()
	}
}

func TestRejectedProxyHeaders(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, proxied, nil)
	for _, server := range []string{"echo", "unix"} {
		for name, sends := range map[string]string{
			"a packet": "hello\r\n", "a long one": strings.Repeat("hello", 1000) + "\r\n", "half a header": headerV1[:20], "nothing": "",
			"garbage": "PROXY garbage and more of it\r\n", "garbage of version 2": headerV2[:12] + string(pattern(100)),
			"no end": "PROXY TCP4 " + string(pattern(1000)), "version 2, too short": headerV2[:15] + "\x01\x00hello\r\n",
		} {
			c := h.dial(server)
			write(c, sends)
			if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok && len(sends) < 100 {
				_ = cw.CloseWrite()
			}
			_, err := io.Copy(io.Discard, c.r)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
		}
	}
	begin := time.Now()
	slow := []*client{h.dial("echo"), h.dial("unix"), h.dial("tls")}
	for i := range 3 { // byte by byte
		for _, c := range slow {
			write(c, headerV1[i:i+1])
		}
		time.Sleep(200 * time.Millisecond)
	}
	for _, c := range slow {
		c.requireEnd()
	}
	require.Less(t, time.Since(begin), time.Second+atOnce)
	require.GreaterOrEqual(t, time.Since(begin), 900*time.Millisecond)

	const forged = 20
	for range forged {
		for _, sends := range []string{headerV1, headerV2, localV2, ""} {
			c := h.dialFromIP("127.0.0.2", "echo")
			write(c, sends+"hello\r\n")
			_, err := io.Copy(io.Discard, c.r)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		}
	}
	require.Empty(t, h.record.now(t), "workers hear of none of them")
	eventually(t, "all are counted", func() bool {
		_, refused := h.summed("none of proxy_protocol.trusted", "echo")
		return refused == 4*forged
	})
	require.Empty(t, h.ours("error"))
	c := h.dialFromIP("127.0.0.2", "tls")
	write(c, headerV2)
	require.NoError(t, tls.Client(c.Conn, ca.trust("localhost")).Handshake(), "which trusts more")
}

func TestProxyProtocolDisabled(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	require.Equal(t, strings.TrimSuffix(headerV1, "\r\n"), c.ask(strings.TrimSuffix(headerV1, "\r\n")))
	_ = c.Close()
	require.Equal(t, c.LocalAddr().String(), h.record.of(t, c).RemoteAddr)
}

func TestProxiedClientsPerIP(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  dialect: documented
  max_connections_per_ip: 2
  servers: {echo: {addr: "127.0.0.1:0", proxy_protocol: {trusted: [127.0.0.0/8]}}}
  pool: {num_workers: 2}
`)
	from := func(ip, through string) *client {
		c := h.dialFromIP(through, "echo")
		write(c, fmt.Sprintf("PROXY TCP4 %s 192.0.2.2 12345 25\r\n", ip))
		return c
	}
	served := func(ip, through string) *client {
		c := from(ip, through)
		require.Equal(t, "hello", c.ask("hello"))
		return c
	}
	waiting := []*client{h.dial("echo"), h.dial("echo"), h.dial("echo")} // who has not said who it is counts for nobody
	first := served("192.0.2.1", "127.0.0.1")
	served("192.0.2.1", "127.0.0.2")
	for i := range 20 {
		from("192.0.2.1", fmt.Sprintf("127.0.0.%d", i+1)).requireEnd()
		if i < 10 {
			served(fmt.Sprintf("198.51.100.%d", i), "127.0.0.1")
		}
	}
	require.Len(t, h.record.now(t), 12, "who is refused has no events")
	_ = first.Close()
	require.Equal(t, "eof", h.record.remote(t, "echo", "192.0.2.1").Reason)
	served("192.0.2.1", "127.0.0.1")
	from("192.0.2.1", "127.0.0.1").requireEnd()
	eventually(t, "all are counted", func() bool {
		_, refused := h.summed("max_connections_per_ip", "echo")
		return refused == 21
	})

	begin := time.Now()
	h.terminate()
	for _, c := range waiting {
		c.requireEnd()
	}
	h.requireExit()
	require.Less(t, time.Since(begin), atOnce, "a header is not waited for")
}

func TestHAProxy(t *testing.T) {
	t.Parallel()
	haproxy := installed(t, "haproxy")
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, proxied, nil)
	save(t, h.dir+"/pair.pem", ca.server("localhost").pair())
	device := ca.client("device", time.Hour)
	ports := make(map[string]string)
	config := "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 1m\n  timeout check 1m\n  timeout client 1m\n  timeout server 1m\n"
	for name, to := range map[string]struct{ bind, server, options string }{
		"v1":          {"", h.addr("echo").String(), "send-proxy check"},
		"v2":          {"", h.addr("echo").String(), "send-proxy-v2 check"},
		"unix":        {"", h.addr("unix").String(), "send-proxy-v2 check"},
		"passthrough": {"", h.addr("tls").String(), "send-proxy-v2 check"},
		"terminated":  {"ssl crt " + h.dir + "/pair.pem ca-file " + h.dir + "/ca.pem verify optional", h.addr("echo").String(), "send-proxy-v2-ssl-cn check"},
		"again":       {"", h.addr("tls").String(), "send-proxy ssl verify required ca-file " + h.dir + "/ca.pem verifyhost localhost check"},
		"none":        {"", h.addr("echo").String(), ""},
	} {
		ports[name] = freePort(t)
		config += fmt.Sprintf("listen %s\n  bind %s %s\n  server s %s %s\n", name, ports[name], to.bind, to.server, to.options)
	}
	save(t, h.dir+"/haproxy.cfg", []byte(config))
	t.Log(config)
	startFront(t, h.dir, ports["v1"], haproxy, "-db", "-q", "-f", h.dir+"/haproxy.cfg")

	for name, server := range map[string]string{
		"v1": "echo", "v2": "echo", "unix": "unix", "passthrough": "tls", "terminated": "echo", "again": "tls",
	} {
		c := dialFrom(t, "127.0.0.9", ports[name]) // no health check comes from there
		local := c.LocalAddr().String()
		if name == "passthrough" || name == "terminated" {
			c = clientOf(t, tls.Client(c.Conn, ca.trust("localhost", device)))
		}
		require.Equal(t, "hello", c.ask("hello"), name)
		large := string(pattern(1 << 20))
		require.True(t, large == c.ask(large), name)
		c.send("!answer WRITECLOSE bye")
		require.Equal(t, "bye\r\n", c.rest(), name)
		s := h.record.remote(t, server, local)
		require.Equal(t, "worker", s.Reason, name)
		require.Equal(t, ports[name], s.Proxy.Destination, name)
		if name == "terminated" {
			require.NotNil(t, s.Proxy.TLS, name)
			require.Equal(t, "TLSv1.3", s.Proxy.TLS.Version, name)
			require.Equal(t, "device", s.Proxy.TLS.ClientCN, name)
			require.True(t, s.Proxy.TLS.Verified, name)
		}
	}
	dial(t, "tcp", ports["none"]).send("hello")
	eventually(t, "a header is missed", func() bool { return len(h.logged("tcp", "does not begin with a PROXY header")) > 0 })
	eventually(t, "there were health checks", func() bool {
		h.record.now(t)
		for _, s := range h.record.sentences {
			if s.Server == "echo" && strings.HasPrefix(s.RemoteAddr, "127.0.0.1:") && s.closed && len(s.packets) == 0 {
				return true
			}
		}
		return false
	})
	require.Empty(t, h.ours("error"))
	require.Empty(t, h.ours("warn"))
}
