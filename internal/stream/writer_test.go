package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// countedConn counts the calls of Write.
type countedConn struct {
	net.Conn
	writes int
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// partialSocket takes so many bytes at once.
type partialSocket struct {
	Socket
	takes int
	err   error
	calls int
}

func (s *partialSocket) writeNow(p []byte) (int, error) {
	s.calls++
	return min(s.takes, len(p)), s.err
}

// testWriter also returns the deadlines that are set.
func testWriter(conn net.Conn, s Socket) (w *Writer, deadlines *[]time.Time) {
	deadlines = new([]time.Time)
	return &Writer{WriterConfig: WriterConfig{
		Conn: conn, Socket: s, Timeout: time.Minute, Memory: NewMemory(1 << 20),
		SetDeadline: func(t time.Time) {
			*deadlines = append(*deadlines, t)
			conn.SetWriteDeadline(t)
		},
	}}, deadlines
}

func TestWriterWithoutWait(t *testing.T) {
	server, client := tcpPair(t)
	conn := &countedConn{Conn: server}
	w, deadlines := testWriter(conn, NewSocket(server))
	var sent atomic.Int64
	w.Sent = &sent
	require.NoError(t, w.Write([]byte("hello"), 0))
	require.Zero(t, conn.writes, "one system call, and no wait")
	require.Empty(t, *deadlines)
	require.Zero(t, w.Memory.Used())
	require.EqualValues(t, 5, w.Total())
	require.EqualValues(t, 5, sent.Load())
	got := make([]byte, 5)
	_, err := io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

func TestWriterWaitsWithDeadline(t *testing.T) {
	server, client := net.Pipe()
	s := &partialSocket{takes: 3}
	w, deadlines := testWriter(server, s)
	done := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		done <- string(b)
	}()
	begin := time.Now()
	require.NoError(t, w.Write([]byte("hello"), 0))
	server.Close()
	require.Equal(t, "lo", <-done)
	require.Equal(t, 1, s.calls)
	require.Len(t, *deadlines, 2)
	require.False(t, (*deadlines)[0].Before(begin.Add(w.Timeout/looksPerTimeout)))
	require.True(t, (*deadlines)[0].Before(begin.Add(w.Timeout)))
	require.Equal(t, time.Time{}, (*deadlines)[1], "it is taken back")
	require.Zero(t, w.Memory.Used())
	require.EqualValues(t, 5, w.Total())
}

func TestWriterErrors(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		broken := errors.New("of a test")
		server, _ := net.Pipe()
		w, deadlines := testWriter(server, &partialSocket{takes: 3, err: broken})
		require.ErrorIs(t, w.Write([]byte("hello"), 0), broken)
		require.Empty(t, *deadlines)
		require.Zero(t, w.Memory.Used())
	})
	t.Run("during a wait", func(t *testing.T) {
		server, _ := net.Pipe()
		w, deadlines := testWriter(server, &partialSocket{})
		server.Close()
		require.ErrorIs(t, w.Write([]byte("hello"), 0), io.ErrClosedPipe)
		require.Len(t, *deadlines, 2)
		require.Zero(t, w.Memory.Used())
	})
	t.Run("without a timeout a deadline is the connection's", func(t *testing.T) {
		server, _ := net.Pipe()
		w, _ := testWriter(server, &partialSocket{})
		w.Timeout = 0
		server.SetWriteDeadline(aLongTimeAgo)
		require.ErrorIs(t, w.Write([]byte("hello"), 0), os.ErrDeadlineExceeded)
		require.Zero(t, w.Memory.Used())
	})
}

func TestWriterCountsMemory(t *testing.T) {
	server, client := net.Pipe()
	w, _ := testWriter(server, &partialSocket{takes: 100})
	done := make(chan error, 1)
	go func() { done <- w.Write(make([]byte, 20_000), 0) }()
	io.ReadFull(client, make([]byte, 10_000))
	require.EqualValues(t, 20_000, w.Memory.Used())
	io.ReadFull(client, make([]byte, 9900))
	require.NoError(t, <-done)
	require.Zero(t, w.Memory.Used())
}

func TestWriterMemoryLimit(t *testing.T) {
	server, _ := net.Pipe()
	for name, write := range map[string]func(*Writer, []byte, int) error{"Write": (*Writer).Write, "WriteFrame": (*Writer).WriteFrame} {
		for _, c := range []struct {
			size, held int
			want       error
		}{
			{1 << 19, 0, nil}, {1<<19 + 1, 0, ErrMemory}, {1<<19 - 4096, 4096, nil}, {1<<19 - 4095, 4096, ErrMemory},
		} {
			s := &partialSocket{takes: c.size}
			w, _ := testWriter(server, s)
			require.True(t, w.Memory.Take(c.held, 0))
			require.Equal(t, c.want, write(w, make([]byte, c.size), c.held), "%s %+v", name, c)
			require.Equal(t, c.want == nil, s.calls == 1, "%s %+v", name, c)
			require.EqualValues(t, c.held, w.Memory.Used())
		}
	}
}
