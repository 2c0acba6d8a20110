package telemetry

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram counts durations by size. Its zero value is ready for use, by many goroutines.
type Histogram struct {
	counts [len(bounds) + 1]atomic.Uint64 // by bound; the last one has those over all bounds
	sum    atomic.Uint64                  // seconds, the bits of a float64: an int64 of nanoseconds ends after 292 years
}

// bounds are the upper, inclusive bounds of the buckets.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Observe counts one duration. It takes no lock and allocates nothing.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	for {
		before := h.sum.Load()
		if h.sum.CompareAndSwap(before, math.Float64bits(math.Float64frombits(before)+d.Seconds())) {
			return
		}
	}
}

// HistogramBounds returns the upper, inclusive bounds of Counts in seconds.
func HistogramBounds() []float64 {
	seconds := make([]float64, len(bounds))
	for i, b := range bounds {
		seconds[i] = b.Seconds()
	}
	return seconds
}

// Counts returns how many durations were observed between each bound and the one before; the last one has those over all bounds.
func (h *Histogram) Counts() []uint64 {
	counts := make([]uint64, len(h.counts))
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
	}
	return counts
}

// buckets returns what Prometheus wants: the count, the sum in seconds, and how many durations did not exceed each bound.
func (h *Histogram) buckets() (count uint64, sum float64, upTo map[float64]uint64) {
	sum = math.Float64frombits(h.sum.Load())
	upTo = make(map[float64]uint64, len(bounds))
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < len(bounds) {
			upTo[bounds[i].Seconds()] = count
		}
	}
	return count, sum, upTo
}
