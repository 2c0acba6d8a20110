package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

const defaultMemoryLimit = 256 << 20

// limitedReader reads stream in pieces of that many bytes; a packet ends with a line feed.
func limitedReader(t *testing.T, stream string, piece, maxPacketSize, batch int) *Reader {
	config := lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return piece }), end: io.EOF})
	config.Framing, config.MaxPacketSize = delimited(t, "\n", batch), maxPacketSize
	config.Memory = NewMemory(defaultMemoryLimit)
	return &Reader{ReaderConfig: config}
}

func TestReaderMaxPacketSize(t *testing.T) {
	for _, maxPacketSize := range []int{1, 2, 10, 511, 512, 513, 4095, 4096, 4097, 5000, smallSize, 100_000} {
		fits := x(maxPacketSize-1) + "\n"
		for name, c := range map[string]struct {
			stream string
			want   []string
			end    error
		}{
			"that is all":                 {fits, []string{fits}, io.EOF},
			"among others":                {"\n" + fits + "\n" + fits, []string{"\n", fits, "\n", fits}, io.EOF},
			"one byte more":               {"\nx" + fits, []string{"\n"}, framing.ErrTooLong},
			"a byte more, without an end": {fits + x(maxPacketSize+1), []string{fits}, framing.ErrTooLong},
			"a tail":                      {fits + x(maxPacketSize), []string{fits, x(maxPacketSize)}, io.EOF},
			"a packet behind one that is much longer": {x(3*maxPacketSize) + "\n\n", nil, framing.ErrTooLong},
		} {
			for _, piece := range []int{1, 7, 600, 1 << 20} {
				if piece == 1 && maxPacketSize > 5000 {
					continue
				}
				r := limitedReader(t, c.stream, piece, maxPacketSize, 0)
				got, _, err := readAll(r)
				require.Equal(t, c.end, err, "%s: %d bytes in pieces of %d", name, maxPacketSize, piece)
				require.Equal(t, c.want, got, "%s: %d bytes in pieces of %d", name, maxPacketSize, piece)
				r.Discard()
				require.Zero(t, r.Memory.Used())
			}
		}
	}
}

func TestReaderFindsTooLongEarly(t *testing.T) {
	r := limitedReader(t, x(1<<20), 100, 1000, 0)
	_, _, err := r.Next()
	require.ErrorIs(t, err, framing.ErrTooLong)
	require.LessOrEqual(t, r.Total(), int64(1100), "bytes that were read")
}

func TestReaderBatchOverMaxPacketSize(t *testing.T) {
	for piece := range 20 {
		for _, batch := range []int{9, 100} {
			got, _, err := readAll(limitedReader(t, "12\n45\n7890\nx\n", piece, 4, batch))
			require.ErrorIs(t, err, framing.ErrTooLong)
			require.Equal(t, "12\n45\n", strings.Join(got, ""), "what came before is handed over")
		}
	}
	for stream, c := range map[string]struct {
		batch int
		want  []string
		end   error
	}{
		"12\n45\n789\nx\n":   {10, []string{"12\n45\n789\n", "x\n"}, io.EOF},
		"12\n45\n789\n1234":  {100, []string{"12\n45\n789\n", "1234"}, io.EOF},
		"12\n45\n789\n12345": {100, []string{"12\n45\n789\n"}, framing.ErrTooLong},
	} {
		got, _, err := readAll(limitedReader(t, stream, 100, 4, c.batch))
		require.Equal(t, c.want, got)
		require.ErrorIs(t, err, c.end)
	}
}

func TestReaderWithoutMaxPacketSize(t *testing.T) {
	stream := x(3<<20) + "\n"
	got, _, err := readAll(limitedReader(t, stream, 1<<20, 0, 0))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{stream}, got)
}

