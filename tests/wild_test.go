package tests

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Clients as they are in the wild: health checks, half-closed ones, old devices, and those that are told why.

func TestHealthChecksCostNoExchange(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0", connected_on: first_byte}}
  pool: {num_workers: 2}
`)
	for range 20 {
		require.NoError(t, h.dial("echo").Close())
	}
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	require.NoError(t, c.Close())
	seen := h.record.of(t, c)
	require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, seen.events)
	h.stop()
	require.Len(t, h.record.now(t), 1, "who has sent nothing is not told of")
}

func TestHalfClosedClientsArePushedTo(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(withRPC, "{addr: ", "{half_close: keep, addr: ", 1), "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()
	write(c, "tail")
	c.closeWrite()
	require.Equal(t, "accepted", h.push(uuid, "pushed\r\n", false))
	require.Contains(t, []string{"tailpushed", "pushed"}, c.receive()) // in either order
	require.Equal(t, "accepted", h.push(uuid, "bye\r\n", true))
	require.Contains(t, c.rest(), "bye\r\n")
	require.Equal(t, "rpc", h.record.of(t, c).Reason)
}

func TestGoodbyes(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers:
    echo: {addr: "127.0.0.1:0", max_packet_size: 64B, goodbye: {too_long: "552 too long\r\n", shutdown: "421 closing\r\n"}}
    tls:
      addr: "127.0.0.1:0"
      tls: {cert: DIR/server.pem, key: DIR/server.key}
      max_packet_size: 64B
      goodbye: {too_long: "552 too long\r\n", shutdown: "421 closing\r\n"}
  pool: {num_workers: 2}
`, nil)
	dial := map[string]func() *client{
		"echo": func() *client { return h.dial("echo") }, "tls": func() *client { return h.dialTLS("tls", ca.trust("localhost")) },
	}
	var waiting []*client
	for name := range dial {
		c := dial[name]()
		require.Equal(t, "hello", c.ask("hello"))
		write(c, strings.Repeat("x", 60<<10))
		require.Equal(t, "552 too long\r\n", c.rest(), name)
		require.NoError(t, c.Close())

		c = dial[name]()
		require.Equal(t, "hello", c.ask("hello"))
		waiting = append(waiting, c)
	}
	h.terminate()
	for _, c := range waiting {
		require.Equal(t, "421 closing\r\n", c.rest())
		_ = c.Close()
	}
	h.requireExit()
}

// A device that knows TLS 1.0 alone, as OpenSSL plays it.
func TestOldDevices(t *testing.T) {
	t.Parallel()
	openssl := installed(t, "openssl")
	ca := newAuthority(t, "ca")
	h := startTLS(t, ca, `
tcp:
  servers:
    new: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key}}
    old:
      addr: "127.0.0.1:0"
      tls: {cert: DIR/server.pem, key: DIR/server.key, min_version: "1.0", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]}
  pool: {num_workers: 2}
`, nil)
	talk := func(server string) (string, error) {
		device := exec.Command(openssl, "s_client", "-tls1", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
			"-connect", h.addr(server).String(), "-quiet", "-crlf")
		device.Stdin = strings.NewReader("!answer WRITECLOSE served\n")
		out, err := device.CombinedOutput()
		return string(out), err
	}
	out, err := talk("old")
	require.NoError(t, err, out)
	require.Contains(t, out, "served")
	out, err = talk("new")
	require.Error(t, err, out)
	warned := h.ours("warn")
	require.Len(t, warned, 1)
	require.Contains(t, warned[0].Msg, "tcp.servers.old.tls: allows TLS 1.0, which RFC 8996 forbids")
}
