package tcp

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/sdk/v4/payload"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// newExchanger is what the plugin puts together, with a pool of RoadRunner's.
func newExchanger(t *testing.T, cfg pool.Config, env ...string) (*exchanger, context.CancelFunc, *observer.ObservedLogs) {
	core, logs := observer.New(zap.WarnLevel)
	c := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Pool: &cfg}
	require.NoError(t, c.InitDefault())
	cut, kill := context.WithCancel(context.Background())
	t.Cleanup(kill)
	queue := c.newQueue()
	t.Cleanup(queue.close)
	cfg.MaxQueueSize = 0
	return &exchanger{
		pool: realPool(t, cfg, env...), queue: queue, cut: cut, last: cut, log: zap.New(core),
	}, kill, logs
}

var (
	dataContext  = []byte(`{"event":"DATA"}`)
	closeContext = []byte(`{"event":"CLOSE"}`)
	never        = make(chan struct{})
)

func (e *exchanger) say(t *testing.T, body string) (string, *failure) {
	a, err := e.exchange(newCall(0), never, dataContext, []byte(body))
	if err == nil {
		return string(a.context) + " " + string(a.body), nil
	}
	var f *failure
	require.ErrorAs(t, err, &f)
	return "", f
}

// longest is how long the worker that has worked longest is at it.
func (e *exchanger) longest() (d time.Duration) {
	for _, w := range e.pool.Workers() {
		if s := w.State(); s.String() == "working" {
			d = max(d, time.Since(time.Unix(0, int64(s.LastUsed()))))
		}
	}
	return d
}

func TestAnExchange(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	for body, want := range map[string]string{"x": "WRITE x", "": "WRITE ", "reply CLOSE": "CLOSE reply CLOSE"} {
		got, f := e.say(t, body)
		require.Nil(t, f)
		require.Equal(t, want, got)
	}
	for _, body := range []string{"error", "exit"} {
		_, f := e.say(t, body)
		require.NotNil(t, f, body)
		require.Equal(t, reasonError, f.why, body)
		require.True(t, f.reached, body)
	}
	got, f := e.say(t, "the worker is free again, or replaced")
	require.Nil(t, f)
	require.Equal(t, "WRITE the worker is free again, or replaced", got)
	require.Zero(t, e.queue.inside)
}

func TestAnEventThatNeverReachedAWorkerIsOfferedOnceMore(t *testing.T) {
	once := filepath.Join(t.TempDir(), "once")
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1}, onceFile+"="+once)
	require.Eventually(t, func() bool {
		_, err := os.Stat(once + ".closed")
		return err == nil
	}, 5*time.Second, time.Millisecond)
	got, f := e.say(t, "x")
	require.Nil(t, f)
	require.Equal(t, "WRITE x", got)
}

func TestAnExchangeThatIsCancelledWhileItWaitsLeavesTheWorkerAlone(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	pid := e.pool.Workers()[0].Pid()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); e.say(t, "sleep 100ms") }()
	require.Eventually(t, func() bool { return e.pool.Workers()[0].State().String() == "working" }, 5*time.Second, time.Millisecond)

	cancel := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { close(cancel) })
	_, err := e.exchange(newCall(0), cancel, dataContext, nil)
	require.ErrorIs(t, err, errCanceled)
	wg.Wait()
	require.Equal(t, pid, e.pool.Workers()[0].Pid())
}

func TestNoFreeWorkerInTimeIsOverloadAndNeverReachedOne(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1, AllocateTimeout: 2 * time.Second, MaxQueueSize: 1})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); e.say(t, "sleep 300ms") }()
	require.Eventually(t, func() bool { return e.pool.Workers()[0].State().String() == "working" }, 5*time.Second, time.Millisecond)
	_, f := e.say(t, "x")
	require.Equal(t, reasonOverload, f.why)
	require.False(t, f.reached)
	require.ErrorIs(t, f, errQueueFull)

	e.handOverClose(newCall(0), closeContext) // CLOSE is offered until a worker has it, whatever the limits
	wg.Wait()
	require.Equal(t, uint64(2), e.pool.Workers()[0].State().NumExecs())
}

