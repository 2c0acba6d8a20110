package tests

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
	server, ok := socketOf(c.t, c.RemoteAddr(), c.LocalAddr())
	require.True(c.t, ok)
	const keepalive = 2
	if server.timer != keepalive {
		return 0
	}
	return server.expires.Seconds()
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
	server, found := socketOf(t, c.RemoteAddr(), c.LocalAddr())
	require.False(t, found, "the system keeps the answer: %+v", server)
}

// tcpSocket is what the system knows of one.
type tcpSocket struct {
	unread, unsent uint32 // bytes in its queues
	timer          uint8
	expires        time.Duration // of the timer
}

// socketOf asks the system with sock_diag(7): /proc/net/tcp takes a thousand times as long.
func socketOf(t *testing.T, local, remote net.Addr) (s tcpSocket, found bool) {
	t.Helper()
	const header, request, byFamily, tcp = 16, 72, 20, 6
	native, network := binary.NativeEndian, binary.BigEndian
	ask := native.AppendUint32(nil, request) // struct nlmsghdr
	ask = native.AppendUint16(ask, byFamily)
	ask = native.AppendUint16(ask, unix.NLM_F_REQUEST)
	ask = append(ask, make([]byte, 8)...)
	ask = append(ask, unix.AF_INET, tcp, 0, 0) // struct inet_diag_req_v2
	ask = native.AppendUint32(ask, math.MaxUint32)
	ends := []*net.TCPAddr{local.(*net.TCPAddr), remote.(*net.TCPAddr)}
	for _, end := range ends {
		ask = network.AppendUint16(ask, uint16(end.Port))
	}
	for _, end := range ends {
		ask = append(append(ask, end.IP.To4()...), make([]byte, 12)...)
	}
	ask = native.AppendUint32(ask, 0)              // on any interface
	ask = native.AppendUint64(ask, math.MaxUint64) // without a cookie

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	require.NoError(t, err)
	if native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		require.Equal(t, unix.ENOENT, unix.Errno(-native.Uint32(answer[header:])))
		return tcpSocket{}, false
	}
	m := answer[header:n] // struct inet_diag_msg
	const listens = 10
	if m[1] == listens { // it is found in place of a connection that is gone
		return tcpSocket{}, false
	}
	return tcpSocket{native.Uint32(m[56:]), native.Uint32(m[60:]), m[2], time.Duration(native.Uint32(m[52:])) * time.Millisecond}, true
}
