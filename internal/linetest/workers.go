package linetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/telemetry"
)

func testReset(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2}, 0)
	var stop atomic.Bool
	var failures atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !stop.Load() {
				if _, failure := f.ask("x"); failure != nil {
					failures.Add(1)
				}
			}
		}()
	}
	for range 3 {
		before := f.pids()
		require.NoError(t, f.Reset())
		require.NotContains(t, f.pids(), before[0])
	}
	stop.Store(true)
	wg.Wait()
	require.Zero(t, failures.Load(), "no exchange fails because of a reset")
}

// The time of a reset does not count against allocate_timeout.
func testResetLong(t *testing.T, line Line) {
	const allocateTimeout = 3 * time.Second // workers must start within it
	done := filepath.Join(t.TempDir(), "done")
	f := newFixture(t, line, PoolConfig{NumWorkers: 2, AllocateTimeout: allocateTimeout, ResetTimeout: time.Hour}, 0)
	working := f.askLater(t, "until "+done)
	reset := make(chan error, 1)
	go func() { reset <- f.Reset() }()
	await(t, "the reset has begun", f.Queue.IsPaused)
	waiting := make(chan *dispatch.Failure, 1)
	go func() {
		_, failure := f.ask("x")
		waiting <- failure
	}()
	await(t, "an exchange waits", func() bool { return f.Queue.Waiting() == 1 })

	time.Sleep(allocateTimeout + time.Second) // that is what must not matter
	touch(t, done)
	require.Nil(t, receive(t, working))
	require.NoError(t, receive(t, reset))
	require.Nil(t, receive(t, waiting))
}

func testResetDeadWorker(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2, ResetTimeout: time.Hour}, 0)
	victim := f.Pool.Workers()[0]
	stats, err := victim.Stats()
	require.NoError(t, err)
	process, err := os.FindProcess(int(stats.Pid))
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	await(t, "the pool knows that it is dead", func() bool { return !victim.Is(telemetry.WorkerReady) })
	require.NoError(t, f.Reset()) // does not wait for the dead one
	f.requireEcho(t)
}

// Workers that die while nobody asks for one leave the pool's list of idle ones. It has room for some hundreds: a pool whose list is full
// of dead workers kills each new one, until somebody asks.
func testDeadIdleWorkers(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2, ResetTimeout: time.Hour}, 0)
	for _, victim := range f.Pool.Workers() {
		require.NoError(t, victim.Kill())
		await(t, "it is replaced", func() bool {
			return f.count(telemetry.WorkerReady) == 2 && !slices.Contains(f.pids(), victim.Pid())
		})
		require.NoError(t, f.Maintain())
	}
	reset := make(chan error, 1)
	go func() { reset <- f.Pool.Reset(context.Background()) }() // waits until the list is as long as there are workers
	require.NoError(t, receive(t, reset))
	f.requireEcho(t)
}

func testWorkers(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "the last worker can't be removed")
	require.NoError(t, f.AddWorker())
	require.Len(t, f.Pool.Workers(), 2)
	done := filepath.Join(t.TempDir(), "done")
	first, second := f.askLater(t, "until "+done), f.askLater(t, "until "+done) // the queue is as wide as the pool
	touch(t, done)
	require.Nil(t, receive(t, first))
	require.Nil(t, receive(t, second))

	require.NoError(t, f.RemoveWorker(context.Background(), f.direct))
	await(t, "one worker is left", func() bool { return len(f.Pool.Workers()) == 1 })
	f.requireEcho(t)
	require.ErrorContains(t, f.RemoveWorker(context.Background(), f.direct), "the last worker can't be removed")
}

// A worker that a reset replaces has ten seconds for its end, however short allocate_timeout is.
func testResetLetsWorkersEnd(t *testing.T, line Line) {
	ended := filepath.Join(t.TempDir(), "ended")
	f := newFixture(t, line, PoolConfig{NumWorkers: 1, AllocateTimeout: 3 * time.Second, ResetTimeout: time.Hour}, 0, envEnds+"="+ended)
	f.requireEcho(t)
	time.Sleep(4 * time.Second) // it is older than that
	require.NoError(t, f.Reset())
	await(t, "the worker has ended by itself", func() bool {
		_, err := os.Stat(ended)
		return err == nil
	})
}

