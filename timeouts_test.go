//go:build go1.25

//go:debug asynctimerchan=0
package tcp

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// memoryConn is one end of a connection in memory that buffers, half-closes and breaks as a socket does, with timers
// that testing/synctest moves.
type memoryConn struct {
	in, out *stream
	closes  *atomic.Int32 // how often it was closed
}

// stream is one direction of it.
type stream struct {
	mu    sync.Mutex
	moved *sync.Cond // of mu; told whenever anything below changes, and at deadlines
	room  int        // bytes it holds at most
	bytes []byte
	eof   bool  // the writer has closed it
	gone  bool  // the reader has closed it
	err   error // it is broken, once what it holds is read
	// when reads and writes give up, and what wakes them then
	readBy, writeBy       time.Time
	readAlarm, writeAlarm *time.Timer
}

func newStream(room int) *stream {
	s := &stream{room: room}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// memoryPair is a connection whose server can send as many bytes as toClient without the client reading them.
func memoryPair(toClient int) (server, client *memoryConn) {
	in, out := newStream(1<<30), newStream(toClient)
	return &memoryConn{in: in, out: out, closes: new(atomic.Int32)}, &memoryConn{in: out, out: in, closes: new(atomic.Int32)}
}

func isOver(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.gone:
			return 0, net.ErrClosed
		case isOver(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(s.bytes) > 0:
			n := copy(p, s.bytes)
			s.bytes = s.bytes[n:]
			s.moved.Broadcast()
			return n, nil
		case s.err != nil:
			return 0, s.err
		case s.eof:
			return 0, io.EOF
		}
		s.moved.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.eof:
			return n, net.ErrClosed
		case s.err != nil:
			return n, s.err
		case s.gone:
			return n, os.NewSyscallError("write", syscall.EPIPE)
		case isOver(s.writeBy):
			return n, os.ErrDeadlineExceeded
		}
		some := min(len(p)-n, s.room-len(s.bytes))
		s.bytes = append(s.bytes, p[n:n+some]...)
		if some > 0 {
			s.moved.Broadcast()
		}
		if n += some; n == len(p) {
			return n, nil
		}
		s.moved.Wait()
	}
}

// set changes something that readers and writers look at.
func (s *stream) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.moved.Broadcast()
}

func (s *stream) setDeadline(by *time.Time, alarm **time.Timer, t time.Time) {
	s.set(func() {
		if *alarm != nil {
			(*alarm).Stop()
			*alarm = nil
		}
		if *by = t; !t.IsZero() {
			*alarm = time.AfterFunc(time.Until(t), func() { s.set(func() {}) })
		}
	})
}

// length counts the bytes that were written and are not read yet.
func (s *stream) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bytes)
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memoryConn) LocalAddr() net.Addr         { return &net.UnixAddr{Net: "unix"} }
func (c *memoryConn) RemoteAddr() net.Addr        { return &net.UnixAddr{Net: "unix"} }

func (c *memoryConn) CloseWrite() error {
	c.out.set(func() { c.out.eof = true })
	return nil
}

func (c *memoryConn) CloseRead() error {
	c.in.set(func() { c.in.eof, c.in.bytes = true, nil })
	return nil
}

func (c *memoryConn) Close() error {
	c.closes.Add(1)
	c.in.set(func() { c.in.gone = true })
	c.SetDeadline(time.Time{}) // no alarm stays behind
	return c.CloseWrite()
}

// reset breaks both directions; what is on its way still arrives.
func (c *memoryConn) reset() {
	broken := os.NewSyscallError("read", syscall.ECONNRESET)
	c.in.set(func() { c.in.err = broken })
	c.out.set(func() { c.out.err = broken })
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, &c.in.readAlarm, t)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, &c.out.writeAlarm, t)
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// worked is how a worker answers each event in turn, after how long; CONTINUE when there are no more.
type worked struct {
	after   time.Duration
	answers []answer
	events  []string
	reason  string // of CLOSE
}