func TestCutKillsTheWorkerAndEndsTheExchange(t *testing.T) {
	e, kill, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	pid := e.pool.Workers()[0].Pid()
	time.AfterFunc(50*time.Millisecond, kill)
	_, f := e.say(t, "hang")
	require.Equal(t, reasonShutdown, f.why)
	require.Eventually(t, func() bool { // a new one takes its place, and no later exchange kills that
		w := e.pool.Workers()
		return len(w) == 1 && w[0].Pid() != pid
	}, 5*time.Second, time.Millisecond)
	pid = e.pool.Workers()[0].Pid()
	for range 20 {
		_, f = e.say(t, "x")
		require.Equal(t, reasonShutdown, f.why)
		require.ErrorIs(t, f, errQueueClosed, "the pool is not asked")
	}
	require.Equal(t, pid, e.pool.Workers()[0].Pid())
}

func TestResetFailsNoExchange(t *testing.T) {
	// The pool would count the time that new workers take to start against those that wait.
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 2, AllocateTimeout: time.Second}, slowBoot+"=300ms")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, f := e.say(t, "x"); f != nil {
					t.Error(f)
					return
				}
			}
		}()
	}
	for range 3 {
		require.NoError(t, e.reset())
	}

	// An exchange that outlasts allocate_timeout holds the reset up, and with it everybody else.
	wg.Add(1)
	go func() { defer wg.Done(); e.say(t, "sleep 2s") }()
	require.Eventually(t, func() bool { return e.longest() > 100*time.Millisecond }, 5*time.Second, time.Millisecond)
	require.NoError(t, e.reset())
	close(stop)
	wg.Wait()
}

func TestResetDoesNotWaitForAWorkerThatWasKilledWhileIdle(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 2, ResetTimeout: time.Minute})
	victim := e.pool.Workers()[0]
	require.NoError(t, syscall.Kill(int(victim.Pid()), syscall.SIGKILL))
	require.Eventually(t, func() bool { return victim.State().String() == "errored" }, 5*time.Second, time.Millisecond)
	begin := time.Now()
	require.NoError(t, e.reset())
	require.Less(t, time.Since(begin), 20*time.Second)
	_, f := e.say(t, "x")
	require.Nil(t, f)
}

func TestWhoCannotRemoveAWorkerLeavesTheQueue(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 2})
	stopping := func(func(*exchanger) error) error { return errNotServing }
	require.ErrorIs(t, e.removeWorker(context.Background(), stopping), errNotServing)
	require.Zero(t, e.queue.admitted())
	require.Equal(t, 2, e.queue.limit())
}

func TestWhoRemovesAWorkerWaitsForTheOnesThatStart(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 2}, slowBoot+"="+(takeTime+500*time.Millisecond).String())
	for _, w := range e.pool.Workers() {
		require.NoError(t, w.Kill())
	}
	holds := 0
	require.NoError(t, e.removeWorker(context.Background(), func(f func(*exchanger) error) error {
		holds++
		return f(e)
	}))
	require.Greater(t, holds, 1, "others get at the workers meanwhile")
	require.Equal(t, 1, e.queue.limit())
	require.Zero(t, e.queue.admitted())
}

func TestWorkersThatAreTooManyAreEndedWhileIdle(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 3})
	e.queue.widen(-1) // as if the pool had replaced one twice
	said := make(chan *failure, 1)
	go func() {
		_, f := e.say(t, "sleep 300ms")
		said <- f
	}()
	require.Eventually(t, func() bool { return e.longest() > 0 }, 5*time.Second, time.Millisecond)
	require.NoError(t, e.repair())
	require.Nil(t, <-said, "the one at work is spared")
	require.Eventually(t, func() bool { return len(e.pool.Workers()) == 2 }, 5*time.Second, time.Millisecond)
	require.Never(t, func() bool { return len(e.pool.Workers()) > 2 }, 200*time.Millisecond, 10*time.Millisecond, "not replaced")
	require.NoError(t, e.repair())
	require.Len(t, e.pool.Workers(), 2, "and no more than that")
}

func TestWorkersAreAddedAndRemoved(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	require.ErrorIs(t, e.removeWorker(context.Background(), func(f func(*exchanger) error) error { return f(e) }), errLastWorker)
	require.NoError(t, e.addWorker())
	require.Len(t, e.pool.Workers(), 2)
	require.Equal(t, 2, e.queue.width)
	require.NoError(t, e.removeWorker(context.Background(), func(f func(*exchanger) error) error { return f(e) }))
	require.Equal(t, 1, e.queue.width)
	require.Zero(t, e.queue.inside)
	require.Eventually(t, func() bool { return len(e.pool.Workers()) == 1 }, 5*time.Second, time.Millisecond)
	_, f := e.say(t, "x")
	require.Nil(t, f)
}

