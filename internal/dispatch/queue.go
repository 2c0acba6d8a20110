package dispatch

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// Why the queue did not admit an exchange.
var (
	errQueueFull   = errors.New("max_queue_size exchanges are at work or wait already")
	errNoWorker    = errors.New("no worker became free within allocate_timeout")
	errQueueClosed = errors.New("the plugin is stopping")
)

// Unlimited is the width of a queue that admits every exchange at once.
const Unlimited = math.MaxInt

// Queue admits as many exchanges to the pool at once as that has workers, first come, first served. The pool has a queue of
// its own, but a caller that waits there can't be cancelled, and blocks Reset and Destroy.
type Queue struct {
	timeout time.Duration // the longest wait: allocate_timeout
	maxSize int           // exchanges that are admitted or wait: max_queue_size; 0: no limit

	mu       sync.Mutex
	width    int
	admitted int
	waiting  waitList
	paused   bool        // nobody is admitted
	closed   bool        // nobody is admitted or waits any more
	resumed  time.Time   // when a pause ended last: waits are measured from there
	timer    *time.Timer // calls expire when the first waiter's time is over, or earlier
	timing   bool        // timer runs

	pauses        atomic.Uint64       // how often the queue was paused
	waits         telemetry.Histogram // of the exchanges that were admitted
	noFreeWorkers atomic.Int64        // exchanges that ended because no worker was free in time
}

// NewQueue returns the queue of a pool with width workers, or Unlimited. maxSize 0 is no limit.
func NewQueue(width int, timeout time.Duration, maxSize int) *Queue {
	return &Queue{width: width, timeout: timeout, maxSize: maxSize}
}

// Waiting returns how many exchanges wait for a worker.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.length
}

// Waits returns how long the exchanges that were admitted had waited.
func (q *Queue) Waits() *telemetry.Histogram { return &q.waits }

// NoFreeWorkers counts the exchanges that ended because no worker was free in time.
func (q *Queue) NoFreeWorkers() int64 { return q.noFreeWorkers.Load() }

// Close ends every wait, now and later, with an error that says that the plugin stops.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	for q.waiting.first != nil {
		q.finish(q.waiting.first, errQueueClosed)
	}
	if q.timer != nil {
		q.timer.Stop()
	}
}

// waiter is one place in the queue. It is used again, for one wait at a time.
type waiter struct {
	ready     chan error // cap 1; receives the end of the wait, unless withdraw came first
	noTimeout bool       // neither allocate_timeout nor max_queue_size counts
	arrived   time.Time
	admitted  time.Time

	queued     bool // in the wait list; guarded, as what follows, by the queue's mu
	prev, next *waiter
}

func newWaiter() *waiter { return &waiter{ready: make(chan error, 1)} }

// enter waits until the caller may call the pool; leave must follow, unless enter returns an error. Closing cancel ends the
// wait with ErrCanceled.
func (q *Queue) enter(w *waiter, cancel <-chan struct{}, noTimeout bool) error {
	w.noTimeout = noTimeout
	if admitted, err := q.join(w); err != nil || admitted {
		return err
	}
	select {
	case err := <-w.ready:
		return err
	case <-cancel:
	}
	if q.withdraw(w) {
		return ErrCanceled
	}
	err := <-w.ready
	if err == nil {
		q.leave()
		return ErrCanceled
	}
	return err
}

// leave gives the caller's place to the next exchange.
func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.admitted--
	q.admit()
}

// admittedCount returns how many exchanges are admitted.
func (q *Queue) admittedCount() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.admitted
}

// IsPaused reports whether nobody is admitted for now, as during a reset.
func (q *Queue) IsPaused() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.paused
}

// limit returns how many exchanges may be admitted at once.
func (q *Queue) limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.width
}

// widen changes how many exchanges may be admitted at once. Those that are admitted stay.
func (q *Queue) widen(by int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.width != Unlimited {
		q.width += by
	}
	q.admit()
}

// narrow removes the place of the caller, who is admitted and must not leave. It returns false and changes nothing where
// that is the last place.
func (q *Queue) narrow() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.width == Unlimited || q.width <= 1 {
		return false
	}
	q.width--
	q.admitted--
	return true
}

// pause admits nobody until resume. Exchanges that are admitted go on.
func (q *Queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = true
	q.pauses.Add(1)
}

func (q *Queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused, q.resumed = false, time.Now()
	q.admit()
}

// join admits w, or appends it to the wait list.
func (q *Queue) join(w *waiter) (admitted bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errQueueClosed
	case q.maxSize > 0 && !w.noTimeout && q.admitted+q.waiting.length >= q.maxSize:
		return false, errQueueFull
	case !q.paused && q.admitted < q.width: // then nobody waits
		q.admitted++
		q.waits.Observe(0)
		w.admitted = time.Now()
		return true, nil
	}
	w.arrived = time.Now()
	q.waiting.add(w)
	if !w.noTimeout && !q.timing {
		q.startTimer(q.timeout)
	}
	return false, nil
}

// admit lets in the waiters for whom there is a place. q.mu is held.
func (q *Queue) admit() {
	for !q.paused && q.admitted < q.width && q.waiting.first != nil {
		q.admitted++
		q.finish(q.waiting.first, nil)
	}
}

// finish ends the wait of w. q.mu is held.
func (q *Queue) finish(w *waiter, err error) {
	q.waiting.remove(w)
	if err == nil {
		w.admitted = time.Now()
		q.waits.Observe(w.admitted.Sub(w.arrived))
	}
	w.ready <- err
}

// withdraw takes w out of the wait list; false: its wait has ended meanwhile.
func (q *Queue) withdraw(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.queued {
		return false
	}
	q.waiting.remove(w)
	return true
}

// expire ends the waits that have taken too long.
func (q *Queue) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timing = false
	for w := q.waiting.first; w != nil && !q.closed; {
		next := w.next
		if !w.noTimeout {
			if left := q.timeLeft(w); left > 0 { // those behind have more
				q.startTimer(left)
				return
			}
			q.finish(w, errNoWorker)
		}
		w = next
	}
}

// timeLeft returns how much longer w waits. A pause does not count. q.mu is held.
func (q *Queue) timeLeft(w *waiter) time.Duration {
	if q.paused {
		return q.timeout
	}
	since := w.arrived
	if q.resumed.After(since) {
		since = q.resumed
	}
	return q.timeout - time.Since(since)
}

// startTimer serves all waiters: a timer of each would be started and stopped for every packet. q.mu is held.
func (q *Queue) startTimer(d time.Duration) {
	q.timing = true
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.expire)
	} else {
		q.timer.Reset(d)
	}
}

// waitList is a doubly linked list whose links are in the waiters.
type waitList struct {
	first, last *waiter
	length      int
}

func (l *waitList) add(w *waiter) {
	w.queued, w.prev = true, l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.length++
}

func (l *waitList) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	l.length--
}
