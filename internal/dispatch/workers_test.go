package dispatch_test

import (
	"context"
	stderrors "errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/dispatch/dispatchtest"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

const patience = 2 * time.Minute

// fixture is a dispatcher with a pool in memory.
type fixture struct {
	*dispatch.Dispatcher
	pool *dispatchtest.Pool
	logs *logtest.Log
	stop context.CancelFunc // ends the exchanges
}

func newFixture(t *testing.T, workers int, work dispatchtest.Work) *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	log, logs := logtest.New(slog.LevelDebug)
	pool := dispatchtest.NewPool(workers, work)
	return &fixture{&dispatch.Dispatcher{
		Pool: pool, Queue: dispatch.NewQueue(workers, time.Minute, 0), Starts: dispatch.NewStarts(time.Minute),
		ExchangeCtx: ctx, CloseCtx: ctx, DestroyTimeout: time.Minute,
		Log: log,
	}, pool, logs, cancel}
}

// echoes answers WRITE with the body.
func echoes(_ context.Context, event *dispatch.Payload, _ chan struct{}) (dispatch.Results, error) {
	return dispatchtest.Answer("WRITE", string(event.Body)), nil
}

// gated is echoes that begins by telling busy and ends when release is closed, or the worker is killed.
func gated(busy chan<- struct{}, release <-chan struct{}) dispatchtest.Work {
	return func(ctx context.Context, event *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
		busy <- struct{}{}
		select {
		case <-release:
			return echoes(ctx, event, stop)
		case <-ctx.Done():
			return nil, errors.E(errors.ExecTTL, ctx.Err())
		}
	}
}

func (f *fixture) ask(body string) (dispatch.Answer, error) {
	return f.Exchange(new(dispatch.Call), make(chan struct{}), []byte("{}"), []byte(body))
}

// requireFree requires that just as many exchanges go on at once as there are workers.
func (f *fixture) requireFree(t *testing.T, workers int) {
	t.Helper()
	busy, release := make(chan struct{}, workers+1), make(chan struct{})
	f.pool.Do(gated(busy, release))
	results := make(chan error, workers+1)
	for range workers + 1 {
		go func() { _, err := f.ask("x"); results <- err }()
	}
	for range workers {
		receive(t, busy)
	}
	await(t, func() bool { return f.Queue.Waiting() == 1 })
	close(release)
	for range workers + 1 {
		require.NoError(t, receive(t, results))
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		require.FailNow(t, "nothing comes")
	}
	return v
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond)
}

func TestExec(t *testing.T) {
	f := newFixture(t, 1, echoes)
	a, err := f.Exec(dispatch.Payload{Body: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "x", string(a.Body))
	require.Nil(t, a.More)
	f.Queue.Close()
	_, err = f.Exec(dispatch.Payload{})
	require.Equal(t, wire.ReasonShutdown, dispatch.FailureOf(err).Reason)
}

func TestExchangeCancelled(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 1, gated(busy, release))
	first := make(chan error)
	go func() { _, err := f.ask("x"); first <- err }()
	receive(t, busy)
	cancel, second := make(chan struct{}), make(chan error)
	go func() {
		_, err := f.Exchange(new(dispatch.Call), cancel, []byte("{}"), nil)
		second <- err
	}()
	await(t, func() bool { return f.Queue.Waiting() == 1 })
	close(cancel)
	failure := dispatch.FailureOf(receive(t, second))
	require.ErrorIs(t, failure, dispatch.ErrCanceled)
	require.Equal(t, wire.ReasonNone, failure.Reason)
	require.Equal(t, telemetry.FailureNone, failure.Kind())
	require.False(t, failure.Reached)
	close(release)
	require.NoError(t, receive(t, first))
	require.NotNil(t, f.Queue.Waits())
}

func TestExchangeCut(t *testing.T) {
	busy := make(chan struct{})
	f := newFixture(t, 1, gated(busy, nil))
	done := make(chan error)
	go func() { _, err := f.ask("x"); done <- err }()
	receive(t, busy)
	f.stop()
	failure := dispatch.FailureOf(receive(t, done))
	require.Equal(t, wire.ReasonShutdown, failure.Reason)
	require.True(t, failure.Reached)
}

