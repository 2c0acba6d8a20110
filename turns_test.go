//go:build go1.25

package tcp

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNoMoreTakeTheirTurnAtOnceThanThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 3
		turn := turns{taken: make(chan struct{}, room)}
		var inside, most atomic.Int32
		var wg sync.WaitGroup
		begin := time.Now()
		for range 30 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				turn.take(func() {
					most.Store(max(most.Load(), inside.Add(1)))
					time.Sleep(time.Millisecond)
					inside.Add(-1)
				})
			}()
		}
		wg.Wait()
		require.EqualValues(t, room, most.Load())
		require.Equal(t, 10*time.Millisecond, time.Since(begin), "who is not one of a flood makes no pause")
		require.Zero(t, turn.waiting.Load())
		require.Empty(t, turn.taken)
	})
}

func TestAFloodMakesPauses(t *testing.T) {
	const extra = 6 // as many leave enough behind them to make a flood
	for name, c := range map[string]struct {
		read, pause time.Duration
		hurried     bool
	}{
		"as long as many reads":         {100 * time.Microsecond, floodPause * 100 * time.Microsecond, false},
		"but no longer than that":       {time.Millisecond, longestPause, false},
		"and none when there is a stop": {time.Millisecond, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turn := turns{taken: make(chan struct{}, 1)}
				if c.hurried {
					turn.hurry()
				}
				var wg sync.WaitGroup
				begin := time.Now()
				for range 1 + flood + extra {
					wg.Add(1)
					go func() { defer wg.Done(); turn.take(func() { time.Sleep(c.read) }) }()
				}
				wg.Wait()
				require.Equal(t, (1+flood+extra)*c.read+extra*c.pause, time.Since(begin))
				require.Zero(t, turn.waiting.Load())
				require.Empty(t, turn.taken)
			})
		})
	}
}

func TestHalfOfTheProcessorsIsLeftToTheRest(t *testing.T) {
	require.Equal(t, max(1, runtime.GOMAXPROCS(0)/2), cap(newTurns().taken))
}

func TestAReadThatPanicsGivesItsTurnBack(t *testing.T) {
	turn := turns{taken: make(chan struct{}, 1)}
	require.Panics(t, func() { turn.take(func() { panic("of a test") }) })
	require.Empty(t, turn.taken)
	require.Zero(t, turn.waiting.Load())
}
