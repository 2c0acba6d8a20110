package dispatch

import (
	stderrors "errors"
	"fmt"
	"runtime/debug"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// Failure is an exchange without an answer.
type Failure struct {
	Reason  wire.Reason // why the connection ends because of it; ReasonNone: it was cancelled
	Reached bool        // a worker may have seen the event
	Err     error
	text    string // what Error returns; empty: as Err does
}

func (f *Failure) Error() string {
	if f.text != "" {
		return f.text
	}
	return f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failed returns the Failure of an error of the pool. Its text is fit for the log.
func failed(reason wire.Reason, reached bool, err error) *Failure {
	return &Failure{Reason: reason, Reached: reached, Err: err, text: telemetry.ErrorText(err)}
}

// FailureOf returns what the error of an exchange says.
func FailureOf(err error) *Failure {
	f := &Failure{Reason: wire.ReasonError, Reached: true, Err: err}
	stderrors.As(err, &f)
	return f
}

// Kind is how metrics count the failure.
func (f *Failure) Kind() telemetry.Failure {
	switch {
	case f.Reason == wire.ReasonOverload:
		return telemetry.FailureOverload
	case f.Reason == wire.ReasonShutdown, f.Reason == wire.ReasonNone:
		return telemetry.FailureNone
	case f.Reason == wire.ReasonReply:
		return telemetry.FailureReply
	case errors.Is(errors.SoftJob, f.Err):
		return telemetry.FailureError
	case errors.Is(errors.ExecTTL, f.Err):
		return telemetry.FailureTimeout
	default:
		return telemetry.FailureDied
	}
}

// ErrCanceled says that the connection was closed while an exchange waited.
var ErrCanceled = stderrors.New("the connection was closed while it waited for a worker")

var (
	errNotSent   = stderrors.New("the worker was gone before the event could be sent")
	errNoFree    = stderrors.New("the pool had no free worker within allocate_timeout")
	errNoReplies = stderrors.New("the worker answered a bulk with a frame without replies")
	errOverdue   = stderrors.New("the worker has not ended its answer in time")
	errBroken    = stderrors.New("the answer broke off between two frames")
)

// recovered, deferred, makes a panic the end of an exchange, not of the process.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = &Failure{Reason: wire.ReasonError, Reached: true, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
	}
}

// queueFailure is the Failure of an exchange that the queue did not admit.
func queueFailure(err error) *Failure {
	switch {
	case stderrors.Is(err, errQueueClosed):
		return &Failure{Reason: wire.ReasonShutdown, Err: err}
	case stderrors.Is(err, ErrCanceled):
		return &Failure{Reason: wire.ReasonNone, Err: err}
	default:
		return &Failure{Reason: wire.ReasonOverload, Err: err}
	}
}

// poolFailure is the Failure of an error of Pool.Exec. stopping reports whether Stop has cancelled the exchange.
func poolFailure(err error, stopping bool) *Failure {
	switch {
	case errors.Is(errors.WatcherStopped, err):
		return failed(wire.ReasonShutdown, false, err)
	case errors.Is(errors.NoFreeWorkers, err) && stopping:
		return failed(wire.ReasonShutdown, false, err)
	case errors.Is(errors.NoFreeWorkers, err):
		return failed(wire.ReasonOverload, false, fmt.Errorf("%w: %w", errNoFree, err))
	case errors.Is(errors.QueueSize, err), raisedBy(err, "allocate_dynamically"): // max_workers are at work
		return failed(wire.ReasonOverload, false, err)
	case errors.Is(errors.WorkerAllocate, err):
		return failed(wire.ReasonError, false, err)
	case raisedBy(err, "sync_worker_send_frame"): // a worker ignores half a frame
		return failed(wire.ReasonError, false, fmt.Errorf("%w: %w", errNotSent, err))
	case stopping:
		return failed(wire.ReasonShutdown, true, err)
	default:
		return failed(wire.ReasonError, true, err)
	}
}

// raisedBy reports whether an error of the pool comes from its operation op. Kinds are not enough: a frame that could not be
// sent and an answer that could not be read are both Network. These errors have no Unwrap.
func raisedBy(err error, op errors.Op) bool {
	e, ok := err.(*errors.Error)
	for ; ok; e, ok = e.Err.(*errors.Error) {
		if e.Op == op {
			return true
		}
	}
	return false
}
