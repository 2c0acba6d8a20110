package tcp

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// serveListener is serveWith for a listener of the test's.
func serveListener(l *listener, server net.Conn) (c *connection, ended chan struct{}) {
	c = l.newConnection(server)
	ended = make(chan struct{})
	go func() { defer close(ended); c.serve(func() {}) }()
	return c, ended
}

func (c *connection) pushed(body string) PushResult { return c.push(push{body: []byte(body)}) }

func TestPushesAndAnswersNeverInterleaveAndKeepTheirOrder(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testPushes(t, false) })
	t.Run("TLS", func(t *testing.T) { testPushes(t, true) })
}

func testPushes(t *testing.T, secure bool) {
	const pushers, each, packets = 4, 300, 300
	server, plain := tcpPair(t)
	client := net.Conn(plain)
	answer := "answer " + strings.Repeat("x", 70_000) + "\r\n" // more than goes out at once
	l := testListener(answers{context: []byte("WRITE"), body: []byte(answer)}, zap.NewNop())
	l.limits.push = 0
	if secure {
		l.tls = &TLS{}
		l.tls.KeyPair, _ = writePair(t, t.TempDir(), "localhost")
		require.NoError(t, errors.Join(l.tls.init("tls")...))
		l.certs = newCertificates("s", l.tls, zap.NewNop())
		client = tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	}
	c, ended := serveListener(l, server)
	r := bufio.NewReaderSize(client, 1<<17)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, answer, line)

	var all sync.WaitGroup
	for p := range pushers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range each {
				body := fmt.Sprintf("push %d %d %s\r\n", p, i, strings.Repeat("y", i*100))
				require.Equal(t, PushAccepted, c.pushed(body))
			}
		}()
	}
	go func() { _, _ = client.Write(bytes.Repeat([]byte("packet\r\n"), packets)) }()

	next, answered := [pushers]int{}, 0
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
		require.Equal(t, fmt.Sprintf("push %d %d %s\r\n", p, i, strings.Repeat("y", i*100)), line)
		next[p]++
	}
	require.Equal(t, packets, answered)
	all.Wait()
	client.Close()
	<-ended
	require.Zero(t, l.memory.used.Load())
}

func TestAPushThatTheClientDoesNotTakeEndsTheConnection(t *testing.T) {
	server, client := tcpPair(t)
	core, logs := observer.New(zap.DebugLevel)
	l := testListener(answers{context: []byte("CONTINUE")}, zap.New(core))
	l.limits.write, l.limits.push = 200*time.Millisecond, 0
	c, ended := serveListener(l, server)
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 64<<20)}))
	require.Equal(t, PushAccepted, c.pushed("never written"))
	<-ended
	require.Equal(t, reasonSlow, c.why)
	require.ErrorIs(t, c.err, errWriteTimeout)
	require.Equal(t, 1, logs.FilterMessage("connection ended").FilterField(zap.Stringer("reason", reasonSlow)).Len())
	require.Equal(t, PushGone, c.pushed("x"))
	require.Zero(t, l.memory.used.Load())
	got, err := io.ReadAll(client)
	require.Error(t, err, "a reset, not an end: what was written is not all")
	require.Less(t, len(got), 64<<20)
}

func TestAnAbortEndsAPushThatBlocks(t *testing.T) {
	server, _ := tcpPair(t)
	l := testListener(answers{context: []byte("CONTINUE")}, zap.NewNop())
	l.limits.write, l.limits.push = 0, 0
	c, ended := serveListener(l, server)
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 64<<20)}))
	time.AfterFunc(50*time.Millisecond, func() { c.abort(reasonRPC) })
	<-ended
	require.Equal(t, reasonRPC, c.why)
	require.Zero(t, l.memory.used.Load())
}

func TestAnAbortEndsAnAnswerThatWaitsForAPush(t *testing.T) {
	server, client := tcpPair(t)
	s := &script{events: make(chan scriptedEvent), answer: make(chan func() (answer, error)), log: new([]string)}
	l := testListener(s, zap.NewNop())
	l.limits.write, l.limits.push = 0, 0
	c, ended := serveListener(l, server)
	<-s.events
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 64<<20)}))
	s.answer <- func() (answer, error) { return answer{context: []byte("WRITE"), body: []byte("hello")}, nil }
	requireEventually(t, func() bool {
		c.answers.outbound.mu.Lock()
		defer c.answers.outbound.mu.Unlock()
		return c.answers.outbound.answer != nil
	})
	require.EqualValues(t, 64<<20+pushCost+len("hello"), l.memory.used.Load(), "an answer that waits counts as well")
	c.abort(reasonRPC)
	<-s.events
	<-ended
	require.Zero(t, l.memory.used.Load())
	client.Close()
}

func requireEventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 10*time.Second, time.Millisecond)
}

func TestAQueueTakesSoManyBytesAndFreesThemAsTheyAreWritten(t *testing.T) {
	server, client := net.Pipe()
	l := testListener(answers{context: []byte("CONTINUE")}, zap.NewNop())
	l.limits.push = 10
	c, ended := serveListener(l, server)
	require.Equal(t, PushFull, c.pushed("12345678901"), "more than it ever takes")
	require.Equal(t, PushAccepted, c.pushed("1234567890"))
	require.Equal(t, PushFull, c.pushed("x"), "what is being written counts")
	require.Equal(t, PushFull, c.push(push{body: []byte("x"), last: true}))
	_, err := io.ReadFull(client, make([]byte, 10))
	require.NoError(t, err)
	requireEventually(t, func() bool { return c.pushed("1234567890") == PushAccepted })
	require.Equal(t, "1234567890", readString(t, client, 10))
	require.Equal(t, reasonNone, c.askedWhy(), "a push that is refused closes nothing")
	client.Close()
	<-ended
}

func readString(t *testing.T, from io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	require.NoError(t, err)
	return string(b)
}

func TestAPushCountsAsMemoryUntilItIsWritten(t *testing.T) {
	server, client := net.Pipe()
	l := testListener(answers{context: []byte("CONTINUE")}, zap.NewNop())
	l.memory.limit = 100_000
	c, ended := serveListener(l, server)
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 40_000)}))
	held := l.memory.used.Load()
	require.GreaterOrEqual(t, held, int64(40_000+pushCost))
	require.LessOrEqual(t, held, int64(40_000+pushCost+waitingBuffer), "the connection may wait for its client already")
	require.Equal(t, PushFull, c.push(push{body: make([]byte, 40_000)}), "one connection holds half at most")
	_, err := io.ReadFull(client, make([]byte, 40_000))
	require.NoError(t, err)
	requireEventually(t, func() bool { return l.memory.used.Load() <= waitingBuffer })
	client.Close()
	<-ended
	require.Zero(t, l.memory.used.Load())
}

func TestALimitDropsWhatWasPushed(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(answers{context: []byte("CONTINUE")}, zap.NewNop())
	l.limits.idle, l.limits.write, l.limits.push = time.Second, 0, 0
	c, ended := serveListener(l, server)
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 64<<20)}))
	require.Equal(t, PushAccepted, c.pushed("x"))
	<-ended
	require.Equal(t, reasonIdle, c.why)
	require.Zero(t, l.memory.used.Load())
	client.Close()
}

func TestAStopGivesPushesASecond(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(answers{context: []byte("CONTINUE")}, zap.NewNop())
	l.limits.write, l.limits.push = time.Minute, 0
	c, ended := serveListener(l, server)
	require.Equal(t, PushAccepted, c.push(push{body: make([]byte, 64<<20)}))
	begin := time.Now()
	c.drain(reasonShutdown)
	<-ended
	require.Equal(t, reasonShutdown, c.why)
	require.GreaterOrEqual(t, time.Since(begin), lingerTime)
	require.Less(t, time.Since(begin), 5*lingerTime)
	client.Close()
}

// panicConn panics when it is written to.
type panicConn struct{ net.Conn }

func (panicConn) Write([]byte) (int, error) { panic("of a test") }

func TestAPanicInAPushEndsTheConnectionAlone(t *testing.T) {
	server, client := net.Pipe()
	core, logs := observer.New(zap.DebugLevel)
	l := testListener(answers{context: []byte("CONTINUE")}, zap.New(core))
	c, ended := serveListener(l, panicConn{server})
	require.Equal(t, PushAccepted, c.pushed("x"))
	<-ended
	require.Equal(t, reasonError, c.why)
	require.Equal(t, 1, logs.FilterMessage("panic").Len())
	require.Zero(t, l.memory.used.Load())
	client.Close()
}

func TestAConnectionThatIsNotPushedToHoldsNoMoreForIt(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(outbound{}), uintptr(128))
	server, client := net.Pipe()
	c, ended := serveWith(answers{context: []byte("CONTINUE")}, server)
	for range 3 {
		require.Equal(t, PushAccepted, c.pushed("hello"))
		require.Equal(t, "hello", readString(t, client, 5))
	}
	requireEventually(t, func() bool {
		o := &c.answers.outbound
		o.mu.Lock()
		defer o.mu.Unlock()
		return !o.taken && o.queue == nil && o.bytes == 0
	})
	client.Close()
	<-ended
}
