//go:build go1.25

package server

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestDrainWaitsForReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := serveUnread(t, 8*second)
		time.Sleep(3 * second)
		c.drain(wire.ReasonShutdown)
		time.Sleep(4 * second)
		require.Empty(t, ended)
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Len(t, got, answerSize)
		require.Equal(t, 7*second+maxLinger, <-ended)
		require.Equal(t, "shutdown", w.reason)
	})
}

func TestLimitAppliesDuringDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, w, ended := serveUnread(t, 8*second) // the client reads nothing
		time.Sleep(second)
		c.drain(wire.ReasonShutdown)
		require.LessOrEqual(t, <-ended, 10*second, "write_timeout, without lingering")
		require.Equal(t, "slow", w.reason)
	})
}

func TestAbortEndsWrite(t *testing.T) {
	for _, timeout := range []time.Duration{0, 8 * second} {
		synctest.Test(t, func(t *testing.T) {
			c, _, w, ended := serveUnread(t, timeout)
			time.Sleep(3 * second)
			c.abort(wire.ReasonRPC)
			require.Equal(t, 3*second, <-ended)
			require.Equal(t, "rpc", w.reason)
		})
	}
}

func TestFirstAbortGivesReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(10)
		w := &replies{delay: 5 * second}
		c, ended := serveTimed(t, limits{}, w, server)
		time.Sleep(second)
		c.drain(wire.ReasonShutdown)
		c.drain(wire.ReasonRPC)
		require.Equal(t, wire.ReasonShutdown, c.interruption(), "the first drain counts")
		c.abort(wire.ReasonRPC)
		c.abort(wire.ReasonShutdown)
		require.Equal(t, 5*second, <-ended, "the exchange is not cut off")
		require.Equal(t, "rpc", w.reason, "an abort overrides a drain, another abort does not")
		client.Close()
	})
}

// Where a push has failed, since the client is gone, the packets that have arrived are handed over, but not when RoadRunner stops.
func TestStopBehindFailedPush(t *testing.T) {
	for _, why := range []wire.Reason{wire.ReasonReset, wire.ReasonShutdown} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(100)
			io.WriteString(client, "1\r\n2\r\n3\r\n")
			w := &replies{delay: second}
			c, ended := serveTimed(t, limits{}, w, server)
			time.Sleep(1500 * time.Millisecond)
			c.drain(wire.ReasonReset)
			c.drain(why)
			c.drain(wire.ReasonReset)
			<-ended
			require.Equal(t, why.String(), w.reason)
			require.Len(t, w.events, map[wire.Reason]int{wire.ReasonReset: 4, wire.ReasonShutdown: 2}[why], "CONNECTED and packets: %q", w.events)
			client.Close()
		})
	}
}

func TestInterruptionKeepsDeadline(t *testing.T) {
	server, _ := net.Pipe()
	c := testListener(answers{}).newConnection(server)
	later := time.Now().Add(time.Hour)
	c.drain(wire.ReasonShutdown)
	c.setReadDeadline(later)
	_, err := server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	c.setDeadlineIn(time.Hour)
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the drain came just before a part of the preamble")

	c.abort(wire.ReasonRPC)
	c.setReadDeadline(later)
	c.setWriteDeadline(later)
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = server.Write(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A packet is lent to the exchange: whatever ends the connection meanwhile, it must stay as it is until Exchange returns.
func TestAbortKeepsBorrowedPacket(t *testing.T) {
	for name, end := range map[string]func(c *connection, client net.Conn){
		"abort": func(c *connection, _ net.Conn) { c.abort(wire.ReasonRPC) },
		"drain": func(c *connection, _ net.Conn) { c.drain(wire.ReasonShutdown) },
		"reset": func(_ *connection, client net.Conn) { client.Close() },
		"more":  func(_ *connection, client net.Conn) { client.Write(make([]byte, 100_000)) },
	} {
		for kind, pair := range map[string]func() (net.Conn, net.Conn){
			"tcp":    func() (net.Conn, net.Conn) { s, c := tcpPair(t); return s, c },
			"memory": func() (net.Conn, net.Conn) { s, c := streamtest.Pair(1 << 20); return s, c },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				server, client := pair()
				w := &holdingWorkers{taken: make(chan []byte), release: make(chan struct{})}
				l := testListener(w)
				l.settings.Disabled.Connected = true
				c, ended := l.serveConn(server)
				packet := string(make([]byte, 50_000)) + "\r\n"
				go io.WriteString(client, packet)
				body := receive(t, w.taken)
				end(c, client)
				require.Equal(t, packet, string(body))
				close(w.release)
				client.Close()
				receive(t, ended)
				require.NotEqual(t, wire.ReasonError, c.reason, "%v", c.err)
				require.Zero(t, l.memory.Used())
			})
		}
	}
}

// holdingWorkers hand the body of the first event to the test and answer when it says so.
type holdingWorkers struct {
	taken   chan []byte
	release chan struct{}
	again   bool
}

func (h *holdingWorkers) Exchange(_ *dispatch.Call, _ <-chan struct{}, _, body []byte) (dispatch.Answer, error) {
	if h.again {
		return reply("CONTINUE", ""), nil
	}
	h.again = true
	h.taken <- body
	<-h.release
	for _, b := range body[:len(body)-2] {
		if b != 0 {
			panic("the packet was freed during its exchange")
		}
	}
	return reply("CONTINUE", ""), nil
}

func (h *holdingWorkers) HandOverClose(*dispatch.Call, []byte) {}
