package dispatch

import (
	"context"
	stderrors "errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// Dispatcher hands events to workers and brings back their answers.
type Dispatcher struct {
	Pool   Pool
	Queue  *Queue
	Starts *Starts // what Pool was made with
	// ExchangeCtx is cancelled when Stop can wait no longer: workers that are still at an exchange are killed. CloseCtx, its
	// parent, is cancelled later, for the exchanges of CLOSE. No other context with an end but a deadline reaches the pool.
	ExchangeCtx, CloseCtx context.Context
	PoolTraits
	DestroyTimeout time.Duration
	Log            *slog.Logger

	lastReset     time.Time // one reset runs at a time
	resetDuration time.Duration
	empty         atomic.Bool           // the last reset failed, and the pool has no workers
	resetError    atomic.Pointer[error] // of that reset
	resetPause    time.Duration         // before Maintain tries that reset again, at nextReset
	nextReset     time.Time
	stopping      atomic.Bool // the host may destroy the pool
	gone          atomic.Bool // the pool is destroyed
	adding        atomic.Bool // a worker that is not counted yet
	missing       missingWorkers
	unanswered    atomic.Bool  // a worker of this generation did not answer CLOSE in time
	closeWarned   atomic.Bool  // that workers do not answer CLOSE; once for each generation of workers
	astrayLook    atomic.Int64 // when replaceAstray has looked last, in nanoseconds
	astrayWarned  atomic.Bool  // that answers go astray; once for each generation of workers
	aheadWarned   atomic.Bool  // that a worker answers CLOSE with a text; once for each generation of workers
	bulkBegun     atomic.Bool  // a worker has begun to answer a bulk rightly
	bulkAnswered  atomic.Bool  // a worker has answered a bulk rightly, to its end
	bulkSaid      atomic.Int32 // what the log has said of workers that may not know bulks; for each generation of workers
	destroyed     sync.Once    // a second Destroy of the pool may panic

	killing sync.Mutex
	killed  map[Worker]bool // by killSince, and still listed; guarded by killing
}

// Call is what the exchanges of one connection have in common.
type Call struct {
	Event        wire.Event
	CloseTimeout time.Duration     // for the answer to CLOSE; 0: none
	Stats        *telemetry.Server // nil: nothing is counted
	Shares       bool              // the event may go to a worker together with those of other connections
}

// Answer is one frame of a worker's answer.
type Answer struct {
	Context, Body []byte
	Codec         byte
	More          Frames // of a streamed answer; nil: the answer is complete. The caller must End it.
}

// Exchange waits for a worker, hands it one event and waits for the answer. An event that certainly never reached a worker is
// offered once more. Closing cancel ends the wait for a worker, but not the work of one. The error is a *Failure.
func (d *Dispatcher) Exchange(c *Call, cancel <-chan struct{}, context, body []byte) (Answer, error) {
	p := Payload{Context: context, Body: body}
	a, err := d.offer(d.ExchangeCtx, c, cancel, p, 0)
	if stderrors.Is(err, errNotSent) {
		a, err = d.offer(d.ExchangeCtx, c, cancel, p, 0)
	}
	return a, err
}

// Exec is Exchange for a payload of another plugin's.
func (d *Dispatcher) Exec(p Payload) (Answer, error) {
	return d.offer(d.ExchangeCtx, new(Call), d.ExchangeCtx.Done(), p, 0)
}

// offer is one attempt to exchange p. The worker is killed when ctx ends, or when it takes longer than limit, if that is not 0.
// Without cancel the wait for a worker has no end.
func (d *Dispatcher) offer(ctx context.Context, c *Call, cancel <-chan struct{}, p Payload, limit time.Duration) (Answer, error) {
	begin, renewals, retried := time.Now(), d.Queue.renewals.Load(), false
	for {
		answer, err := d.attempt(ctx, c, cancel, p, limit)
		if stderrors.Is(err, errNoFree) {
			// The pool counts the time of a Reset against an exchange that is between the queue and a worker.
			if now := d.Queue.renewals.Load(); now != renewals {
				renewals = now
				continue
			}
			if (d.RetryNoFree || d.Queue.IsPaused() && time.Since(begin) < d.Queue.timeout) && !retried {
				retried = true
				continue
			}
		}
		if err != nil && FailureOf(err).Reason == wire.ReasonOverload {
			d.Queue.noFreeWorkers.Add(1)
		}
		return answer, err
	}
}

// attempt waits in the queue and makes the exchange when it is admitted, unless another one has taken it along.
func (d *Dispatcher) attempt(ctx context.Context, c *Call, cancel <-chan struct{}, p Payload, limit time.Duration) (Answer, error) {
	a := attempts.Get().(*attempt)
	defer a.release()
	a.call, a.payload, a.ctx, a.limit, a.shares, a.noTimeout = c, p, ctx, limit, c.Shares, cancel == nil
	switch err := d.Queue.enter(a, cancel); {
	case err == nil:
		d.perform(a)
	case !stderrors.Is(err, errAnswered):
		return Answer{}, queueFailure(err)
	}
	if a.answer.More == nil && (a.err == nil || FailureOf(a.err).Reached) {
		c.Stats.Exchanged(c.Event, time.Since(a.admitted))
	}
	return a.answer, a.err
}

// perform makes the exchange of a, which the queue has admitted, and of those that it has taken along. Its place is free again
// when the worker is: with the last frame.
func (d *Dispatcher) perform(a *attempt) {
	if d.Queue.Bulk.MaxEvents > 0 {
		d.Queue.events.Observe(float64(a.bulk.len()))
	}
	if a.call.Event == wire.Close {
		a.limit = d.closeTimeout(a.call) // others may not have answered while this one waited
	}
	first, results, err := d.exec(a)
	if a.call.Event == wire.Close && isUnanswered(err) {
		d.unanswered.Store(true) // before the next one has its place
	}
	var rest *poolFrames // nil: first is the whole answer
	if err == nil && first.Flags&wire.FlagStream != 0 {
		rest = d.newFrames(a, results)
	} else {
		a.deadline.stop()
		if err == nil && isAhead(a, first) {
			d.replaceAhead(a)
		}
		d.replaceAstray() // while nobody can take the worker that is free now
		d.Queue.leave()
	}
	switch {
	case a.bulk != nil:
		d.answerBulk(a.bulk, first, rest, err)
	case err != nil:
		a.err = err
	default:
		a.answer = Answer{Context: first.Context, Body: first.Body, Codec: first.Codec}
		if rest != nil {
			rest.stats, rest.event = a.call.Stats, a.call.Event
			a.answer.More = rest
		}
	}
}

// exec hands the event of a, or its bulk, to a worker and waits for the first frame of the answer.
func (d *Dispatcher) exec(a *attempt) (first *Payload, results Results, err error) {
	defer recovered(&err)
	// Exec with a context that has ended takes a healthy worker and kills it.
	if a.ctx.Err() != nil {
		return nil, nil, &Failure{Reason: wire.ReasonShutdown, Err: errQueueClosed}
	}
	request, ctx := &a.payload, a.ctx
	if a.bulk != nil {
		request = a.bulk.payload()
		defer d.watchFirstBulk()()
	}
	if a.limit > 0 {
		a.deadline = newDeadlineContext(ctx, a.allowed(), d.WorkerPerExec)
		ctx = a.deadline
	}

	results, err = d.Pool.Exec(ctx, request, a.stop)
	if err != nil {
		return nil, nil, poolFailure(err, a.ctx.Err() != nil)
	}
	first, err = results.Next(nil)
	if err != nil {
		return nil, nil, failed(wire.ReasonError, true, err)
	}
	return first, results, nil
}
