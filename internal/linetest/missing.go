package linetest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// Workers that can't be started for longer than allocate_timeout are there again when they can be, without a reset.
func testMissingWorkers(t *testing.T, line Line) {
	const allocateTimeout = 2 * time.Second
	var missing atomic.Bool
	f := newFixtureOf(t, line, PoolConfig{NumWorkers: 2, AllocateTimeout: allocateTimeout, ResetTimeout: time.Hour}, 0,
		unless(&missing, worker(t)))
	for _, lost := range []int{2, 1} {
		missing.Store(true)
		begin := time.Now()
		for _, w := range f.Pool.Workers()[:lost] {
			require.NoError(t, w.Kill())
		}
		f.awaitMissing(t, lost)
		require.Len(t, f.pids(), 2-lost)
		time.Sleep(time.Until(begin.Add(allocateTimeout + 2*time.Second))) // the pool would have given them up by then
		require.Error(t, f.AddWorker())
		if lost == 1 {
			require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "the last worker can't be removed")
		}
		missing.Store(false)
		await(t, "both are there again", func() bool { return f.count(telemetry.WorkerReady) == 2 })
		f.awaitMissing(t, 0)
		f.requireEcho(t)
	}
	require.Len(t, f.logs.Saying("workers are missing: they can't be started"), 2, "once each time")

	missing.Store(true)
	require.NoError(t, f.Pool.Workers()[0].Kill())
	f.awaitMissing(t, 1)
	require.ErrorContains(t, f.Reset(), "/nowhere")
	f.awaitMissing(t, 2)
	missing.Store(false)
	require.NoError(t, f.Reset())
	await(t, "none is too many", func() bool { _ = f.Maintain(); return len(f.pids()) == 2 })
	f.requireEcho(t)
}

// A worker that is added and can't be started does not hold up a reset, whose end exchanges wait for.
func testAddedIsMissing(t *testing.T, line Line) {
	var missing atomic.Bool
	f := newFixtureOf(t, line, PoolConfig{NumWorkers: 2, AllocateTimeout: 2 * time.Second}, 0, unless(&missing, worker(t)))
	missing.Store(true)
	require.ErrorContains(t, f.AddWorker(), "they can't be run")
	changed := make(chan error, 1) // receives once each time
	change := func(change func() error) error {
		go func() { changed <- change() }()
		return receive(t, changed)
	}
	if line.AddHoldsPool {
		require.ErrorContains(t, change(func() error { return f.RemoveWorker(context.Background(), f.direct) }), "has not come up")
	}
	require.Error(t, change(f.Reset))
	missing.Store(false)
	await(t, "a reset is done", func() bool { return change(f.Reset) == nil })
	f.requireEcho(t)
}

func (f *fixture) awaitMissing(t *testing.T, workers int) {
	t.Helper()
	await(t, "the number of workers that are missing is known", func() bool {
		_ = f.Maintain()
		got, cause := f.Missing()
		return got == workers && (workers == 0) == (cause == nil)
	})
	_ = f.Maintain() // which logs it
}

// Workers that do not answer when they start are killed in the end, also after Destroy.
func testHangingBoots(t *testing.T, line Line) {
	booted := filepath.Join(t.TempDir(), "booted")
	touch(t, booted)
	var missing atomic.Bool
	t.Cleanup(func() {
		missing.Store(true) // the pool goes on to try
		await(t, "no process is left", func() bool { return children(t) == 0 })
	})
	f := newFixtureOf(t, line, PoolConfig{NumWorkers: 2, AllocateTimeout: 2 * time.Second}, 0,
		unless(&missing, worker(t, envBoot+"="+booted)))
	require.NoError(t, os.Remove(booted))
	require.ErrorContains(t, f.Reset(), "workers did not answer within allocate_timeout and were killed")
	f.awaitMissing(t, 2)
	touch(t, booted)
	f.awaitMissing(t, 0)
	f.requireEcho(t)
	await(t, "only the workers are left", func() bool { _ = f.Maintain(); return children(t) == 2 })

	require.NoError(t, os.Remove(booted))
	require.NoError(t, f.Pool.Workers()[0].Kill())
	f.awaitMissing(t, 1)
	touch(t, booted)
	f.awaitMissing(t, 0)
	missing.Store(true)
	err := f.Reset()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "were killed", "that was before the reset")
	missing.Store(false)
	require.NoError(t, f.Reset())
	f.requireEcho(t)

	require.NoError(t, os.Remove(booted))
	for _, w := range f.Pool.Workers() {
		require.NoError(t, w.Kill())
	}
	f.awaitMissing(t, 2)
	await(t, "they are tried again", func() bool { return children(t) > 0 }) // not always at the same time: each has its pauses
}

// Stop does not wait for workers that hang when they start, however long they may.
func testStopInHangingBoot(t *testing.T, line Line) {
	booted := filepath.Join(t.TempDir(), "booted")
	touch(t, booted)
	var missing atomic.Bool
	t.Cleanup(func() { missing.Store(true) })
	f := newFixtureOf(t, line, PoolConfig{NumWorkers: 1, AllocateTimeout: time.Hour, DestroyTimeout: time.Hour}, 0,
		unless(&missing, worker(t, envBoot+"="+booted)))
	f.DestroyTimeout = time.Hour
	require.NoError(t, os.Remove(booted))
	_, failure := f.ask("exit")
	require.NotNil(t, failure)
	await(t, "another one starts", func() bool { return len(f.pids()) == 0 && children(t) == 1 })
	f.Starts.Hurry()
	destroyed := make(chan struct{})
	go func() {
		f.Destroy(context.Background(), time.Hour)
		close(destroyed)
	}()
	receive(t, destroyed)
	require.Zero(t, children(t))
}

// Pools go on to list workers that end as they come up. These are neither too many nor awaited.
func testDyingWorkers(t *testing.T, line Line) {
	var dying atomic.Bool
	good, bad := worker(t), worker(t, envDies+"=1")
	f := newFixtureOf(t, line, PoolConfig{NumWorkers: 2, ResetTimeout: time.Hour}, 0, func(args []string) *exec.Cmd {
		if dying.Load() {
			return bad(args)
		}
		return good(args)
	})
	dying.Store(true)
	for _, w := range f.Pool.Workers() {
		require.NoError(t, w.Kill())
	}
	time.Sleep(2 * time.Second) // many come and go
	dying.Store(false)
	await(t, "they answer", func() bool { _, failure := f.ask("x"); return failure == nil })
	reset := make(chan error, 1)
	go func() { reset <- f.Reset() }()
	require.NoError(t, receive(t, reset))
	f.requireEcho(t)
	f.awaitMissing(t, 0)
	await(t, "two are there", func() bool { return children(t) == 2 })
}

// A pool that stops a dead worker a second time need not wait for its end. It does so with those that die as they come up, at each reset.
func testDeadWorkerStopped(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	w := f.Pool.Workers()[0]
	pool := w.(interface{ Stop() error })
	require.NoError(t, w.Kill())
	await(t, "it is replaced", func() bool { return f.count(telemetry.WorkerReady) == 1 && !w.Exists() })
	require.NoError(t, pool.Stop())
	for range 2 {
		w.ConfirmEnd()
		require.NoError(t, pool.Stop(), "which it is when ten seconds are over")
	}
}

// unless returns a command that can't be run while missing is true.
func unless(missing *atomic.Bool, command func([]string) *exec.Cmd) func([]string) *exec.Cmd {
	return func(args []string) *exec.Cmd {
		if missing.Load() {
			return exec.Command("/nowhere")
		}
		return command(args)
	}
}
