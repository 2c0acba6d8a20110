//go:build go1.25

//go:debug asynctimerchan=0
package stream

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

// timedReader reads lines from the server's end of a connection in memory.
func timedReader(t *testing.T, idle, packet time.Duration) (*Reader, *streamtest.Conn) {
	server, client := streamtest.Pair(1)
	config := lines(t, NewSocket(server))
	config.IdleTimeout, config.PacketTimeout = idle, packet
	config.SetDeadline = func(at time.Time) { server.SetReadDeadline(at) }
	return &Reader{ReaderConfig: config}, client
}

// background calls f in a goroutine that the test waits for at its end.
func background(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	t.Cleanup(func() { <-done })
}

// send writes each piece after its pause.
func send(client io.Writer, pause time.Duration, pieces ...string) {
	for _, piece := range pieces {
		time.Sleep(pause)
		io.WriteString(client, piece)
	}
}

func requireNext(t *testing.T, r *Reader, want string) {
	t.Helper()
	packet, _, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, want, string(packet))
}

func requireEnd(t *testing.T, r *Reader, want error, after time.Duration) {
	t.Helper()
	begin := time.Now()
	_, _, err := r.Next()
	require.ErrorIs(t, err, want)
	require.Equal(t, after, time.Since(begin))
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 10*second, 0)
		background(t, func() { send(client, 9*second, "begun") })
		background(t, func() { send(client, 100*second, "\n") })
		requireNext(t, r, "begun\n") // a packet that has begun is no longer waited for
		time.Sleep(30 * second)      // an exchange
		background(t, func() { send(client, 9*second, "x\ny\n") })
		requireNext(t, r, "x\n")
		time.Sleep(30 * second)
		requireNext(t, r, "y\n")
		time.Sleep(30 * second)
		requireEnd(t, r, ErrIdle, 10*second)
		background(t, func() { send(client, second, "z\n") })
		requireNext(t, r, "z\n") // a timeout ends one wait, not the reader
		client.Close()
	})
}

// What is written counts from when it was written, not from when somebody looked.
func TestIdleTimeoutCountsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 10*second, 0)
		r.Written = new(Activity)
		background(t, func() {
			for range 3 { // at 9, 18 and 27 s
				time.Sleep(9 * second)
				r.Written.end()
			}
		})
		requireEnd(t, r, ErrIdle, (27+10)*second)

		time.Sleep(5 * second)
		r.Written.end() // before the wait: it changes nothing
		time.Sleep(second)
		requireEnd(t, r, ErrIdle, 10*second)

		time.Sleep(30 * second)
		background(t, func() { send(client, 9*second, "x\n") })
		requireNext(t, r, "x\n")
		client.Close()
	})
}

// An interruption ends the wait although something was written.
func TestIdleTimeoutIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(1)
		r, _ := timedReader(t, 10*second, 0)
		r.Socket, r.Written = NewSocket(server), new(Activity)
		r.SetDeadline = func(at time.Time) { server.SetReadDeadline(at) }
		background(t, func() {
			time.Sleep(9 * second)
			r.Written.end()
			server.SetReadDeadline(time.Unix(1, 0))
		})
		requireEnd(t, r, ErrIdle, 9*second)
		client.Close()
	})
}

func TestPacketTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 0, 10*second)
		background(t, func() {
			time.Sleep(100 * second) // no packet has begun
			send(client, 3*second, "a", "b", "c", "\n")
			time.Sleep(100 * second)
			send(client, 3*second, "d", "e", "f", "g", "h") // more bytes don't move the deadline
		})
		requireNext(t, r, "abc\n")
		requireEnd(t, r, ErrPacketTimeout, (100+3+10)*second)
		require.Equal(t, 4, r.Unfinished())
		time.Sleep(time.Minute)
		client.Close()
	})
}

// What is dropped has to come to its end in time, too.
func TestPacketTimeoutWhileDropping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 2*second, 10*second)
		r.MaxPacketSize, r.OnTooLong = 4, framing.TooLongDiscards
		background(t, func() { send(client, second, x(10), x(10), x(10)) })
		requireEnd(t, r, ErrPacketTimeout, (1+10)*second)
		require.Equal(t, 1, r.Discarded())
		client.Close()
	})
}

// A packet that is dropped, or is empty, has ended: the one behind it has all its time, though it has begun in the same read.
func TestPacketTimeoutBehindDropped(t *testing.T) {
	for name, pieces := range map[string][]string{
		"too long": {x(10), "\n" + x(10), "\n" + x(10), "\nok\n"},
		"empty":    {"\r", "\n\r", "\n\r", "\nok\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := timedReader(t, 0, 10*second)
			server, client := streamtest.Pair(100)
			r.Socket, r.SetDeadline = NewSocket(server), func(at time.Time) { server.SetReadDeadline(at) }
			r.MaxPacketSize, r.OnTooLong = 4, framing.TooLongDiscards
			if name == "empty" {
				p := framing.Packets{Delimiter: "\r\n", SkipEmpty: true}
				require.Empty(t, p.Init("x", 0))
				r.Framing = p.New(1<<20, 0)
			}
			background(t, func() { send(client, 6*second, pieces...) })
			got, _, err := r.Next()
			require.NoError(t, err, name)
			require.Contains(t, string(got), "ok")
			client.Close()
		})
	}
}

// So has one behind a packet that was handed over.
func TestPacketTimeoutIsOfOnePacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 0, 10*second)
		background(t, func() { send(client, 6*second, "a", "\nb", "\nc", "\n") })
		for _, want := range []string{"a\n", "b\n", "c\n"} {
			requireNext(t, r, want)
		}
		client.Close()
	})
}

