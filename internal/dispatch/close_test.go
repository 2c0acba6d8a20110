package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// processes is a pool that lists workers.
type processes struct {
	Pool
	workers []Worker
}

func (p processes) Workers() []Worker { return p.workers }

// Workers that do not answer CLOSE are busy with nothing for as long as they may be.
func TestUnansweredCloseShortensOthers(t *testing.T) {
	log, logs := logtest.New(slog.LevelWarn)
	d := newDispatcher(func(context.Context, *Payload) (Results, error) {
		return nil, errors.E(errors.ExecTTL, errors.Str("x"))
	})
	d.Log = log
	calls := []*Call{{CloseTimeout: 10 * time.Minute}, {CloseTimeout: 3 * time.Second}, {CloseTimeout: 300 * time.Millisecond}, {}}
	limits := func() (all []time.Duration) {
		for _, c := range calls {
			all = append(all, d.closeTimeout(c))
		}
		return all
	}
	whole := []time.Duration{10 * time.Minute, 3 * time.Second, 300 * time.Millisecond, 0}
	require.Equal(t, whole, limits())
	_, err := d.Exchange(&Call{Event: wire.Data}, nil, []byte("{}"), nil)
	require.True(t, isUnanswered(err))
	require.Equal(t, whole, limits(), "a packet that takes too long says nothing of CLOSE")
	for range 3 {
		d.HandOverClose(calls[0], []byte("{}"))
	}
	require.Equal(t, []time.Duration{time.Minute, time.Second, 300 * time.Millisecond, 0}, limits(), "a tenth, a second at least")
	require.Equal(t, 1, logs.Len(), "said once")

	d.Pool = processes{Pool: resettable{during: func() { // an old worker does not answer either, while the reset waits for it
		d.unanswered.Store(true)
	}}}
	d.ExchangeCtx = canceledContext
	_ = d.Reset()
	require.Equal(t, whole, limits(), "workers are new")
}

// What is said once until the workers are reset is said of new ones again.
func TestResetForgetsWhatWasSaid(t *testing.T) {
	d := newDispatcher(nil)
	said := []*atomic.Bool{&d.closeWarned, &d.astrayWarned, &d.aheadWarned, &d.bulkBegun, &d.bulkAnswered}
	d.Pool = processes{Pool: resettable{during: func() { // by old workers, while the reset waits for them
		for _, flag := range said {
			flag.Store(true)
		}
		d.bulkSaid.Store(bulkWrong)
	}}}
	require.NoError(t, d.Reset())
	for i, flag := range said {
		require.False(t, flag.Load(), i)
	}
	require.Equal(t, bulkUnsaid, d.bulkSaid.Load())
}

// A reset may take longer than workers may be away: they are there when it has ended, before anybody looks.
func TestResetEndsMissing(t *testing.T) {
	d := newDispatcher(nil)
	d.Pool = processes{Pool: resettable{during: func() {
		d.missing.mu.Lock()
		defer d.missing.mu.Unlock()
		d.missing.number = 2
	}}}
	require.NoError(t, d.Reset())
	missing, err := d.Missing()
	require.NoError(t, err)
	require.Zero(t, missing)
}

// A CLOSE that waits while others are not answered has less time, too: at a stop all connections that were open wait at once.
func TestUnansweredCloseShortensWaiting(t *testing.T) {
	const waiting = 3
	var limits []time.Duration // appended by one at a time, as what follows: the queue has one place
	var contexts []context.Context
	var d *Dispatcher
	d = newDispatcher(func(ctx context.Context, _ *Payload) (Results, error) {
		contexts = append(contexts, ctx)
		if limits = append(limits, ctx.(*deadlineContext).limit); len(limits) == 1 {
			for d.Queue.Waiting() < waiting {
				time.Sleep(time.Millisecond)
			}
		}
		return nil, errors.E(errors.ExecTTL, errors.Str("x"))
	})
	var wg sync.WaitGroup
	for range 1 + waiting {
		wg.Add(1)
		go func() { // ends with the exchange
			defer wg.Done()
			d.HandOverClose(&Call{CloseTimeout: 10 * time.Minute}, []byte("{}"))
		}()
	}
	wg.Wait()
	require.Equal(t, []time.Duration{10 * time.Minute, time.Minute, time.Minute, time.Minute}, limits)
	for _, ctx := range contexts {
		require.Error(t, ctx.Err(), "its parent, which lives as long as the plugin, does not hold it")
	}
}

// resettable is a pool whose Reset does nothing else.
type resettable struct {
	during func()
	Pool
}

func (p resettable) Reset(context.Context) error { p.during(); return nil }

// An answer to CLOSE that is for a client is that to another event.
func TestTextInAnswerToCloseReplacesWorker(t *testing.T) {
	for name, c := range map[string]struct {
		event    wire.Event
		word     string
		body     string
		workers  int // that got an event since
		busy     bool
		replaced bool
		said     int
	}{
		"a text":               {wire.Close, "WRITE", "hello\r\n", 1, false, true, 1},
		"a text, and the end":  {wire.Close, "WRITECLOSE", "bye\r\n", 1, false, true, 1},
		"one of two":           {wire.Close, "WRITE", "hello\r\n", 2, false, false, 1},
		"at work again":        {wire.Close, "WRITE", "hello\r\n", 1, true, false, 1},
		"nothing":              {wire.Close, "WRITE", "", 1, false, false, 0},
		"an object":            {wire.Close, `{"reply":"WRITE","uuid":"x"}`, "hello\r\n", 1, false, false, 0},
		"CONTINUE with a text": {wire.Close, "CONTINUE", "hello\r\n", 1, false, false, 0},
		"a packet":             {wire.Data, "WRITE", "hello\r\n", 1, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			log, logs := logtest.New(slog.LevelWarn)
			d := newDispatcher(nil)
			d.Log = log
			idle := &timedWorker{used: time.Now().Add(-time.Hour)}
			workers := []Worker{idle}
			d.Pool = executing{processes{workers: workers}, func() (Results, error) {
				for range c.workers {
					workers = append(workers, &timedWorker{used: time.Now(), busy: c.busy})
				}
				d.Pool = processes{workers: workers}
				return &one{[]*Payload{{Context: []byte(c.word), Body: []byte(c.body)}}}, nil
			}}
			call := &Call{Event: c.event}
			if c.event == wire.Close {
				d.HandOverClose(call, []byte("{}"))
			} else {
				_, err := d.Exchange(call, nil, []byte("{}"), nil)
				require.NoError(t, err)
			}
			require.Equal(t, c.said, logs.Len())
			require.False(t, idle.killed, "another one")
			require.Equal(t, c.replaced, workers[1].(*timedWorker).killed)
		})
	}
}

// executing is a pool whose Exec is a function.
type executing struct {
	processes
	exec func() (Results, error)
}

func (p executing) Exec(context.Context, *Payload, chan struct{}) (Results, error) { return p.exec() }

// timedWorker is a worker that is ready, or busy.
type timedWorker struct {
	Worker
	used         time.Time
	busy, killed bool
}

func (w *timedWorker) LastUsed() time.Time { return w.used }
func (*timedWorker) Execs() uint64         { return 0 }
func (w *timedWorker) Is(state int64) bool { return state == telemetry.WorkerReady && !w.busy }
func (w *timedWorker) Kill() error         { w.killed = true; return nil }
func (*timedWorker) Reap()                 {}
