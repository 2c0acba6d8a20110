package dispatch

import (
	"context"
	"time"
)

// deadlineContext ends some time after a worker got the event, however long the pool waited for that worker: a deadline that
// is over by then would kill the worker over an event that it has not seen.
//
// The pool derives one context to wait for a worker and one more when it has the worker, and begins anew when that worker was
// no good; a pool that makes a worker for each event derives the second one only. context.WithTimeout asks for the parent's
// Deadline each time. The tests of a real pool fail where that changes.
type deadlineContext struct {
	context.Context // ends with parent; another one for each worker
	parent          context.Context
	cancel          context.CancelFunc
	timer           *time.Timer // nil until a worker has the event
	begin           time.Time   // when that was
	limit           time.Duration
	waiting         bool // the last context derived was to wait for a worker
	answered        bool // the worker has begun to answer
	workerPerExec   bool
}

// newDeadlineContext returns a context that also ends with parent. stop must follow.
func newDeadlineContext(parent context.Context, limit time.Duration, workerPerExec bool) *deadlineContext {
	c := &deadlineContext{parent: parent, limit: limit, workerPerExec: workerPerExec, begin: time.Now()}
	c.Context, c.cancel = context.WithCancel(parent)
	return c
}

// stop releases c; nil: there is nothing to release.
func (c *deadlineContext) stop() {
	if c != nil {
		c.stopTimer()
		c.cancel()
	}
}

// answer ends the limit: from now on the context ends with its parent only, or when it is released. It returns when the worker's
// time is over.
func (c *deadlineContext) answer() (deadline time.Time) {
	c.stopTimer()
	c.answered = true
	return c.begin.Add(c.limit)
}

func (c *deadlineContext) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// Deadline notes that a context is derived, and starts the time where that one is for a worker that has the event.
func (c *deadlineContext) Deadline() (time.Time, bool) {
	if c.answered { // the context is for ending a streamed answer
		return c.Context.Deadline()
	}
	c.stopTimer()
	c.waiting = !c.waiting && !c.workerPerExec
	switch {
	case c.waiting && c.timer != nil: // anew; the time of the worker before may be over: the pool has waited for its end
		c.cancel()
		c.Context, c.cancel = context.WithCancel(c.parent)
	case !c.waiting:
		c.begin = time.Now()
		c.timer = time.AfterFunc(c.limit, c.cancel)
	}
	return c.Context.Deadline()
}
