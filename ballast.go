package tcp

import (
	"math"
	"runtime/debug"
	"sync"
)

// ballast is memory that is never touched, so that it takes none of the system's, but that the garbage collector counts:
// it lets that much garbage pile up before it runs. The pool copies what it hands over several times; where packets are
// large, a process with a small heap would collect hundreds of times a second, and each time lose the pool's buffers.
type ballast struct {
	once  sync.Once
	bytes []byte
}

const (
	ballastSize = 16 << 20
	// heavy packets, with their answers, are worth it. Small ones are not: they are faster in a heap that fits a cache.
	heavy = 4 << 10
)

// heed is told how many bytes an exchange had.
func (b *ballast) heed(n int) {
	if n >= heavy {
		b.once.Do(b.take)
	}
}

func (b *ballast) take() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // else it would count against what the process may have
		b.bytes = make([]byte, ballastSize)
	}
}
