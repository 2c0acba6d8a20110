package tcp

import (
	"context"
	"io"
	"time"

	"github.com/roadrunner-server/pool/v2/payload"
	staticPool "github.com/roadrunner-server/pool/v2/pool/static_pool"
	"github.com/roadrunner-server/pool/v2/worker"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/telemetry"
)

var (
	_ dispatch.Pool    = workerPool{}
	_ dispatch.Worker  = workerProcess{}
	_ dispatch.Results = results(nil)
)

// workerPool is RoadRunner's pool as internal/dispatch calls it.
type workerPool struct {
	*staticPool.Pool
	first *worker.Process // that the pool started with; nil with pool.debug
}

func poolOf(p *staticPool.Pool, err error) (dispatch.Pool, error) {
	if err != nil {
		return nil, err
	}
	pool := workerPool{Pool: p}
	if workers := p.Workers(); len(workers) > 0 {
		pool.first = workers[0]
	}
	return pool, nil
}

func (p workerPool) Workers() []dispatch.Worker {
	processes := p.Pool.Workers()
	workers := make([]dispatch.Worker, len(processes))
	for i, w := range processes {
		workers[i] = workerProcess{w, p.first}
	}
	return workers
}

func (p workerPool) Exec(ctx context.Context, request *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
	frames, err := p.Pool.Exec(ctx, (*payload.Payload)(request), stop)
	return results(frames), err
}

// results are the frames of an answer. The pool closes the channel when the worker is free.
type results chan *staticPool.PExec

func (r results) Next(cancel <-chan struct{}) (*dispatch.Payload, error) {
	select {
	case frame, ok := <-r:
		switch {
		case !ok:
			return nil, io.EOF
		case frame.Error() != nil:
			return nil, frame.Error()
		}
		return (*dispatch.Payload)(frame.Payload()), nil
	case <-cancel:
		return nil, dispatch.ErrCanceled
	}
}

// workerProcess is a worker as internal/dispatch looks after it.
type workerProcess struct {
	*worker.Process
	first *worker.Process
}

func (w workerProcess) Is(state int64) bool { return w.State().Compare(state) }

func (w workerProcess) Execs() uint64 { return w.State().NumExecs() }

func (w workerProcess) Retire() { w.State().Transition(telemetry.WorkerDestroyed) }

func (w workerProcess) LastUsed() time.Time { return time.Unix(0, int64(w.State().LastUsed())) } // it is UnixNano

func (w workerProcess) Exists() bool { return dispatch.Exists(w.Pid()) }

// Reap calls the pool by way of the first worker, dead or alive: all have the same callback, but a reset sets those of new ones
// after it lists them.
func (w workerProcess) Reap() {
	if w.first != nil {
		w.first.Callback()
	}
}

// ConfirmEnd calls Wait once more, which tells Stop that the process has ended.
func (w workerProcess) ConfirmEnd() {
	go func() { _ = w.Wait() }() // ends when Stop has been told
}

func (w workerProcess) Stats() (*telemetry.Worker, error) {
	state := w.State()
	stats := &telemetry.Worker{
		Pid: w.Pid(), Status: state.CurrentState(), StatusStr: state.String(), NumExecs: state.NumExecs(),
		Created: w.Created().UnixNano(),
	}
	return stats, stats.Measure()
}