func TestACloseThatIsNotAnsweredIsWarnedOfOnce(t *testing.T) {
	e, _, logs := newExchanger(t, pool.Config{NumWorkers: 1})
	const limit = 50 * time.Millisecond
	for range 3 {
		pid := e.pool.Workers()[0].Pid()
		e.handOverClose(newCall(limit), []byte(`{"event":"CLOSE","hang":1}`))
		require.Eventually(t, func() bool {
			w := e.pool.Workers()
			return len(w) == 1 && w[0].Pid() != pid
		}, 5*time.Second, time.Millisecond, "a worker that does not answer is replaced")
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("did not answer CLOSE").Len())

	require.NoError(t, e.reset())
	e.handOverClose(newCall(limit), []byte(`{"event":"CLOSE","hang":1}`))
	require.Equal(t, 2, logs.FilterMessageSnippet("did not answer CLOSE").Len(), "new workers, new warning")
	got, f := e.say(t, "x")
	require.Nil(t, f)
	require.Equal(t, "WRITE x", got)
}

func TestACountdownCountsFromWhenTheWorkerHasTheEvent(t *testing.T) {
	const limit = 100 * time.Millisecond
	derive := func(c *countdown) context.Context {
		ctx, cancel := context.WithTimeout(c, time.Hour)
		t.Cleanup(cancel)
		return ctx
	}

	c, stop := newCountdown(context.Background(), limit, false)
	defer stop()
	derive(c)
	for range 2 { // the pool begins anew when the worker that it got was no good
		derive(c)
		derive(c)
		time.Sleep(2 * limit)
		require.NoError(t, c.Err(), "the wait for a worker does not count")
	}
	begin := time.Now()
	<-derive(c).Done()
	require.GreaterOrEqual(t, time.Since(begin), limit)

	c, stop = newCountdown(context.Background(), limit, true)
	defer stop()
	<-derive(c).Done() // a pool that makes a worker for each event does not wait for one

	parent, kill := context.WithCancel(context.Background())
	c, stop = newCountdown(parent, time.Hour, false)
	defer stop()
	kill()
	<-derive(c).Done()
}

type panickingPool struct{ workerPool }

func (panickingPool) Exec(context.Context, *payload.Payload, chan struct{}) (chan *staticPool.PExec, error) {
	panic("no good")
}

func TestAPanicOfThePoolEndsTheExchangeAlone(t *testing.T) {
	q := testQueue(1)
	defer q.close()
	e := &exchanger{pool: panickingPool{}, queue: q, cut: context.Background(), last: context.Background(), log: zap.NewNop()}
	for range 3 {
		_, f := e.say(t, "x")
		require.Equal(t, reasonError, f.why)
		require.True(t, f.reached)
		require.ErrorContains(t, f, "panic: no good")
		require.ErrorContains(t, f, "panickingPool.Exec", "the stack tells where")
	}
	require.Zero(t, q.admitted())
}

// tracedPool says which goroutine calls it.
type tracedPool struct {
	workerPool
	trace string
}

func (p *tracedPool) Exec(context.Context, *payload.Payload, chan struct{}) (chan *staticPool.PExec, error) {
	p.trace = string(debug.Stack())
	return nil, errors.E(errors.WatcherStopped)
}

func TestAFewConnectionsCallThePoolThemselves(t *testing.T) {
	q, p := testQueue(1), &tracedPool{}
	defer q.close()
	e := &exchanger{pool: p, queue: q, cut: context.Background(), last: context.Background(), log: zap.NewNop()}
	for _, here := range []bool{true, false, true} {
		c := newCall(0)
		c.here = here
		for i := range 2 * brief {
			_, err := e.exchange(c, nil, []byte("{}"), nil)
			require.Error(t, err)
			require.Equal(t, here && i >= brief, strings.Contains(p.trace, t.Name()), "their stack need not grow for a few exchanges")
		}
	}
}

func TestAnExchangeWithAHeavyAnswerTakesBallast(t *testing.T) {
	for _, size := range []int{heavy/2 - 1, heavy / 2} {
		e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
		body := strings.Repeat("x", size)
		answered, f := e.say(t, body)
		require.Nil(t, f)
		require.Contains(t, answered, body)
		require.Equal(t, size == heavy/2, e.ballast.bytes != nil, size)
	}
}
