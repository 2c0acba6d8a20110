package dispatch

import (
	"context"
	stderrors "errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// Dispatcher hands events to workers and brings back their answers.
type Dispatcher struct {
	Pool  Pool
	Queue *Queue
	// ExchangeCtx is cancelled when Stop can wait no longer: workers that are still at an exchange are killed. CloseCtx, its
	// parent, is cancelled later, for the exchanges of CLOSE. No other context with an end but a deadline reaches the pool.
	ExchangeCtx, CloseCtx context.Context
	// WorkerPerExec says that the pool starts a worker for each exchange (pool.debug).
	WorkerPerExec bool
	// HostDestroysPool says that the host, not the plugin, destroys the pool when RoadRunner stops.
	HostDestroysPool bool
	DestroyTimeout   time.Duration
	Log              *slog.Logger

	lastReset     time.Time // one reset runs at a time
	resetDuration time.Duration
	empty         atomic.Bool // the last reset failed, and the pool has no workers
	closeWarned   atomic.Bool // that workers do not answer CLOSE; once for each generation of workers
	destroyed     sync.Once   // a second Destroy of the pool may panic
}

// Call is what the exchanges of one connection have in common.
type Call struct {
	Event        wire.Event
	CloseTimeout time.Duration     // for the answer to CLOSE; 0: none
	Stats        *telemetry.Server // nil: nothing is counted
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
	return d.exchange(c, cancel, Payload{Context: context, Body: body})
}

// Exec is Exchange for a payload of another plugin's.
func (d *Dispatcher) Exec(p Payload) (Answer, error) {
	return d.offer(d.ExchangeCtx, new(Call), d.ExchangeCtx.Done(), p, 0)
}

func (d *Dispatcher) exchange(c *Call, cancel <-chan struct{}, p Payload) (Answer, error) {
	a, err := d.offer(d.ExchangeCtx, c, cancel, p, 0)
	if stderrors.Is(err, errNotSent) {
		a, err = d.offer(d.ExchangeCtx, c, cancel, p, 0)
	}
	return a, err
}

// HandOverClose offers the last event of a connection until a worker has it or the plugin stops. The answer does not matter,
// but a worker that does not answer within CloseTimeout is replaced.
func (d *Dispatcher) HandOverClose(c *Call, context []byte) {
	c.Event = wire.Close
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a, err := d.offer(d.CloseCtx, c, nil, Payload{Context: context}, c.CloseTimeout)
		if a.More != nil {
			a.More.End()
		}

		var f *Failure
		switch {
		case !stderrors.As(err, &f) || f.Reason == wire.ReasonShutdown:
			return
		case f.Reached:
			d.closeFailed(c, f)
			return
		}
		select {
		case <-d.CloseCtx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (d *Dispatcher) closeFailed(c *Call, f *Failure) {
	c.Stats.Failed(f.Kind())
	if errors.Is(errors.ExecTTL, f.Err) && d.closeWarned.CompareAndSwap(false, true) {
		d.Log.Warn("a worker did not answer CLOSE in time and was replaced; every event wants an answer, CLOSE too: "+
			"in PHP call $tcpWorker->read() or ->close() for TcpEvent::Close (said once until the workers are reset)",
			slog.Duration("close_timeout", c.CloseTimeout), slog.Any("error", f.Err))
		return
	}
	d.Log.LogAttrs(context.Background(), slog.LevelDebug, "CLOSE was not answered", slog.Any("error", f.Err))
}

// offer is one attempt to exchange p. The worker is killed when ctx ends, or when it takes longer than limit, if that is not 0.
// Without cancel the wait for a worker has no end.
func (d *Dispatcher) offer(ctx context.Context, c *Call, cancel <-chan struct{}, p Payload, limit time.Duration) (Answer, error) {
	for {
		pauses := d.Queue.pauses.Load()
		a, err := d.admitted(ctx, c, cancel, p, limit)
		// The pool counts the time of a Reset against an exchange that is between the queue and a worker.
		if stderrors.Is(err, errNoFree) && d.Queue.pauses.Load() != pauses {
			continue
		}
		if err != nil && FailureOf(err).Reason == wire.ReasonOverload {
			d.Queue.noFreeWorkers.Add(1)
		}
		return a, err
	}
}

// attempt is the memory that one exchange needs. It is used again, so that a connection that waits for its client has none.
type attempt struct {
	waiter  *waiter
	payload Payload
	stop    chan struct{} // closed to end a streamed answer; never used again then
}

var attempts = sync.Pool{New: func() any { return &attempt{waiter: newWaiter(), stop: make(chan struct{})} }}

// admitted makes an exchange inside of the queue. Its place is free again when the worker is: with the last frame.
func (d *Dispatcher) admitted(ctx context.Context, c *Call, cancel <-chan struct{}, p Payload, limit time.Duration) (got Answer, err error) {
	a := attempts.Get().(*attempt)
	if err := d.Queue.enter(a.waiter, cancel, cancel == nil); err != nil {
		attempts.Put(a)
		return Answer{}, queueFailure(err)
	}
	a.payload = p
	got, err = d.exec(ctx, c, a, limit)
	if got.More != nil {
		a.stop = make(chan struct{})
	} else {
		d.Queue.leave()
		if err == nil || FailureOf(err).Reached {
			c.Stats.Exchanged(c.Event, time.Since(a.waiter.admitted))
		}
	}
	a.payload = Payload{}
	attempts.Put(a)
	return got, err
}

func (d *Dispatcher) exec(ctx context.Context, c *Call, a *attempt, limit time.Duration) (got Answer, err error) {
	defer func() {
		if p := recover(); p != nil { // ends this exchange, not the process
			err = &Failure{Reason: wire.ReasonError, Reached: true, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	// Exec with a context that has ended takes a healthy worker and kills it.
	if ctx.Err() != nil {
		return Answer{}, &Failure{Reason: wire.ReasonShutdown, Err: errQueueClosed}
	}
	execCtx := ctx
	if limit > 0 {
		deadline, stop := newDeadlineContext(ctx, limit, d.WorkerPerExec)
		defer stop()
		execCtx = deadline
	}

	results, err := d.Pool.Exec(execCtx, &a.payload, a.stop)
	if err != nil {
		return Answer{}, poolFailure(err, ctx.Err() != nil)
	}
	first, err := results.Next(nil)
	if err != nil {
		return Answer{}, &Failure{Reason: wire.ReasonError, Reached: true, Err: err}
	}
	got = Answer{Context: first.Context, Body: first.Body, Codec: first.Codec}
	if first.Flags&wire.FlagStream != 0 {
		got.More = &poolFrames{dispatcher: d, call: c, begin: a.waiter.admitted, results: results, stop: a.stop}
	}
	return got, nil
}