// failures are those that stats has counted; nil: none.
func failures(stats *telemetry.Server) (counted map[telemetry.Failure]int64) {
	for kind := telemetry.FailureNone; kind <= telemetry.FailureOverload; kind++ {
		if n := stats.Failures(kind); n > 0 {
			if counted == nil {
				counted = make(map[telemetry.Failure]int64)
			}
			counted[kind] = n
		}
	}
	return counted
}

// CLOSE is handed over once, whatever the worker makes of it.
func TestCloseHandedOverOnce(t *testing.T) {
	failed := func(kind telemetry.Failure) map[telemetry.Failure]int64 { return map[telemetry.Failure]int64{kind: 3} }
	for name, test := range map[string]struct {
		err     error
		level   slog.Level
		logs    int
		counted map[telemetry.Failure]int64
	}{
		"it answers":             {nil, slog.LevelDebug, 0, nil},
		"it answers an error":    {errors.E(errors.SoftJob, errors.Str("x")), slog.LevelDebug, 3, failed(telemetry.FailureError)},
		"it dies":                {errors.E(errors.Network, errors.Str("x")), slog.LevelDebug, 3, failed(telemetry.FailureDied)},
		"it takes too long":      {errors.E(errors.ExecTTL, errors.Str("x")), slog.LevelWarn, 1, failed(telemetry.FailureTimeout)},
		"the pool is destroyed":  {errors.E(errors.WatcherStopped, errors.Str("x")), slog.LevelDebug, 0, nil},
		"it stops while it asks": {errors.E(errors.NoFreeWorkers, errors.Str("x")), slog.LevelDebug, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			events := 0
			var f *fixture
			f = newFixture(t, 1, func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
				if events++; errors.Is(errors.NoFreeWorkers, test.err) {
					f.stop()
				}
				return dispatchtest.Answer("", ""), test.err
			})
			stats := new(telemetry.Server)
			for range 3 {
				f.HandOverClose(&dispatch.Call{CloseTimeout: time.Minute, Stats: stats}, []byte("{}"))
			}
			if errors.Is(errors.NoFreeWorkers, test.err) {
				require.Equal(t, 1, events, "the others find that the plugin stops")
				return
			}
			require.Equal(t, 3, events)
			require.Len(t, f.logs.At(test.level), test.logs)
			require.Equal(t, test.counted, failures(stats))
		})
	}
}

func TestCloseRetriedUntilStop(t *testing.T) {
	asked := make(chan struct{}, 100)
	f := newFixture(t, 1, func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		asked <- struct{}{}
		return nil, errors.E(errors.NoFreeWorkers, errors.Str("x"))
	})
	done := make(chan struct{})
	go func() { defer close(done); f.HandOverClose(new(dispatch.Call), []byte("{}")) }()
	for range 3 {
		receive(t, asked)
	}
	f.stop()
	receive(t, done)
}

// An answer of several frames to CLOSE is ended.
func TestCloseStreamed(t *testing.T) {
	f := newFixture(t, 1, streams(2))
	f.HandOverClose(new(dispatch.Call), []byte("{}"))
	f.requireFree(t, 1)
}

func TestReset(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 2, gated(busy, release))
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	require.True(t, f.IsReady())
	reset := make(chan error)
	go func() { reset <- f.Reset() }()
	await(t, f.Queue.IsPaused)
	require.True(t, f.IsReady(), "exchanges wait for the end of the reset")
	waiting := make(chan error)
	go func() { _, err := f.ask("y"); waiting <- err }()
	await(t, func() bool { return f.Queue.Waiting() == 1 })
	require.NotContains(t, f.pool.Calls(), "reset", "it waits for the exchange")
	close(release)
	require.NoError(t, receive(t, asked))
	require.NoError(t, receive(t, reset))
	receive(t, busy)
	require.NoError(t, receive(t, waiting))
	f.requireFree(t, 2)
}

// agingPool has a worker that is at an exchange and older than pool.supervisor.ttl, or too large: pools have a state of its own for that.
type agingPool struct{ dispatch.Pool }

type agingWorker struct{ dispatch.Worker }

