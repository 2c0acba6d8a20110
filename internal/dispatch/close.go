package dispatch

import (
	"context"
	stderrors "errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// minCloseTimeout is the least that a worker has for its answer to CLOSE because others did not answer, unless close_timeout is less.
const minCloseTimeout = time.Second

// HandOverClose offers the last event of a connection until a worker has it or the plugin stops. The answer does not matter,
// but a worker that does not answer within closeTimeout is replaced.
func (d *Dispatcher) HandOverClose(c *Call, context []byte) {
	c.Event = wire.Close
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a, err := d.offer(d.CloseCtx, c, nil, Payload{Context: context}, c.CloseTimeout)
		if rest, isStreamed := a.More.(*poolFrames); isStreamed {
			if rest.End(); rest.overdue {
				err = rest.cutOff()
			}
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
	if isUnanswered(f) && d.closeWarned.CompareAndSwap(false, true) {
		d.Log.Warn("a worker did not answer CLOSE in time and was replaced, which the pool logs as \"execTTL timeout elapsed\"; "+
			"every event wants an answer, CLOSE too: in PHP call $tcpWorker->read() or ->close() for TcpEvent::Close, or set "+
			"events: [CONNECTED, DATA] for the server; until the workers are reset others have less time, and this is said once",
			slog.Duration("close_timeout", c.CloseTimeout), slog.Duration("from_now_on", d.closeTimeout(c)), slog.Any("error", f))
		return
	}
	d.Log.LogAttrs(context.Background(), slog.LevelDebug, "CLOSE was not answered", slog.Any("error", f))
}

// isUnanswered reports whether the worker had the event, and was killed because it took too long.
func isUnanswered(err error) bool {
	var f *Failure
	return stderrors.As(err, &f) && errors.Is(errors.ExecTTL, f.Err)
}

// closeTimeout is how long a worker may take for its answer to CLOSE: where one of its generation did not answer, others most
// likely do not either, and each would be busy with nothing for the whole of close_timeout.
func (d *Dispatcher) closeTimeout(c *Call) time.Duration {
	if !d.unanswered.Load() {
		return c.CloseTimeout
	}
	return min(c.CloseTimeout, max(c.CloseTimeout/10, minCloseTimeout))
}

// isAhead reports whether the answer to a is one for a client that has none any more: CLOSE was answered with a text to write. It is
// the answer to an event before, of this client or another one, and the worker goes on so.
func isAhead(a *attempt, answer *Payload) bool {
	word := string(answer.Context)
	return a.call.Event == wire.Close && a.bulk == nil && len(answer.Body) > 0 &&
		(word == wire.WordWrite || word == wire.WordWriteClose)
}

// replaceAhead replaces the worker that has just answered a, if it can be told which one that was: the pool does not say. It is the
// only one that got an event since.
func (d *Dispatcher) replaceAhead(a *attempt) {
	var maybe []Worker
	for _, w := range d.Pool.Workers() {
		if !w.LastUsed().Before(a.admitted) {
			maybe = append(maybe, w)
		}
	}
	isReplaced := len(maybe) == 1 && maybe[0].Is(telemetry.WorkerReady)
	if isReplaced {
		_ = maybe[0].Kill()
		maybe[0].Reap()
	}
	d.Log.LogAttrs(context.Background(), warnOnce(&d.aheadWarned), "a worker answered CLOSE with a text for its client: it most likely answers another event "+
		"twice, and answers go to other clients; answer each event once, and CLOSE with CONTINUE, in PHP $tcpWorker->read() "+
		"(a warning once until the workers are reset)", slog.Bool("replaced", isReplaced))
}

// warnOnce returns the level of what is a warning the first time.
func warnOnce(warned *atomic.Bool) slog.Level {
	if warned.CompareAndSwap(false, true) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
