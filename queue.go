package tcp

import (
	"container/list"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Why an exchange was not admitted to the pool.
var (
	errQueueFull   = errors.New("max_queue_size exchanges are at work or wait already")
	errNoWorker    = errors.New("no worker became free within allocate_timeout")
	errQueueClosed = errors.New("the plugin is stopping")
	errCanceled    = errors.New("the connection was closed while it waited for a worker")
)

// open is the width of a queue that lets everybody through.
const open = math.MaxInt

// queue lets as many exchanges at once into the pool as it has workers, first come first served. The pool has a queue
// of its own, but one whose waiting callers can't be told to go and that blocks Reset and Destroy while it is in use.
type queue struct {
	timeout time.Duration // the longest wait: allocate_timeout
	most    int           // those inside and those waiting: max_queue_size; 0: no limit

	mu       sync.Mutex
	width    int
	inside   int
	waiting  list.List // of *ticket
	shut     bool      // nobody gets in; those inside may stay
	closed   bool      // nobody gets in or waits any more
	reopened time.Time // when shut ended last: a wait is counted from there

	pauses atomic.Uint64 // how often it was shut
}

// ticket is a place in the queue; its owner uses it again and again, for one entry at a time.
type ticket struct {
	called  chan error // cap 1; receives once for each time the ticket was put in line, unless it was taken out again
	place   *list.Element
	timer   *time.Timer
	arrived time.Time
}

func newTicket() *ticket { return &ticket{called: make(chan error, 1)} }

// enter waits until the owner of t may call the pool; leave must follow unless it returns an error. It gives up when
// cancel is closed. A patient owner waits as long as it takes, whatever the limits.
func (q *queue) enter(t *ticket, cancel <-chan struct{}, patient bool) error {
	admitted, err := q.line(t, patient)
	if admitted || err != nil {
		return err
	}

	var expired <-chan time.Time
	if !patient {
		expired = t.startTimer(q.timeout)
		defer t.timer.Stop()
	}
	for {
		select {
		case err := <-t.called:
			return err
		case <-cancel:
			if q.withdraw(t) {
				return errCanceled
			}
			if err := <-t.called; err != nil {
				return err
			}
			q.leave()
			return errCanceled
		case <-expired:
			if left := q.patience(t); left > 0 {
				expired = t.startTimer(left)
				continue
			}
			if q.withdraw(t) {
				return errNoWorker
			}
			return <-t.called
		}
	}
}

// leave makes room for the next.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inside--
	q.admit()
}

// admitted counts those inside.
func (q *queue) admitted() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inside
}

// limit is how many may be inside at once.
func (q *queue) limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.width
}

// widen changes how many may be inside at once. Nobody is thrown out.
func (q *queue) widen(by int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.width != open {
		q.width += by
	}
	q.admit()
}

// narrow takes a place from the queue in favour of the caller, who is inside and does not leave. The last place stays:
// then it returns false and changes nothing.
func (q *queue) narrow() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.width == open || q.width <= 1 {
		return false
	}
	q.width--
	q.inside--
	return true
}

// pause lets nobody in until resume; those inside are not touched.
func (q *queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = true
	q.pauses.Add(1)
}

func (q *queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut, q.reopened = false, time.Now()
	q.admit()
}

// close turns everybody away, now and later, with errQueueClosed.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for q.waiting.Len() > 0 {
		q.call(errQueueClosed)
	}
}

func (q *queue) line(t *ticket, patient bool) (admitted bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errQueueClosed
	case q.most > 0 && !patient && q.inside+q.waiting.Len() >= q.most:
		return false, errQueueFull
	case !q.shut && q.inside < q.width: // then nobody waits
		q.inside++
		return true, nil
	}
	t.arrived = time.Now()
	t.place = q.waiting.PushBack(t)
	return false, nil
}

// admit lets in who is due. q.mu is held.
func (q *queue) admit() {
	for !q.shut && q.inside < q.width && q.waiting.Len() > 0 {
		q.inside++
		q.call(nil)
	}
}

// call tells the first in line how its wait ended. q.mu is held.
func (q *queue) call(err error) {
	t := q.waiting.Remove(q.waiting.Front()).(*ticket)
	t.place = nil
	t.called <- err
}

// withdraw takes t out of the line; false: it was called meanwhile.
func (q *queue) withdraw(t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.place == nil {
		return false
	}
	q.waiting.Remove(t.place)
	t.place = nil
	return true
}

// patience is how much longer t waits. While the queue is shut, nobody's time runs.
func (q *queue) patience(t *ticket) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shut {
		return q.timeout
	}
	since := t.arrived
	if q.reopened.After(since) {
		since = q.reopened
	}
	return q.timeout - time.Since(since)
}

func (t *ticket) startTimer(d time.Duration) <-chan time.Time {
	if t.timer == nil {
		t.timer = time.NewTimer(d)
	} else {
		t.timer.Reset(d)
	}
	return t.timer.C
}
