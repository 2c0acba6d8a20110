package stream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// pushOwner is the Owner of a Writer in tests.
type pushOwner struct {
	aborted, opening, drained atomic.Bool
	drainedAtLast             func() // called by DrainForPush
	failed                    chan error
	closed                    chan struct{} // closed by CloseWrite
	panicked                  chan any
}

var _ Owner = (*pushOwner)(nil)

func (o *pushOwner) IsAborted() bool { return o.aborted.Load() }
func (o *pushOwner) IsOpening() bool { return o.opening.Load() }
func (o *pushOwner) DrainForPush() {
	o.drained.Store(true)
	if o.drainedAtLast != nil {
		o.drainedAtLast()
	}
}
func (o *pushOwner) PushFailed(err error) { o.aborted.Store(true); o.failed <- err }
func (o *pushOwner) FrameFailed(error)    {}
func (o *pushOwner) CloseWrite()          { close(o.closed) }
func (o *pushOwner) WritePanicked(p any)  { o.aborted.Store(true); o.panicked <- p }

// pushWriter is a Writer of conn that accepts pushes.
func pushWriter(t *testing.T, conn net.Conn) (*Writer, *pushOwner) {
	o := &pushOwner{failed: make(chan error, 1), closed: make(chan struct{}), panicked: make(chan any, 1)}
	w, _ := testWriter(conn, NewSocket(conn))
	w.Memory, w.Owner = NewMemory(0), o
	w.SetDeadline = func(at time.Time) { // as a connection does
		conn.SetWriteDeadline(at)
		if o.aborted.Load() {
			conn.SetWriteDeadline(aLongTimeAgo)
		}
	}
	t.Cleanup(func() {
		w.ClosePushes(true)
		conn.Close()
		w.Release()
		w.TakeTurn()
		require.Zero(t, w.Memory.Used())
	})
	return w, o
}

func push1(w *Writer, body string) PushResult { return w.Push([]byte(body), false) }

func readString(t *testing.T, from io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	require.NoError(t, err)
	return string(b)
}

func TestPushesNeverInterleave(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		server, client := tcpPair(t)
		w, _ := pushWriter(t, server)
		testPushOrder(t, w, lines(t, w.Socket), client)
	})
	t.Run("TLS", func(t *testing.T) {
		server, plain := tcpPair(t)
		w, _ := pushWriter(t, server)
		r := &Reader{ReaderConfig: lines(t, w.Socket)}
		client := tls.Client(plain, clientConfig())
		done := make(chan error)
		go func() { done <- client.Handshake() }()
		_, err := Handshake(server, serverConfig(t), r, w, nil, never)
		require.NoError(t, err)
		require.NoError(t, <-done)
		testPushOrder(t, w, r.ReaderConfig, client)
	})
}

func testPushOrder(t *testing.T, w *Writer, config ReaderConfig, client net.Conn) {
	const pushers, each, packets = 4, 300, 300
	answer := "answer " + x(70_000) + "\n" // more than the system takes at once
	var all sync.WaitGroup
	all.Add(1)
	go func() { // the connection
		defer all.Done()
		r := &Reader{ReaderConfig: config}
		for {
			if _, _, err := r.Next(); err != nil {
				return
			}
			if err := w.Write([]byte(answer), 0); err != nil {
				t.Error(err)
			}
			w.Release()
		}
	}()
	for p := range pushers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range each {
				if result := push1(w, fmt.Sprintf("push %d %d %s\n", p, i, strings.Repeat("y", i*100))); result != PushAccepted {
					t.Error(result)
				}
			}
		}()
	}
	go func() { _, _ = client.Write(bytes.Repeat([]byte("packet\n"), packets)) }()

	next, answered, r := [pushers]int{}, 0, bufio.NewReaderSize(client, 1<<17)
	for range pushers*each + packets {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == answer {
			answered++
			continue
		}
		var p, i int
		_, err = fmt.Sscanf(line, "push %d %d", &p, &i)
		require.NoError(t, err, "%.60q", line)
		require.Equal(t, next[p], i)
		require.Equal(t, fmt.Sprintf("push %d %d %s\n", p, i, strings.Repeat("y", i*100)), line)
		next[p]++
	}
	require.Equal(t, packets, answered)
	client.Close()
	all.Wait()
}

// An answer comes behind the pushes that were accepted before it, and before those that come later.
func TestAnswerKeepsItsPlace(t *testing.T) {
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	require.Equal(t, PushAccepted, push1(w, "1"))
	require.Equal(t, PushAccepted, push1(w, "2"))
	done := make(chan error)
	go func() {
		err := w.Write([]byte("answer"), 0)
		w.Release()
		done <- err
	}()
	requireEventually(t, func() bool { return isAnswerWaiting(w) })
	require.Equal(t, PushAccepted, push1(w, "3"))
	require.Equal(t, "12answer3", readString(t, client, 9))
	require.NoError(t, <-done)
}

