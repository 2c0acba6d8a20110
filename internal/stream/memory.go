package stream

import "sync/atomic"

// Memory counts what all connections hold together: the capacity of their buffers, and answers and pushes that are not
// written yet. It does not bound what the pool holds of an exchange, nor the socket buffers of the system.
type Memory struct {
	limit int64 // memory_limit in bytes; 0: none
	used  atomic.Int64
}

// guaranteedSize is what a connection may hold even where memory is used up, in bytes: its first buffer and a small answer.
const guaranteedSize = 2 * firstSize

// NewMemory returns a Memory of limit bytes; 0: no limit.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Take reserves n bytes for a connection that holds held bytes already, and reports whether there was room. One connection
// may hold at most as much as is still free afterwards, so that a few big ones leave something to the rest: of k equal ones
// each gets a part of k+1.
func (m *Memory) Take(n, held int) bool {
	for {
		used := m.used.Load()
		after := used + int64(n)
		if m.limit > 0 && held+n > guaranteedSize && int64(held+n) > m.limit-after {
			return false
		}
		if m.used.CompareAndSwap(used, after) {
			return true
		}
	}
}

// Give returns n bytes that were taken.
func (m *Memory) Give(n int) { m.used.Add(-int64(n)) }

// Used returns how many bytes are taken.
func (m *Memory) Used() int64 { return m.used.Load() }

// Limit returns the limit in bytes; 0: none.
func (m *Memory) Limit() int64 { return m.limit }
