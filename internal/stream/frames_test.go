//go:build go1.25

package stream

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

const frameSize = 36 // with frameOverhead it takes 100 bytes

func frame(c string) []byte { return []byte(strings.Repeat(c, frameSize)) }

// bufferingWriter is a slowWriter that keeps size bytes of an answer.
func bufferingWriter(size int) (w *Writer, server, client *streamtest.Conn, o *pushOwner) {
	w, server, client = slowWriter(8 * second)
	o = &pushOwner{panicked: make(chan any, 1)}
	w.StreamBuffer, w.Owner = size, o
	return w, server, client, o
}

// requireTakes requires how long f takes.
func requireTakes(t *testing.T, want time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	require.Equal(t, want, time.Since(begin))
}

func TestFramesWaitInBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client, _ := bufferingWriter(300)
		requireTakes(t, 0, func() {
			for _, c := range []string{"a", "b", "c"} {
				require.NoError(t, w.WriteFrame(frame(c), 0))
			}
		})
		require.True(t, w.HasTurn(), "pushes wait")
		require.EqualValues(t, 300, w.Memory.Used())
		got := make(chan string)
		go func() {
			time.Sleep(5 * second)
			b := make([]byte, frameSize)
			io.ReadFull(client, b[:frameSize-10]) // the last 10 bytes of a frame fit into the connection
			time.Sleep(2 * second)
			rest, _ := io.ReadAll(client)
			got <- string(b[:frameSize-10]) + string(rest)
		}()
		requireTakes(t, 5*second, func() { require.NoError(t, w.WriteFrame(frame("d"), 0), "it waits for room") })
		requireTakes(t, 2*second, func() {
			dropped, err := w.Flush()
			require.NoError(t, err)
			require.Zero(t, dropped)
		})
		require.Zero(t, w.Memory.Used())
		require.False(t, w.IsBuffering())
		require.NoError(t, w.Write([]byte("."), 0), "an answer may follow")
		server.Close()
		require.Equal(t, string(frame("a"))+string(frame("b"))+string(frame("c"))+string(frame("d"))+".", <-got)
	})
}

func TestLargeFrameWaitsForEmptyBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client, _ := bufferingWriter(1)
		background(t, func() { time.Sleep(3 * second); io.Copy(io.Discard, client) })
		requireTakes(t, 0, func() { require.NoError(t, w.WriteFrame(make([]byte, 1000), 0), "one frame has room") })
		requireTakes(t, 3*second, func() { require.NoError(t, w.WriteFrame(make([]byte, 1000), 0)) })
		_, err := w.Flush()
		require.NoError(t, err)
		server.Close()
	})
}

// Memory that is used up is a full buffer; where nothing is buffered the frame can't be had at all.
func TestFramesCountAsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client, _ := bufferingWriter(1 << 20)
		w.Memory = NewMemory(100_000)
		background(t, func() { time.Sleep(3 * second); io.Copy(io.Discard, client) })
		requireTakes(t, 0, func() { require.NoError(t, w.WriteFrame(make([]byte, 30_000), 0)) })
		requireTakes(t, 3*second, func() { require.NoError(t, w.WriteFrame(make([]byte, 30_000), 0)) })
		_, err := w.Flush()
		require.NoError(t, err)
		require.Equal(t, ErrMemory, w.WriteFrame(make([]byte, 60_000), 0))
		require.Zero(t, w.Memory.Used())
		server.Close()
	})
}

func TestBufferedFrameTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client, _ := bufferingWriter(200)
		background(t, func() { // a byte a second
			for {
				time.Sleep(second)
				if _, err := client.Read(make([]byte, 1)); err != nil {
					return
				}
			}
		})
		require.NoError(t, w.WriteFrame(frame("a"), 0))
		require.NoError(t, w.WriteFrame(frame("b"), 0))
		requireTakes(t, 8*second, func() { require.ErrorIs(t, w.WriteFrame(frame("c"), 0), ErrWriteTimeout, "the frame is not out whole") })
		require.ErrorIs(t, w.WriteFrame(frame("d"), 0), ErrWriteTimeout)
		require.Zero(t, w.Memory.Used())
		dropped, err := w.Flush()
		require.ErrorIs(t, err, ErrWriteTimeout)
		require.Equal(t, 2*frameSize, dropped)
		server.Close()
	})
}

func TestAbortEndsBufferedFrames(t *testing.T) {
	for _, timeout := range []time.Duration{0, 8 * second} {
		synctest.Test(t, func(t *testing.T) {
			w, server, client, o := bufferingWriter(200)
			w.Timeout, w.MinRate = timeout, 1
			w.SetDeadline = func(at time.Time) {
				server.SetWriteDeadline(at)
				if o.aborted.Load() {
					server.SetWriteDeadline(aLongTimeAgo)
				}
			}
			require.NoError(t, w.WriteFrame(frame("a"), 0))
			time.AfterFunc(3*second, func() { o.aborted.Store(true); server.SetWriteDeadline(aLongTimeAgo) })
			requireTakes(t, 3*second, func() {
				_, err := w.Flush()
				require.Error(t, err)
			})
			require.Zero(t, w.Memory.Used())
			client.Close()
			server.Close()
		})
	}
}

func TestBufferedFramePanics(t *testing.T) {
	server, _ := net.Pipe()
	w, o := pushWriter(t, panicConn{server})
	w.StreamBuffer = 1
	require.NoError(t, w.WriteFrame(frame("a"), 0))
	_, err := w.Flush()
	require.Equal(t, errFramePanic, err)
	require.Equal(t, "of a test", <-o.panicked)
	require.Zero(t, w.Memory.Used())
}

// Pushes that come during a streamed answer go out behind all of it.
func TestPushWaitsForBufferedFrames(t *testing.T) {
	server, client := net.Pipe()
	w, _ := pushWriter(t, server)
	w.StreamBuffer = 1 << 10
	require.NoError(t, w.WriteFrame(frame("a"), 0))
	require.Equal(t, PushAccepted, push1(w, "push"))
	require.NoError(t, w.WriteFrame(frame("b"), 0))
	done := make(chan error)
	go func() {
		_, err := w.Flush()
		w.Release()
		done <- err
	}()
	require.Equal(t, string(frame("a"))+string(frame("b"))+"push", readString(t, client, 2*frameSize+4))
	require.NoError(t, <-done)
}

func TestFramesOverTLSWaitInBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		s := handshaken(t, server, client, clientConfig())
		s.StreamBuffer = 1 << 20
		requireTakes(t, 0, func() {
			for range 5 {
				require.NoError(t, s.WriteFrame(make([]byte, 100<<10), 0))
			}
		})
		got := make(chan int)
		go func() {
			b, err := io.ReadAll(s.client)
			if !errors.Is(err, io.EOF) && err != nil {
				t.Error(err)
			}
			got <- len(b)
		}()
		_, err := s.Flush()
		require.NoError(t, err)
		s.socket.CloseNotify(false)
		require.Equal(t, 500<<10, <-got)
		server.Close()
	})
}
