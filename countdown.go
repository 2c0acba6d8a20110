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
	cancel context.CancelFunc
	timer  *time.Timer // nil until the worker has the event
	after  time.Duration
	waited bool // the last context derived was to wait for a worker
	makes  bool // the pool makes a worker for each event
}

func newCountdown(parent context.Context, after time.Duration, makes bool) (*countdown, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	c := &countdown{Context: ctx, cancel: cancel, after: after, makes: makes}
	return c, c.stop
}

func (c *countdown) stop() {
	c.pause()
	c.cancel()
}

func (c *countdown) pause() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// Deadline is asked for by context.WithTimeout, once for each context that is derived.
func (c *countdown) Deadline() (time.Time, bool) {
	c.pause()
	c.waited = !c.waited && !c.makes
	if !c.waited {
		c.timer = time.AfterFunc(c.after, c.cancel)
	}
	return c.Context.Deadline()
}
