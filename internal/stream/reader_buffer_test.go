package stream

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

func TestReaderBufferGrowsWithArrivedBytes(t *testing.T) {
	stream := x(100_000) + "\n"
	config := lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return 100 }), end: io.EOF})
	config.ReadSize = 50 << 20
	r := &Reader{ReaderConfig: config}
	for {
		packet, err := r.cut()
		require.NoError(t, err)
		if packet != nil {
			break
		}
		require.NoError(t, r.fill(true))
		require.LessOrEqual(t, r.Held(), max(portableFirstSize, 4*r.Unfinished()))
	}
	require.NoError(t, r.fill(true)) // the end of file: the buffer is empty and not needed any more
	require.Nil(t, r.buffer)
}

func TestReaderBufferStaysSmall(t *testing.T) {
	stream := strings.Repeat(x(69)+"\n", 1000)
	r := &Reader{ReaderConfig: lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return 300 }), end: io.EOF})}
	for range 1000 {
		_, _, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, portableFirstSize, r.Held())
	}
}

func TestReaderReadSize(t *testing.T) {
	config := lines(t, &pieces{left: [][]byte{make([]byte, 5000)}, end: io.EOF})
	config.ReadSize = 7
	r := &Reader{ReaderConfig: config}
	for range 20 {
		space, err := r.space()
		require.NoError(t, err)
		require.LessOrEqual(t, len(space), 7)
		require.NoError(t, r.fill(true))
	}
}

func TestReaderExpectsLastSize(t *testing.T) {
	large := x(64<<10-2) + "\r\n"
	s := &pieces{left: [][]byte{[]byte(large), []byte(large), []byte("x\r\n"), []byte("y\r\n"), []byte(large)}, first: firstSize}
	config := lines(t, s)
	config.Framing, config.Memory = delimited(t, "\r\n", 0), NewMemory(1<<20)
	r := &Reader{ReaderConfig: config}
	for i, want := range []struct{ reads, size, held int }{
		{5, len(large), 64 << 10}, {1, len(large), 64 << 10}, {1, 3, 64 << 10}, {1, 3, firstSize}, {5, len(large), 64 << 10},
	} {
		s.reads = 0
		packet, _, err := r.Next()
		require.NoError(t, err)
		require.Len(t, packet, want.size)
		require.Equal(t, want.reads, s.reads, "reads of packet %d", i)
		require.Equal(t, want.held, r.Held(), "held with packet %d", i)
	}

	r.Memory.used.Store(1<<20 - 16<<10) // others have nearly all of it
	r.Release()
	s.left = append(s.left, []byte("z\r\n"))
	packet, _, err := r.Next()
	require.NoError(t, err, "a smaller buffer does")
	require.Equal(t, "z\r\n", string(packet))
	require.Equal(t, firstSize, r.Held())
}

func TestReaderReusesEmptyBuffer(t *testing.T) {
	r := &Reader{ReaderConfig: lines(t, &pieces{first: firstSize, left: [][]byte{
		[]byte("a\n"), []byte("b\n"), bytes.Repeat([]byte("c"), 100_000), []byte("\n"), []byte("d\n"), []byte("e\n"),
	}})}
	next := func() *Buffer {
		_, _, err := r.Next()
		require.NoError(t, err)
		return r.buffer
	}
	first := next()
	require.Same(t, first, next())
	large := next()
	require.Greater(t, r.Held(), 100_000)
	require.Same(t, large, next(), "the next packet may be as large")
	next()
	require.Equal(t, firstSize, r.Held(), "it was not")
}

func TestReaderBatchLeavesSpace(t *testing.T) {
	for batch, want := range map[int]int{0: firstSize, 1 << 20: 2 * firstSize} {
		r := &Reader{ReaderConfig: ReaderConfig{Framing: delimited(t, "\n", batch)}, lastSize: firstSize}
		require.Equal(t, want, r.expectedSize(firstSize), "a full buffer would ask for another read, which finds nothing")
	}
}

// The buffer holds what shows that a packet is too long at most, and four times what arrived.
func TestReaderBufferMaxSize(t *testing.T) {
	for _, maxPacketSize := range []int{100, 512, 1000, 3000, 4096, 5000, 40_000, 70_000, 1 << 17} {
		for _, piece := range []int{1, 100, 5000, 1 << 20} {
			r := limitedReader(t, x(maxPacketSize+1), piece, maxPacketSize, 0)
			largest := 0
			for r.Unfinished() <= maxPacketSize {
				require.NoError(t, r.fill(true))
				largest = max(largest, r.Held())
				require.LessOrEqual(t, r.Held(), max(portableFirstSize, 4*r.Unfinished()))
			}
			require.LessOrEqual(t, largest, max(portableFirstSize, maxPacketSize+1), "pieces of %d", piece)
			require.EqualValues(t, r.Held(), r.Memory.Used(), "capacity counts, not length")
		}
	}
}

func TestReaderMovesRestToFront(t *testing.T) {
	r := limitedReader(t, x(299)+"\n"+x(1000), 1<<20, 0, 0)
	_, _, err := r.Next()
	require.NoError(t, err)
	require.NoError(t, r.fill(true))
	require.Equal(t, portableFirstSize, r.Held())
	require.Equal(t, portableFirstSize, r.Unfinished())
}

func TestReaderBufferFitsBatch(t *testing.T) {
	const batch = 10_000
	r := limitedReader(t, strings.Repeat(x(99)+"\n", 200), 700, 100, batch)
	for r.Unfinished() < batch {
		require.NoError(t, r.fill(true))
		require.LessOrEqual(t, r.Held(), batch+1)
	}
}

func TestReleaseKeepsUnreadBytes(t *testing.T) {
	r := limitedReader(t, "a\nb", 100, 100, 0)
	_, _, err := r.Next()
	require.NoError(t, err)
	r.Release()
	require.NotNil(t, r.buffer)
	packet, tail, err := r.Next()
	require.NoError(t, err)
	require.True(t, tail)
	require.Equal(t, "b", string(packet))
	r.Release()
	require.Zero(t, r.Memory.Used())
	require.Equal(t, []byte{poison}, packet, "the loan is over")
}
