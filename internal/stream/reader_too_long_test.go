package stream

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

func TestReaderTooLongMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := framingtest.Packets.Draw(t, "packets")
		stream := framingtest.Streams(p).Draw(t, "stream")
		maxPacketSize := rapid.SampledFrom([]int{40, 12, 25, 5, 3}).Draw(t, "maxPacketSize")
		maxPiece := rapid.SampledFrom([]int{1, 2, 7, 1 << 20}).Draw(t, "maxPiece")
		truncate := rapid.Bool().Draw(t, "truncate")
		lengths := []*framing.Length{p.Length}
		for _, r := range p.Rules {
			lengths = append(lengths, r.Length)
		}
		for _, l := range lengths {
			if l != nil && (l.Until != "" || l.Varint) && maxPacketSize < 20 {
				t.Skip() // where the field alone may be too long, it depends on what has arrived whether its packet can be dropped
			}
		}
		if len(p.Init("x", maxPacketSize)) > 0 {
			t.Skip()
		}
		config := lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return rapid.IntRange(1, maxPiece).Draw(t, "n") }), end: io.EOF})
		config.Framing, config.MaxPacketSize, config.OnTooLong = p.New(1<<20, maxPacketSize), maxPacketSize, framing.TooLongDiscards
		config.DiscardedTotal, config.TruncatedTotal = new(atomic.Int64), new(atomic.Int64)
		counter := config.DiscardedTotal
		if truncate {
			config.OnTooLong, counter = framing.TooLongTruncates, config.TruncatedTotal
		}
		r := &Reader{ReaderConfig: config}
		got, _, err := readAll(r)
		want, tooLong, isBad := framingtest.CutTooLong(p, stream, maxPacketSize, truncate)
		require.Equal(t, want, got)
		require.EqualValues(t, tooLong, counter.Load())
		require.Equal(t, isBad, !errors.Is(err, io.EOF), "%v", err)
		require.EqualValues(t, tooLong, config.DiscardedTotal.Load()+config.TruncatedTotal.Load())
		require.EqualValues(t, config.DiscardedTotal.Load(), r.Discarded())
	})
}

// tooLongReader reads lines of at most ten bytes.
func tooLongReader(t *testing.T, on framing.TooLong, pieceSize int, stream string) *Reader {
	config := lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return pieceSize }), end: io.EOF})
	config.MaxPacketSize, config.OnTooLong, config.Memory = 10, on, NewMemory(defaultMemoryLimit)
	return &Reader{ReaderConfig: config}
}

func TestReaderTruncates(t *testing.T) {
	for piece := 1; piece < 60; piece++ {
		r := tooLongReader(t, framing.TooLongTruncates, piece, "a\n"+"0123456789ABC\n"+"0123456789\n"+"012345678\n"+x(100)+"\nb\n"+x(20))
		var got []string
		for {
			packet, tail, err := r.Next()
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			require.Equal(t, len(packet) == 10 && packet[9] != '\n', r.Truncated(), "%q", packet)
			require.False(t, tail)
			got = append(got, string(packet))
		}
		require.Equal(t, []string{"a\n", "0123456789", "0123456789", "012345678\n", x(10), "b\n", x(10)}, got, "pieces of %d", piece)
		require.Zero(t, r.Unfinished())
		require.Zero(t, r.Discarded())
	}
}

// A packet without an end is not kept, however long it is.
func TestReaderKeepsNothingOfWhatIsTooLong(t *testing.T) {
	for _, on := range []framing.TooLong{framing.TooLongDiscards, framing.TooLongTruncates} {
		r := tooLongReader(t, on, 1000, x(1<<20)+"\nok\n")
		held := 0
		r.SetDeadline = func(time.Time) {}
		r.Socket = &watchedPieces{r.Socket.(*pieces), &held}
		got, _, err := readAll(r)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "ok\n", got[len(got)-1])
		require.Less(t, held, 3000, "bytes of buffer")
		r.Discard()
		require.Zero(t, r.Memory.Used())
	}
}

// watchedPieces notes the largest buffer.
type watchedPieces struct {
	*pieces
	held *int
}

func (w *watchedPieces) fill(r *Reader, wait bool) error {
	err := w.pieces.fill(r, wait)
	*w.held = max(*w.held, r.Held())
	return err
}

// What is dropped ends as it would have ended, whatever the reply says of the next packet.
func TestReaderDropsByTheFramingOfThePacket(t *testing.T) {
	r := tooLongReader(t, framing.TooLongTruncates, 1, "a\n"+x(30)+";b\nc;d\n")
	requirePacket(t, r, "a\n")
	r.Use(delimited(t, ".", 0), false)
	r.Use(delimited(t, "\n", 0), true) // the long one
	requirePacket(t, r, x(10))
	require.True(t, r.Truncated())
	r.Use(delimited(t, ";", 0), true)
	requirePacket(t, r, "c;")
	require.False(t, r.Truncated())
	requirePacket(t, r, "d\n")

	r = tooLongReader(t, framing.TooLongDiscards, 3, x(30)+";b\nc;d\n")
	r.Use(delimited(t, ";", 0), true) // dropped, this packet is over, too
	requirePacket(t, r, "b\n")
	require.Equal(t, 1, r.Discarded())
}

func TestReaderDropsAnnouncedBytes(t *testing.T) {
	p := framing.Packets{Framing: "length", Length: &framing.Length{Bytes: 4, Strip: 4}}
	require.Empty(t, p.Init("x", 10))
	stream := "\x00\x00\x00\x02ab" + "\x00\x00\x10\x00" + x(0x1000) + "\x00\x00\x00\x06abcdef" + "\x7f\xff\xff\xffab"
	for on, want := range map[framing.TooLong][]string{
		framing.TooLongDiscards: {"ab", "abcdef"}, framing.TooLongTruncates: {"ab", x(6), "abcdef"}, framing.TooLongCloses: {"ab"},
	} {
		r := tooLongReader(t, on, 7, stream)
		r.Framing = p.New(1<<20, 10)
		got, _, err := readAll(r)
		require.Equal(t, want, got)
		if on == framing.TooLongCloses {
			require.ErrorIs(t, err, framing.ErrTooLong)
			continue
		}
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, map[framing.TooLong]int{framing.TooLongDiscards: 2}[on], r.Discarded())
	}
}
