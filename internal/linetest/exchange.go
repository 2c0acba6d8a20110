package linetest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

func testExchange(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	for body, want := range map[string]string{"x": "WRITE x", "": "WRITE ", "reply CLOSE": "CLOSE reply CLOSE"} {
		got, failure := f.ask(body)
		require.Nil(t, failure)
		require.Equal(t, want, got)
	}
	for _, body := range []string{"error", "exit"} {
		_, failure := f.ask(body)
		require.NotNil(t, failure, body)
		require.Equal(t, wire.ReasonError, failure.Reason, body)
		require.True(t, failure.Reached, body)
	}
	f.requireEcho(t) // the worker is free again, or replaced
}

func testExchangeNotSent(t *testing.T, line Line) {
	once := filepath.Join(t.TempDir(), "once")
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0, envOnce+"="+once)
	await(t, "nothing can be sent to the worker", func() bool {
		_, err := os.Stat(once + ".closed")
		return err == nil
	})
	f.requireEcho(t) // it was offered once more
}

func testExchangeCanceled(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	pids, file := f.pids(), filepath.Join(t.TempDir(), "go on")
	working := f.askLater(t, "until "+file)

	cancel := make(chan struct{})
	canceled := make(chan error, 1)
	go func() {
		_, err := f.Exchange(new(dispatch.Call), cancel, dataContext, nil)
		canceled <- err
	}()
	await(t, "it waits for the worker", func() bool { return f.Queue.Waiting() == 1 })
	close(cancel)
	require.ErrorIs(t, receive(t, canceled), dispatch.ErrCanceled)
	touch(t, file)
	require.Nil(t, receive(t, working))
	require.Equal(t, pids, f.pids(), "the worker is not touched")
}

func testOverload(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 1)
	file := filepath.Join(t.TempDir(), "go on")
	working := f.askLater(t, "until "+file)
	_, failure := f.ask("x")
	require.NotNil(t, failure)
	require.Equal(t, wire.ReasonOverload, failure.Reason)
	require.False(t, failure.Reached)
	require.Equal(t, int64(1), f.Queue.NoFreeWorkers())

	closed := make(chan struct{})
	go func() { defer close(closed); f.HandOverClose(newCall(0), []byte(`{"event":"CLOSE"}`)) }()
	await(t, "CLOSE waits, whatever max_queue_size is", func() bool { return f.Queue.Waiting() == 1 })
	touch(t, file)
	require.Nil(t, receive(t, working))
	receive(t, closed)
	stats, err := f.Pool.Workers()[0].Stats()
	require.NoError(t, err)
	require.Equal(t, uint64(2), stats.NumExecs)
}

func testExchangeKilled(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	pids := f.pids()
	working := f.askLater(t, "hang")
	f.kill()
	failure := receive(t, working)
	require.NotNil(t, failure)
	require.Equal(t, wire.ReasonShutdown, failure.Reason)
	await(t, "a new worker takes the place", func() bool {
		now := f.pids()
		return len(now) == 1 && now[0] != pids[0] && f.count(telemetry.WorkerReady) == 1
	})
	pids = f.pids()
	for range 20 {
		_, failure := f.ask("x")
		require.NotNil(t, failure)
		require.Equal(t, wire.ReasonShutdown, failure.Reason)
	}
	require.Equal(t, pids, f.pids(), "exchanges that come later kill no worker")
}

func testStream(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	ask := func(body string) dispatch.Frames {
		a, err := f.Exchange(new(dispatch.Call), nil, dataContext, []byte(body))
		require.NoError(t, err)
		require.Equal(t, body, string(a.Body))
		require.NotNil(t, a.More)
		return a.More
	}

	frames := ask("stream")
	for i := range 5 {
		frame, last, err := frames.Next(nil)
		require.NoError(t, err)
		require.Equal(t, "stream", string(frame.Body))
		require.Equal(t, i == 4, last)
	}
	frames.End()
	frames.End() // does nothing
	f.requireEcho(t)

	frames = ask("silent")
	require.NoError(t, f.Pool.Workers()[0].Kill())
	_, _, err := frames.Next(nil)
	require.Error(t, err)
	require.Equal(t, wire.ReasonError, dispatch.FailureOf(err).Reason)
	frames.End()
	f.requireEcho(t)

	frames = ask("silent")
	cancel := make(chan struct{})
	close(cancel)
	_, _, err = frames.Next(cancel)
	require.ErrorIs(t, err, dispatch.ErrCanceled)
	f.kill()
	frames.End() // kills the worker
}