func (w *worked) exchange(_ *call, _ <-chan struct{}, context, body []byte) (answer, error) {
	w.events = append(w.events, decodeEvent(context, body).context["event"].(string)+" "+string(body))
	time.Sleep(w.after)
	if len(w.answers) == 0 {
		return answer{context: []byte("CONTINUE")}, nil
	}
	a := w.answers[0]
	w.answers = w.answers[1:]
	return a, nil
}

func (w *worked) handOverClose(_ *call, context []byte) {
	w.reason += decodeEvent(context, nil).context["reason"].(string)
}

// timed serves a connection in a bubble of time. ended is told when it is over, and how long it lasted.
func timed(t *testing.T, l limits, w *worked, server net.Conn) (c *connection, ended chan time.Duration) {
	listening := testListener(w, zap.NewNop())
	listening.limits = l
	c = listening.newConnection(server)
	ended = make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		c.serve(func() {})
		ended <- time.Since(begin)
	}()
	t.Cleanup(func() { require.Zero(t, listening.memory.used.Load()) })
	return c, ended
}

const second = time.Second

func TestAClientThatBeginsNoPacketIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &worked{after: 30 * second} // what the worker takes does not count
		_, ended := timed(t, limits{idle: 10 * second}, w, server)
		time.Sleep(39 * second)
		io.WriteString(client, "begun")
		time.Sleep(100 * second) // a packet that has begun is no longer waited for
		io.WriteString(client, "\r\n")
		time.Sleep(39 * second)
		io.WriteString(client, "x\r\ny\r\n")
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, (39+100+39+60+10)*second, <-ended)
		require.Equal(t, []string{"CONNECTED ", "DATA begun\r\n", "DATA x\r\n", "DATA y\r\n"}, w.events)
		require.Equal(t, "idle", w.reason)
	})
}

func TestAPacketThatIsNotFinishedInTimeIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &worked{}
		_, ended := timed(t, limits{packetTime: 10 * second}, w, server)
		time.Sleep(100 * second) // none has begun
		for _, piece := range []string{"a", "b", "c"} {
			io.WriteString(client, piece)
			time.Sleep(3 * second)
		}
		io.WriteString(client, "\r\n") // just in time
		for range 4 {                  // bytes do not start the clock anew
			time.Sleep(3 * second)
			io.WriteString(client, "d")
		}
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, (100+9+3+10)*second, <-ended)
		require.Equal(t, []string{"CONNECTED ", "DATA abc\r\n"}, w.events)
		require.Equal(t, "slow", w.reason)
	})
}

func TestTheClockOfAPacketStopsWhileAReplyIsOwedAndStartsAnewAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &worked{after: 60 * second}
		_, ended := timed(t, limits{packetTime: 10 * second, idle: 20 * second}, w, server)
		io.WriteString(client, "x\r\nhalf") // the half packet is there while the reply to x is owed
		time.Sleep(60*second + 9*second)
		io.WriteString(client, " of it\r\n")
		time.Sleep(60*second + 19*second)
		io.WriteString(client, "y\r\nz")
		require.Equal(t, (60+60+9+60+19+60+10)*second, <-ended)
		require.Equal(t, []string{"CONNECTED ", "DATA x\r\n", "DATA half of it\r\n", "DATA y\r\n"}, w.events)
		require.Equal(t, "slow", w.reason)
	})
}

func TestWithoutTimeoutsAClientMayTakeAllTheTimeThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(1)
		w := &worked{answers: []answer{{context: []byte("WRITE"), body: []byte("hello")}}}
		_, ended := timed(t, limits{}, w, server)
		for _, want := range "hello" {
			time.Sleep(1000 * time.Hour)
			b := make([]byte, 1)
			client.Read(b)
			require.EqualValues(t, want, b[0])
		}
		for _, piece := range []string{"a", "\r", "\n"} {
			time.Sleep(1000 * time.Hour)
			io.WriteString(client, piece)
		}
		time.Sleep(1000 * time.Hour)
		require.Empty(t, ended)
		client.Close()
		<-ended
		require.Equal(t, "eof", w.reason)
	})
}

