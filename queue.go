package tcp

import (
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
	waiting  line
	shut     bool        // nobody gets in; those inside may stay
	closed   bool        // nobody gets in or waits any more
	reopened time.Time   // when shut ended last: a wait is counted from there
	timer    *time.Timer // calls expire when the first in line has waited long enough, if not before
	timing   bool        // it runs

	jobs chan *ticket // for idle goroutines of perform; closed with the queue
	idle int          // how many of these will receive from it

	pauses  atomic.Uint64 // how often it was shut
	waited  histogram     // how long those who got in had waited
	starved atomic.Int64  // those for whom no worker was free in time
}

// ticket is a place in the queue; its owner uses it again and again, for one entry at a time.
type ticket struct {
	called  chan error // cap 1; receives once for each time the ticket was put in line, unless it was taken out again
	job     job        // what is done inside; nil: the owner goes in itself
	here    bool       // the owner does it
	patient bool
	arrived time.Time
	entered time.Time // when it was admitted

	queued     bool // in line; guarded, as what follows, by the queue's mu
	prev, next *ticket
}

// job is work that is done inside. leaves is false where its place will be left later, or was already, with leave.
type job interface{ run() (leaves bool) }

func newTicket() *ticket { return &ticket{called: make(chan error, 1)} }

// waits is how many wait.
func (q *queue) waits() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.length
}

// enter waits until the owner of t may call the pool; leave must follow unless it returns an error. It gives up when
// cancel is closed. A patient owner waits as long as it takes, whatever the limits.
func (q *queue) enter(t *ticket, cancel <-chan struct{}, patient bool) error {
	t.job, t.here, t.patient = nil, true, patient
	return q.await(t, cancel)
}

// do waits as enter does, and then until j is done. What is begun is not cancelled. The pool needs a large stack: j is run
// by one of a few goroutines that have one, and those of the many connections that wait stay small. Where there are only
// few, t.here saves the way to another goroutine and back.
func (q *queue) do(t *ticket, j job, cancel <-chan struct{}, patient bool) error {
	t.job, t.patient = j, patient
	err := q.await(t, cancel)
	if err == nil && t.here && j.run() {
		q.leave()
	}
	t.job = nil
	return err
}

// await is the wait of both.
func (q *queue) await(t *ticket, cancel <-chan struct{}) error {
	if admitted, err := q.join(t); err != nil || admitted && t.here {
		return err
	}
	select {
	case err := <-t.called:
		return err
	case <-cancel:
	}
	if q.withdraw(t) {
		return errCanceled
	}
	err := <-t.called
	if err == nil && t.here {
		q.leave()
		return errCanceled
	}
	return err
}

// mostIdle goroutines are kept for the next jobs.
const mostIdle = 64

// start has the job of a ticket that is inside done. q.mu is held.
func (q *queue) start(t *ticket) {
	if q.idle > 0 {
		q.idle--
		q.jobs <- t
		return
	}
	go q.perform(t) // ends when the queue is closed, or enough others are idle
}

func (q *queue) perform(t *ticket) {
	for t != nil {
		jobs := q.performed(t.job.run())
		t.called <- nil
		if jobs == nil {
			return
		}
		t = <-jobs
	}
}

// performed leaves on behalf of a ticket whose job is done, if it is to be left. It returns where the next job comes from,
// and often is already; nil: there is none.
func (q *queue) performed(leaves bool) <-chan *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	stays := !q.closed && q.idle < mostIdle
	if stays {
		q.idle++
		if q.jobs == nil {
			q.jobs = make(chan *ticket, mostIdle)
		}
	}
	if leaves {
		q.inside--
		q.admit()
	}
	if stays {
		return q.jobs
	}
	return nil
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

// isShut reports whether the queue is paused.
func (q *queue) isShut() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shut
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
	if q.closed {
		return
	}
	q.closed = true
	for q.waiting.first != nil {
		q.call(q.waiting.first, errQueueClosed)
	}
	if q.timer != nil {
		q.timer.Stop()
	}
	if q.jobs != nil {
		close(q.jobs)
	}
}

// fewInLine is how many jobs wait, at most, for their owners to do them: the stacks of more would not stay in a cache.
const fewInLine = 32

// join admits t, or puts it in line.
func (q *queue) join(t *ticket) (admitted bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, errQueueClosed
	case q.most > 0 && !t.patient && q.inside+q.waiting.length >= q.most:
		return false, errQueueFull
	case !q.shut && q.inside < q.width: // then nobody waits
		q.inside++
		q.waited.observe(0)
		t.entered = time.Now()
		if !t.here {
			q.start(t)
		}
		return true, nil
	}
	t.arrived = time.Now()
	t.here = t.here && (t.job == nil || q.waiting.length < fewInLine)
	q.waiting.add(t)
	if !t.patient && !q.timing {
		q.startTimer(q.timeout)
	}
	return false, nil
}

// admit lets in who is due. q.mu is held.
func (q *queue) admit() {
	for !q.shut && q.inside < q.width && q.waiting.first != nil {
		q.inside++
		q.call(q.waiting.first, nil)
	}
}

// call tells one in line how its wait ended. q.mu is held.
func (q *queue) call(t *ticket, err error) {
	q.waiting.remove(t)
	if err == nil {
		t.entered = time.Now()
		q.waited.observe(t.entered.Sub(t.arrived))
	}
	if err == nil && t.job != nil && !t.here {
		q.start(t)
		return
	}
	t.called <- err
}

// withdraw takes t out of the line; false: it was called meanwhile.
func (q *queue) withdraw(t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !t.queued {
		return false
	}
	q.waiting.remove(t)
	return true
}

// expire ends the waits that have taken too long.
func (q *queue) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timing = false
	for t := q.waiting.first; t != nil && !q.closed; {
		next := t.next
		if !t.patient {
			if left := q.patience(t); left > 0 { // those behind have more
				q.startTimer(left)
				return
			}
			q.call(t, errNoWorker)
		}
		t = next
	}
}

// patience is how much longer t waits. While the queue is shut, nobody's time runs. q.mu is held.
func (q *queue) patience(t *ticket) time.Duration {
	if q.shut {
		return q.timeout
	}
	since := t.arrived
	if q.reopened.After(since) {
		since = q.reopened
	}
	return q.timeout - time.Since(since)
}

// startTimer is for all that wait: one that each of them had would be started and stopped for every packet. q.mu is held.
func (q *queue) startTimer(d time.Duration) {
	q.timing = true
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.expire)
	} else {
		q.timer.Reset(d)
	}
}

// line is a list of tickets. It needs no memory of its own.
type line struct {
	first, last *ticket
	length      int
}

func (l *line) add(t *ticket) {
	t.queued, t.prev = true, l.last
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	l.length++
}

func (l *line) remove(t *ticket) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.queued, t.prev, t.next = false, nil, nil
	l.length--
}
