package dispatch

import (
	stderrors "errors"
	"io"
	"time"

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

// poolFrames come from the pool, which buffers a few and then waits: a caller that takes no more must End them. exec_ttl bounds
// the wait for each.
type poolFrames struct {
	dispatcher *Dispatcher
	stats      *telemetry.Server // nil: nothing is counted
	event      wire.Event
	begin      time.Time // when the pool got the event
	results    Results
	stop       chan struct{} // closed by End
	ended      bool
}

func (f *poolFrames) Next(cancel <-chan struct{}) (frame Answer, last bool, err error) {
	p, err := f.results.Next(cancel)
	switch {
	case stderrors.Is(err, ErrCanceled):
		return Answer{}, false, &Failure{Reached: true, Err: err}
	case stderrors.Is(err, io.EOF):
		return Answer{}, false, &Failure{Reason: wire.ReasonError, Reached: true, Err: errBroken}
	case err != nil && f.dispatcher.ExchangeCtx.Err() != nil:
		return Answer{}, false, &Failure{Reason: wire.ReasonShutdown, Reached: true, Err: err}
	case err != nil:
		return Answer{}, false, &Failure{Reason: wire.ReasonError, Reached: true, Err: err}
	}
	return Answer{Context: p.Context, Body: p.Body}, p.Flags&wire.FlagStream == 0, nil
}

func (f *poolFrames) End() {
	if f.ended {
		return
	}
	f.ended = true
	d := f.dispatcher
	defer d.Queue.leave()
	defer func() { f.stats.Exchanged(f.event, time.Since(f.begin)) }()
	close(f.stop)
	if f.drain(d.ExchangeCtx.Done()) {
		return
	}

	// A worker may be silent for as long as exec_ttl, and between frames the pool heeds no context: all at work are killed.
	for _, w := range d.Pool.Workers() {
		if !w.Is(telemetry.WorkerReady) {
			_ = w.Kill()
		}
	}
	if !d.WorkerPerExec { // else its worker is in no list and ends with RoadRunner
		f.drain(nil)
	}
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
