package dispatch

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	Bulk BulkLimits // set before the first exchange

	timeout time.Duration // the longest wait: allocate_timeout
	maxSize int           // exchanges that are admitted or wait: max_queue_size; 0: no limit

	mu       sync.Mutex
	width    int
	admitted int
	waiting  waitList
	paused   bool        // nothing is admitted
	closed   bool        // nothing is admitted or waits any more
	renewed  time.Time   // when a pause ended last with new workers: waits are measured from there
	timer    *time.Timer // calls expire when the first waiter's time is over, or earlier
	timing   bool        // timer runs

	renewals      atomic.Uint64        // pauses that have ended with new workers
	waits         telemetry.Histogram  // of the exchanges that were admitted
	noFreeWorkers atomic.Int64         // exchanges that ended because no worker was free in time
	events        prometheus.Histogram // how many events went to a worker at once; only where Bulk is set
}

// NewQueue returns the queue of a pool with width workers, or Unlimited. maxSize 0 is no limit.
func NewQueue(width int, timeout time.Duration, maxSize int) *Queue {
	return &Queue{width: width, timeout: timeout, maxSize: maxSize, events: telemetry.NewExchangeEvents()}
}

// Waiting returns how many exchanges wait for a worker.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.length
}

// Waits returns how long the exchanges that were admitted had waited.
func (q *Queue) Waits() *telemetry.Histogram { return &q.waits }

// Events returns how many events went to a worker at once. Without Bulk nothing is counted.
func (q *Queue) Events() prometheus.Histogram { return q.events }

// NoFreeWorkers counts the exchanges that ended because no worker was free in time.
func (q *Queue) NoFreeWorkers() int64 { return q.noFreeWorkers.Load() }

// Close ends every wait, now and later, with an error that says that the plugin stops.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for q.waiting.first != nil {
		q.finish(q.waiting.first, errQueueClosed)
	}
	if q.timer != nil {
		q.timer.Stop()
	}
}

// enter waits until the caller may call the pool; leave must follow, unless enter returns an error. Closing cancel ends the
// wait with ErrCanceled, but not where a's exchange is that of others, too.
func (q *Queue) enter(a *attempt, cancel <-chan struct{}) error {
	if admitted, err := q.join(a); err != nil || admitted {
		return err
	}
	select {
	case err := <-a.ready:
		return err
	case <-cancel:
	}
	if q.withdraw(a) {
		return ErrCanceled
	}
	err := <-a.ready
	if err == nil && a.bulk == nil {
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

// IsPaused reports whether nothing is admitted for now, as during a reset.
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

// widen admits one more exchange at once.
func (q *Queue) widen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.width != Unlimited {
		q.width++
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

// pause admits nothing until resume. Exchanges that are admitted go on.
func (q *Queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = true
}

// resume ends a pause. With new workers waits begin anew; else they have gone on meanwhile.
func (q *Queue) resume(renewed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = false
	if renewed {
		q.renewed = time.Now()
		q.renewals.Add(1)
	} else {
		q.endExpired()
	}
	q.admit()
}

// join admits a, or appends it to the wait list.
func (q *Queue) join(a *attempt) (admitted bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errQueueClosed
	case q.maxSize > 0 && !a.noTimeout && q.admitted+q.waiting.length >= q.maxSize:
		return false, errQueueFull
	case !q.paused && q.admitted < q.width: // then nothing waits
		q.admitted++
		q.waits.Observe(0)
		a.admitted = time.Now()
		return true, nil
	}
	a.arrived = time.Now()
	q.waiting.add(a)
	if !a.noTimeout && !q.timing {
		q.startTimer(q.timeout)
	}
	return false, nil
}

// admit lets in the attempts for which there is a place. q.mu is held.
func (q *Queue) admit() {
	for !q.paused && q.admitted < q.width && q.waiting.first != nil {
		q.admitted++
		first := q.waiting.first
		q.share(first)
		q.take(first)
		first.ready <- nil
	}
}

// share takes those that wait along with a, which is to be admitted: a's part of the wait list, where every worker gets one as
// large, within the limits of a bulk. q.mu is held.
func (q *Queue) share(a *attempt) {
	most := min(q.Bulk.MaxEvents, (q.waiting.length-1)/q.width+1)
	bytes := a.size()
	for next := a.next; next != nil && a.bulk.len() < most; {
		other := next
		next = other.next
		if !a.goesWith(other) {
			continue
		}
		if bytes += other.size(); bytes > q.Bulk.MaxBytes {
			return
		}
		if a.bulk == nil {
			a.bulk = &bulk{waiting: append(make([]*attempt, 0, most), a)}
		}
		q.take(other)
		a.bulk.waiting = append(a.bulk.waiting, other)
	}
}

// take takes a, which is admitted, out of the wait list. q.mu is held.
func (q *Queue) take(a *attempt) {
	q.waiting.remove(a)
	a.admitted = time.Now()
	q.waits.Observe(a.admitted.Sub(a.arrived))
}

// finish ends the wait of a, which is not admitted. q.mu is held.
func (q *Queue) finish(a *attempt, err error) {
	q.waiting.remove(a)
	a.ready <- err
}

// withdraw takes a out of the wait list; false: its wait has ended meanwhile.
func (q *Queue) withdraw(a *attempt) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !a.queued {
		return false
	}
	q.waiting.remove(a)
	return true
}

// expire ends the waits that have taken too long.
func (q *Queue) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endExpired()
}

// endExpired is expire; q.mu is held.
func (q *Queue) endExpired() {
	q.timing = false
	for a := q.waiting.first; a != nil; {
		next := a.next
		if !a.noTimeout {
			if left := q.timeLeft(a); left > 0 { // those behind have more
				q.startTimer(left)
				return
			}
			q.finish(a, errNoWorker)
		}
		a = next
	}
}

// timeLeft returns how much longer a waits. A pause does not count if it ends with new workers. q.mu is held.
func (q *Queue) timeLeft(a *attempt) time.Duration {
	if q.paused {
		return q.timeout
	}
	since := a.arrived
	if q.renewed.After(since) {
		since = q.renewed
	}
	return q.timeout - time.Since(since)
}

// startTimer serves all attempts: a timer of each would be started and stopped for every packet. q.mu is held.
func (q *Queue) startTimer(d time.Duration) {
	q.timing = true
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.expire)
	} else {
		q.timer.Reset(d)
	}
}

// waitList is a doubly linked list whose links are in the attempts.
type waitList struct {
	first, last *attempt
	length      int
}

func (l *waitList) add(a *attempt) {
	a.queued, a.prev = true, l.last
	if l.last == nil {
		l.first = a
	} else {
		l.last.next = a
	}
	l.last = a
	l.length++
}

func (l *waitList) remove(a *attempt) {
	if a.prev == nil {
		l.first = a.next
	} else {
		a.prev.next = a.next
	}
	if a.next == nil {
		l.last = a.prev
	} else {
		a.next.prev = a.prev
	}
	a.queued, a.prev, a.next = false, nil, nil
	l.length--
}
