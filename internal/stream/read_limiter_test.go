//go:build go1.25

package stream

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func limiterOf(size int) *ReadLimiter { return &ReadLimiter{running: make(chan struct{}, size)} }

func requireFree(t *testing.T, l *ReadLimiter) {
	t.Helper()
	require.Zero(t, l.waiting.Load())
	require.Empty(t, l.running)
}

func TestReadLimiterConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 3
		l := limiterOf(size)
		var inside, largest atomic.Int32
		var wg sync.WaitGroup
		begin := time.Now()
		for range 30 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				l.Do(func() {
					largest.Store(max(largest.Load(), inside.Add(1)))
					time.Sleep(time.Millisecond)
					inside.Add(-1)
				})
			}()
		}
		wg.Wait()
		require.EqualValues(t, size, largest.Load())
		require.Equal(t, 10*time.Millisecond, time.Since(begin), "fewer than a flood make no pauses")
		requireFree(t, l)
	})
}

func TestReadLimiterPauses(t *testing.T) {
	const extra = 6 // reads that leave enough behind them to make a flood
	for name, c := range map[string]struct {
		read, pause time.Duration
		unpaused    bool
	}{
		"as long as many reads":         {100 * time.Microsecond, pauseFactor * 100 * time.Microsecond, false},
		"but no longer than that":       {time.Millisecond, maxPause, false},
		"and none when there is a stop": {time.Millisecond, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := limiterOf(1)
				if c.unpaused {
					l.StopPausing()
				}
				var wg sync.WaitGroup
				begin := time.Now()
				for range 1 + floodSize + extra {
					wg.Add(1)
					go func() { defer wg.Done(); l.Do(func() { time.Sleep(c.read) }) }()
				}
				wg.Wait()
				require.Equal(t, (1+floodSize+extra)*c.read+extra*c.pause, time.Since(begin))
				requireFree(t, l)
			})
		})
	}
}

func TestReadLimiterHalfOfProcessors(t *testing.T) {
	require.Equal(t, max(1, runtime.GOMAXPROCS(0)/2), cap(NewReadLimiter().running))
}

func TestReadLimiterPanic(t *testing.T) {
	l := limiterOf(1)
	require.Panics(t, func() { l.Do(func() { panic("of a test") }) })
	requireFree(t, l)
}
