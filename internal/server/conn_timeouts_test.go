//go:build go1.25

package server

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestIdleTimeoutEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &replies{delay: 30 * second} // the worker's time does not count
		_, ended := serveTimed(t, limits{idle: 10 * second}, w, server)
		time.Sleep(39 * second)
		io.WriteString(client, "begun")
		time.Sleep(100 * second) // nor does that of a packet which has begun
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

// A client that takes what is written is not idle, however slowly it does.
func TestIdleOnAny(t *testing.T) {
	for on, want := range map[string]time.Duration{"received": 10 * second, "any": (9 + 4*9 + 10) * second} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(1)
			w := &replies{}
			listening := testListener(w)
			limits{idle: 10 * second}.apply(&listening.settings)
			listening.settings.IdleOn = on
			c, ended := listening.newConnection(server), make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				c.serve(func() {})
				ended <- time.Since(begin)
			}()
			time.Sleep(9 * second)
			require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("12345"), false)) // the first byte goes at once
			for range 4 {
				time.Sleep(9 * second)
				_, _ = client.Read(make([]byte, 1))
			}
			require.Equal(t, want, <-ended)
			require.Equal(t, "idle", w.reason)
		})
	}
}

// idle_timeout is about a client that has ended its side and stays, and about one that has sent nothing yet.
func TestIdleTimeoutOfKeptConnections(t *testing.T) {
	for _, ends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(100)
			w := &replies{}
			listening := testListener(w)
			limits{idle: 10 * second}.apply(&listening.settings)
			listening.settings.KeepHalfClosed, listening.settings.ConnectedOnFirstByte, listening.settings.IdleOn = ends, !ends, "any"
			c, ended := listening.newConnection(server), make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				c.serve(func() {})
				ended <- time.Since(begin)
			}()
			if !ends {
				require.InDelta(t, 10*second, <-ended, float64(second))
				require.Empty(t, w.events)
				require.Empty(t, w.reason, "no CLOSE is owed")
				return
			}
			require.NoError(t, client.CloseWrite())
			time.Sleep(9 * second)
			require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("x"), false))
			require.Equal(t, "x", readString(t, client, 1))
			require.InDelta(t, 19*second, <-ended, float64(second))
			require.Equal(t, "idle", w.reason)
		})
	}
}

// A goodbye is never late: a client that does not take it is closed all the same.
func TestGoodbyeToIdleClients(t *testing.T) {
	for room, want := range map[int]string{100: "421 timeout\r\n", 5: "421 t", 0: ""} {
		synctest.Test(t, func(t *testing.T) {
			server, client := streamtest.Pair(room)
			w := &replies{}
			listening := testListener(w)
			limits{idle: 10 * second, write: 60 * second}.apply(&listening.settings)
			listening.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonIdle: []byte("421 timeout\r\n")}
			c, ended := listening.newConnection(server), make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				c.serve(func() {})
				ended <- time.Since(begin)
			}()
			require.LessOrEqual(t, <-ended, 11*second)
			got, _ := io.ReadAll(client)
			require.Equal(t, want, string(got))
			require.Equal(t, "idle", w.reason)
		})
	}
}

func TestPacketTimeoutEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &replies{}
		_, ended := serveTimed(t, limits{packet: 10 * second}, w, server)
		time.Sleep(100 * second) // no packet has begun
		for _, piece := range []string{"a", "b", "c"} {
			io.WriteString(client, piece)
			time.Sleep(3 * second)
		}
		io.WriteString(client, "\r\n") // just in time
		for range 4 {                  // more bytes do not extend the time
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

func TestPacketTimeoutExcludesExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		w := &replies{delay: 60 * second}
		_, ended := serveTimed(t, limits{packet: 10 * second, idle: 20 * second}, w, server)
		io.WriteString(client, "x\r\nhalf") // half a packet is there while the reply to x is owed
		time.Sleep(60*second + 9*second)
		io.WriteString(client, " of it\r\n")
		time.Sleep(60*second + 19*second)
		io.WriteString(client, "y\r\nz")
		require.Equal(t, (60+60+9+60+19+60+10)*second, <-ended)
		require.Equal(t, []string{"CONNECTED ", "DATA x\r\n", "DATA half of it\r\n", "DATA y\r\n"}, w.events)
		require.Equal(t, "slow", w.reason)
	})
}

func TestNoTimeoutsMeansForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(1)
		w := &replies{answers: []dispatch.Answer{reply("WRITE", "hello")}}
		_, ended := serveTimed(t, limits{}, w, server)
		for _, want := range "hello" {
			time.Sleep(1000 * time.Hour)
			require.Equal(t, string(want), readString(t, client, 1))
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

func TestTimeoutsAreIndependent(t *testing.T) {
	for name, c := range map[string]struct {
		limits limits
		pieces []string
	}{
		"idle_timeout does not bound a packet":               {limits{idle: 10 * second}, []string{"a", "b", "\r\n"}},
		"packet_timeout does not bound the wait for packets": {limits{packet: 10 * second}, []string{"a\r\n", "b\r\n", "c\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := streamtest.Pair(1)
				w := &replies{}
				_, ended := serveTimed(t, c.limits, w, server)
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

// serveUnread serves a connection whose first answer is larger than what its client's system takes.
func serveUnread(t *testing.T, timeout time.Duration) (*connection, *streamtest.Conn, *replies, chan time.Duration) {
	server, client := streamtest.Pair(10)
	w := &replies{answers: []dispatch.Answer{replyOf("WRITE", answerSize)}}
	c, ended := serveTimed(t, limits{write: timeout}, w, server)
	return c, client, w, ended
}

func TestWriteTimeoutEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, w, ended := serveUnread(t, 8*second)
		lasted := <-ended
		require.GreaterOrEqual(t, lasted, 8*second)
		require.LessOrEqual(t, lasted, 10*second)
		require.Equal(t, "slow", w.reason)
		got, _ := io.ReadAll(client)
		require.Len(t, got, 10)
	})
}

func TestWriteTimeoutCountsFromProgress(t *testing.T) {
	for at := range 20 {
		synctest.Test(t, func(t *testing.T) {
			_, client, w, ended := serveUnread(t, 8*second)
			last := time.Duration(at) * second / 2
			time.Sleep(last) // then the client reads its last; after 8 seconds that may be too late
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

func TestSteadyReaderIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client, w, ended := serveUnread(t, 8*second)
		for range answerSize {
			time.Sleep(7900 * time.Millisecond)
			readString(t, client, 1)
		}
		time.Sleep(time.Hour) // the answer is out: no deadline is left
		require.Empty(t, ended)
		client.Close()
		<-ended
		require.Equal(t, "eof", w.reason)
	})
}

func TestNoBufferHeldWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(10)
		w := &replies{answers: []dispatch.Answer{reply("CONTINUE", ""), replyOf("WRITE", answerSize)}}
		c, ended := serveTimed(t, limits{}, w, server)
		io.WriteString(client, "x\r\n")
		synctest.Wait()
		require.EqualValues(t, answerSize, c.memory.Used(), "the answer alone")
		client.Close()
		<-ended
	})
}

// endless is a streamed answer whose last frame never comes.
type endless struct {
	body  []byte
	ended int
}

func (e *endless) Next(<-chan struct{}) (dispatch.Answer, bool, error) {
	return dispatch.Answer{Body: e.body}, false, nil
}

func (e *endless) End() { e.ended++ }

func TestFrameDeadlineIgnoresProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		f := &endless{body: make([]byte, 1000)}
		first := reply("WRITE", "")
		first.More = f
		w := &replies{answers: []dispatch.Answer{first}}
		c, ended := serveTimed(t, limits{write: 10 * second}, w, server)
		for {
			if _, err := client.Read(make([]byte, 1)); err != nil {
				break
			}
			time.Sleep(second / 2)
		}
		require.Equal(t, 10*second, <-ended, "the client reads all the time, but not all of the frame")
		require.Equal(t, "slow", w.reason)
		require.Equal(t, 1, f.ended)
		require.Less(t, c.writer.Total(), int64(25))
	})
}
