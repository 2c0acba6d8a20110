// Package dispatchtest is for tests of what hands events to workers: a pool whose workers are functions of the test.
package dispatchtest

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// Work is what a worker does with one event. When ctx ends, the worker is killed. Closing stop ends an answer of several frames.
type Work func(ctx context.Context, event *dispatch.Payload, stop chan struct{}) (dispatch.Results, error)

// Pool is a pool of workers that all do the same.
type Pool struct {
	mu      sync.Mutex
	work    Work
	workers []*Worker
	lastPid int64
	calls   []string         // names of operations in order: add, remove, reset, destroy
	fails   map[string]error // by name of an operation
}

var (
	_ dispatch.Pool   = (*Pool)(nil)
	_ dispatch.Worker = (*Worker)(nil)
)

// NewPool starts a pool of n workers.
func NewPool(n int, work Work) *Pool {
	p := &Pool{work: work, fails: make(map[string]error)}
	for range n {
		p.start()
	}
	return p
}

func (p *Pool) start() {
	p.lastPid++
	p.workers = append(p.workers, &Worker{pool: p, pid: p.lastPid, state: telemetry.WorkerReady})
}

// Do makes the workers do work with the events that they get from now on.
func (p *Pool) Do(work Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.work = work
}

// Fail makes an operation fail from now on; nil: succeed.
func (p *Pool) Fail(operation string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails[operation] = err
}

// Calls returns the operations in their order.
func (p *Pool) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// call notes an operation and returns its error. p.mu is held.
func (p *Pool) call(operation string) error {
	p.calls = append(p.calls, operation)
	return p.fails[operation]
}

// Workers is of dispatch.Pool.
func (p *Pool) Workers() []dispatch.Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]dispatch.Worker, len(p.workers))
	for i, w := range p.workers {
		all[i] = w
	}
	return all
}

// AddWorker is of dispatch.Pool.
func (p *Pool) AddWorker() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.call("add"); err != nil {
		return err
	}
	p.start()
	return nil
}

// RemoveWorker is of dispatch.Pool. It ends a worker that is ready.
func (p *Pool) RemoveWorker(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.call("remove"); err != nil {
		return err
	}
	i := slices.IndexFunc(p.workers, func(w *Worker) bool { return w.state == telemetry.WorkerReady })
	if i < 0 {
		return errors.E(errors.NoFreeWorkers, errors.Str("no worker is ready"))
	}
	p.workers = slices.Delete(p.workers, i, i+1)
	return nil
}

// Exec is of dispatch.Pool. It does not wait for a worker.
func (p *Pool) Exec(ctx context.Context, event *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
	w, work := p.take()
	if w == nil {
		return nil, errors.E(errors.NoFreeWorkers, errors.Str("no worker is ready"))
	}
	results, err := work(ctx, event, stop)
	if ctx.Err() != nil {
		_ = w.Kill()
		w.Reap()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.start()
		return results, err
	}
	w.move(telemetry.WorkerWorking, telemetry.WorkerReady)
	p.replaceKilled(w)
	return results, err
}

// replaceKilled starts a worker for w where that was killed at its work.
func (p *Pool) replaceKilled(w *Worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.workers, w); i >= 0 && w.kills > 0 {
		p.workers = slices.Delete(p.workers, i, i+1)
		p.start()
	}
}

// take returns a worker that is ready, as busy, and what it does with an event; nil: none is.
func (p *Pool) take() (*Worker, Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.state == telemetry.WorkerReady {
			w.state, w.lastUsed = telemetry.WorkerWorking, time.Now()
			return w, p.work
		}
	}
	return nil, nil
}

// Reset is of dispatch.Pool. It waits until all workers are ready, or ctx ends.
func (p *Pool) Reset(ctx context.Context) error {
	for !p.allReady() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.workers)
	p.workers = nil
	if err := p.call("reset"); err != nil {
		return err
	}
	for range max(n, 1) {
		p.start()
	}
	return nil
}

func (p *Pool) allReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.workers, func(w *Worker) bool { return w.state != telemetry.WorkerReady })
}

// Destroy is of dispatch.Pool. It waits for workers that are not killed as long as ctx lets it.
func (p *Pool) Destroy(ctx context.Context) {
	for {
		p.mu.Lock()
		busy := slices.ContainsFunc(p.workers, func(w *Worker) bool { return w.state == telemetry.WorkerWorking })
		if !busy || ctx.Err() != nil {
			_ = p.call("destroy")
			p.workers = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// Worker is a worker of a Pool.
type Worker struct {
	pool     *Pool
	pid      int64
	state    int64 // guarded by the pool's mu, as what follows
	lastUsed time.Time
	kills    int
}

// Is is of dispatch.Worker.
func (w *Worker) Is(state int64) bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	return w.state == state
}

func (w *Worker) move(from, to int64) {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.state == from {
		w.state = to
	}
}

// Pid is of dispatch.Worker.
func (w *Worker) Pid() int64 { return w.pid }

// Exists is of dispatch.Worker.
func (w *Worker) Exists() bool { return true }

// Execs is of dispatch.Worker. It counts none: the worker has no pipe to look into.
func (*Worker) Execs() uint64 { return 0 }

// Retire is of dispatch.Worker.
func (w *Worker) Retire() {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.state = telemetry.WorkerDestroyed
}

// Kill is of dispatch.Worker.
func (w *Worker) Kill() error {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.kills++
	w.state = telemetry.WorkerDestroyed
	return nil
}

// LastUsed is of dispatch.Worker.
func (w *Worker) LastUsed() time.Time {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	return w.lastUsed
}

// Reap is of dispatch.Worker. It removes workers that are dead from the pool.
func (w *Worker) Reap() {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.pool.workers = slices.DeleteFunc(w.pool.workers, func(w *Worker) bool { return w.state == telemetry.WorkerDestroyed })
}

// ConfirmEnd is of dispatch.Worker.
func (*Worker) ConfirmEnd() {}

// Stats is of dispatch.Worker.
func (w *Worker) Stats() (*telemetry.Worker, error) {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.state == telemetry.WorkerDestroyed {
		return nil, errors.Str("no such process")
	}
	status := map[int64]string{telemetry.WorkerReady: "ready", telemetry.WorkerWorking: "working"}[w.state]
	return &telemetry.Worker{Pid: w.pid, Status: w.state, StatusStr: status}, nil
}

// Kills returns how often the worker was killed.
func (w *Worker) Kills() int {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	return w.kills
}

// Frames are the frames of an answer, one after the other, and then the end.
type Frames []*dispatch.Payload

// Answer is an answer of one frame.
func Answer(context, body string) dispatch.Results {
	return &Frames{{Context: []byte(context), Body: []byte(body)}}
}

// Next is of dispatch.Results.
func (f *Frames) Next(<-chan struct{}) (*dispatch.Payload, error) {
	if len(*f) == 0 {
		return nil, io.EOF
	}
	first := (*f)[0]
	*f = (*f)[1:]
	return first, nil
}