func (agingPool) Workers() []dispatch.Worker { return []dispatch.Worker{agingWorker{}} }

func (agingWorker) Is(int64) bool { return false }
func (agingWorker) Exists() bool  { return true }
func (agingWorker) Execs() uint64 { return 0 }
func (agingWorker) Reap()         { panic("the pool kills it with those that are dead") }

func TestWorkerThatIsToBeReplacedBehindItsExchangeIsAlive(t *testing.T) {
	f := newFixture(t, 1, echoes)
	f.Pool = agingPool{f.pool}
	require.True(t, f.IsAlive())
	require.False(t, f.IsReady())
	require.NoError(t, f.Maintain(), "it has its time to end")
}

func TestResetFails(t *testing.T) {
	f := newFixture(t, 2, echoes)
	f.pool.Fail("reset", errors.E(errors.WorkerAllocate, errors.Str("no such file")))
	require.ErrorContains(t, f.Reset(), "start the workers (server.command or tcp.pool.command): WorkerAllocate: no such file")
	require.Equal(t, []string{"reset", "reset"}, f.pool.Calls(), "it is tried once more")
	require.False(t, f.IsReady())
	require.False(t, f.IsAlive())
	missing, cause := f.Missing()
	require.Equal(t, 2, missing)
	require.ErrorContains(t, cause, "no such file")
	require.NoError(t, f.Maintain(), "it is not tried again at once")
	require.Len(t, f.pool.Calls(), 2)
	await(t, func() bool { return f.Maintain() != nil }) // it is tried again
	require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "no such file")
	f.pool.Fail("reset", nil)
	await(t, func() bool { return f.Maintain() == nil && f.IsReady() })
	calls := f.pool.Calls()
	require.NoError(t, f.Maintain())
	require.Len(t, f.logs.Saying("workers are missing"), 1, "once")
	require.Len(t, f.logs.Saying("workers can be started again"), 1)
	require.Equal(t, calls, f.pool.Calls(), "there is nothing to do")
}

// A worker that comes up after a reset has failed has events, which the next reset must not cut off.
func TestResetAfterFailedOneWaits(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 2, gated(busy, release))
	f.pool.Fail("reset", errors.E(errors.WorkerAllocate, errors.Str("no such file")))
	require.Error(t, f.Reset())
	f.pool.Fail("reset", nil)
	require.NoError(t, f.pool.AddWorker())
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	reset := make(chan error)
	go func() { reset <- f.Reset() }()
	await(t, func() bool { return f.Queue.IsPaused() || len(f.pool.Calls()) > 3 })
	time.Sleep(50 * time.Millisecond) // in which it would begin
	meanwhile := f.pool.Calls()
	close(release)
	require.NoError(t, receive(t, asked))
	require.NoError(t, receive(t, reset))
	require.Equal(t, []string{"reset", "reset", "add"}, meanwhile, "it waits for the exchange")
}

// direct calls change at once: nobody else changes the workers.
func (f *fixture) direct(change func(*dispatch.Dispatcher) error) error { return change(f.Dispatcher) }

func TestAddAndRemoveWorker(t *testing.T) {
	f := newFixture(t, 1, echoes)
	require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "the last worker can't be removed")
	require.NoError(t, f.AddWorker())
	f.requireFree(t, 2)
	require.NoError(t, f.RemoveWorker(context.Background(), f.direct))
	require.Equal(t, []string{"add", "remove"}, f.pool.Calls(), "the others stay")
	f.requireFree(t, 1)

	f.pool.Fail("add", stderrors.New("no"))
	for range 20_000 {
		require.EqualError(t, f.AddWorker(), "no", "one right behind the other")
	}
	f.requireFree(t, 1)
}

// heldPool adds a worker when held is closed, and does nothing else before.
type heldPool struct {
	*dispatchtest.Pool
	held chan struct{}
}

func (p heldPool) AddWorker() error              { <-p.held; return p.Pool.AddWorker() }
func (p heldPool) Reset(c context.Context) error { <-p.held; return p.Pool.Reset(c) }
func (p heldPool) Destroy(c context.Context)     { <-p.held; p.Pool.Destroy(c) }

