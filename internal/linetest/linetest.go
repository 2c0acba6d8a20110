// Package linetest is the tests that each RoadRunner line runs with its own pool and plugin: exchanges, resets and the workers of
// a real pool, and the plugin in Endure. A line's test file makes a Line and calls Main and Run. Only tests import it.
package linetest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// patience bounds every wait for an event. It is long: the machine may be busy.
const patience = 2 * time.Minute

const inParallel = "8" // tests mostly wait

// mode is what the plugin sets in the environment of its workers.
const mode = "RR_MODE=" + server.Name

// Line is one RoadRunner line.
type Line struct {
	// NewPool makes a pool of that line as the plugin does; command is what it starts as a worker.
	NewPool func(starts *dispatch.Starts, cfg PoolConfig, command func([]string) *exec.Cmd) (dispatch.Pool, error)
	// NewPlugin returns a zero Plugin; NewLogger and NewServer return the plugins that Endure gives it: the one of its logger, and
	// the one that makes its pools, whose workers command starts.
	NewPlugin func() Plugin
	NewLogger func() any
	NewServer func(command func([]string) *exec.Cmd) any
	// HasAllocator says that the pool can make more workers for exchanges that find none.
	HasAllocator bool
	// AddHoldsPool is that of the line's PoolTraits.
	AddHoldsPool bool
	// Modules are the pool, the goridge and the logger of the line, where that is not log/slog.
	Modules []string
}

// PoolConfig is what the tests set of a pool's configuration. Zero is the default.
type PoolConfig struct {
	NumWorkers                                    uint64
	AllocateTimeout, ResetTimeout, DestroyTimeout time.Duration
}

// Plugin is the plugin of any line, after Init.
type Plugin interface {
	Serve() chan error
	Stop(ctx context.Context) error
	Reset() error
	AddWorker() error
	RemoveWorker(ctx context.Context) error
	Addr(server string) net.Addr
	Close(uuid string) error
	Connections(q server.ConnectionQuery) (server.ConnectionPage, error)
}

// Main is the TestMain of a line: the test binary is also the worker.
func Main(m *testing.M) {
	for _, variable := range os.Environ() {
		if variable == mode {
			work()
			return
		}
	}
	_ = flag.Set("test.parallel", inParallel) // the command line, which is read later, may have another
	VerifyTestMain(m)
}

// VerifyTestMain runs the tests and fails if they leave goroutines, but for those which RoadRunner's own packages never end.
func VerifyTestMain(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(waiting{m}, append(options, leaks...)...)
}

var leaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).startMainThread.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).poll.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/pool/static_pool.(*Pool).Start.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/events.(*Bus).handleEvents"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/pool/pool/static_pool.(*Pool).Start.func1"),
	// Pools try to start a worker that is missing as long as the process lives.
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/worker_watcher.(*WorkerWatcher).Allocate"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/pool/worker_watcher.(*WorkerWatcher).Allocate"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/pool/v2/worker_watcher.(*WorkerWatcher).Allocate"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/events.(*Bus).handleEvents"),
}

// waiting are tests that end with their goroutines. goleak waits for them less than a second: workers that start while a pool is
// destroyed are killed for a second after that.
type waiting struct{ *testing.M }

func (w waiting) Run() int {
	code := w.M.Run()
	for deadline := time.Now().Add(patience); goleak.Find(leaks...) != nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	return code
}

// Run runs all tests.
func Run(t *testing.T, line Line) {
	for name, test := range map[string]func(*testing.T, Line){
		"exchange":              testExchange,
		"exchange not sent":     testExchangeNotSent,
		"exchange canceled":     testExchangeCanceled,
		"exchange overload":     testOverload,
		"exchange killed":       testExchangeKilled,
		"stream":                testStream,
		"close without answer":  testCloseWithoutAnswer,
		"close half answered":   testCloseHalfAnswered,
		"close after slow boot": testCloseAfterSlowBoot,
		"close after slow stop": testCloseAfterSlowStop,
		"body released":         testBodyReleased,
		"reset":                 testReset,
		"reset long":            testResetLong,
		"reset dead worker":     testResetDeadWorker,
		"reset lets them end":   testResetLetsWorkersEnd,
		"dead idle workers":     testDeadIdleWorkers,
		"astray worker":         testAstrayWorker,
		"workers":               testWorkers,
		"stats":                 testStatsDescriptors,
		"remove while starting": testRemoveWhileStarting,
		"remove not serving":    testRemoveNotServing,
		"excess workers":        testExcessWorkers,
		"missing workers":       testMissingWorkers,
		"added is missing":      testAddedIsMissing,
		"hanging boots":         testHangingBoots,
		"stop in hanging boot":  testStopInHangingBoot,
		"dying workers":         testDyingWorkers,
		"dead worker stopped":   testDeadWorkerStopped,
		"modules":               testModules,
		"plugin in Endure":      testPluginInEndure,
		"plugin disabled":       testPluginDisabled,
		"plugin bad config":     testPluginBadConfig,
		"plugin workers fail":   testPluginWorkersFail,
		"plugin worker missing": testPluginWorkerMissing,
		"plugin allocator":      testPluginAllocator,
		"plugin stop any time":  testPluginStopAnyTime,
		"plugin stop in reset":  testPluginStopInReset,
		"plugin stop deadline":  testPluginStopDeadline,
		"plugin stop drains":    testPluginStopDrains,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, line)
		})
	}
}

