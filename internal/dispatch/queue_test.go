package dispatch

import (
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testQueue(width int) *Queue { return NewQueue(width, time.Minute, 0) }

// lineUp makes n goroutines wait, one after the other. Each sends the end of its wait to one channel.
func lineUp(t *testing.T, q *Queue, n int, cancel <-chan struct{}, noTimeout bool) []chan error {
	ends := make([]chan error, n)
	for i := range ends {
		before := q.Waiting()
		ends[i] = make(chan error, 1)
		go func() { ends[i] <- q.enter(&attempt{ready: make(chan error, 1), noTimeout: noTimeout}, cancel) }()
		require.Eventually(t, func() bool { return q.Waiting() == before+1 }, time.Minute, 10*time.Microsecond)
	}
	return ends
}

func requireWaiting(t *testing.T, ends ...chan error) {
	for _, end := range ends {
		select {
		case err := <-end:
			require.Fail(t, "the wait is over", "%v", err)
		default:
		}
	}
}

func TestQueueFirstComeFirstServed(t *testing.T) {
	q := testQueue(2)
	require.NoError(t, q.enter(newAttempt(), nil))
	require.NoError(t, q.enter(newAttempt(), nil))
	ends := lineUp(t, q, 5, nil, false)
	for i, end := range ends {
		requireWaiting(t, ends[i:]...)
		q.leave()
		require.NoError(t, <-end)
	}
}

func TestQueueCancel(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newAttempt(), nil))
	cancel := make(chan struct{})
	gone := lineUp(t, q, 1, cancel, false)[0]
	next := lineUp(t, q, 1, nil, false)[0]
	close(cancel)
	require.ErrorIs(t, <-gone, ErrCanceled)
	q.leave()
	require.NoError(t, <-next)
}

func TestQueueTimeout(t *testing.T) {
	q := testQueue(1)
	q.timeout = 5 * time.Millisecond
	require.NoError(t, q.enter(newAttempt(), nil))
	noTimeout := lineUp(t, q, 1, nil, true)[0]
	waiter := newAttempt()
	for range 3 { // a waiter is used again and again
		require.ErrorIs(t, q.enter(waiter, nil), errNoWorker)
	}
	requireWaiting(t, noTimeout)
	q.leave()
	require.NoError(t, <-noTimeout)
}

func TestQueueMaxSize(t *testing.T) {
	q := testQueue(1)
	q.maxSize = 2
	require.NoError(t, q.enter(newAttempt(), nil))
	second := lineUp(t, q, 1, nil, false)[0]
	require.ErrorIs(t, q.enter(newAttempt(), nil), errQueueFull)
	noTimeout := lineUp(t, q, 1, nil, true)[0]
	q.leave()
	require.NoError(t, <-second)
	q.leave()
	require.NoError(t, <-noTimeout)
	q.leave()
	require.NoError(t, q.enter(newAttempt(), nil))
}

func TestQueuePause(t *testing.T) {
	q := testQueue(2)
	q.timeout = 20 * time.Millisecond
	require.NoError(t, q.enter(newAttempt(), nil))
	q.pause()
	ends := lineUp(t, q, 3, nil, false)
	q.leave() // somebody inside ends meanwhile
	time.Sleep(3 * q.timeout)
	requireWaiting(t, ends...)
	resumed := time.Now()
	q.resume(true)
	require.NoError(t, <-ends[0])
	require.NoError(t, <-ends[1])
	require.ErrorIs(t, <-ends[2], errNoWorker, "the time runs again when the queue is open")
	require.GreaterOrEqual(t, time.Since(resumed), q.timeout, "from its beginning")
}

func TestQueueWidth(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newAttempt(), nil))
	require.False(t, q.narrow(), "the last place stays")
	ends := lineUp(t, q, 2, nil, false)
	q.widen()
	require.NoError(t, <-ends[0])
	require.True(t, q.narrow())
	requireWaiting(t, ends[1])
	q.leave()
	require.NoError(t, <-ends[1])

	q = testQueue(Unlimited)
	q.widen()
	require.False(t, q.narrow())
	for range 100 {
		require.NoError(t, q.enter(newAttempt(), nil))
	}
}

func TestQueueClose(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newAttempt(), nil))
	ends := append(lineUp(t, q, 2, nil, false), lineUp(t, q, 1, nil, true)...)
	q.Close()
	for _, end := range ends {
		require.ErrorIs(t, <-end, errQueueClosed)
	}
	require.ErrorIs(t, q.enter(&attempt{noTimeout: true}, nil), errQueueClosed)
	q.leave()
}

// However waits end, places are neither lost nor made.
func TestQueueKeepsPlaces(t *testing.T) {
	const width = 3
	q := NewQueue(width, 50*time.Microsecond, 0)
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd, waiter := rand.New(rand.NewSource(int64(i))), newAttempt()
			for range 500 {
				cancel := make(chan struct{})
				if rnd.Intn(3) == 0 {
					time.AfterFunc(time.Duration(rnd.Intn(100))*time.Microsecond, func() { close(cancel) })
				}
				waiter.noTimeout = rnd.Intn(4) == 0
				if q.enter(waiter, cancel) != nil {
					continue
				}
				for n := inside.Add(1); n > most.Load(); {
					most.Store(n)
				}
				time.Sleep(time.Duration(rnd.Intn(20)) * time.Microsecond)
				inside.Add(-1)
				q.leave()
			}
		}()
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(width))
	require.Zero(t, q.admitted)
	require.Zero(t, q.Waiting())
	for range width {
		require.NoError(t, q.enter(newAttempt(), nil))
	}
}
