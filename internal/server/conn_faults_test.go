//go:build go1.25

package server

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

// fault is what goes wrong with a connection: the n-th call of something, and how much each call moves.
type fault struct {
	call, kind string
	nth        int
	atMost     int // bytes
	hasHits    int
}

// faultyConn is a connection with a fault.
type faultyConn struct {
	*streamtest.Conn
	fault *fault
	seen  map[string]int
	// isClosing says that the writing side is closed.
	isClosing bool
}

var errFault = errors.New("of a test")

// hit reports whether this is the call that goes wrong.
func (c *faultyConn) hit(call string) bool {
	c.seen[call]++
	return c.fault.call == call && c.seen[call] == c.fault.nth
}

func (c *faultyConn) fails() error {
	c.fault.hasHits++
	switch c.fault.kind {
	case "panic":
		if c.isClosing { // not while it lingers
			return errFault
		}
		panic("of a test")
	case "timeout":
		return os.ErrDeadlineExceeded
	default:
		return errFault
	}
}

func (c *faultyConn) Read(p []byte) (int, error) {
	if c.hit("Read") {
		if c.fault.kind != "stall" {
			return 0, c.fails()
		}
		c.fault.hasHits++
		c.StallRead()
	}
	return c.Conn.Read(p[:min(len(p), c.fault.atMost)])
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if c.hit("Write") {
		if c.fault.kind != "stall" {
			return 0, c.fails()
		}
		c.fault.hasHits++
		c.StallWrite()
	}
	return c.Conn.Write(p[:min(len(p), c.fault.atMost)]) // short, and no error: nobody should, but some do
}

func (c *faultyConn) SetReadDeadline(t time.Time) error {
	if c.hit("SetReadDeadline") {
		return c.fails()
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *faultyConn) SetWriteDeadline(t time.Time) error {
	if c.hit("SetWriteDeadline") {
		return c.fails()
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *faultyConn) CloseWrite() error {
	c.isClosing = true
	if c.hit("CloseWrite") {
		return c.fails()
	}
	return c.Conn.CloseWrite()
}

func (c *faultyConn) Close() error {
	err := c.Conn.Close()
	if c.hit("Close") {
		return c.fails()
	}
	return err
}

// echoes are workers that answer every event with its packet.
type echoes struct{ replies }

func (e *echoes) Exchange(c *dispatch.Call, cancel <-chan struct{}, context, body []byte) (dispatch.Answer, error) {
	e.answers = []dispatch.Answer{reply("WRITE", string(body))}
	return e.replies.Exchange(c, cancel, context, body)
}

func TestAnyCallOfConnectionFails(t *testing.T) {
	hits := 0
	for _, call := range []string{"Read", "Write", "SetReadDeadline", "SetWriteDeadline", "CloseWrite", "Close"} {
		for _, kind := range []string{"error", "timeout", "panic", "stall"} {
			if kind == "stall" && call != "Read" && call != "Write" || kind == "panic" && call != "Read" && call != "Write" {
				continue
			}
			for nth := 1; nth <= 12; nth++ {
				for _, atMost := range []int{1, 3, 1 << 20} {
					f := &fault{call: call, kind: kind, nth: nth, atMost: atMost}
					synctest.Test(t, func(t *testing.T) { playFault(t, f) })
					hits += f.hasHits
				}
			}
		}
	}
	require.Greater(t, hits, 200, "faults that were met")
}

func playFault(t *testing.T, f *fault) {
	const sent = "a\r\nbb\r\n0123456789\r\nrest"
	server, client := streamtest.Pair(6)
	w := &echoes{}
	l := testListener(w)
	limits{packetSize: modelLongest, idle: modelIdle, packet: modelPacket, write: modelWrite}.apply(&l.settings)
	c := l.newConnection(&faultyConn{Conn: server, fault: f, seen: make(map[string]int)})
	ended, got := make(chan int, 1), make(chan string, 1)
	go func() {
		gone := 0
		c.serve(func() { gone++ })
		ended <- gone
	}()
	go func() {
		for _, piece := range strings.SplitAfter(sent, "\n") {
			io.WriteString(client, piece)
			time.Sleep(second)
		}
		client.CloseWrite()
		b, _ := io.ReadAll(client)
		time.Sleep(second)
		client.Close()
		got <- string(b)
	}()
	time.Sleep(time.Minute) // a client that is stalled on is gone by then
	client.Close()
	synctest.Wait()
	require.Len(t, ended, 1, "%+v", f)
	require.Equal(t, 1, <-ended, "%+v", f)
	require.EqualValues(t, 1, server.Closes(), "%+v", f)
	require.Zero(t, l.memory.Used(), "%+v", f)
	require.Zero(t, c.reader.Held(), "%+v", f)

	require.NotEmpty(t, w.events)
	require.Equal(t, "CONNECTED ", w.events[0])
	packets, _, _, _ := framingtest.Cut(framing.Packets{Framing: "delimiter", Delimiter: "\r\n"}, sent, 0)
	for i, event := range w.events[1:] {
		require.Equal(t, "DATA "+packets[i], event, "%+v", f)
	}
	answered := <-got
	require.True(t, strings.HasPrefix(sent, answered), "%+v: %q", f, answered)
	require.NotEqual(t, wire.ReasonNone, namedReason(w.reason), "%+v: one CLOSE", f)
	if f.hasHits == 0 {
		require.Equal(t, "eof", w.reason, "%+v", f)
		require.Equal(t, sent, answered, "%+v", f)
	}
}
