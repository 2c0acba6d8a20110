package tcp

import (
	"math/bits"
	"sync"
)

// Sizes of buffers in bytes. All are powers of two, but for one that max_packet_size cuts off.
const (
	waitingBuffer = 512       // what a waiting connection may hold
	firstBuffer   = 4 << 10   // the first one of a connection that needs none to wait
	largestFirst  = 128 << 10 // and of one that sends large packets
	// mappedBuffer and larger ones are memory of the system's that the garbage collector does not know: it would let the
	// process grow to twice what is in use before it looks for what is not, and memory_limit would bound half of it.
	mappedBuffer = 32 << 10
	// spareBytes is how much of such memory is kept for the next that asks.
	spareBytes = 16 << 20
)

// buffer is memory for bytes that arrived.
type buffer struct{ bytes []byte }

// newBuffer returns a buffer of size bytes, whatever is in it.
func newBuffer(size int) *buffer {
	if size >= mappedBuffer {
		return spares.get(size)
	}
	if b, ok := small[bits.Len(uint(size))].Get().(*buffer); ok && len(b.bytes) == size {
		return b
	}
	return &buffer{make([]byte, size)}
}

// free gives the buffer to the next that asks for its size. Nobody may hold a part of it any more: it may be gone.
func (b *buffer) free() {
	if len(b.bytes) >= mappedBuffer {
		spares.put(b)
		return
	}
	small[bits.Len(uint(len(b.bytes)))].Put(b)
}

// small are the buffers below mappedBuffer, by the bits of their size.
var small [17]sync.Pool

// spares are mapped buffers that nobody uses.
var spares spareBuffers

type spareBuffers struct {
	mu     sync.Mutex
	bySize map[int][]*buffer
	bytes  int // in all of them
}

func (s *spareBuffers) get(size int) *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if free := s.bySize[size]; len(free) > 0 {
		s.bySize[size] = free[:len(free)-1]
		s.bytes -= size
		return free[len(free)-1]
	}
	return &buffer{mapMemory(size)}
}

// drop gives all of them back to the system.
func (s *spareBuffers) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, free := range s.bySize {
		for _, b := range free {
			unmapMemory(b.bytes)
		}
	}
	s.bySize, s.bytes = nil, 0
}

func (s *spareBuffers) put(b *buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := len(b.bytes)
	if s.bytes+size > spareBytes {
		unmapMemory(b.bytes)
		b.bytes = nil
		return
	}
	if s.bySize == nil {
		s.bySize = make(map[int][]*buffer)
	}
	s.bySize[size] = append(s.bySize[size], b)
	s.bytes += size
}
