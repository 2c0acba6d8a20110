//go:build unix

package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// gatedWorkers answer every packet with WRITE and itself, the first one when the gate opens.
type gatedWorkers struct {
	began, gate chan struct{} // closed when the first packet is at a worker; when it is answered
	bodies      []string
	closed      map[string]any // the context of CLOSE
}

func newGatedWorkers() *gatedWorkers {
	return &gatedWorkers{began: make(chan struct{}), gate: make(chan struct{})}
}

func (w *gatedWorkers) Exchange(c *dispatch.Call, _ <-chan struct{}, _, body []byte) (dispatch.Answer, error) {
	if c.Event == wire.Connected {
		return reply("CONTINUE", ""), nil
	}
	if len(w.bodies) == 0 {
		close(w.began)
		<-w.gate
	}
	w.bodies = append(w.bodies, string(body))
	return reply("WRITE", string(body)), nil
}

func (w *gatedWorkers) HandOverClose(_ *dispatch.Call, context []byte) {
	w.closed = decodeEvent(context, nil).context
}

// What a client has sent reaches a worker, whatever becomes of the answers.
func TestPacketsOfGoneClientAreHandedOver(t *testing.T) {
	var each []string
	for i := range 10 {
		each = append(each, fmt.Sprintf("packet %d\r\n", i))
	}
	packets := strings.Join(each, "")

	reset := func(t *testing.T, client net.Conn) {
		require.NoError(t, client.(*net.TCPConn).SetLinger(0))
		client.Close()
	}
	for name, c := range map[string]struct {
		pair  func(t testing.TB) (server, client net.Conn)
		leave func(t *testing.T, client net.Conn) // after all packets are sent
		batch int
		push  bool // one is under way
		tail  string
	}{
		"closes without reading": {pair: pairOfTCP},
		"resets":                 {pair: pairOfTCP, leave: reset},
		"half-closes and resets": {pair: pairOfTCP, leave: func(t *testing.T, client net.Conn) {
			require.NoError(t, client.(*net.TCPConn).CloseWrite())
			reset(t, client)
		}},
		"a unix socket":            {pair: pairOfUnix},
		"TLS":                      {pair: pairOfTCP, leave: func(t *testing.T, client net.Conn) { reset(t, client.(*tls.Conn).NetConn()) }},
		"batch":                    {pair: pairOfTCP, leave: reset, batch: 1 << 10},
		"a push is under way":      {pair: pairOfTCP, leave: reset, push: true},
		"an unfinished packet":     {pair: pairOfTCP, leave: reset, tail: "cut off"},
		"a push, and unfinished":   {pair: pairOfTCP, leave: reset, push: true, tail: "cut off"},
		"unfinished, with a batch": {pair: pairOfTCP, leave: reset, tail: "cut off", batch: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := c.pair(t)
			w := newGatedWorkers()
			l := testListener(w)
			l.settings.Framing.Batch, l.settings.PushQueue = c.batch, 0
			if name == "TLS" {
				l.useTLS(t)
				client = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
			}
			conn, ended := l.serveConn(server)

			sent := packets + c.tail
			_, err := client.Write([]byte(each[0]))
			require.NoError(t, err)
			receive(t, w.began)
			if c.push {
				require.Equal(t, stream.PushAccepted, conn.writer.Push(make([]byte, 64<<20), false))
				requireEventually(t, func() bool { return conn.writer.Total() > 0 })
			}
			_, err = client.Write([]byte(sent[len(each[0]):]))
			require.NoError(t, err)
			if c.leave == nil {
				client.Close()
			} else {
				c.leave(t, client)
			}
			if c.leave != nil { // else the system tells when it is written to
				requireEventually(t, func() bool { return hungUp(server) })
			}
			close(w.gate)
			receive(t, ended)

			require.Equal(t, packets, strings.Join(w.bodies, ""), "all packets, in order, and nothing of an unfinished one")
			if c.batch == 0 {
				require.Equal(t, each, w.bodies)
			}
			require.Equal(t, "reset", w.closed["reason"])
			require.Equal(t, wire.ReasonReset, conn.reason)
			require.Error(t, conn.err)
			require.Positive(t, l.stats.Dropped.Load())
			if c.leave != nil {
				require.Equal(t, int64(len(packets)), l.stats.Dropped.Load(), "every answer")
			}
			require.Zero(t, l.memory.Used())
		})
	}
}

func pairOfTCP(t testing.TB) (server, client net.Conn) {
	server, client = tcpPair(t)
	return server, client
}

func pairOfUnix(t testing.TB) (server, client net.Conn) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// hungUp reports whether the system knows that the client of a connection is gone. It leaves the error of the socket alone.
func hungUp(conn net.Conn) (yes bool) {
	raw, err := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, _ = unix.Poll(fds, 0)
		yes = fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return yes
}

// packetCounter counts the packets that workers get.
type packetCounter struct{ packets atomic.Int64 }

func (w *packetCounter) Exchange(*dispatch.Call, <-chan struct{}, []byte, []byte) (dispatch.Answer, error) {
	w.packets.Add(1)
	return reply("CONTINUE", ""), nil
}

func (*packetCounter) HandOverClose(*dispatch.Call, []byte) {}

// The system tells the read or the write of a push that the client is gone, and the read of the other case an end of file. There are
// many, since that is a matter of luck.
func TestResetDuringPushIsNoEndOfFile(t *testing.T) {
	w := new(packetCounter)
	l := testListener(w)
	l.settings.Disabled.Connected, l.settings.Disabled.Close = true, true
	for range 300 {
		server, client := tcpPair(t)
		require.NoError(t, client.SetReadBuffer(4<<10))
		require.NoError(t, server.(*net.TCPConn).SetWriteBuffer(8<<10))
		c, ended := l.serveConn(server)
		_, err := client.Write([]byte("cut off"))
		require.NoError(t, err)
		for range 3 {
			require.Equal(t, stream.PushAccepted, c.writer.Push(make([]byte, 300<<10), false))
		}
		requireEventually(t, func() bool { return c.writer.Total() > 0 && c.reader.Total() > 0 })
		require.NoError(t, client.SetLinger(0))
		client.Close()
		receive(t, ended)
		require.Equal(t, wire.ReasonReset, c.reason)
	}
	require.Zero(t, w.packets.Load(), "what was cut off is no packet")
}