func testCloseWithoutAnswer(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	const closeTimeout = 50 * time.Millisecond
	for range 3 {
		pids := f.pids()
		f.HandOverClose(newCall(closeTimeout), hangContext)
		await(t, "the worker is replaced", func() bool {
			now := f.pids()
			return len(now) == 1 && now[0] != pids[0]
		})
	}
	warnings := func() int { return len(f.logs.Saying("did not answer CLOSE")) }
	require.Equal(t, 1, warnings())
	require.NoError(t, f.Reset())
	f.HandOverClose(newCall(closeTimeout), hangContext)
	require.Equal(t, 2, warnings(), "once for each generation of workers")
	f.requireEcho(t)
}

// A worker that is silent between two frames of its answer to a bulk of CLOSE is replaced, and no other one, although the pool
// does not tell which one it is.
func testCloseHalfAnswered(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 3}, 0)
	f.Queue.Bulk = dispatch.BulkLimits{MaxEvents: 2, MaxBytes: 1 << 10}
	files := t.TempDir() + "/"
	busy := make(map[string]<-chan *dispatch.Failure)
	until := func(file string) { busy[file] = f.askLater(t, "until "+files+file) }
	release := func(file string) {
		require.NoError(t, os.WriteFile(files+file, nil, 0o600))
		require.Nil(t, receive(t, busy[file]))
	}
	until("before")
	until("first")
	until("second")
	var closes sync.WaitGroup
	for range 4 {
		closes.Add(1)
		go func() { // ends when the worker is replaced, or with the answer
			defer closes.Done()
			call := newCall(6 * time.Second)
			call.Shares = true
			f.HandOverClose(call, []byte(`{"event":"CLOSE"}`))
		}()
	}
	await(t, "all wait", func() bool { return f.Queue.Waiting() == 4 })
	release("first")
	await(t, "a worker has two of them", func() bool { return f.Queue.Waiting() == 2 })
	release("second")
	await(t, "a worker is free", func() bool { return f.Queue.Waiting() == 0 && f.count(telemetry.WorkerReady) == 1 })
	until("after")
	closes.Wait()
	release("before")
	release("after")
	await(t, "the worker is replaced", func() bool { return len(f.pids()) == 3 })
	f.requireEcho(t)
}

// The time that a worker takes to start does not count against close_timeout: that would kill it for an event it has not seen.
func testCloseAfterSlowBoot(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0, envBoot+"=4s")
	for _, context := range []string{`{"event":"CLOSE"}`, `{"event":"CLOSE","state":"stream"}`} {
		_, failure := f.ask("exit") // a new worker starts
		require.NotNil(t, failure)
		f.HandOverClose(newCall(3*time.Second), []byte(context))
		require.Empty(t, f.logs.Saying("did not answer CLOSE"))
		stats, err := f.Pool.Workers()[0].Stats()
		require.NoError(t, err)
		require.NotZero(t, stats.NumExecs, "the worker that started has answered %s, and is still there", context)
	}
}

// Nor does the time that a worker takes to end which answers with the wish to be replaced: the next one would be killed for that.
func testCloseAfterSlowStop(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 2}, 0, envStop+"="+filepath.Join(t.TempDir(), "stop"))
	before := f.pids()
	f.HandOverClose(newCall(stopTime-time.Second), []byte(`{"event":"CLOSE"}`))
	require.Empty(t, f.logs.Saying("did not answer CLOSE"))
	require.Zero(t, f.Queue.NoFreeWorkers())
	await(t, "two workers are there", func() bool { return f.count(telemetry.WorkerReady) == 2 })
	now := f.pids()
	require.True(t, slices.Contains(now, before[0]) || slices.Contains(now, before[1]), "one has only been told to end")
}

// However an exchange ends, the pool does not read the body afterwards: the memory of a large one is unmapped then, and a read
// would end this process.
func testBodyReleased(t *testing.T, line Line) {
	f := newFixture(t, line, PoolConfig{NumWorkers: 1}, 0)
	const size = 8 << 20 // more than the pipe to a worker holds, and than is kept for reuse
	exchange := func(command string, kill bool) error {
		body := stream.NewBuffer(size)
		defer body.Free()
		copy(body.Bytes, command+" "+strings.Repeat(" ", size-len(command)-1))
		if kill {
			time.AfterFunc(10*time.Millisecond, f.kill)
		}
		a, err := f.Exchange(new(dispatch.Call), nil, dataContext, body.Bytes)
		if a.More != nil {
			a.More.End()
		}
		return err
	}
	for _, command := range []string{"x", "error", "exit", "stream", "break"} {
		_ = exchange(command, false)
	}
	require.Error(t, exchange("hang", true))
}