func isAnswerWaiting(w *Writer) bool {
	w.pushes.mu.Lock()
	defer w.pushes.mu.Unlock()
	return w.pushes.answer != nil
}

func TestPushWaitsForRelease(t *testing.T) {
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	go io.WriteString(client, "") // net.Pipe has no buffer
	for _, part := range []string{"one ", "answer"} {
		done := make(chan error)
		go func() { done <- w.Write([]byte(part), 0) }()
		require.Equal(t, part, readString(t, client, len(part)))
		require.NoError(t, <-done)
		require.True(t, w.HasTurn())
		require.Equal(t, PushAccepted, push1(w, "push"))
	}
	w.Release()
	require.False(t, w.HasTurn())
	require.Equal(t, "pushpush", readString(t, client, 8))
}

func TestPushQueueLimit(t *testing.T) {
	server, client := net.Pipe()
	w, o := pushWriter(t, server)
	w.PushQueue = 10
	require.Equal(t, PushFull, push1(w, "12345678901"), "more than it ever takes")
	require.Equal(t, PushAccepted, push1(w, "1234567890"))
	require.Equal(t, PushFull, push1(w, "x"), "what is being written counts")
	require.Equal(t, PushFull, w.Push([]byte("x"), true))
	require.False(t, o.drained.Load(), "a push that is refused ends nothing")
	require.Equal(t, PushAccepted, push1(w, ""), "nothing to write")
	require.Equal(t, "1234567890", readString(t, client, 10))
	requireEventually(t, func() bool { return push1(w, "1234567890") == PushAccepted })
	require.Equal(t, "1234567890", readString(t, client, 10))
}

func TestPushCountsMemory(t *testing.T) {
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	w.Memory = NewMemory(100_000)
	require.Equal(t, PushAccepted, push1(w, x(40_000)))
	require.EqualValues(t, 40_000+pushOverhead, w.Memory.Used())
	require.Equal(t, PushFull, push1(w, x(40_000)), "one connection holds half at most")
	readString(t, client, 40_000)
	requireEventually(t, func() bool { return w.Memory.Used() == 0 })
}

// However small pushes are, a connection holds no more than is promised it where memory is used up.
func TestSmallPushesCountMemory(t *testing.T) {
	server, _ := net.Pipe()
	w, _ := pushWriter(t, server)
	w.Memory = NewMemory(1)
	for result := PushAccepted; result == PushAccepted; {
		result = push1(w, "x")
	}
	require.LessOrEqual(t, w.Memory.Used(), int64(guaranteedSize))
	require.Greater(t, w.Memory.Used(), int64(guaranteedSize-2*pushOverhead))
}

// What is written counts no more: a connection may be pushed to for years.
func TestWrittenPushesCountNoMemory(t *testing.T) {
	server, client := tcpPair(t)
	w, _ := pushWriter(t, server)
	w.Memory = NewMemory(guaranteedSize)
	for range 2 * guaranteedSize / pushOverhead {
		require.Equal(t, PushAccepted, push1(w, "x"))
		readString(t, client, 1)
		requireEventually(t, func() bool { return w.Memory.Used() == 0 })
	}
}

func TestPushGone(t *testing.T) {
	server, _ := net.Pipe()
	w, o := pushWriter(t, server)
	o.opening.Store(true)
	require.Equal(t, PushGone, push1(w, "x"), "before CONNECTED")
	o.opening.Store(false)
	o.aborted.Store(true)
	require.Equal(t, PushGone, push1(w, "x"), "aborted")
	o.aborted.Store(false)
	pending, pushed := w.ClosePushes(false)
	require.False(t, pending)
	require.False(t, pushed)
	require.Equal(t, PushGone, push1(w, "x"), "closed")
	require.Zero(t, w.Memory.Used())
}

func TestLastPush(t *testing.T) {
	server, client := net.Pipe()
	w, o := pushWriter(t, server)
	o.drainedAtLast = func() { require.Empty(t, w.pushes.queue, "nobody can see that it is the last before") }
	require.Equal(t, PushAccepted, w.Push([]byte("bye"), true))
	require.True(t, o.drained.Load())
	require.Equal(t, PushGone, push1(w, "x"), "none comes behind it")
	require.ErrorIs(t, w.Write([]byte("answer"), 0), ErrPushClosed)
	require.False(t, w.HasTurn())
	require.Equal(t, "bye", readString(t, client, 3))
	<-o.closed
	w.TakeTurn()
	require.NoError(t, w.PushErr())
}

func TestEmptyLastPush(t *testing.T) {
	server, _ := net.Pipe()
	w, o := pushWriter(t, server)
	require.Equal(t, PushAccepted, w.Push(nil, true))
	<-o.closed
}

