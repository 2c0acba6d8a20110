package dispatch

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// attempt is one event on its way to a worker: its place in the queue, and how that ended. It is used again, for one event at a
// time, so that a connection that waits for its client has none.
type attempt struct {
	call    *Call
	payload Payload
	ctx     context.Context // the worker is killed when it ends
	limit   time.Duration   // for the answer; 0: none
	shares  bool            // may go to the worker together with others, see bulk
	// noTimeout says that neither allocate_timeout nor max_queue_size counts.
	noTimeout bool

	ready    chan error // cap 1; receives the end of the wait, unless withdraw came first
	arrived  time.Time
	admitted time.Time
	bulk     *bulk            // of those that the queue has admitted together with this one; nil: none
	stop     chan struct{}    // closed to end a streamed answer; never used again then
	deadline *deadlineContext // of limit; nil: none

	// How the exchange ended: what is set before errAnswered goes to ready, or by perform.
	answer Answer
	err    error

	queued     bool // in the wait list; guarded, as what follows, by the queue's mu
	prev, next *attempt
}

// errAnswered in ready says that the event went to a worker along with another one, and that answer and err are set.
var errAnswered = errors.New("the event was sent together with others")

func newAttempt() *attempt { return &attempt{ready: make(chan error, 1), stop: make(chan struct{})} }

var attempts = sync.Pool{New: func() any { return newAttempt() }}

// release lets a be used again. Nothing else refers to it any more.
func (a *attempt) release() {
	*a = attempt{ready: a.ready, stop: a.stop}
	attempts.Put(a)
}

// allowed returns how long the worker may take where there is a limit: that for each event.
func (a *attempt) allowed() time.Duration {
	events := a.bulk.len()
	if a.limit > math.MaxInt64/time.Duration(events) {
		return math.MaxInt64
	}
	return a.limit * time.Duration(events)
}

// size returns how many bytes the worker gets.
func (a *attempt) size() int { return len(a.payload.Context) + len(a.payload.Body) }

// goesWith reports whether a and other may be one exchange: it has one context and one limit.
func (a *attempt) goesWith(other *attempt) bool {
	return a.shares && other.shares && a.ctx == other.ctx && a.limit == other.limit
}
