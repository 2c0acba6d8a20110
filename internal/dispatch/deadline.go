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
	context.Context
	cancel        context.CancelFunc
	timer         *time.Timer // nil until a worker has the event
	limit         time.Duration
	waiting       bool // the last context derived was to wait for a worker
	workerPerExec bool
}

// newDeadlineContext returns a context that also ends with parent. stop releases it.
func newDeadlineContext(parent context.Context, limit time.Duration, workerPerExec bool) (ctx *deadlineContext, stop func()) {
	c := &deadlineContext{limit: limit, workerPerExec: workerPerExec}
	c.Context, c.cancel = context.WithCancel(parent)
	return c, c.stop
}

func (c *deadlineContext) stop() {
	c.stopTimer()
	c.cancel()
}

func (c *deadlineContext) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// Deadline notes that a context is derived, and starts the time where that one is for a worker that has the event.
func (c *deadlineContext) Deadline() (time.Time, bool) {
	c.stopTimer()
	c.waiting = !c.waiting && !c.workerPerExec
	if !c.waiting {
		c.timer = time.AfterFunc(c.limit, c.cancel)
	}
	return c.Context.Deadline()
}