// worker is the command of a pool: this program, with more in its environment.
func worker(t *testing.T, env ...string) func([]string) *exec.Cmd {
	return func([]string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), mode, "GORACE=atexit_sleep_ms=0", mark(t)), env...)
		return cmd
	}
}

// WithEnv adds to the environment of a command, as RoadRunner's server plugin does.
func WithEnv(command func([]string) *exec.Cmd, env map[string]string) func([]string) *exec.Cmd {
	return func(args []string) *exec.Cmd {
		cmd := command(args)
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		return cmd
	}
}

// fixture is a dispatcher with a real pool.
type fixture struct {
	*dispatch.Dispatcher
	logs *logtest.Log
	kill context.CancelFunc // ends exchanges, as Stop does in the end
}

// newFixture starts the pool; it is destroyed when the test ends.
func newFixture(t *testing.T, line Line, cfg PoolConfig, maxQueueSize int, env ...string) *fixture {
	t.Helper()
	return newFixtureOf(t, line, cfg, maxQueueSize, worker(t, env...))
}

func newFixtureOf(t *testing.T, line Line, cfg PoolConfig, maxQueueSize int, command func([]string) *exec.Cmd) *fixture {
	t.Helper()
	if cfg.AllocateTimeout == 0 {
		cfg.AllocateTimeout = time.Minute
	}
	starts := dispatch.NewStarts(patience) // which the first workers have to start
	pool, err := starts.Make(func(starts *dispatch.Starts) (dispatch.Pool, error) { return line.NewPool(starts, cfg, command) })
	require.NoError(t, err)
	starts.Timeout = cfg.AllocateTimeout
	ctx, cancel := context.WithCancel(context.Background())
	log, logs := logtest.New(slog.LevelWarn)
	f := &fixture{logs: logs, kill: cancel, Dispatcher: &dispatch.Dispatcher{
		Pool: pool, Queue: dispatch.NewQueue(int(cfg.NumWorkers), cfg.AllocateTimeout, maxQueueSize), Starts: starts,
		ExchangeCtx: ctx, CloseCtx: ctx, DestroyTimeout: 5 * time.Second, Log: log,
		PoolTraits: dispatch.PoolTraits{AddHoldsPool: line.AddHoldsPool},
	}}
	go f.WatchStarts() // ends soon after Destroy
	t.Cleanup(func() {
		cancel()
		f.Queue.Close()
		f.Starts.Hurry()
		f.Destroy(context.Background(), patience) // of a line where the host does it, too: the test is the host
		await(t, "no worker is left", func() bool {
			return !slices.ContainsFunc(pool.Workers(), dispatch.Worker.Exists) // pools may list some that are not
		})
	})
	return f
}

var (
	dataContext = []byte(`{"event":"DATA"}`)
	hangContext = []byte(`{"event":"CLOSE","hang":1}`)
)

// ask exchanges one packet. The answer is its context and body with a space between.
func (f *fixture) ask(body string) (string, *dispatch.Failure) {
	a, err := f.Exchange(new(dispatch.Call), make(chan struct{}), dataContext, []byte(body))
	if err != nil {
		return "", dispatch.FailureOf(err)
	}
	if a.More != nil {
		defer a.More.End()
	}
	return string(a.Context) + " " + string(a.Body), nil
}

func (f *fixture) requireEcho(t *testing.T) {
	t.Helper()
	got, failure := f.ask("x")
	require.Nil(t, failure)
	require.Equal(t, "WRITE x", got)
}

// askLater asks in a goroutine and returns when a worker has the packet. The channel receives what became of it.
func (f *fixture) askLater(t *testing.T, body string) <-chan *dispatch.Failure {
	t.Helper()
	done := make(chan *dispatch.Failure, 1)
	working := f.count(telemetry.WorkerWorking)
	go func() { // ends with the exchange
		_, failure := f.ask(body)
		done <- failure
	}()
	await(t, "a worker has it", func() bool { return f.count(telemetry.WorkerWorking) > working })
	return done
}

func (f *fixture) count(state int64) (n int) {
	for _, w := range f.Pool.Workers() {
		if w.Is(state) {
			n++
		}
	}
	return n
}

// pids are the processes of the pool that are alive.
func (f *fixture) pids() (pids []int64) {
	for _, w := range f.Pool.Workers() {
		if stats, err := w.Stats(); err == nil {
			pids = append(pids, stats.Pid)
		}
	}
	return pids
}

// direct calls f at once: nothing else changes the workers.
func (f *fixture) direct(change func(*dispatch.Dispatcher) error) error { return change(f.Dispatcher) }

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		require.Fail(t, fmt.Sprintf("nothing came within %s", patience))
	}
	return v
}

// await polls where there is no event to wait for.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "never: "+what)
	}
}

func newCall(closeTimeout time.Duration) *dispatch.Call {
	return &dispatch.Call{Event: wire.Close, CloseTimeout: closeTimeout}
}
