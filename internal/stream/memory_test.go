package stream

import (
	"math"
	"math/rand"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryShares(t *testing.T) {
	const limit, step = 1 << 20, 256
	for k := 1; k <= 6; k++ {
		m, held := NewMemory(limit), make([]int, k)
		for grown := true; grown; {
			grown = false
			for i := range held {
				if m.Take(step, held[i]) {
					held[i] += step
					grown = true
				}
			}
		}
		for _, n := range held {
			require.InDelta(t, limit/(k+1), n, float64(k*step), "%d holders: %v", k, held)
		}
	}
}

func TestMemoryOneHolderGetsHalf(t *testing.T) {
	const limit = 1 << 20
	m := NewMemory(limit)
	require.EqualValues(t, limit, m.Limit())
	require.False(t, m.Take(limit/2+1, 0))
	require.Zero(t, m.Used(), "a refusal takes nothing")
	require.True(t, m.Take(limit/2, 0))
	require.False(t, m.Take(1, limit/2))
	require.False(t, m.Take(limit/2+1, 0), "nor the next one: what is free is what the first left")
	require.True(t, m.Take(limit/4, 0))
	require.Equal(t, int64(limit/2+limit/4), m.Used())
}

func TestMemoryGuaranteedSize(t *testing.T) {
	m := NewMemory(1)
	m.used.Store(1 << 30)
	require.True(t, m.Take(guaranteedSize, 0))
	require.True(t, m.Take(firstSize, guaranteedSize-firstSize), "however it asks for them")
	require.False(t, m.Take(guaranteedSize+1, 0))
	require.False(t, m.Take(1, guaranteedSize), "what it holds already counts")
	require.GreaterOrEqual(t, guaranteedSize, 4<<10, "no connection that holds less than 4 KiB is closed")
}

func TestMemoryWithoutLimitCounts(t *testing.T) {
	m := NewMemory(0)
	const much = math.MaxInt / 4
	require.True(t, m.Take(much, much))
	require.Equal(t, int64(much), m.Used())
	m.Give(much)
	require.Zero(t, m.Used())
}

func TestMemoryConcurrentUse(t *testing.T) {
	const limit, holders = 1 << 20, 8
	m := NewMemory(limit)
	var wg sync.WaitGroup
	for i := range holders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd, held := rand.New(rand.NewSource(int64(i))), 0
			for range 2000 {
				if n := 1 + rnd.Intn(limit/4); m.Take(n, held) {
					held += n
				}
				if rnd.Intn(3) == 0 {
					m.Give(held)
					held = 0
				}
			}
			m.Give(held)
		}()
	}
	wg.Wait()
	require.Zero(t, m.Used())
}

// A refusal takes nothing from others, not even for a moment.
func TestMemoryRefusalIsInvisible(t *testing.T) {
	const limit = 256 << 20
	m, stop, done := NewMemory(limit), make(chan struct{}), make(chan struct{})
	go func() { // asks again and again for more than there is
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				m.Take(limit, 0)
			}
		}
	}()
	refused := 0
	for range 1_000_000 {
		if m.Take(2*guaranteedSize, 0) {
			m.Give(2 * guaranteedSize)
		} else {
			refused++
		}
	}
	close(stop)
	<-done
	require.Zero(t, refused, "of 16 KiB while 256 MiB are free")
}
