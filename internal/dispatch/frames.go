package dispatch

import (
	"context"
	stderrors "errors"
	"io"
	"slices"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// Frames are the rest of a streamed answer, while its worker is at it.
type Frames interface {
	// Next waits for the next frame. An error is the end of the answer, without a last frame; it is a *Failure.
	Next(cancel <-chan struct{}) (frame Answer, last bool, err error)
	// End asks the worker to stop, if it has not, and waits until it is free. Further calls do nothing.
	End()
}

const (
	// killInterval lies between two attempts to end a worker that has taken too long.
	killInterval = time.Second
	// lastFramesWait is for frames that are there already: their worker may be free.
	lastFramesWait = 10 * time.Millisecond
)

// poolFrames come from the pool, which buffers a few and then waits: a caller that takes no more must End them. exec_ttl bounds
// the wait for each.
type poolFrames struct {
	dispatcher *Dispatcher
	stats      *telemetry.Server // nil: nothing is counted
	event      wire.Event
	begin      time.Time          // when the worker got the event, or, without a deadline, the pool
	ctx        context.Context    // the worker is killed when it ends
	release    context.CancelFunc // of ctx
	deadline   *deadlineContext   // what the pool has; nil: the answer has no limit
	results    Results
	stop       chan struct{} // closed by End
	isLast     bool          // the last frame was taken
	ended      bool
	overdue    bool // the worker was killed because the answer took too long
}

// newFrames returns the rest of the answer to a. It takes over a's channel stop and its deadline.
func (d *Dispatcher) newFrames(a *attempt, results Results) *poolFrames {
	f := &poolFrames{dispatcher: d, begin: a.admitted, ctx: a.ctx, release: func() {}, deadline: a.deadline, results: results, stop: a.stop}
	a.stop = make(chan struct{})
	if f.deadline == nil {
		return f
	}
	f.begin = f.deadline.begin
	end := f.deadline.answer()
	if !d.WorkerPerExec { // else it can't be killed
		f.ctx, f.release = context.WithDeadline(a.ctx, end)
	}
	return f
}

func (f *poolFrames) Next(cancel <-chan struct{}) (frame Answer, last bool, err error) {
	defer recovered(&err)
	p, err := f.results.Next(cancel)
	switch {
	case stderrors.Is(err, ErrCanceled):
		return Answer{}, false, &Failure{Reached: true, Err: err}
	case stderrors.Is(err, io.EOF):
		return Answer{}, false, &Failure{Reason: wire.ReasonError, Reached: true, Err: errBroken}
	case err != nil && f.dispatcher.ExchangeCtx.Err() != nil:
		return Answer{}, false, failed(wire.ReasonShutdown, true, err)
	case err != nil:
		return Answer{}, false, failed(wire.ReasonError, true, err)
	}
	f.isLast = p.Flags&wire.FlagStream == 0
	return Answer{Context: p.Context, Body: p.Body}, f.isLast, nil
}

func (f *poolFrames) End() {
	if f.ended {
		return
	}
	f.ended = true
	d := f.dispatcher
	defer d.Queue.leave()
	defer func() { f.stats.Exchanged(f.event, time.Since(f.begin)) }()
	defer f.deadline.stop()
	defer f.release()
	close(f.stop)
	switch {
	case f.isLast: // then the worker is free at once, and no other one must suffer
		f.drain(nil)
	case f.drain(f.ctx.Done()):
	case !d.WorkerPerExec: // else the worker is in no list, and ends with RoadRunner
		if f.overdue = f.isOverdue(); f.overdue {
			d.unanswered.Store(true) // before the next one has its place
		}
		f.kill()
	}
}

// isOverdue reports whether the worker has had more time for its answer than it may take.
func (f *poolFrames) isOverdue() bool { return stderrors.Is(f.ctx.Err(), context.DeadlineExceeded) }

// cutOff is the Failure of an answer that was waited for until ctx ended.
func (f *poolFrames) cutOff() *Failure {
	if f.isOverdue() {
		return &Failure{Reason: wire.ReasonError, Reached: true, Err: errors.E(errors.ExecTTL, errOverdue)}
	}
	return &Failure{Reason: wire.ReasonShutdown, Reached: true, Err: f.ctx.Err()}
}

// kill kills the worker of this answer, and waits until its place is free.
func (f *poolFrames) kill() {
	d, last := f.dispatcher, Worker(nil)
	for wait := lastFramesWait; !f.drainFor(wait); wait = killInterval {
		if last == nil || !slices.Contains(d.Pool.Workers(), last) { // else it may be the one: a busy machine takes longer to end it
			last = d.killSince(f.begin)
		}
	}
}

// killSince kills the worker of an answer. The pool does not tell which one that is: of those that are not idle and that nobody has
// killed yet it is the one that got its event first since then. Where another one was quicker, and is as slow, the next attempt finds
// this one. It returns the worker; nil: there is none.
func (d *Dispatcher) killSince(begin time.Time) (found Worker) {
	d.killing.Lock()
	defer d.killing.Unlock()
	killed := make(map[Worker]bool) // of those that are still listed
	for _, w := range d.Pool.Workers() {
		if d.killed[w] {
			killed[w] = true
			continue
		}
		maybe := !w.Is(telemetry.WorkerReady) && !w.LastUsed().Before(begin)
		if maybe && (found == nil || w.LastUsed().Before(found.LastUsed())) {
			found = w
		}
	}
	if found != nil {
		_ = found.Kill()
		killed[found] = true
	}
	d.killed = killed
	return found
}

func (f *poolFrames) drainFor(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return f.drain(ctx.Done())
}

// drain drops frames until the worker is free; false: cancel was closed first.
func (f *poolFrames) drain(cancel <-chan struct{}) bool {
	for {
		switch _, err := f.results.Next(cancel); {
		case stderrors.Is(err, io.EOF):
			return true
		case stderrors.Is(err, ErrCanceled):
			return false
		}
	}
}
