package server

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// The system has taken the answer, so that no write waits, but the client does not read it.
func TestWriteTimeoutCoversWhatSystemHasTaken(t *testing.T) {
	server, client := tcpPair(t)
	const size = 512 << 10
	require.NoError(t, client.SetReadBuffer(4<<10))
	require.NoError(t, server.(*net.TCPConn).SetWriteBuffer(2*size))
	l := testListener(answers(replyOf("WRITE", size)))
	l.settings.WriteTimeout = second
	l.setOptions(server)
	begin := time.Now()
	c, ended := l.serveConn(server)
	requireEventually(t, func() bool { return c.writer.Total() == size && c.state.Load() != uint32(wire.Opening) })
	receive(t, ended)
	require.Equal(t, wire.ReasonSlow, c.reason)
	require.ErrorIs(t, c.err, stream.ErrWriteTimeout)
	require.GreaterOrEqual(t, time.Since(begin), second)
}

// A read and the write of a push wait when the system gives up, and it tells only one of them why. Which one is a matter of luck, so
// there are many.
func TestWriteTimeoutWhilePushed(t *testing.T) {
	const connections = 100
	for _, secure := range []bool{false, true} {
		l := testListener(nil)
		l.settings.WriteTimeout, l.settings.Disabled.Connected, l.settings.Disabled.Close = second, true, true
		if secure {
			l.useTLS(t)
		}
		var all []*connection
		var ended []chan struct{}
		for range connections {
			server, client := tcpPair(t)
			require.NoError(t, client.SetReadBuffer(4<<10))
			require.NoError(t, server.(*net.TCPConn).SetWriteBuffer(200<<10))
			l.setOptions(server)
			c, end := l.serveConn(server)
			if secure {
				require.NoError(t, tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake())
			}
			requireEventually(t, func() bool { return c.state.Load() == uint32(wire.Reading) })
			require.Equal(t, stream.PushAccepted, c.writer.Push(make([]byte, 100<<10), false)) // which the system takes
			// Later, so that the system gives up before the writer does.
			time.AfterFunc(second/2, func() { c.writer.Push(make([]byte, 500<<10), false) })
			all, ended = append(all, c), append(ended, end)
		}
		for i, c := range all {
			receive(t, ended[i])
			require.Equal(t, wire.ReasonSlow, c.reason, c.err)
			require.ErrorIs(t, c.err, stream.ErrWriteTimeout)
		}
	}
}

// Without anything on its way it is the client, or the network, that is gone.
func TestExplainLeavesOtherTimeouts(t *testing.T) {
	server, _ := tcpPair(t)
	require.Equal(t, syscall.ETIMEDOUT, stream.ExplainTimeout(server, syscall.ETIMEDOUT))
	other := errors.New("of a test")
	require.Equal(t, other, stream.ExplainTimeout(server, other))
	pipe, _ := net.Pipe()
	require.Equal(t, syscall.ETIMEDOUT, stream.ExplainTimeout(pipe, syscall.ETIMEDOUT))
}

func TestKeepalive(t *testing.T) {
	l := testListener(nil)
	for _, want := range []time.Duration{0, 77 * time.Second} {
		server, _ := tcpPair(t)
		require.NoError(t, server.(*net.TCPConn).SetKeepAlive(false))
		l.settings.Keepalive = want
		l.setOptions(server)
		raw, err := server.(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			require.NoError(t, err)
			require.Equal(t, want > 0, on != 0)
			if want > 0 {
				idle, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
				require.NoError(t, err)
				require.EqualValues(t, want/time.Second, idle)
			}
		}))
	}
}
