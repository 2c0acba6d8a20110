package tcp

import "sync/atomic"

// memory is what all connections may hold together: the capacity of their buffers, and answers that are not written yet.
// It does not bound what the pool itself holds of an exchange, nor what the system's socket buffers do.
type memory struct {
	limit int64 // memory_limit in bytes; 0: none
	used  atomic.Int64
}

// guaranteed is what a connection always gets, in bytes: its first buffer and a small answer.
const guaranteed = 2 * firstBuffer

// take asks for n bytes more for somebody who holds held bytes already. One connection may hold at most as much as is
// still free then, so that a few big ones leave something to the rest: of k equal ones each gets a part of k+1.
func (m *memory) take(n, held int) bool {
	for {
		used := m.used.Load()
		after := used + int64(n)
		if m.limit > 0 && held+n > guaranteed && int64(held+n) > m.limit-after {
			return false
		}
		if m.used.CompareAndSwap(used, after) {
			return true
		}
	}
}

func (m *memory) give(n int) { m.used.Add(-int64(n)) }
