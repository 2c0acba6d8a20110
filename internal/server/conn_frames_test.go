//go:build go1.25

package server

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

// framesAtOnce is the rest of a streamed answer that its worker has at once.
type framesAtOnce struct {
	left   []dispatch.Answer
	err    error         // behind them; nil: the last one is the end
	silent bool          // it never comes
	ending time.Duration // that End takes
	freed  time.Time
}

func (f *framesAtOnce) Next(cancel <-chan struct{}) (frame dispatch.Answer, last bool, err error) {
	switch {
	case len(f.left) > 0:
	case f.silent:
		<-cancel
		return dispatch.Answer{}, false, dispatch.ErrCanceled
	default:
		return dispatch.Answer{}, false, f.err
	}
	frame, f.left = f.left[0], f.left[1:]
	return frame, len(f.left) == 0 && f.err == nil && !f.silent, nil
}

func (f *framesAtOnce) End() {
	if f.freed.IsZero() {
		time.Sleep(f.ending)
		f.freed = time.Now()
	}
}

// streamed is a client that has not read anything of a streamed answer.
type streamed struct {
	c      *connection
	client *streamtest.Conn
	w      *replies
	frames *framesAtOnce
	ended  chan time.Duration
	begin  time.Time
}

// serveStreamed serves a connection with a buffer whose first answer has four frames of answerSize. Its system takes 10 bytes.
func serveStreamed(t *testing.T, l limits, last string, err error, prepare ...func(*streamed)) *streamed {
	server, client := streamtest.Pair(10)
	first := replyOf("WRITE", answerSize)
	frames := &framesAtOnce{left: []dispatch.Answer{replyOf("", answerSize), replyOf("", answerSize), replyOf(last, answerSize)}, err: err}
	first.More = frames
	w := &replies{answers: []dispatch.Answer{first}}
	listening := testListener(w)
	l.apply(&listening.settings)
	listening.settings.StreamBuffer = 1 << 10
	c, ended := listening.newConnection(server), make(chan time.Duration, 1)
	s := &streamed{c, client, w, frames, ended, time.Now()}
	for _, f := range prepare {
		f(s)
	}
	go func() {
		c.serve(func() {})
		ended <- time.Since(s.begin)
	}()
	t.Cleanup(func() { require.Zero(t, listening.memory.Used()) })
	return s
}

// The worker of a streamed answer does not wait for the client; the next event does.
func TestStreamBufferFreesWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveStreamed(t, limits{}, "WRITE", nil)
		io.WriteString(s.client, "next\r\n")
		time.Sleep(5 * second)
		synctest.Wait()
		require.Equal(t, s.begin, s.frames.freed)
		require.Greater(t, s.c.memory.Used(), int64(4*answerSize))
		require.Equal(t, []string{"CONNECTED "}, s.w.events, "no event before the answer is out")
		readString(t, s.client, 4*answerSize)
		synctest.Wait()
		require.Equal(t, []string{"CONNECTED ", "DATA next\r\n"}, s.w.events)
		s.client.Close()
		<-s.ended
		require.Equal(t, "eof", s.w.reason)
	})
}

// CLOSE comes when the client has read all, or is not waited for any longer.
func TestStreamBufferAtTheEnd(t *testing.T) {
	broken := &dispatch.Failure{Reason: wire.ReasonError, Reached: true, Err: errors.New("of a test")}
	for name, c := range map[string]struct {
		limits limits
		last   string
		err    error
		after  func(*streamed) // 5 seconds
		reason string
		ends   time.Duration
		reads  int
	}{
		"the worker closes":         {limits{}, "WRITECLOSE", nil, func(*streamed) {}, "worker", 5*second + maxLinger, 4 * answerSize},
		"the worker is broken":      {limits{}, "", broken, func(*streamed) {}, "error", 5*second + maxLinger, 4 * answerSize},
		"RoadRunner stops":          {limits{}, "WRITE", nil, func(s *streamed) { s.c.drain(wire.ReasonShutdown) }, "shutdown", 5*second + maxLinger, 4 * answerSize},
		"tcp.Close":                 {limits{}, "WRITE", nil, func(s *streamed) { s.c.abort(wire.ReasonRPC) }, "rpc", 5 * second, 10},
		"the client is gone":        {limits{}, "WRITE", nil, func(s *streamed) { s.client.Close() }, "reset", 5 * second, 0},
		"the client is too slow":    {limits{write: 4 * second}, "WRITE", nil, func(*streamed) {}, "slow", 4 * second, 10},
		"too slow, broken worker":   {limits{write: 4 * second}, "", broken, func(*streamed) {}, "error", 4 * second, 10},
		"the client is below rate":  {limits{rate: 10}, "WRITE", nil, func(*streamed) { time.Sleep(20 * second) }, "slow", 20 * second, 10},
		"at a stop, the limits too": {limits{rate: 10}, "WRITE", nil, func(s *streamed) { s.c.drain(wire.ReasonShutdown); time.Sleep(20 * second) }, "slow", 20 * second, 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serveStreamed(t, c.limits, c.last, c.err)
				time.Sleep(5 * second)
				c.after(s)
				got, _ := io.ReadAll(s.client)
				require.Len(t, got, c.reads)
				require.Equal(t, c.ends, <-s.ended)
				require.Equal(t, c.reason, s.w.reason)
				require.Equal(t, s.begin, s.frames.freed, "the worker is free before")
				require.Equal(t, c.reason == "slow", isUntaken(s.c.err), s.c.err)
				if c.reason == "reset" {
					require.EqualValues(t, 4*answerSize, s.c.stats.Dropped.Load())
				}
			})
		})
	}
}

// A limit holds while the worker is silent between two frames, and the socket is closed before the worker is free.
func TestStreamBufferOfSilentWorker(t *testing.T) {
	for name, l := range map[string]limits{"write_timeout": {write: 10 * second}, "min_rate": {rate: 10}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serveStreamed(t, l, "WRITE", nil, func(s *streamed) { s.frames.silent, s.frames.ending = true, time.Minute })
				got, _ := io.ReadAll(&afterwards{s.client, 30 * second})
				require.Len(t, got, 10)
				require.Equal(t, 30*second, time.Since(s.begin), "the socket was closed")
				<-s.ended
				require.Equal(t, "slow", s.w.reason)
				require.True(t, isUntaken(s.c.err), s.c.err)
			})
		})
	}
}

// afterwards reads after a while.
type afterwards struct {
	io.Reader
	pause time.Duration
}

func (a *afterwards) Read(b []byte) (int, error) {
	time.Sleep(a.pause)
	a.pause = 0
	return a.Reader.Read(b)
}

// Where memory is used up the socket is closed before the worker is free.
func TestStreamBufferWithoutMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveStreamed(t, limits{}, "WRITE", nil, func(s *streamed) {
			s.c.writer.Memory, s.frames.ending = stream.NewMemory(20<<10), time.Minute
			s.frames.left[2].Body = make([]byte, 1<<20)
		})
		got, _ := io.ReadAll(s.client)
		require.Len(t, got, 3*answerSize)
		require.Zero(t, time.Since(s.begin), "the socket was closed")
		<-s.ended
		require.Equal(t, "memory", s.w.reason)
	})
}