func TestALimitThatIsSetLeavesTheOtherClocksOff(t *testing.T) {
	for name, c := range map[string]struct {
		limits limits
		pieces []string
	}{
		"idle_timeout, and a packet that takes its time":       {limits{idle: 10 * second}, []string{"a", "b", "\r\n"}},
		"packet_timeout, and a client that waits between them": {limits{packetTime: 10 * second}, []string{"a\r\n", "b\r\n", "c\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := memoryPair(1)
				w := &worked{}
				_, ended := timed(t, c.limits, w, server)
				for _, piece := range c.pieces {
					io.WriteString(client, piece)
					time.Sleep(9 * second)
					if c.limits.idle == 0 {
						time.Sleep(100 * second)
					}
				}
				require.Empty(t, ended)
				client.Close()
				<-ended
				require.Equal(t, "eof", w.reason)
			})
		})
	}
}

const answerSize = 40

// unreadAnswer serves a connection whose first answer is larger than what its client's system takes.
func unreadAnswer(t *testing.T, timeout time.Duration) (*connection, *memoryConn, *worked, chan time.Duration) {
	server, client := memoryPair(10)
	w := &worked{answers: []answer{{context: []byte("WRITE"), body: make([]byte, answerSize)}}}
	c, ended := timed(t, limits{write: timeout}, w, server)
	return c, client, w, ended
}

func TestAClientThatTakesNothingOfAnAnswerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, w, ended := unreadAnswer(t, 8*second)
		lasted := <-ended
		require.GreaterOrEqual(t, lasted, 8*second)
		require.LessOrEqual(t, lasted, 10*second)
		require.Equal(t, "slow", w.reason)
		got, _ := io.ReadAll(client)
		require.Len(t, got, 10)
	})
}

func TestAClientThatStopsTakingIsSlow(t *testing.T) {
	for at := range 20 {
		synctest.Test(t, func(t *testing.T) {
			_, client, w, ended := unreadAnswer(t, 8*second)
			last := time.Duration(at) * second / 2
			time.Sleep(last) // and then takes its last; from 8 seconds on it may be too late
			if at < 16 {
				require.Empty(t, ended)
			}
			client.Read(make([]byte, 1))
			lasted := <-ended
			if at < 16 {
				require.GreaterOrEqual(t, lasted, last+8*second)
				require.LessOrEqual(t, lasted, last+10*second)
			}
			require.Equal(t, "slow", w.reason)
		})
	}
}

func TestASlowButSteadyReaderIsNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, w, ended := unreadAnswer(t, 8*second)
		for range answerSize {
			time.Sleep(7900 * time.Millisecond)
			_, err := io.ReadFull(client, make([]byte, 1))
			require.NoError(t, err)
		}
		time.Sleep(time.Hour) // the answer is out: no clock runs any more
		require.Empty(t, ended)
		client.Close()
		<-ended
		require.Equal(t, "eof", w.reason)
	})
}

func TestAnAbortEndsAWriteAtOnce(t *testing.T) {
	for _, timeout := range []time.Duration{0, 8 * second} {
		synctest.Test(t, func(t *testing.T) {
			c, _, w, ended := unreadAnswer(t, timeout)
			time.Sleep(3 * second)
			c.abort(reasonRPC)
			require.Equal(t, 3*second, <-ended)
			require.Equal(t, "rpc", w.reason)
		})
	}
}

func TestNoBufferIsHeldWhileTheClientIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(10)
		w := &worked{answers: []answer{{context: []byte("CONTINUE")}, {context: []byte("WRITE"), body: make([]byte, answerSize)}}}
		c, ended := timed(t, limits{}, w, server)
		io.WriteString(client, "x\r\n")
		synctest.Wait()
		require.EqualValues(t, answerSize, c.packets.memory.used.Load(), "the answer alone")
		client.Close()
		<-ended
	})
}

