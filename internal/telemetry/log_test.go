//go:build go1.25

//go:debug asynctimerchan=0

package telemetry

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// reports collects what a log reports, in a bubble of synctest.
type reports struct {
	mu    sync.Mutex
	times []int
}

func (r *reports) report(times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, times)
}

// after lets time pass and returns everything that has been reported.
func (r *reports) after(d time.Duration) []int {
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.times)
}

func TestThrottledLogReportsOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reports
		l := NewThrottledLog(r.report)
		l.Add()
		require.Equal(t, []int{1}, r.after(0), "the first at once")
		for range 5 {
			l.Add()
		}
		require.Equal(t, []int{1}, r.after(time.Second-time.Nanosecond))
		require.Equal(t, []int{1, 5}, r.after(time.Nanosecond))

		l.Add()
		require.Equal(t, []int{1, 5}, r.after(0), "a report begins a pause of its own")
		require.Equal(t, []int{1, 5, 1}, r.after(time.Second))

		require.Equal(t, []int{1, 5, 1}, r.after(time.Second))
		l.Add()
		require.Equal(t, []int{1, 5, 1, 1}, r.after(0), "a pause in which nothing happened is the last one")
		l.Close()
	})
}

func TestThrottledLogCloseReportsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reports
		l := NewThrottledLog(r.report)
		l.Close()
		require.Empty(t, r.after(0))
		l.Add()
		l.Add()
		l.Add()
		l.Close()
		require.Equal(t, []int{1, 2}, r.after(0))
		l.Close()
		require.Equal(t, []int{1, 2}, r.after(3*time.Second))

		l.Add()
		require.Equal(t, []int{1, 2, 1}, r.after(0), "what comes after Close is reported, too")
		l.Add()
		l.Close()
		require.Equal(t, []int{1, 2, 1, 1}, r.after(0))
		l.Add()
		require.Equal(t, []int{1, 2, 1, 1, 1}, r.after(0), "Close ends a pause")
		l.Close()
	})
}

func TestThrottledLogCountsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const goroutines, each, pause = 20, 50, 70 * time.Millisecond
		var r reports
		l := NewThrottledLog(r.report)
		var wg sync.WaitGroup
		for range goroutines {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range each {
					l.Add()
					time.Sleep(pause)
				}
			}()
		}
		wg.Wait()
		l.Close()
		total, times := 0, r.after(0)
		for _, n := range times {
			total += n
		}
		require.Equal(t, goroutines*each, total)
		require.LessOrEqual(t, len(times), 2+int(each*pause/time.Second), "one at once, one each second, and the rest")
	})
}

func TestLogLimiterAllowsHundredPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reports
		l := NewLogLimiter(r.report)
		allowed := func(n int) (allowed int) {
			for range n {
				if l.Allows() {
					allowed++
				}
			}
			return allowed
		}
		require.Equal(t, 60, allowed(60))
		require.Empty(t, r.after(time.Second-time.Nanosecond))
		require.Equal(t, 40, allowed(50), "the window began with the first line")
		require.Equal(t, []int{1}, r.after(0), "the first of the others is reported at once")

		time.Sleep(time.Nanosecond)
		require.Equal(t, 100, allowed(103))
		l.Close()
		require.Equal(t, []int{1, 12}, r.after(0), "and the rest with Close")
	})
}
