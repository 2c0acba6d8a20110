package dispatch

import (
	"context"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// derive is what the pool does for each start.
func derive(t *testing.T, s *Starts) (ctx context.Context, end func()) {
	t.Helper()
	ctx, end = context.WithTimeout(s.Context(), AllocateForever)
	t.Cleanup(end)
	require.NoError(t, ctx.Err())
	require.True(t, s.underWay())
	return ctx, end
}

func TestStartsEnd(t *testing.T) {
	s := NewStarts(time.Hour)
	_, end := derive(t, s)
	end()
	require.False(t, s.underWay())
}

// Each start has its own time.
func TestStartsTakeTooLong(t *testing.T) {
	s := NewStarts(time.Hour)
	first, _ := derive(t, s)
	for p := range s.pending {
		p.begun = p.begun.Add(-time.Hour)
	}
	second, _ := derive(t, s)
	s.expire(time.Hour, false)
	require.ErrorIs(t, first.Err(), context.DeadlineExceeded)
	require.NoError(t, second.Err())
	require.True(t, s.underWay())
	s.expire(0, false)
	require.Error(t, second.Err())
	require.False(t, s.underWay())
}

// A start that has no process for a while has failed, and the pool has missed that.
func TestLostStartsEnd(t *testing.T) {
	if _, known := children("", ""); !known {
		t.Skip("the system does not tell whose child a process is")
	}
	s := NewStarts(time.Hour)
	ctx, _ := derive(t, s)
	for range lostLooks {
		require.NoError(t, ctx.Err())
		require.Zero(t, s.end(time.Hour, nobody))
	}
	require.Error(t, ctx.Err())

	ctx, _ = derive(t, s)
	for range lostLooks - 1 {
		require.Zero(t, s.end(time.Hour, nobody))
	}
	worker := exec.Command("sleep", "1000")
	for name, value := range s.Env("RR_MODE", "tcp") {
		worker.Env = append(worker.Environ(), name+"="+value)
	}
	require.NoError(t, worker.Start())
	for range lostLooks {
		require.Equal(t, 1, s.end(time.Hour, nobody))
	}
	require.NoError(t, ctx.Err(), "this one has a process")
	s.expire(time.Millisecond, false) // the process is younger than its start
	require.Error(t, ctx.Err())
	killed, starting, _ := s.kill(time.Millisecond, nobody)
	require.Equal(t, 1, killed)
	require.Zero(t, starting)
	require.ErrorContains(t, worker.Wait(), "killed")
	require.ErrorContains(t, s.explain(context.Canceled), "did not answer within allocate_timeout")
}

// A process is younger than its start. When that has expired the pool no longer waits for the process, which may come up meanwhile.
func TestStartsDoNotExpireBeforeTheirProcesses(t *testing.T) {
	if _, known := children("", ""); !known {
		t.Skip("the system does not tell whose child a process is")
	}
	s := NewStarts(time.Hour)
	ctx, _ := derive(t, s)
	worker := exec.Command("sleep", "1000")
	for name, value := range s.Env("RR_MODE", "tcp") {
		worker.Env = append(worker.Environ(), name+"="+value)
	}
	require.NoError(t, worker.Start())
	defer func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	}()
	age := func(d time.Duration) {
		for p := range s.pending {
			p.begun = p.begun.Add(-d)
		}
	}
	age(time.Hour)
	require.Equal(t, 1, s.end(time.Hour, nobody))
	require.NoError(t, ctx.Err())
	age(killedWithin) // it may have left its pipes to others, which keep the pool waiting
	require.Equal(t, 1, s.end(time.Hour, nobody))
	require.Error(t, ctx.Err())

	ctx, _ = derive(t, s)
	s.Hurry()
	age(time.Hour)
	s.end(time.Hour, nobody)
	require.Error(t, ctx.Err(), "RoadRunner stops")
}

// A pool that is not made leaves no process that was about to be a worker: a start may be over before the process is as old.
func TestFailedPoolLeavesNoProcess(t *testing.T) {
	if _, known := children("", ""); !known {
		t.Skip("the system does not tell whose child a process is")
	}
	s := NewStarts(time.Hour)
	worker := exec.Command("sleep", "1000")
	_, err := s.Make(func(*Starts) (Pool, error) {
		for name, value := range s.Env("RR_MODE", "tcp") {
			worker.Env = append(worker.Environ(), name+"="+value)
		}
		require.NoError(t, worker.Start())
		return nil, context.DeadlineExceeded
	})
	defer func() { _ = worker.Process.Kill() }()
	require.Equal(t, context.DeadlineExceeded, err)
	look, known := children(startVariable, s.pool)
	require.True(t, known)
	require.Empty(t, look)
	require.ErrorContains(t, worker.Wait(), "killed")
}

// Nothing starts when the pool is destroyed.
func TestStartsStop(t *testing.T) {
	s := NewStarts(time.Hour)
	s.stop()
	require.False(t, s.add(new(start)))
	require.False(t, s.underWay())
}

// While starts fail they get rare, but for those of a reset.
func TestStartsPause(t *testing.T) {
	s := NewStarts(time.Hour)
	since, begun := time.Now().Add(-600*time.Millisecond), time.Now()
	s.missingSince.Store(&since)
	derive(t, s)
	require.GreaterOrEqual(t, time.Since(begun), 200*time.Millisecond)

	since = begun.Add(-time.Hour)
	s.resetting.Store(true)
	begun = time.Now()
	derive(t, s)
	require.Less(t, time.Since(begun), maxStartPause, "at once")

	s.resetting.Store(false)
	s.hurry()
	derive(t, s)
	require.Less(t, time.Since(begun), maxStartPause, "Stop does not wait")
}

