//go:build go1.25

package stream

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

// slowConn is the connection of a client that reads 512 bytes at once after a pause.
type slowConn struct {
	net.Conn
	pause time.Duration
}

func (c *slowConn) Read(p []byte) (int, error) {
	time.Sleep(c.pause)
	return c.Conn.Read(p[:min(len(p), 512)])
}

func TestTLSSteadyReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		slow := &slowConn{Conn: client}
		s := handshaken(t, server, slow, clientConfig())
		s.socket.below.records.Timeout, slow.pause = 4*second, 2*second
		begin := time.Now()
		background(t, func() {
			got, err := io.ReadAll(s.client)
			require.NoError(t, err, "with close_notify")
			require.Len(t, got, 100<<10)
		})
		require.NoError(t, s.Write(make([]byte, 100<<10), 0))
		s.socket.CloseNotify(false)
		require.Greater(t, time.Since(begin), 300*second)
		server.Close()
	})
}

func TestTLSFrameTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		slow := &slowConn{Conn: client}
		s := handshaken(t, server, slow, clientConfig())
		s.Timeout, slow.pause = 4*second, second/2
		s.socket.below.records.Timeout = s.Timeout
		background(t, func() { io.Copy(io.Discard, s.client) })
		begin := time.Now()
		require.ErrorIs(t, s.WriteFrame(make([]byte, 100<<10), 0), ErrWriteTimeout)
		require.Equal(t, 4*second, time.Since(begin), "though it reads steadily: the worker waits")
		server.Close()
	})
}

func TestTLSStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		s := handshaken(t, server, client, clientConfig())
		s.socket.below.records.Timeout = 4 * second
		background(t, func() { io.ReadFull(s.client, make([]byte, 50<<10)) })
		begin := time.Now()
		require.ErrorIs(t, s.Write(make([]byte, 100<<10), 0), ErrWriteTimeout)
		require.InDelta(t, 4, time.Since(begin).Seconds(), 1.1)
		before, gaveUp := s.socket.below.records.Total(), time.Now()
		s.socket.CloseNotify(false)
		require.Equal(t, before, s.socket.below.records.Total(), "half a record is out: nothing more can be said")
		require.Zero(t, time.Since(gaveUp), "nor is it tried")
		server.Close()
		_, err := io.Copy(io.Discard, s.client)
		require.Error(t, err)
	})
}

// A close_notify in a hurry is sent only if there is room.
func TestTLSCloseNotifyHurry(t *testing.T) {
	for _, hasRoom := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(4 << 10)
			s := handshaken(t, server, client, clientConfig())
			s.socket.below.records.Timeout = time.Hour
			for !hasRoom && 4<<10-server.Buffered() > recordOverhead {
				require.NoError(t, s.Write(make([]byte, min(1000, 4<<10-server.Buffered()-recordOverhead)), 0))
			}
			begin := time.Now()
			s.socket.CloseNotify(true)
			if hasRoom {
				require.Zero(t, time.Since(begin))
			} else {
				require.InDelta(t, hurriedTimeout, time.Since(begin), float64(hurriedTimeout)/2)
			}
			server.Close()
			_, err := io.Copy(io.Discard, s.client)
			if hasRoom {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrTruncated)
			}
		})
	}
}