// The time of an exchange does not count for the packet that has arrived in part meanwhile.
func TestPacketTimeoutPausesDuringExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 20*second, 10*second)
		io.WriteString(client, "x\nhalf")
		requireNext(t, r, "x\n")
		time.Sleep(60 * second)
		background(t, func() { send(client, 9*second, " of it\n") })
		requireNext(t, r, "half of it\n")
		time.Sleep(60 * second)
		background(t, func() { send(client, 19*second, "y\nz") })
		requireNext(t, r, "y\n")
		time.Sleep(60 * second)
		requireEnd(t, r, ErrPacketTimeout, 10*second)
		client.Close()
	})
}

func TestTimeoutsAreIndependent(t *testing.T) {
	for name, c := range map[string]struct {
		idle, packet, pause time.Duration
		pieces              []string
	}{
		"idle_timeout and a slow packet":            {10 * second, 0, 9000 * second, []string{"b", "c\n"}},
		"packet_timeout and pauses between packets": {0, 10 * second, 9000 * second, []string{"\n", "bc\n"}},
		"no timeout": {0, 0, 9000 * time.Hour, []string{"b", "\n", "c\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, client := timedReader(t, c.idle, c.packet)
				io.WriteString(client, "a")
				if c.idle == 0 && c.packet > 0 {
					io.WriteString(client, "\n")
				}
				background(t, func() { send(client, c.pause, c.pieces...); client.Close() })
				_, _, err := readAll(r)
				require.ErrorIs(t, err, io.EOF)
			})
		})
	}
}

// A packet of which there is always more ends at the packet's deadline, or at one in the past.
func TestEndlessPacketEnds(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		t.Run(fmt.Sprint(interrupted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, client := timedReader(t, 0, 10*second)
				background(t, func() {
					for range 15 {
						send(client, second, x(100))
					}
					client.Close()
				})
				if interrupted {
					time.AfterFunc(5*second, func() { r.SetDeadline(aLongTimeAgo) })
					requireEnd(t, r, ErrPacketTimeout, 5*second)
				} else {
					requireEnd(t, r, ErrPacketTimeout, 11*second)
				}
			})
		})
	}
}

const answerSize = 40

// slowWriter writes to a client whose system takes 10 bytes of an answer.
func slowWriter(timeout time.Duration) (w *Writer, server, client *streamtest.Conn) {
	server, client = streamtest.Pair(10)
	return &Writer{WriterConfig: WriterConfig{
		Conn: server, Socket: NewSocket(server), Timeout: timeout, Memory: NewMemory(0),
		SetDeadline: func(t time.Time) { server.SetWriteDeadline(t) },
	}}, server, client
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client := slowWriter(8 * second)
		begin := time.Now()
		require.ErrorIs(t, w.Write(make([]byte, answerSize), 0), ErrWriteTimeout)
		require.GreaterOrEqual(t, time.Since(begin), 8*second)
		require.LessOrEqual(t, time.Since(begin), 10*second)
		require.EqualValues(t, 10, w.Total())
		server.Close()
		got, _ := io.ReadAll(client)
		require.Len(t, got, 10)
	})
}

func TestWriteTimeoutFollowsProgress(t *testing.T) {
	for half := range 16 { // from 8 seconds on the client is too late
		synctest.Test(t, func(t *testing.T) {
			w, server, client := slowWriter(8 * second)
			begin, last := time.Now(), time.Duration(half)*second/2
			time.AfterFunc(last, func() { client.Read(make([]byte, 1)) })
			require.ErrorIs(t, w.Write(make([]byte, answerSize), 0), ErrWriteTimeout)
			require.GreaterOrEqual(t, time.Since(begin), last+8*second)
			require.LessOrEqual(t, time.Since(begin), last+10*second)
			server.Close()
		})
	}
}

func TestWriteToSteadyReader(t *testing.T) {
	for _, timeout := range []time.Duration{0, 8 * second} {
		synctest.Test(t, func(t *testing.T) {
			w, server, client := slowWriter(timeout)
			background(t, func() {
				for range answerSize - 10 + 1 {
					time.Sleep(7900 * time.Millisecond)
					io.ReadFull(client, make([]byte, 1))
				}
			})
			require.NoError(t, w.Write(make([]byte, answerSize), 0))
			time.Sleep(time.Hour)
			require.NoError(t, w.Write([]byte("x"), 0), "no deadline is left behind")
			server.Close()
		})
	}
}

// A worker waits while a frame is written: the client must take all of it in time, however steadily it reads.
func TestWriteFrameTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client := slowWriter(8 * second)
		background(t, func() {
			for {
				time.Sleep(second)
				if _, err := client.Read(make([]byte, 1)); err != nil {
					return
				}
			}
		})
		require.NoError(t, w.Write(make([]byte, answerSize), 0), "an answer of one frame may take longer")
		begin := time.Now()
		require.ErrorIs(t, w.WriteFrame(make([]byte, answerSize), 0), ErrWriteTimeout)
		require.Equal(t, 8*second, time.Since(begin))
		require.Zero(t, w.Memory.Used())
		time.Sleep(20 * second) // until the client has taken what was written
		require.NoError(t, w.WriteFrame(make([]byte, 15), 0))
		require.NoError(t, w.Write(make([]byte, answerSize), 0), "the deadline was the frame's")
		server.Close()
	})
}

func TestWriteFrameWithoutTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server, client := slowWriter(0)
		background(t, func() { time.Sleep(time.Hour); io.Copy(io.Discard, client) })
		require.NoError(t, w.WriteFrame(make([]byte, answerSize), 0))
		server.Close()
	})
}