func TestPushFails(t *testing.T) {
	server, client := tcpPair(t)
	w, o := pushWriter(t, server)
	w.Timeout = 100 * time.Millisecond
	require.Equal(t, PushAccepted, w.Push(make([]byte, 64<<20), false))
	require.Equal(t, PushAccepted, push1(w, "never written"))
	require.ErrorIs(t, <-o.failed, ErrWriteTimeout)
	require.ErrorIs(t, w.PushErr(), ErrWriteTimeout)
	require.Equal(t, PushGone, push1(w, "x"))
	w.TakeTurn()
	require.Zero(t, w.Memory.Used())
	server.Close()
	got, _ := io.ReadAll(client)
	require.Less(t, len(got), 64<<20)
}

// goneConn is the connection of a client that is gone, which the first write finds out when the test lets it.
type goneConn struct {
	net.Conn
	writes chan string
	fail   chan struct{}
}

func (c *goneConn) Write(p []byte) (int, error) {
	c.writes <- string(p)
	<-c.fail
	return 0, syscall.ECONNRESET
}

// readingOwner is a connection that goes on to hand over what its client has sent.
type readingOwner struct{ *pushOwner }

func (o readingOwner) PushFailed(err error) { o.failed <- err }

func TestNothingIsWrittenBehindFailedPush(t *testing.T) {
	pipe, _ := net.Pipe()
	conn := &goneConn{Conn: pipe, writes: make(chan string, 3), fail: make(chan struct{})}
	w, o := pushWriter(t, conn)
	w.Owner = readingOwner{o}
	require.Equal(t, PushAccepted, push1(w, "first"))
	require.Equal(t, "first", <-conn.writes)
	require.Equal(t, PushAccepted, push1(w, "second"))
	close(conn.fail)
	require.ErrorIs(t, <-o.failed, syscall.ECONNRESET)
	require.Equal(t, PushGone, push1(w, "third"))
	w.TakeTurn()
	require.Empty(t, conn.writes)
	require.ErrorIs(t, w.PushErr(), syscall.ECONNRESET)
	require.ErrorIs(t, w.Write([]byte("an answer"), 0), syscall.ECONNRESET)
}

func TestAbortEndsPush(t *testing.T) {
	server, client := net.Pipe()
	w, o := pushWriter(t, server)
	w.Timeout = 0
	require.Equal(t, PushAccepted, push1(w, "blocks"))
	require.Equal(t, PushAccepted, push1(w, "dropped"))
	require.Equal(t, "b", readString(t, client, 1))
	done := make(chan error)
	go func() { done <- w.Write([]byte("hello"), 0) }()
	requireEventually(t, func() bool { return isAnswerWaiting(w) })
	require.EqualValues(t, len("blocksdroppedhello")+2*pushOverhead, w.Memory.Used(), "an answer that waits counts as well")
	o.aborted.Store(true)
	server.SetWriteDeadline(aLongTimeAgo)
	require.Error(t, <-done)
	require.Zero(t, w.Memory.Used())
	require.NoError(t, w.PushErr(), "the abort is the reason")
	require.Empty(t, o.failed)
}

// panicConn panics when it is written to.
type panicConn struct{ net.Conn }

func (panicConn) Write([]byte) (int, error) { panic("of a test") }

func TestPushPanics(t *testing.T) {
	server, _ := net.Pipe()
	w, o := pushWriter(t, panicConn{server})
	require.Equal(t, PushAccepted, push1(w, "x"))
	require.Equal(t, "of a test", <-o.panicked)
	w.TakeTurn()
	require.Zero(t, w.Memory.Used())
}

func TestClosePushes(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprintf("drop %v", drop), func(t *testing.T) {
			server, client := net.Pipe()
			w, _ := pushWriter(t, server)
			require.Equal(t, PushAccepted, push1(w, "first"))
			require.Equal(t, "f", readString(t, client, 1)) // it is being written
			require.Equal(t, PushAccepted, push1(w, "second"))
			pending, pushed := w.ClosePushes(drop)
			require.True(t, pending)
			require.True(t, pushed)
			go func() {
				w.TakeTurn()
				server.Close()
			}()
			got, _ := io.ReadAll(client)
			if drop {
				require.Equal(t, "irst", string(got))
			} else {
				require.Equal(t, "irstsecond", string(got))
			}
			pending, _ = w.ClosePushes(true)
			require.False(t, pending)
		})
	}
}

func TestClosePushesBehindAnswer(t *testing.T) {
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	go io.Copy(io.Discard, client)
	require.NoError(t, w.Write([]byte("half of an answer"), 0))
	require.Equal(t, PushAccepted, push1(w, "x"))
	pending, pushed := w.ClosePushes(true)
	require.False(t, pending, "the turn is the connection's own")
	require.True(t, pushed)
	w.TakeTurn()
	require.True(t, w.HasTurn())
}

func TestPushesLeaveNothingBehind(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(pushQueue{}), uintptr(128), "of every connection")
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	for range 3 {
		require.Equal(t, PushAccepted, push1(w, "hello"))
		require.Equal(t, "hello", readString(t, client, 5))
	}
	requireEventually(t, func() bool {
		w.pushes.mu.Lock()
		defer w.pushes.mu.Unlock()
		return !w.pushes.taken && w.pushes.queue == nil && w.pushes.bytes == 0
	})
}