func TestADeadlineIsNotPutOffWhenSomebodyWantsTheEnd(t *testing.T) {
	server, _ := net.Pipe()
	c := testListener(&worked{}, zap.NewNop()).newConnection(server)
	later := time.Now().Add(time.Hour)
	c.drain(reasonShutdown)
	c.setReadDeadline(later)
	_, err := server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	c.abort(reasonRPC)
	c.setReadDeadline(later)
	c.setWriteDeadline(later)
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	_, err = server.Write(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestADrainLetsAnAnswerThatIsOwedGoOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client, w, ended := unreadAnswer(t, 8*second)
		time.Sleep(3 * second)
		c.drain(reasonShutdown)
		time.Sleep(4 * second)
		require.Empty(t, ended)
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Len(t, got, answerSize)
		require.Equal(t, 7*second+lingerTime, <-ended)
		require.Equal(t, "shutdown", w.reason)
	})
}

func TestLingeringTakesASecondAtMost(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(c *connection, client *memoryConn)
		want time.Duration
	}{
		"a client that stays":                        {func(*connection, *memoryConn) {}, lingerTime},
		"a client that sends a little now and then":  {func(_ *connection, client *memoryConn) { client.Write([]byte("x")) }, lingerTime},
		"a client that sends more than is discarded": {func(_ *connection, client *memoryConn) { client.Write(make([]byte, lingerBytes)) }, 300 * time.Millisecond},
		"a client that sends less than that":         {func(_ *connection, client *memoryConn) { client.Write(make([]byte, lingerBytes-1)) }, lingerTime},
		"a client that closes its side too":          {func(_ *connection, client *memoryConn) { client.CloseWrite() }, 300 * time.Millisecond},
		"a client that resets":                       {func(_ *connection, client *memoryConn) { client.reset() }, 300 * time.Millisecond},
		"a stop":                                     {func(c *connection, _ *memoryConn) { c.drain(reasonShutdown) }, lingerTime},
		"an abort":                                   {func(c *connection, _ *memoryConn) { c.abort(reasonRPC) }, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := memoryPair(10)
				w := &worked{answers: []answer{{context: []byte("WRITECLOSE"), body: []byte("bye")}}}
				connection, ended := timed(t, limits{}, w, server)
				time.Sleep(300 * time.Millisecond)
				c.act(connection, client)
				require.Equal(t, c.want, <-ended)
				require.Equal(t, "worker", w.reason)
				require.EqualValues(t, 1, server.closes.Load())
				got, _ := io.ReadAll(client)
				require.Equal(t, "bye", string(got))
			})
		})
	}
}

func TestWhatIsClosedHardDoesNotLinger(t *testing.T) {
	for reason, l := range map[string]limits{
		"idle": {idle: second}, "slow": {packetTime: second}, "too_long": {packet: 3},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := memoryPair(10)
				w := &worked{answers: []answer{{context: []byte("WRITE"), body: []byte("hi")}}}
				_, ended := timed(t, l, w, server)
				if reason != "idle" {
					time.Sleep(second)
					io.WriteString(client, "x")
					time.Sleep(second / 2)
					io.WriteString(client, "yz1")
				}
				lasted := <-ended
				require.Equal(t, reason, w.reason)
				require.Contains(t, []time.Duration{second, 2 * second, 3 * second / 2}, lasted)
			})
		})
	}
}

func TestAnIdleClientIsLingeredForLessWhenRoadRunnerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(10)
		w := &worked{answers: []answer{{context: []byte("WRITE"), body: []byte("hi")}}}
		c, ended := timed(t, limits{}, w, server)
		time.Sleep(5 * second)
		c.drain(reasonShutdown)
		require.Equal(t, 5*second+idleLinger, <-ended)
		require.Equal(t, "shutdown", w.reason)
		client.Close()
	})
}
func TestALimitClosesHardWhileRoadRunnerStopsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _, ended := unreadAnswer(t, 8*second) // a client that reads nothing
		time.Sleep(second)
		c.drain(reasonShutdown)
		require.LessOrEqual(t, <-ended, 10*second, "write_timeout ends it without lingering")
	})
}
