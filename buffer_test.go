package tcp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABufferHasTheSizeThatWasAskedFor(t *testing.T) {
	sizes := []int{1, waitingBuffer, 5001, firstBuffer, mappedBuffer - 1, mappedBuffer, mappedBuffer + 1, 1<<20 + 1}
	for range 3 { // the second time with what the first gave back, sizes of as many bits among them
		for _, size := range sizes {
			b := newBuffer(size)
			require.Len(t, b.bytes, size)
			b.bytes[0], b.bytes[size-1] = 1, 1
			b.free()
		}
	}
}

func TestTwoOwnersNeverShareABuffer(t *testing.T) {
	for _, size := range []int{waitingBuffer, mappedBuffer} {
		newBuffer(size).free()
		one, other := newBuffer(size), newBuffer(size)
		require.NotSame(t, &one.bytes[0], &other.bytes[0])
		one.free()
		other.free()
	}
}

func TestLargeBuffersAreKeptForTheNextUpToABound(t *testing.T) {
	var s spareBuffers
	const size = spareBytes / 4
	var kept []*buffer
	for range 4 {
		kept = append(kept, s.get(size))
	}
	extra := s.get(mappedBuffer)
	for _, b := range kept {
		s.put(b)
	}
	require.Equal(t, spareBytes, s.bytes)
	s.put(extra)
	require.Nil(t, extra.bytes, "more than that goes back to the system")
	require.Equal(t, spareBytes, s.bytes)

	other := s.get(2 * size)
	require.Len(t, other.bytes, 2*size, "of another size there is none")
	for i := range 4 {
		require.Same(t, kept[3-i], s.get(size))
		require.Len(t, kept[3-i].bytes, size)
	}
	require.Zero(t, s.bytes)
	another := s.get(size)
	for _, b := range kept {
		require.NotSame(t, b, another)
	}

	s.put(other)
	require.Equal(t, 2*size, s.bytes, "there is room again")
	for _, b := range append(kept, another, s.get(2*size)) {
		unmapMemory(b.bytes)
	}
}
