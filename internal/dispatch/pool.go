// Package dispatch hands events to workers: the queue in front of the pool, exchanges, retries, the last event of a
// connection, and keeping the pool's workers in order. It knows neither sockets nor configuration, and RoadRunner's pool only as
// the interface Pool, which the plugin of each RoadRunner line implements.
package dispatch

import (
	"context"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// What pools are made with where the configuration says nothing.
const (
	// DefaultExecTTL bounds exchanges that could not be interrupted otherwise: only a supervised pool heeds a context.
	DefaultExecTTL = time.Hour
	// IdleWatchTick is the watch_tick of a supervisor without limits to enforce: each look at the workers takes a descriptor of each
	// worker until the next garbage collection.
	IdleWatchTick = time.Hour
)

// Payload is what goes to a worker and comes back. It has the shape of payload.Payload of every RoadRunner line: pointers
// convert without a copy.
type Payload struct {
	Context []byte
	Body    []byte
	Codec   byte
	Flags   byte
}

// Pool is RoadRunner's pool of workers. Errors are the pool's own, of the package github.com/roadrunner-server/errors.
type Pool interface {
	// Workers lists all workers, those that are dead but not reaped included.
	Workers() []Worker
	AddWorker() error
	RemoveWorker(ctx context.Context) error
	// Exec waits for a worker, hands it p and waits for the first frame of its answer. Closing stop ends an answer that comes
	// as a stream. When ctx ends, the worker is killed. p is not used any more when Exec returns.
	Exec(ctx context.Context, p *Payload, stop chan struct{}) (Results, error)
	Reset(ctx context.Context) error
	Destroy(ctx context.Context)
}

// PoolTraits are how a pool differs from others. The zero value is what the pools of most lines do.
type PoolTraits struct {
	WorkerPerExec    bool // it starts a worker for each exchange (pool.debug)
	HostDestroysPool bool // the host, not the plugin, destroys it when RoadRunner stops
	RetryNoFree      bool // where an exchange finds no free worker, it starts more but fails that exchange
	AddHoldsPool     bool // Reset, RemoveWorker and Destroy wait until AddWorker has ended
}

// Results are the frames of one answer.
type Results interface {
	// Next waits for the next frame. io.EOF says that there is none and that the worker is free; ErrCanceled that cancel was
	// closed first.
	Next(cancel <-chan struct{}) (*Payload, error)
}

// Worker is one process of the pool.
type Worker interface {
	// Is reports whether the worker is in a state of telemetry.Worker…
	Is(state int64) bool
	// Retire marks a worker that the pool must not replace when it ends.
	Retire()
	Kill() error
	Pid() int64
	// Exists is false for a worker that has ended and is still listed.
	Exists() bool
	// Execs counts the events that the worker got. It grows before their answers are read.
	Execs() uint64
	// LastUsed is when the worker got its last event.
	LastUsed() time.Time
	// Reap takes dead workers, this one or others, out of the pool's list of idle ones: one at least, where there are any.
	Reap()
	// ConfirmEnd has the pool know, the next time that it stops the worker, that this one is dead: else it waits for ten seconds, where
	// it has stopped it before. The pool must stop it after that, and must have noticed its death before.
	ConfirmEnd()
	// Stats describes the process; an error: it is gone.
	Stats() (*telemetry.Worker, error)
}
