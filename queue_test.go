package tcp

import (
	"math/rand"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testQueue(width int) *queue { return &queue{width: width, timeout: time.Minute} }

// lineUp lets n owners wait, one after the other, and returns where each reports how its wait ended.
func lineUp(t *testing.T, q *queue, n int, cancel <-chan struct{}, patient bool) []chan error {
	ends := make([]chan error, n)
	for i := range ends {
		before := q.length()
		ends[i] = make(chan error, 1)
		go func() { ends[i] <- q.enter(newTicket(), cancel, patient) }()
		require.Eventually(t, func() bool { return q.length() == before+1 }, 5*time.Second, 10*time.Microsecond)
	}
	return ends
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.length
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

func TestQueueIsFirstComeFirstServedAndAsWideAsThePool(t *testing.T) {
	q := testQueue(2)
	require.NoError(t, q.enter(newTicket(), nil, false))
	require.NoError(t, q.enter(newTicket(), nil, false))
	ends := lineUp(t, q, 5, nil, false)
	for i, end := range ends {
		requireWaiting(t, ends[i:]...)
		q.leave()
		require.NoError(t, <-end)
	}
}

func TestWhoCancelsLeavesTheQueue(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newTicket(), nil, false))
	cancel := make(chan struct{})
	gone := lineUp(t, q, 1, cancel, false)[0]
	next := lineUp(t, q, 1, nil, false)[0]
	close(cancel)
	require.ErrorIs(t, <-gone, errCanceled)
	q.leave()
	require.NoError(t, <-next)
}

func TestWaitEndsAfterAllocateTimeoutButNotForThePatient(t *testing.T) {
	q := testQueue(1)
	q.timeout = 5 * time.Millisecond
	require.NoError(t, q.enter(newTicket(), nil, false))
	patient := lineUp(t, q, 1, nil, true)[0]
	ticket := newTicket()
	for range 3 { // a ticket is used again and again
		require.ErrorIs(t, q.enter(ticket, nil, false), errNoWorker)
	}
	requireWaiting(t, patient)
	q.leave()
	require.NoError(t, <-patient)
}

func TestMaxQueueSizeCountsThoseAtWorkAndThoseWaiting(t *testing.T) {
	q := testQueue(1)
	q.most = 2
	require.NoError(t, q.enter(newTicket(), nil, false))
	second := lineUp(t, q, 1, nil, false)[0]
	require.ErrorIs(t, q.enter(newTicket(), nil, false), errQueueFull)
	patient := lineUp(t, q, 1, nil, true)[0]
	q.leave()
	require.NoError(t, <-second)
	q.leave()
	require.NoError(t, <-patient)
	q.leave()
	require.NoError(t, q.enter(newTicket(), nil, false))
}

func TestNobodyGetsInOrRunsOutOfTimeWhileTheQueueIsShut(t *testing.T) {
	q := testQueue(2)
	q.timeout = 20 * time.Millisecond
	require.NoError(t, q.enter(newTicket(), nil, false))
	q.pause()
	ends := lineUp(t, q, 3, nil, false)
	q.leave() // somebody inside ends meanwhile
	time.Sleep(3 * q.timeout)
	requireWaiting(t, ends...)
	resumed := time.Now()
	q.resume()
	require.NoError(t, <-ends[0])
	require.NoError(t, <-ends[1])
	require.ErrorIs(t, <-ends[2], errNoWorker, "the time runs again when the queue is open")
	require.GreaterOrEqual(t, time.Since(resumed), q.timeout, "from its beginning")
}

func TestWidthFollowsThePool(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newTicket(), nil, false))
	require.False(t, q.narrow(), "the last place stays")
	ends := lineUp(t, q, 2, nil, false)
	q.widen(1)
	require.NoError(t, <-ends[0])
	require.True(t, q.narrow())
	requireWaiting(t, ends[1])
	q.leave()
	require.NoError(t, <-ends[1])

	q = testQueue(open)
	q.widen(1)
	require.False(t, q.narrow())
	for range 100 {
		require.NoError(t, q.enter(newTicket(), nil, false))
	}
}

func TestACloseTurnsEverybodyAway(t *testing.T) {
	q := testQueue(1)
	require.NoError(t, q.enter(newTicket(), nil, false))
	ends := append(lineUp(t, q, 2, nil, false), lineUp(t, q, 1, nil, true)...)
	q.close()
	for _, end := range ends {
		require.ErrorIs(t, <-end, errQueueClosed)
	}
	require.ErrorIs(t, q.enter(newTicket(), nil, true), errQueueClosed)
	q.leave()
}