// A worker that answers an event twice is replaced before the second answer goes to another client.
func testAstrayWorker(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	pids := f.pids()
	_, failure := f.ask("twice")
	require.Nil(t, failure)
	await(t, "the worker is replaced", func() bool {
		require.NoError(t, f.Maintain())
		now := f.pids()
		return len(now) == 1 && now[0] != pids[0]
	})
	f.requireEcho(t)
}

// A look at a worker, as metrics and the informer take, leaves no descriptor behind.
func testStatsDescriptors(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	w := f.Pool.Workers()[0]
	for range 64 { // in vain now and then: the garbage collector closes what is left behind
		stats, err := w.Stats()
		require.NoError(t, err)
		require.Equal(t, w.Pid(), stats.Pid)
		require.Equal(t, telemetry.WorkerReady, stats.Status)
		require.Equal(t, "ready", stats.StatusStr)
		require.Positive(t, stats.MemoryUsage)
		require.Positive(t, stats.Created)
		require.LessOrEqual(t, pidfds(w.Pid()), 1, "descriptors of the worker, of which the pool has one")
	}
	require.NoError(t, w.Kill())
	await(t, "a worker that is gone has no stats", func() bool {
		_, err := w.Stats()
		return err != nil
	})
}

// pidfds returns how many descriptors this process has of another one; 0 where the system does not tell.
func pidfds(pid int64) (n int) {
	files, _ := filepath.Glob("/proc/self/fdinfo/*")
	for _, file := range files {
		info, _ := os.ReadFile(file)
		if strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", pid)) {
			n++
		}
	}
	return n
}

func testRemoveWhileStarting(t *testing.T, line Line) {
	dir := t.TempDir()
	booted := filepath.Join(dir, "booted")
	touch(t, booted)
	f := newFixture(t, line, PoolConfig{NumWorkers: 2}, 0, envBoot+"="+booted)
	require.NoError(t, os.Remove(booted))
	for _, w := range f.Pool.Workers() {
		require.NoError(t, w.Kill())
	}
	var holds atomic.Int64
	removed := make(chan error, 1)
	go func() {
		removed <- f.RemoveWorker(context.Background(), func(change func(*dispatch.Dispatcher) error) error {
			holds.Add(1)
			return change(f.Dispatcher)
		})
	}()
	await(t, "others may change the workers while it waits", func() bool { return holds.Load() > 1 })
	touch(t, booted)
	require.NoError(t, receive(t, removed))
	await(t, "one worker is left", func() bool { return len(f.pids()) == 1 })
	f.requireEcho(t)
}

func testRemoveNotServing(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2}, 0)
	stopping := func(func(*dispatch.Dispatcher) error) error { return dispatch.ErrNotServing }
	require.ErrorIs(t, f.RemoveWorker(context.Background(), stopping), dispatch.ErrNotServing)
	done := filepath.Join(t.TempDir(), "done")
	first, second := f.askLater(t, "until "+done), f.askLater(t, "until "+done) // both places are still there
	touch(t, done)
	require.Nil(t, receive(t, first))
	require.Nil(t, receive(t, second))
}

func testExcessWorkers(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2}, 0)
	require.NoError(t, f.Pool.AddWorker()) // as if the pool had replaced one twice
	done := filepath.Join(t.TempDir(), "done")
	working := f.askLater(t, "until "+done)
	require.NoError(t, f.Maintain())
	await(t, "two workers are left", func() bool { return len(f.Pool.Workers()) == 2 })
	touch(t, done)
	require.Nil(t, receive(t, working), "the one at work is spared")
	require.NoError(t, f.Maintain())
	require.Len(t, f.Pool.Workers(), 2, "no more are ended")
	f.requireEcho(t)
}
