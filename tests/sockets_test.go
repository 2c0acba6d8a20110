package tests

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReusePort(t *testing.T) {
	t.Parallel()
	const yaml = `
tcp:
  reuse_port: true
  servers: {echo: {addr: "ADDR"}}
  pool: {num_workers: 1}
`
	first := start(t, strings.Replace(yaml, "ADDR", "127.0.0.1:0", 1))
	addr := first.addr("echo").String()
	second := start(t, strings.Replace(yaml, "ADDR", addr, 1))
	eventually(t, "both have clients", func() bool {
		c := first.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		require.NoError(t, c.Close())
		return len(first.record.now(t)) > 0 && len(second.record.now(t)) > 0
	})
	alone := newHost(t, shortDir(t)).failedStart(strings.Replace(minimal, "127.0.0.1:0", addr, 1))
	require.Contains(t, alone, "address already in use", "a server without reuse_port does not share")
}

func TestKeepalive(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers:
    default: {addr: "127.0.0.1:0"}
    own: {addr: "127.0.0.1:0", keepalive: 100s}
    off: {addr: "127.0.0.1:0", keepalive: 0}
  pool: {num_workers: 1}
`)
	for server, seconds := range map[string]float64{"default": 15, "own": 100, "off": 0} {
		c := h.dial(server)
		require.Equal(t, "hello", c.ask("hello"))
		eventually(t, fmt.Sprintf("%s: in %v seconds", server, seconds), func() bool {
			left := c.keepaliveOfServer()
			return left <= seconds && left >= seconds-5
		})
	}
}

// keepaliveOfServer is in how many seconds the server's end asks whether the client is there; 0: never.
func (c *client) keepaliveOfServer() float64 {
	c.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(c.t, err)
	_, row, ok := strings.Cut(string(table), procAddr(c.RemoteAddr().(*net.TCPAddr))+" "+procAddr(c.LocalAddr().(*net.TCPAddr))+" ")
	require.True(c.t, ok)
	fields := strings.Fields(row[:min(len(row), 60)]) // st tx_queue:rx_queue tr:tm->when …
	var timer, ticks int
	_, err = fmt.Sscanf(fields[2], "%x:%x", &timer, &ticks)
	require.NoError(c.t, err)
	if timer != 2 {
		return 0
	}
	return float64(ticks) / 100
}

func TestSlowReaderSocketDiscarded(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  write_timeout: 400ms
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	c := h.dial("echo")
	require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
	c.send("!bytes WRITE 16777216")
	require.Equal(t, "slow", h.record.of(t, c).Reason)
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	row := procAddr(c.RemoteAddr().(*net.TCPAddr)) + " " + procAddr(c.LocalAddr().(*net.TCPAddr)) + " "
	_, row, found := strings.Cut(string(table), row)
	require.False(t, found, "the system keeps the answer: %.40s", row)
}