// However waits end, places are neither lost nor made.
func TestNoPlaceIsLost(t *testing.T) {
	const width = 3
	q := &queue{width: width, timeout: 50 * time.Microsecond}
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd, ticket := rand.New(rand.NewSource(int64(i))), newTicket()
			for range 500 {
				cancel := make(chan struct{})
				if rnd.Intn(3) == 0 {
					time.AfterFunc(time.Duration(rnd.Intn(100))*time.Microsecond, func() { close(cancel) })
				}
				if q.enter(ticket, cancel, rnd.Intn(4) == 0) != nil {
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
	require.Zero(t, q.inside)
	require.Zero(t, q.length())
	for range width {
		require.NoError(t, q.enter(newTicket(), nil, false))
	}
}

// jobFunc is a job.
type jobFunc func()

func (f jobFunc) run() bool { f(); return true }

func TestJobsAreDoneInsideInTheirOrder(t *testing.T) {
	q := testQueue(1)
	defer q.close()
	var mu sync.Mutex
	var done []int
	begun, finish := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- q.do(newTicket(), jobFunc(func() { close(begun); <-finish }), nil, false)
	}()
	<-begun

	ends := make([]chan error, 5)
	for i := range ends {
		ends[i] = make(chan error, 1)
		go func() {
			ends[i] <- q.do(newTicket(), jobFunc(func() {
				mu.Lock()
				defer mu.Unlock()
				done = append(done, i)
				require.Equal(t, 1, q.admitted())
			}), nil, i%2 == 0)
		}()
		require.Eventually(t, func() bool { return q.length() == i+1 }, 5*time.Second, 10*time.Microsecond)
	}
	requireWaiting(t, append(ends, first)...)
	close(finish)
	require.NoError(t, <-first)
	for _, end := range ends {
		require.NoError(t, <-end)
	}
	require.Equal(t, []int{0, 1, 2, 3, 4}, done)
	require.Zero(t, q.admitted())
}

func TestATicketIsDoneByItsOwner(t *testing.T) {
	q := testQueue(1)
	defer q.close()
	here := newTicket()
	here.here = true
	require.NoError(t, q.do(here, jobFunc(func() { require.Equal(t, 1, q.admitted()) }), nil, false))
	require.Zero(t, q.admitted())
	require.Nil(t, q.jobs, "no other goroutine was needed")

	require.NoError(t, q.enter(newTicket(), nil, false))
	end := make(chan error, 1)
	go func() { end <- q.do(here, jobFunc(func() {}), nil, false) }()
	require.Eventually(t, func() bool { return q.length() == 1 }, 5*time.Second, 10*time.Microsecond)
	q.leave()
	require.NoError(t, <-end)
	require.Nil(t, q.jobs, "nor after a wait")

	require.NoError(t, q.enter(newTicket(), nil, false))
	cancel := make(chan struct{})
	close(cancel)
	require.ErrorIs(t, q.do(here, jobFunc(func() { t.Error("it was cancelled") }), cancel, false), errCanceled)
	q.leave()
	require.Zero(t, q.admitted())
}

func TestOwnersInALongLineHaveTheirJobsDone(t *testing.T) {
	q := testQueue(1)
	defer q.close()
	require.NoError(t, q.enter(newTicket(), nil, false))
	ends := make(chan error)
	byOwner := make(chan bool, fewInLine+1)
	for i := range fewInLine + 1 {
		ticket := newTicket()
		ticket.here = true
		go func() {
			ends <- q.do(ticket, jobFunc(func() { byOwner <- !strings.Contains(string(debug.Stack()), "(*queue).perform(") }), nil, false)
		}()
		require.Eventually(t, func() bool { return q.length() == i+1 }, 5*time.Second, 10*time.Microsecond)
	}
	q.leave()
	for i := range fewInLine + 1 {
		require.NoError(t, <-ends)
		require.Equal(t, i < fewInLine, <-byOwner)
	}
	require.Zero(t, q.admitted())
}

func TestAJobThatIsBegunIsNotCancelled(t *testing.T) {
	q := testQueue(1)
	defer q.close()
	cancel := make(chan struct{})
	err := q.do(newTicket(), jobFunc(func() { close(cancel); time.Sleep(time.Millisecond) }), cancel, false)
	require.NoError(t, err)

	require.NoError(t, q.enter(newTicket(), nil, false))
	require.ErrorIs(t, q.do(newTicket(), jobFunc(func() { t.Error("it was cancelled") }), cancel, false), errCanceled)
	q.leave()
}

// TestWaitingForAWorkerAllocatesNothing: neither does an exchange that does not wait.
func TestWaitingForAWorkerAllocatesNothing(t *testing.T) {
	q := testQueue(2)
	defer q.close()
	var owners sync.WaitGroup
	begin, end := make(chan struct{}), make(chan struct{})
	const owned, rounds = 16, 1000
	var job jobFunc = func() {}
	for range owned {
		owners.Add(1)
		go func() {
			defer owners.Done()
			ticket := newTicket()
			for range begin {
				for range rounds {
					require.NoError(t, q.do(ticket, job, nil, false))
				}
				end <- struct{}{}
			}
		}()
	}
	round := func() {
		for range owned {
			begin <- struct{}{}
		}
		for range owned {
			<-end
		}
	}
	allocations := testing.AllocsPerRun(3, round)
	close(begin)
	owners.Wait()
	require.Less(t, allocations, owned*rounds/100.0)
}
