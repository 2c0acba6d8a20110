//go:build go1.25

package stream

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

// readSteadily reads n bytes after each pause until the connection ends.
func readSteadily(t *testing.T, client *streamtest.Conn, n int, pause time.Duration) {
	background(t, func() {
		for {
			time.Sleep(pause)
			if _, err := io.ReadFull(client, make([]byte, n)); err != nil {
				return
			}
		}
	})
}

func TestMinRate(t *testing.T) {
	for name, c := range map[string]struct {
		timeout, pause time.Duration
		read           int
		want           error
		after          time.Duration
	}{
		"a client that is fast enough":                    {60 * second, second, 10, nil, 0},
		"in pieces":                                       {60 * second, 9 * second, 90, nil, 0},
		"a client that is half as fast":                   {60 * second, second, 5, ErrMinRate, 20 * second},
		"a client that is a bit slower":                   {60 * second, second, 8, ErrMinRate, 50 * second},
		"without write_timeout":                           {0, second, 5, ErrMinRate, 20 * second},
		"a client that reads nothing, before the timeout": {60 * second, time.Hour, 1, ErrMinRate, 10 * second},
		"a client that reads nothing":                     {8 * second, time.Hour, 1, ErrWriteTimeout, 8 * second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, server, client := slowWriter(c.timeout)
				w.MinRate = 10
				readSteadily(t, client, c.read, c.pause)
				begin := time.Now()
				require.ErrorIs(t, w.Write(make([]byte, 1000), 0), c.want)
				if c.want != nil {
					require.InDelta(t, c.after, time.Since(begin), float64(rateTime), "it is looked at now and then")
				}
				server.Close()
			})
		})
	}
}

// Waits that are shorter than the window are added up, and what passes between them does not count.
func TestMinRateOfManyFrames(t *testing.T) {
	for rate, want := range map[int]error{10: nil, 12: ErrMinRate} {
		synctest.Test(t, func(t *testing.T) {
			w, server, client := slowWriter(60 * second)
			w.MinRate = rate
			readSteadily(t, client, 10, second)
			var err error
			for range 50 {
				if err = w.WriteFrame(make([]byte, 40), 0); err != nil {
					break
				}
			}
			require.ErrorIs(t, err, want)
			server.Close()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w, server, client := slowWriter(60 * second)
		w.MinRate = 10
		readSteadily(t, client, 10, second)
		for range 20 {
			require.NoError(t, w.Write(make([]byte, 40), 0))
			time.Sleep(time.Hour)
		}
		server.Close()
	})
}

func TestMinRateOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		slow := &slowConn{Conn: client}
		s := handshaken(t, server, slow, clientConfig())
		s.MinRate, slow.pause = 512, 3*second/2
		s.socket.below.records = s.below()
		s.socket.below.records.Socket = s.socket.Socket
		background(t, func() { io.Copy(io.Discard, s.client) })
		begin := time.Now()
		require.ErrorIs(t, s.Write(make([]byte, 100<<10), 0), ErrMinRate)
		require.InDelta(t, 3*rateTime, time.Since(begin), float64(rateTime))
		server.Close()
	})
}

// Who takes little for a while and much behind that is not slow.
func TestMinRateIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client := slowWriter(60 * second)
		w.MinRate = 10
		background(t, func() {
			for i := range 10 {
				time.Sleep(5 * second) // between two measurements
				io.ReadFull(client, make([]byte, 50+100*(i%2)))
				time.Sleep(5 * second)
			}
		})
		require.NoError(t, w.Write(make([]byte, 1000), 0))
		server.Close()
	})
}

// holdingSocket is a Socket whose system has taken bytes that the client has not.
type holdingSocket struct {
	Socket
	bytes int
}

func (s holdingSocket) untaken() int { return s.bytes }

func TestMinRateCountsWhatClientTakes(t *testing.T) {
	const rate = 10
	total := rate * int(rateTime/second)
	for untaken, want := range map[int]bool{0: false, total: true} {
		w := Writer{WriterConfig: WriterConfig{MinRate: rate, Socket: holdingSocket{bytes: untaken}}}
		w.wrote(total)
		w.rate.waited = rateTime
		require.Equal(t, want, w.isTooSlow(), "%d bytes of %d are in the system's buffer", untaken, total)
	}
}