// What is starting is not missing yet, unless nothing has come up for longer than a start may take.
func TestStartingIsNotMissing(t *testing.T) {
	look := func(since time.Duration, starting int) int {
		m := missingWorkers{since: time.Now().Add(-since)}
		require.Equal(t, m.look(nil, starting, 2, time.Minute).IsZero(), m.number == 0)
		return m.number
	}
	require.Zero(t, look(missingAfter/2, 0))
	require.Equal(t, 2, look(2*missingAfter, 1))
	require.Zero(t, look(2*missingAfter, 2))
	require.Equal(t, 2, look(time.Minute+2*missingAfter, 2))
}

// addable is a pool with one worker, which takes others.
type addable struct{ Pool }

func (addable) AddWorker() error  { return nil }
func (addable) Workers() []Worker { return []Worker{alive{}} }

// alive is a worker.
type alive struct{ Worker }

func (alive) Pid() int64    { return 1 }
func (alive) Is(int64) bool { return false }
func (alive) Exists() bool  { return true }

// After a reset all workers are there, though the last look was before it.
func TestAddWorkerLooksAgain(t *testing.T) {
	d := newDispatcher(nil)
	d.Pool = addable{}
	d.missing.number = 1
	require.NoError(t, d.AddWorker())
}

// listed is a worker of a pool that has only such ones.
type listed struct {
	alive
	state          int64
	exists, killed atomic.Bool
	confirmed      atomic.Int32
}

func (w *listed) Is(state int64) bool { return w.state == state }
func (w *listed) Exists() bool        { return w.exists.Load() }
func (w *listed) Kill() error         { w.exists.Store(false); w.killed.Store(true); return nil }
func (w *listed) ConfirmEnd()         { w.confirmed.Add(1) }
func (*listed) Execs() uint64         { return 0 }
func (*listed) Retire()               {}
func (*listed) Reap()                 {}

type listing struct {
	Pool
	workers []Worker
}

func (l listing) Workers() []Worker         { return l.workers }
func (listing) Reset(context.Context) error { return nil }
func (listing) Destroy(context.Context)     {}

// newListing returns a dispatcher whose pool lists a worker that is ready, and one that has died as it came up: some pools do so for as
// long as they live.
func newListing() (d *Dispatcher, ready, dead *listed) {
	ready, dead = &listed{state: telemetry.WorkerReady}, &listed{state: -1}
	ready.exists.Store(true)
	d = newDispatcher(nil)
	d.Pool = listing{workers: []Worker{ready, dead}}
	d.watchStarts()
	return d, ready, dead
}

func TestDeadWorkerStaysDeadWhenItsPidIsReused(t *testing.T) {
	d, ready, dead := newListing()
	dead.exists.Store(true)
	d.watchStarts()
	require.NoError(t, d.Maintain())
	require.False(t, ready.killed.Load(), "it is not one too many")
	require.True(t, d.isReapable())
	ready.state = telemetry.WorkerDestroyed
	require.False(t, d.IsAlive())
}

// Pools stop such a worker with the others, and would wait for its end.
func TestDeadWorkerDoesNotDelayResetAndDestroy(t *testing.T) {
	for _, hostDestroysPool := range []bool{false, true} {
		d, ready, dead := newListing()
		d.HostDestroysPool = hostDestroysPool
		require.NoError(t, d.Reset())
		require.Zero(t, dead.confirmed.Load(), "it may have died just now")
		d.missing.dead[dead] = time.Now().Add(-2 * delistTime)
		require.NoError(t, d.Reset())
		require.Equal(t, int32(1), dead.confirmed.Load())
		d.Starts.Hurry()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		d.Destroy(ctx, time.Millisecond)
		for deadline := time.Now().Add(time.Minute); !d.gone.Load(); time.Sleep(time.Millisecond) {
			require.True(t, time.Now().Before(deadline))
		}
		require.Equal(t, int32(2), dead.confirmed.Load())
		require.Zero(t, ready.confirmed.Load())
	}
}

// waitingPool is one whose Reset waits for a worker until ctx ends or end is closed.
type waitingPool struct {
	listing
	looks chan struct{} // receives when the workers are looked at
	end   chan struct{}
}

func (p waitingPool) Workers() []Worker {
	select {
	case p.looks <- struct{}{}:
	default:
	}
	return p.listing.Workers()
}

func (p waitingPool) Reset(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-p.end:
	}
	return ctx.Err()
}

// While one worker is missing, a reset waits for an exchange of another one, also where that is older than pool.supervisor.ttl.
func TestResetWaitsForWorkerThatIsToBeReplaced(t *testing.T) {
	d, ready, aging := newListing()
	p := waitingPool{d.Pool.(listing), make(chan struct{}), make(chan struct{})}
	d.Pool = p
	aging.exists.Store(true)
	d.missing = missingWorkers{number: 1}
	d.Queue = NewQueue(3, time.Minute, 0)
	reset := make(chan error, 1)
	go func() { reset <- d.Reset() }()
	for range 100 {
		select {
		case <-p.looks:
		case err := <-reset:
			require.FailNow(t, "it does not wait", "%v", err)
		}
	}
	close(p.end)
	require.NoError(t, <-reset)
	require.False(t, ready.killed.Load())
	require.False(t, aging.killed.Load())
}
