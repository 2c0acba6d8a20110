//go:build go1.25

package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

const (
	unread       = 1000 // bytes: the size of a push that a client does not read
	pushOverhead = 64   // bytes of memory that a push takes besides its body
)

// servePush serves a connection that is in no exchange, and pushes to a client that does not read more than 10 bytes.
func servePush(t *testing.T, l limits) (*connection, *streamtest.Conn, *replies, chan time.Duration) {
	server, client := streamtest.Pair(10)
	w := &replies{}
	c, ended := serveTimed(t, l, w, server)
	synctest.Wait()
	require.Equal(t, stream.PushAccepted, c.writer.Push(make([]byte, unread), false))
	require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("never written"), false))
	synctest.Wait()
	return c, client, w, ended
}

func TestUnreadPushEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := servePush(t, limits{write: 8 * second})
		lasted := <-ended
		require.GreaterOrEqual(t, lasted, 8*second)
		require.LessOrEqual(t, lasted, 10*second)
		require.Equal(t, "slow", w.reason)
		require.ErrorIs(t, c.err, stream.ErrWriteTimeout)
		require.Equal(t, stream.PushGone, c.writer.Push([]byte("x"), false))
		got, _ := io.ReadAll(client)
		require.Len(t, got, 10, "nothing follows a push that was cut off")
	})
}

func TestAbortEndsBlockedPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := servePush(t, limits{})
		c.abort(wire.ReasonRPC)
		require.Zero(t, <-ended)
		require.Equal(t, "rpc", w.reason)
		require.NoError(t, c.err)
		client.Close()
	})
}

func TestAbortEndsAnswerBehindPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(10)
		w := &replies{delay: second, answers: []dispatch.Answer{reply("WRITE", "hello")}}
		c, ended := serveTimed(t, limits{}, w, server)
		synctest.Wait()
		require.Equal(t, stream.PushAccepted, c.writer.Push(make([]byte, unread), false))
		synctest.Wait()
		require.EqualValues(t, unread+pushOverhead, c.memory.Used())
		time.Sleep(second)
		synctest.Wait()
		require.EqualValues(t, unread+pushOverhead+len("hello"), c.memory.Used(), "an answer that waits counts as well")
		c.abort(wire.ReasonRPC)
		require.Equal(t, second, <-ended)
		require.Equal(t, "rpc", w.reason)
		client.Close()
	})
}

func TestLimitDropsPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := servePush(t, limits{idle: second})
		require.Equal(t, second, <-ended)
		require.Equal(t, "idle", w.reason)
		got, _ := io.ReadAll(client)
		require.Len(t, got, 10)
		require.True(t, c.isAborted(), "the push that blocks is ended")
	})
}

// A client that has ended its side still reads.
func TestEndOfFileKeepsPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, w, ended := servePush(t, limits{write: 60 * second})
		require.NoError(t, client.CloseWrite())
		synctest.Wait()
		got := readString(t, client, unread+len("never written"))
		require.Equal(t, "never written", got[unread:])
		<-ended
		require.Equal(t, "eof", w.reason)
	})
}

func TestDrainGivesPushesOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := servePush(t, limits{write: 60 * second})
		c.drain(wire.ReasonShutdown)
		require.Equal(t, second, <-ended)
		require.Equal(t, "shutdown", w.reason)
		client.Close()
	})
}

// The client gets all that was accepted, and has as long to read it as after an answer.
func TestDrainedPushesLingerFully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := servePush(t, limits{write: 60 * second})
		c.drain(wire.ReasonShutdown)
		time.Sleep(second / 2)
		got := readString(t, client, unread+len("never written"))
		require.Equal(t, "never written", got[unread:])
		require.Equal(t, second/2+maxLinger, <-ended, "half a second, and the linger")
		require.Equal(t, "shutdown", w.reason)
	})
}

func TestWrittenPushesLingerBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(100)
		c, ended := serveTimed(t, limits{}, &replies{}, server)
		synctest.Wait()
		require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("hello"), false))
		synctest.Wait()
		c.drain(wire.ReasonShutdown)
		require.Equal(t, idleLinger, <-ended, "nothing was pending: the client has most likely got it")
		require.Equal(t, "hello", readString(t, client, 5))
	})
}

func TestLastPushLingersFully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(100)
		w := &replies{}
		c, ended := serveTimed(t, limits{}, w, server)
		synctest.Wait()
		require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("bye"), true))
		require.Equal(t, maxLinger, <-ended)
		require.Equal(t, "rpc", w.reason)
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
	})
}

// faultyWriteConn fails, or panics, when it is written to.
type faultyWriteConn struct {
	net.Conn
	err error // nil: panic
}

func (c faultyWriteConn) Write([]byte) (int, error) {
	if c.err == nil {
		panic("of a test")
	}
	return 0, c.err
}

func TestPushPanicEndsConnection(t *testing.T) {
	server, client := net.Pipe()
	l := testListener(answers(reply("CONTINUE", "")))
	logs := l.observe(slog.LevelDebug)
	c, ended := l.serveConn(faultyWriteConn{Conn: server})
	require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("x"), false))
	receive(t, ended)
	require.Equal(t, wire.ReasonError, c.reason)
	require.Len(t, logs.Saying("panic"), 1)
	require.Zero(t, l.memory.Used())
	client.Close()
}

func TestPushErrorGivesReason(t *testing.T) {
	for err, want := range map[error]wire.Reason{
		io.ErrClosedPipe: wire.ReasonReset, errors.New("of a test"): wire.ReasonError,
	} {
		server, client := net.Pipe()
		c, ended := testListener(answers(reply("CONTINUE", ""))).serveConn(faultyWriteConn{server, err})
		require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("x"), false))
		receive(t, ended)
		require.Equal(t, want, c.reason)
		require.ErrorIs(t, c.err, err)
		client.Close()
	}
}
