package tcp

import (
	"context"
	"time"
)

// countdown is a context that ends some time after the worker got the event, however long the pool waited for a worker: a
// time that is over when it has one would kill that worker over an event it has not seen. The pool derives a context to
// wait for a worker, and one more when it has it; where it makes a worker for each event, only the latter.
type countdown struct {
	context.Context
	timer  *time.Timer // stopped at first
	after  time.Duration
	waited bool // the last context derived was to wait for a worker
	makes  bool // the pool makes a worker for each event
}

func newCountdown(parent context.Context, after time.Duration, makes bool) (*countdown, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	c := &countdown{Context: ctx, after: after, makes: makes, timer: time.AfterFunc(time.Hour, cancel)}
	c.timer.Stop()
	return c, func() {
		c.timer.Stop()
		cancel()
	}
}

// Deadline is asked for by context.WithTimeout, once for each context that is derived.
func (c *countdown) Deadline() (time.Time, bool) {
	if c.waited || c.makes {
		c.timer.Reset(c.after)
		c.waited = false
	} else {
		c.timer.Stop()
		c.waited = true
	}
	return c.Context.Deadline()
}