func (p heldPool) RemoveWorker(c context.Context) error { <-p.held; return p.Pool.RemoveWorker(c) }

func TestAddedWorkerHoldsUpNothing(t *testing.T) {
	f := newFixture(t, 2, echoes)
	held := make(chan struct{})
	f.Pool, f.AddHoldsPool = heldPool{f.pool, held}, true
	f.Starts.Hurry()
	require.ErrorContains(t, f.AddWorker(), "can't be run")
	require.ErrorContains(t, f.Reset(), "has not come up")
	require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "has not come up")
	f.requireFree(t, 2)
	ended := make(chan struct{})
	workers := f.pool.Workers()
	go func() { f.Destroy(context.Background(), patience); close(ended) }()
	receive(t, ended)
	for _, w := range workers {
		require.NotZero(t, w.(*dispatchtest.Worker).Kills())
	}
	close(held)
	await(t, func() bool { return slices.Contains(f.pool.Calls(), "remove") })
}

func TestRemoveWorkerFails(t *testing.T) {
	f := newFixture(t, 2, echoes)
	f.pool.Fail("remove", stderrors.New("no"))
	require.EqualError(t, f.RemoveWorker(context.Background(), f.direct), "no")
	f.requireFree(t, 2)
	stopping := func(func(*dispatch.Dispatcher) error) error { return dispatch.ErrNotServing }
	require.ErrorIs(t, f.RemoveWorker(context.Background(), stopping), dispatch.ErrNotServing)
	f.requireFree(t, 2)

	f.pool.Fail("remove", errors.E(errors.NoFreeWorkers, errors.Str("none starts")))
	ctx, cancel := context.WithCancel(context.Background())
	tries := 0
	require.ErrorContains(t, f.RemoveWorker(ctx, func(change func(*dispatch.Dispatcher) error) error {
		if tries++; tries == 3 {
			cancel()
		}
		return change(f.Dispatcher)
	}), "none starts")
	require.Equal(t, 3, tries, "until the caller does not wait any more")
}

func TestRemoveWorkerCancelled(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 1, gated(busy, release))
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.RemoveWorker(ctx, f.direct), dispatch.ErrCanceled)
	require.Empty(t, f.pool.Calls())
	close(release)
	require.NoError(t, receive(t, asked))
}

func TestUnlimitedWorkers(t *testing.T) {
	f := newFixture(t, 1, echoes)
	f.Queue = dispatch.NewQueue(dispatch.Unlimited, time.Minute, 0)
	require.NoError(t, f.RemoveWorker(context.Background(), f.direct), "the pool decides")
	require.Equal(t, []string{"remove"}, f.pool.Calls())
	f.WorkerPerExec = true
	require.True(t, f.IsReady(), "each exchange has its own worker")
}

func TestDestroy(t *testing.T) {
	f := newFixture(t, 2, echoes)
	f.Destroy(context.Background(), time.Minute)
	f.Destroy(context.Background(), time.Minute)
	require.Equal(t, []string{"destroy"}, f.pool.Calls(), "a second Destroy of the pool may panic")
}

// Workers that do not end in time are killed.
func TestDestroyKills(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 1, gated(busy, release))
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	w := f.Pool.Workers()[0].(*dispatchtest.Worker)
	f.Destroy(context.Background(), time.Millisecond)
	await(t, func() bool { return w.Kills() > 0 })
	close(release)
	require.NoError(t, receive(t, asked))
	await(t, func() bool { return len(f.Pool.Workers()) == 0 })
	for deadline := time.Now().Add(patience); goleak.Find() != nil; { // workers that start late are killed for a second
		require.True(t, time.Now().Before(deadline), "the goroutine of Destroy is left")
	}
}

// Where the host destroys the pool, dead workers do not keep it waiting, also when the plugin's Stop is over.
func TestHostDestroys(t *testing.T) {
	f := newFixture(t, 2, echoes)
	f.HostDestroysPool = true
	ctx, cancel := context.WithCancel(context.Background())
	f.Destroy(ctx, time.Minute)
	cancel()
	require.NotContains(t, f.pool.Calls(), "destroy")
	for _, w := range f.Pool.Workers() {
		require.NoError(t, w.Kill())
	}
	await(t, func() bool { return len(f.Pool.Workers()) == 0 })
}

