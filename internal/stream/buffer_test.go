package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBufferSizes(t *testing.T) {
	sizes := []int{1, portableFirstSize, 5001, firstSize, smallSize - 1, smallSize, smallSize + 1, maxHeapSize, maxHeapSize + 1, 1<<20 + 1}
	for range 3 { // the second time with what the first gave back, sizes of as many bits among them
		for _, size := range sizes {
			b := NewBuffer(size)
			require.Len(t, b.Bytes, size)
			b.Bytes[0], b.Bytes[size-1] = 1, 1
			b.Free()
		}
	}
}

func TestBufferHasOneOwner(t *testing.T) {
	for _, size := range []int{portableFirstSize, smallSize, maxHeapSize + 1} {
		NewBuffer(size).Free()
		one, other := NewBuffer(size), NewBuffer(size)
		require.NotSame(t, &one.Bytes[0], &other.Bytes[0])
		one.Free()
		other.Free()
	}
}

func TestBufferFreeIsSeen(t *testing.T) {
	for _, size := range []int{portableFirstSize, smallSize, maxHeapSize + 1} {
		b := NewBuffer(size)
		copy(b.Bytes, "secret")
		kept := b.Bytes[:6]
		b.Free()
		require.Equal(t, []byte{poison, poison, poison, poison, poison, poison}, kept)
	}
}

func TestBufferCacheIsBounded(t *testing.T) {
	var c bufferCache
	const size = maxSpareSize / 4
	var kept []*Buffer
	for range 5 {
		kept = append(kept, c.get(size))
	}
	for _, b := range kept[:4] {
		c.put(b)
	}
	require.Equal(t, maxSpareSize, c.bytes)
	c.put(kept[4])
	require.Equal(t, maxSpareSize, c.bytes)
	require.Nil(t, kept[0].Bytes, "more than that goes back to the system")

	other := c.get(2 * size)
	require.Len(t, other.Bytes, 2*size, "of another size there is none")
	for i := range 4 {
		require.Same(t, kept[4-i], c.get(size))
		require.Len(t, kept[4-i].Bytes, size)
	}
	require.Zero(t, c.bytes)
	another := c.get(size)
	for _, b := range kept {
		require.NotSame(t, b, another)
	}

	c.put(other)
	require.Equal(t, 2*size, c.bytes, "there is room again")
	huge := c.get(maxSpareSize + 1)
	c.put(huge)
	require.Nil(t, huge.Bytes)
	require.Equal(t, 2*size, c.bytes, "what has no room takes none from others")
	for _, b := range append(kept[1:], another, c.get(2*size)) {
		unmapMemory(b.Bytes)
	}
}

// One large packet does not cost later ones of another size their buffers.
func TestBufferCacheKeepsWhatIsUsed(t *testing.T) {
	var c bufferCache
	large := c.get(maxSpareSize)
	c.put(large)
	inUse := c.get(smallSize)
	for range 2 {
		c.put(inUse)
		require.Same(t, inUse, c.get(smallSize))
	}
	require.Nil(t, large.Bytes)
	unmapMemory(inUse.Bytes)
}

func TestBuffersOnHeapAreBounded(t *testing.T) {
	before := heapBytes.Load() // of readers that other tests have dropped
	var onHeap []*Buffer
	for heapBytes.Load()+smallSize <= maxHeapBytes {
		onHeap = append(onHeap, NewBuffer(smallSize))
	}
	small, mapped := NewBuffer(smallSize-1), NewBuffer(smallSize)
	require.False(t, small.mapped)
	require.True(t, mapped.mapped, "the heap has its share")
	for _, b := range onHeap {
		require.False(t, b.mapped)
		b.Free()
	}

	again := NewBuffer(smallSize)
	require.False(t, again.mapped, "there is room again")
	for _, b := range []*Buffer{small, mapped, again} {
		b.Free()
	}
	require.Equal(t, before, heapBytes.Load())
}
