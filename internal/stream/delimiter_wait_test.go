//go:build go1.25

package stream

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

// lineEnds is a framing whose delimiters begin alike.
func lineEnds(t *testing.T, more framing.Packets) framing.Framing {
	more.Delimiters = []string{"\r\n", "\n", "\r"}
	require.Empty(t, more.Init("x", 0))
	return more.New(1<<20, 0)
}

func TestDelimiterWait(t *testing.T) {
	const wait = 20 * time.Millisecond
	for name, c := range map[string]struct {
		idle, packet time.Duration
		pause        time.Duration // before the line feed
		want         []string
		after        time.Duration // the first packet
	}{
		"more comes in time":             {pause: wait - 1, want: []string{"ab\r\n", "c\n"}, after: wait - 1},
		"more comes too late":            {pause: wait + 1, want: []string{"ab\r", "\n", "c\n"}, after: wait},
		"the timeouts are longer":        {idle: second, packet: second, pause: 10 * wait, want: []string{"ab\r", "\n", "c\n"}, after: wait},
		"packet_timeout is shorter":      {packet: wait / 4, pause: 2 * wait, want: []string{"ab\r", "\n", "c\n"}, after: wait},
		"timeouts count again behind it": {idle: 10 * second, pause: 9 * second, want: []string{"ab\r", "\n", "c\n"}, after: wait},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, client := timedReader(t, c.idle, c.packet)
				r.Framing = lineEnds(t, framing.Packets{})
				io.WriteString(client, "ab\r")
				background(t, func() { send(client, c.pause, "\nc\n"); client.Close() })
				begin := time.Now()
				requireNext(t, r, c.want[0])
				require.Equal(t, c.after, time.Since(begin))
				for _, want := range c.want[1:] {
					requireNext(t, r, want)
				}
				_, _, err := r.Next()
				require.ErrorIs(t, err, io.EOF)
			})
		})
	}
}

// The rest of a longer delimiter may hold a shorter one.
func TestDelimiterWaitInsideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 0, 0)
		p := framing.Packets{Delimiters: []string{"\r\n\r\n", "\n"}}
		require.Empty(t, p.Init("x", 0))
		r.Framing = p.New(1<<20, 0)
		io.WriteString(client, "a\r\n")
		begin := time.Now()
		requireNext(t, r, "a\r\n")
		require.Equal(t, 20*time.Millisecond, time.Since(begin))
		background(t, func() { send(client, 0, "b\r\n"); send(client, time.Millisecond, "\r\n"); client.Close() })
		requireNext(t, r, "b\r\n\r\n")
	})
}

// A packet without an end is not ended by what its bytes might have been, and is waited for as ever.
func TestDelimiterWaitEndsNoOtherWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 10*second, 5*second)
		r.Framing = lineEnds(t, framing.Packets{})
		io.WriteString(client, "a\rbc")
		requireNext(t, r, "a\r")
		requireEnd(t, r, ErrPacketTimeout, 5*second)
		require.Equal(t, 2, r.Unfinished())
		client.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 10*second, 0)
		r.Framing = lineEnds(t, framing.Packets{})
		io.WriteString(client, "a\r")
		requireNext(t, r, "a\r")
		requireEnd(t, r, ErrIdle, 10*second)
		client.Close()
	})
}

// Finished packets do not wait for one that is undecided, and a batch ends before it.
func TestDelimiterWaitHoldsBackNothingElse(t *testing.T) {
	for _, batch := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, client := timedReader(t, 0, 0)
			r.Framing = lineEnds(t, framing.Packets{Batch: batch, SkipEmpty: true})
			io.WriteString(client, "\n\r\na\n\n\nb\nc\r")
			begin := time.Now()
			if batch {
				requireNext(t, r, "a\n\n\nb\n")
			} else {
				requireNext(t, r, "a\n")
				requireNext(t, r, "b\n")
			}
			require.Zero(t, time.Since(begin))
			requireNext(t, r, "c\r")
			require.Equal(t, 20*time.Millisecond, time.Since(begin))
			io.WriteString(client, "\r\r") // the first is an empty packet, the second may grow
			background(t, func() { send(client, second, "d\n"); client.Close() })
			requireNext(t, r, "d\n")
			_, _, err := r.Next()
			require.ErrorIs(t, err, io.EOF)
			require.Zero(t, r.Unfinished())
		})
	}
}

// What ends for good decides at once: an end of file, and a deadline in the past that asks for the end.
func TestDelimiterIsDecidedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := timedReader(t, 0, 0)
		r.Framing = lineEnds(t, framing.Packets{})
		io.WriteString(client, "a\r")
		client.Close()
		packet, tail, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "a\r", string(packet))
		require.False(t, tail)
	})
}