// Workers that died while idle are reaped also where others are never all idle.
func TestMaintainReapsBesideBusyWorker(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 2, gated(busy, release))
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	require.NoError(t, f.Pool.Workers()[1].Kill())
	require.NoError(t, f.Maintain())
	require.Len(t, f.Pool.Workers(), 1)
	close(release)
	require.NoError(t, receive(t, asked))
}

func TestReapUntil(t *testing.T) {
	f := newFixture(t, 2, echoes)
	stop := f.ReapUntil()
	require.NoError(t, f.Pool.Workers()[0].Kill())
	await(t, func() bool { return len(f.Pool.Workers()) == 1 })
	stop()
}

// lateWorkers is a pool whose new workers come up when come is closed.
type lateWorkers struct {
	*dispatchtest.Pool
	come chan struct{}
}

func (p lateWorkers) AddWorker() error {
	<-p.come
	return p.Pool.AddWorker()
}

// A worker that was added may come up after the pool was destroyed.
func TestAddedWorkerComesTooLate(t *testing.T) {
	f := newFixture(t, 0, echoes)
	late := lateWorkers{f.pool, make(chan struct{})}
	f.Pool = late
	f.Starts.Hurry()
	require.Error(t, f.AddWorker())
	f.pool.Fail("remove", errors.E(errors.WatcherStopped, errors.Str("x")))
	close(late.come)
	await(t, func() bool {
		workers := f.Pool.Workers()
		return len(workers) == 1 && workers[0].(*dispatchtest.Worker).Kills() > 0
	})
}

// One that comes up after it was given up, and can't be removed, has its place: else it would never have an event.
func TestAddedWorkerThatStaysHasItsPlace(t *testing.T) {
	f := newFixture(t, 1, echoes)
	late := lateWorkers{f.pool, make(chan struct{})}
	f.Pool = late
	f.Starts.Hurry()
	require.Error(t, f.AddWorker())
	f.pool.Fail("remove", errors.E(errors.NoFreeWorkers, errors.Str("x")))
	close(late.come)
	f.requireFree(t, 2)
}

// killsPool tells what it is like when one of its workers is killed.
type killsPool struct {
	*dispatchtest.Pool
	killed func()
}

type killsWorker struct {
	dispatch.Worker
	pool *killsPool
}

func (p *killsPool) Workers() []dispatch.Worker {
	workers := p.Pool.Workers()
	for i, w := range workers {
		workers[i] = killsWorker{w, p}
	}
	return workers
}

func (w killsWorker) Kill() error {
	w.pool.killed()
	return w.Worker.Kill()
}

// No exchange is on its way to a worker that is ended.
func TestMaintainEndsExcessWorkersWhileExchangesWait(t *testing.T) {
	f := newFixture(t, 2, echoes)
	require.NoError(t, f.pool.AddWorker())
	var paused []bool
	f.Pool = &killsPool{f.pool, func() { paused = append(paused, f.Queue.IsPaused()) }}
	require.NoError(t, f.Maintain())
	require.Equal(t, []bool{true}, paused)
	require.Len(t, f.Pool.Workers(), 2)
	f.requireFree(t, 2)
}

// A reset may make workers after the host has destroyed the pool.
func TestKillOrphans(t *testing.T) {
	f := newFixture(t, 2, echoes)
	w := f.Pool.Workers()[0].(*dispatchtest.Worker)
	f.pool.Fail("remove", errors.E(errors.WatcherStopped, errors.Str("x")))
	f.KillOrphans()
	require.Zero(t, w.Kills(), "the plugin destroys the pool itself")
	f.HostDestroysPool = true
	f.pool.Fail("remove", errors.E(errors.NoFreeWorkers, errors.Str("x")))
	f.KillOrphans()
	require.Zero(t, w.Kills(), "the pool still gives workers")
	f.pool.Fail("remove", errors.E(errors.WatcherStopped, errors.Str("x")))
	f.KillOrphans()
	require.Positive(t, w.Kills())
}
