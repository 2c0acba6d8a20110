package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// writes counts what a writer does to its connection.
type writes struct {
	net.Conn
	count int
}

func (w *writes) Write(p []byte) (int, error) {
	w.count++
	return w.Conn.Write(p)
}

// nowSocket takes so many bytes of an answer at once.
type nowSocket struct {
	socket
	takes int
	err   error
	calls int
}

func (s *nowSocket) writeNow(p []byte, _ bool) (int, error) {
	s.calls++
	return min(s.takes, len(p)), s.err
}

// testWriter also reports how often a deadline was set, and what the last one was.
func testWriter(conn net.Conn, s socket) (w *writer, deadlines *[]time.Time) {
	deadlines = new([]time.Time)
	return &writer{
		conn: conn, socket: s, timeout: time.Minute, memory: &memory{limit: 1 << 20},
		setDeadline: func(t time.Time) {
			*deadlines = append(*deadlines, t)
			conn.SetWriteDeadline(t)
		},
	}, deadlines
}

func TestAnAnswerThatTheSystemTakesAtOnceIsOneWriteWithoutADeadline(t *testing.T) {
	server, client := tcpPair(t)
	conn := &writes{Conn: server}
	w, deadlines := testWriter(conn, newSocket(server))
	require.NoError(t, w.write([]byte("hello"), 0))
	require.Zero(t, conn.count, "what waits is not asked")
	require.Empty(t, *deadlines)
	require.Zero(t, w.memory.used.Load())
	got := make([]byte, 5)
	_, err := io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

func TestTheRestOfAnAnswerIsWaitedForWithADeadlineThatIsTakenBack(t *testing.T) {
	server, client := net.Pipe()
	s := &nowSocket{takes: 3}
	w, deadlines := testWriter(server, s)
	done := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		done <- string(b)
	}()
	begin := time.Now()
	require.NoError(t, w.write([]byte("hello"), 0))
	server.Close()
	require.Equal(t, "lo", <-done)
	require.Equal(t, 1, s.calls)
	require.Len(t, *deadlines, 2)
	require.WithinDuration(t, begin.Add(w.timeout/looks), (*deadlines)[0], 5*time.Second)
	require.Equal(t, time.Time{}, (*deadlines)[1])
	require.Zero(t, w.memory.used.Load())
}

func TestAWriteThatFailsIsTheEndAndMemoryIsGivenBack(t *testing.T) {
	broken := errors.New("of a test")
	server, _ := net.Pipe()
	w, deadlines := testWriter(server, &nowSocket{takes: 3, err: broken})
	require.ErrorIs(t, w.write([]byte("hello"), 0), broken)
	require.Empty(t, *deadlines)
	require.Zero(t, w.memory.used.Load())

	w, deadlines = testWriter(server, &nowSocket{})
	server.Close()
	require.ErrorIs(t, w.write([]byte("hello"), 0), io.ErrClosedPipe)
	require.Len(t, *deadlines, 2)
	require.Zero(t, w.memory.used.Load())

	server, _ = net.Pipe()
	w, _ = testWriter(server, &nowSocket{})
	w.timeout = 0
	server.SetWriteDeadline(past)
	require.ErrorIs(t, w.write([]byte("hello"), 0), os.ErrDeadlineExceeded, "without a timeout the deadline is somebody else's")
	require.Zero(t, w.memory.used.Load())
}

func TestAnAnswerCountsAsMemoryUntilItIsWritten(t *testing.T) {
	server, client := net.Pipe()
	w, _ := testWriter(server, &nowSocket{takes: 100})
	done := make(chan error, 1)
	go func() { done <- w.write(make([]byte, 20_000), 0) }()
	io.ReadFull(client, make([]byte, 10_000))
	require.EqualValues(t, 20_000, w.memory.used.Load())
	io.ReadFull(client, make([]byte, 9900))
	require.NoError(t, <-done)
	require.Zero(t, w.memory.used.Load())
}

func TestAnAnswerLargerThanItsShareOfMemoryIsNotWritten(t *testing.T) {
	server, _ := net.Pipe()
	for _, c := range []struct {
		size, held int
		want       error
	}{
		{1 << 19, 0, nil}, {1<<19 + 1, 0, errMemory}, {1<<19 - 4096, 4096, nil}, {1<<19 - 4095, 4096, errMemory},
	} {
		s := &nowSocket{takes: c.size}
		w, _ := testWriter(server, s)
		w.memory.used.Store(0)
		require.True(t, c.held == 0 || w.memory.take(c.held, 0))
		before := w.memory.used.Load()
		require.Equal(t, c.want, w.write(make([]byte, c.size), c.held), "%+v", c)
		require.Equal(t, c.want == nil, s.calls == 1, "%+v", c)
		require.Equal(t, before, w.memory.used.Load())
	}
}

func TestAnAnswerThatIsTooLargeForMemoryClosesWithItsReason(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(answers{context: []byte("WRITE"), body: make([]byte, 1<<20)}, zap.NewNop())
	l.memory.limit = 1 << 20
	c := l.newConnection(server)
	c.serve(func() {})
	require.Equal(t, reasonMemory, c.why)
	require.Zero(t, c.linger, "limits close hard")
	got, _ := io.ReadAll(client)
	require.Empty(t, got)
	require.Zero(t, l.memory.used.Load())
}
