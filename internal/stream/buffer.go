package stream

import (
	"math/bits"
	"sync"
)

// Sizes of buffers in bytes. All are powers of two, except for one that max_packet_size cuts off.
const (
	portableFirstSize = 512       // the first one of a connection that needs it to wait
	firstSize         = 4 << 10   // the first one of a connection that waits without a buffer
	maxFirstSize      = 128 << 10 // the largest first one of a connection that sends large packets
	// mappedSize is the size from which buffers are mapped memory that the garbage collector does not know. With GOGC=100 the
	// heap grows to twice of what is in use, garbage included, before a collection, so that memory_limit would bound a half of
	// it: 1,000 endless packets at 256 MiB make a process of 720 MB with buffers on the heap, of 290 MB with mapped ones.
	mappedSize = 32 << 10
	// maxSpareSize bounds the mapped buffers that are kept for reuse, in bytes. Without any, packets of 64 KiB cost 3.6 times
	// the CPU: the system clears every page that it maps.
	maxSpareSize = 16 << 20
)

// Buffer is memory for bytes that have arrived, with arbitrary content. It is not cleared between users.
type Buffer struct{ Bytes []byte }

// OnFree is called, where it is set, with the bytes of every buffer that is freed. Tests overwrite them to find a use after
// Free. It must be set before the first connection.
var OnFree func(b []byte)

// smallBuffers are free buffers below mappedSize, by the bit length of their size.
var smallBuffers [17]sync.Pool

// NewBuffer returns a buffer of size bytes, which the caller owns until Free.
func NewBuffer(size int) *Buffer {
	if size >= mappedSize {
		return spareBuffers.get(size)
	}
	if b, ok := smallBuffers[bits.Len(uint(size))].Get().(*Buffer); ok && len(b.Bytes) == size {
		return b
	}
	return &Buffer{make([]byte, size)}
}

// Free ends the use of b and of every slice of it: the memory is reused or unmapped.
func (b *Buffer) Free() {
	if OnFree != nil {
		OnFree(b.Bytes)
	}
	if len(b.Bytes) >= mappedSize {
		spareBuffers.put(b)
		return
	}
	smallBuffers[bits.Len(uint(len(b.Bytes)))].Put(b)
}

// spareBuffers are free mapped buffers.
var spareBuffers bufferCache

// bufferCache keeps free mapped buffers, maxSpareSize bytes at most, and unmaps the rest.
type bufferCache struct {
	mu     sync.Mutex
	bySize map[int][]*Buffer
	bytes  int // in all of them
}

func (c *bufferCache) get(size int) *Buffer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if free := c.bySize[size]; len(free) > 0 {
		c.bySize[size] = free[:len(free)-1]
		c.bytes -= size
		return free[len(free)-1]
	}
	return &Buffer{mapMemory(size)}
}

func (c *bufferCache) put(b *Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(b.Bytes)
	if c.bytes+size > maxSpareSize {
		unmapMemory(b.Bytes)
		b.Bytes = nil
		return
	}
	if c.bySize == nil {
		c.bySize = make(map[int][]*Buffer)
	}
	c.bySize[size] = append(c.bySize[size], b)
	c.bytes += size
}