func TestReaderLargestPacketFitsMemory(t *testing.T) {
	const defaultMaxPacketSize = 64 << 20
	packet := append(bytes.Repeat([]byte("x"), defaultMaxPacketSize-1), '\n')
	r := limitedReader(t, "", 1, defaultMaxPacketSize, 0)
	r.Socket = &pieces{left: [][]byte{packet}, end: io.EOF}
	got, _, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, len(packet), len(got))
	require.LessOrEqual(t, r.Memory.Used(), int64(defaultMaxPacketSize+1))
	r.Discard()
	require.Zero(t, r.Memory.Used())
}

func TestReaderMemoryLimit(t *testing.T) {
	t.Run("a packet may have half of the memory", func(t *testing.T) {
		r := limitedReader(t, "ok\n"+x(100_000)+"\n", 1000, 0, 0)
		r.Memory = NewMemory(64 << 10)
		got, _, err := readAll(r)
		require.ErrorIs(t, err, ErrMemory)
		require.Equal(t, []string{"ok\n"}, got)
		require.Equal(t, 32<<10, r.Held(), "what it holds when it asks for more")
		require.EqualValues(t, r.Held(), r.Memory.Used())
		r.Discard()
		require.Zero(t, r.Memory.Used())
	})
	t.Run("what the packet holds counts when it grows", func(t *testing.T) {
		r := limitedReader(t, x(100_000)+"\n", 1000, 0, 0)
		r.Memory = NewMemory(56 << 10)
		_, _, err := readAll(r)
		require.ErrorIs(t, err, ErrMemory)
		require.Equal(t, 16<<10, r.Held())
		r.Discard()
	})
	t.Run("so does what the connection holds besides", func(t *testing.T) {
		r := limitedReader(t, x(100_000)+"\n", 1000, 0, 0)
		r.Memory = NewMemory(76 << 10)
		require.True(t, r.Memory.Take(8<<10, 0))
		r.SetExtra(8 << 10)
		require.Equal(t, 8<<10, r.Extra())
		_, _, err := readAll(r)
		require.ErrorIs(t, err, ErrMemory)
		require.Equal(t, 16<<10, r.Held(), "of twice as much it would hold more than what would be left")
		r.Discard()
	})
	t.Run("packets of 4 KiB pass however little is left", func(t *testing.T) {
		r := limitedReader(t, strings.Repeat(x(4095)+"\n", 10), 1<<20, 0, 0)
		r.Memory = NewMemory(1)
		r.Memory.used.Store(1 << 40)
		got, _, err := readAll(r)
		require.ErrorIs(t, err, io.EOF)
		require.Len(t, got, 10)
	})
}

func TestReaderReleasesBufferAtEnd(t *testing.T) {
	for name, end := range map[string]error{"end of file": io.EOF, "an error": errors.New("of a test")} {
		r := limitedReader(t, "a\nb\n", 3, 100, 0)
		r.Socket.(*pieces).end = end
		got, _, err := readAll(r)
		require.Equal(t, []string{"a\n", "b\n"}, got, name)
		require.Equal(t, end, err, name)
		require.Nil(t, r.buffer, name)
		require.Zero(t, r.Memory.Used(), name)
	}
}

func TestReaderLimitsLargePackets(t *testing.T) {
	r := limitedReader(t, x(firstSize), firstSize-1, 0, 0)
	require.NoError(t, r.fill(true))
	for !r.isLarge() {
		require.Less(t, r.Unfinished(), firstSize)
		require.NoError(t, r.fill(true))
	}
	require.Equal(t, firstSize, r.Unfinished())
}

func TestReaderCountsReceivedBytes(t *testing.T) {
	r := limitedReader(t, "a\nb\n", 3, 0, 0)
	var received atomic.Int64
	received.Store(100)
	r.Received = &received
	_, _, err := readAll(r)
	require.ErrorIs(t, err, io.EOF)
	require.EqualValues(t, 104, received.Load())
	require.EqualValues(t, 4, r.Total())
}
