package tcp

import (
	"math/rand"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOfKEqualHoldersEachGetsOnePartOfKPlusOne(t *testing.T) {
	const limit, step = 1 << 20, 256
	for k := 1; k <= 6; k++ {
		m, held := &memory{limit: limit}, make([]int, k)
		for grown := true; grown; {
			grown = false
			for i := range held {
				if m.take(step, held[i]) {
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

func TestOneHolderGetsHalfOfTheMemoryAndNotOneByteMore(t *testing.T) {
	const limit = 1 << 20
	m := &memory{limit: limit}
	require.False(t, m.take(limit/2+1, 0))
	require.Zero(t, m.used.Load(), "who is refused holds nothing")
	require.True(t, m.take(limit/2, 0))
	require.False(t, m.take(1, limit/2))
	require.False(t, m.take(limit/2+1, 0), "nor the next one: what is free is what the first left")
	require.True(t, m.take(limit/4, 0))
	require.Equal(t, int64(limit/2+limit/4), m.used.Load())
}

func TestTheFirstBytesOfAConnectionAreGuaranteed(t *testing.T) {
	m := &memory{limit: 1}
	m.used.Store(1 << 30)
	require.True(t, m.take(guaranteed, 0))
	require.True(t, m.take(firstBuffer, guaranteed-firstBuffer), "however it asks for them")
	require.False(t, m.take(guaranteed+1, 0))
	require.False(t, m.take(1, guaranteed), "what it holds already counts")
	require.GreaterOrEqual(t, guaranteed, 4<<10, "nobody who holds less than 4 KiB is closed")
}

func TestWithoutALimitMemoryIsCountedAllTheSame(t *testing.T) {
	m := &memory{}
	require.True(t, m.take(1<<40, 1<<40))
	require.Equal(t, int64(1<<40), m.used.Load())
	m.give(1 << 40)
	require.Zero(t, m.used.Load())
}

func TestMemoryThatIsTakenAndGivenByManyIsNeitherLostNorMade(t *testing.T) {
	const limit, holders = 1 << 20, 8
	m := &memory{limit: limit}
	var wg sync.WaitGroup
	for i := range holders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd, held := rand.New(rand.NewSource(int64(i))), 0
			for range 2000 {
				if n := 1 + rnd.Intn(limit/4); m.take(n, held) {
					held += n
				}
				if rnd.Intn(3) == 0 {
					m.give(held)
					held = 0
				}
			}
			m.give(held)
		}()
	}
	wg.Wait()
	require.Zero(t, m.used.Load())
}
func TestWhoIsRefusedTakesNothingFromOthersNotEvenForAMoment(t *testing.T) {
	const limit = 256 << 20
	m, stop, done := &memory{limit: limit}, make(chan struct{}), make(chan struct{})
	go func() { // asks again and again for more than there is
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				m.take(limit, 0)
			}
		}
	}()
	refused := 0
	for range 1_000_000 {
		if m.take(2*guaranteed, 0) {
			m.give(2 * guaranteed)
		} else {
			refused++
		}
	}
	close(stop)
	<-done
	require.Zero(t, refused, "of 16 KiB while 256 MiB are free")
}
