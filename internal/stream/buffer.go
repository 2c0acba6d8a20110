package stream

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// Sizes of buffers in bytes. All are powers of two, except for one that max_packet_size cuts off.
const (
	portableFirstSize = 512       // the first one of a connection that needs it to wait
	firstSize         = 4 << 10   // the first one of a connection that waits without a buffer
	maxFirstSize      = 128 << 10 // the largest first one of a connection that sends large packets
	// maxHeapSize is the size up to which buffers may lie on the heap: sizes that are used again and again.
	maxHeapSize = maxFirstSize
	// smallSize is the size below which all of them do. Of larger ones maxHeapBytes in all do, in bytes, and the rest is mapped
	// memory that the garbage collector does not know. With GOGC=100 the heap grows to twice of what is in use, garbage
	// included, before a collection, so that memory_limit would bound a half of it: 1,000 endless packets at 256 MiB make a
	// process of 720 MB with all buffers on the heap, of 290 MB with mapped ones.
	smallSize    = 32 << 10
	maxHeapBytes = 16 << 20
	// maxSpareSize bounds the mapped buffers that are kept for reuse, in bytes. Without any, packets of 64 KiB cost 3.6 times
	// the CPU: the system clears every page that it maps.
	maxSpareSize = 16 << 20
)

// Buffer is memory for bytes that have arrived, with arbitrary content. It is not cleared between users.
type Buffer struct {
	Bytes  []byte
	mapped bool
}

// OnFree is called, where it is set, with the bytes of every buffer that is freed. Tests overwrite them to find a use after
// Free. It must be set before the first connection.
var OnFree func(b []byte)

// heapBuffers are free buffers of the heap, by the bit length of their size.
var heapBuffers [19]sync.Pool

// heapBytes counts the bytes of the buffers of smallSize or more that lie on the heap and are in use.
var heapBytes atomic.Int64

// NewBuffer returns a buffer of size bytes, which the caller owns until Free.
func NewBuffer(size int) *Buffer {
	if !takeHeap(size) {
		return spareBuffers.get(size)
	}
	if b, ok := heapBuffers[bits.Len(uint(size))].Get().(*Buffer); ok && len(b.Bytes) == size {
		return b
	}
	return &Buffer{Bytes: make([]byte, size)}
}

// takeHeap reports whether a buffer of size bytes comes from the heap, and counts it if so.
func takeHeap(size int) bool {
	switch {
	case size < smallSize:
		return true
	case size > maxHeapSize:
		return false
	case heapBytes.Add(int64(size)) <= maxHeapBytes:
		return true
	}
	heapBytes.Add(-int64(size))
	return false
}

// Free ends the use of b and of every slice of it: the memory is reused or unmapped.
func (b *Buffer) Free() {
	if OnFree != nil {
		OnFree(b.Bytes)
	}
	if b.mapped {
		spareBuffers.put(b)
		return
	}
	if size := len(b.Bytes); size >= smallSize {
		heapBytes.Add(-int64(size))
	}
	heapBuffers[bits.Len(uint(len(b.Bytes)))].Put(b)
}

// spareBuffers are free mapped buffers.
var spareBuffers bufferCache

// bufferCache keeps free mapped buffers, maxSpareSize bytes at most: those that were freed last. The rest is unmapped.
type bufferCache struct {
	mu    sync.Mutex
	free  []*Buffer // some hundred at most; the one that was freed last is the last
	bytes int       // in all of them
}

func (c *bufferCache) get(size int) *Buffer {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.free) - 1; i >= 0; i-- {
		if b := c.free[i]; len(b.Bytes) == size {
			c.free = slices.Delete(c.free, i, i+1)
			c.bytes -= size
			return b
		}
	}
	return &Buffer{Bytes: mapMemory(size), mapped: true}
}

func (c *bufferCache) put(b *Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b.Bytes) > maxSpareSize {
		b.unmap()
		return
	}
	c.free, c.bytes = append(c.free, b), c.bytes+len(b.Bytes)
	for c.bytes > maxSpareSize {
		oldest := c.free[0]
		c.free, c.bytes = slices.Delete(c.free, 0, 1), c.bytes-len(oldest.Bytes)
		oldest.unmap()
	}
}

func (b *Buffer) unmap() {
	unmapMemory(b.Bytes)
	b.Bytes = nil
}
