package dispatch

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// poolFunc is a Pool without workers whose Exec is a function.
type poolFunc struct {
	Pool
	exec func(ctx context.Context, p *Payload) (Results, error)
}

func (p poolFunc) Exec(ctx context.Context, request *Payload, _ chan struct{}) (Results, error) {
	return p.exec(ctx, request)
}

func (poolFunc) Workers() []Worker { return nil }

// one is an answer of one frame.
type one struct{ frames []*Payload }

func (o *one) Next(<-chan struct{}) (*Payload, error) {
	if len(o.frames) == 0 {
		return nil, io.EOF
	}
	f := o.frames[0]
	o.frames = o.frames[1:]
	return f, nil
}

func newDispatcher(exec func(ctx context.Context, p *Payload) (Results, error)) *Dispatcher {
	return &Dispatcher{
		Pool: poolFunc{exec: exec}, Queue: NewQueue(1, time.Minute, 0), Starts: NewStarts(time.Minute),
		ExchangeCtx: context.Background(), CloseCtx: context.Background(), Log: logtest.Discard(),
	}
}

func TestExchangePanic(t *testing.T) {
	d := newDispatcher(func(context.Context, *Payload) (Results, error) { panic("no good") })
	for range 3 {
		_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
		f := FailureOf(err)
		require.Equal(t, wire.ReasonError, f.Reason)
		require.True(t, f.Reached)
		require.ErrorContains(t, f, "panic: no good")
		require.ErrorContains(t, f, "poolFunc.Exec", "the stack tells where")
	}
	require.Zero(t, d.Queue.admittedCount())
}

func TestExchangeFailures(t *testing.T) {
	sendFailed := errors.E(errors.Op("sync_worker_send_frame"), errors.Network, errors.Str("x"))
	for name, c := range map[string]struct {
		err      error
		reason   wire.Reason
		reached  bool
		kind     telemetry.Failure
		attempts int
	}{
		"the pool stops":                 {errors.E(errors.WatcherStopped, errors.Str("x")), wire.ReasonShutdown, false, telemetry.FailureNone, 1},
		"no worker is free":              {errors.E(errors.NoFreeWorkers, errors.Str("x")), wire.ReasonOverload, false, telemetry.FailureOverload, 1},
		"the pool's queue is full":       {errors.E(errors.QueueSize, errors.Str("x")), wire.ReasonOverload, false, telemetry.FailureOverload, 1},
		"max_workers are at work":        {errors.E(errors.Op("allocate_dynamically"), errors.Str("x")), wire.ReasonOverload, false, telemetry.FailureOverload, 1},
		"a worker can't be started":      {errors.E(errors.WorkerAllocate, errors.Str("x")), wire.ReasonError, false, telemetry.FailureDied, 1},
		"it is not sent: another try":    {errors.E(errors.Op("exec"), sendFailed), wire.ReasonError, false, telemetry.FailureDied, 2},
		"the worker answers an error":    {errors.E(errors.SoftJob, errors.Str("x")), wire.ReasonError, true, telemetry.FailureError, 1},
		"the worker takes too long":      {errors.E(errors.ExecTTL, errors.Str("x")), wire.ReasonError, true, telemetry.FailureTimeout, 1},
		"the worker dies with the event": {errors.E(errors.Network, errors.Str("x")), wire.ReasonError, true, telemetry.FailureDied, 1},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			d := newDispatcher(func(context.Context, *Payload) (Results, error) { attempts++; return nil, c.err })
			_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
			f := FailureOf(err)
			require.Equal(t, c.reason, f.Reason)
			require.Equal(t, c.reached, f.Reached)
			require.Equal(t, c.kind, f.Kind())
			require.Equal(t, c.attempts, attempts)
			require.Zero(t, d.Queue.admittedCount())
			require.Equal(t, c.reason == wire.ReasonOverload, d.Queue.NoFreeWorkers() == 1)
		})
	}
}

// What a worker prints may be a client's packet.
func TestFailureHidesOutput(t *testing.T) {
	printed := errors.E(errors.Op("exec"), errors.Network, errors.Str("see: x, invalid message: the packet"))
	d := newDispatcher(func(context.Context, *Payload) (Results, error) { return nil, printed })
	_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
	require.Equal(t, "exec: Network: see: x, invalid message: 10 bytes, which are not logged", strings.Join(strings.Fields(err.Error()), " "))
	require.ErrorIs(t, err, printed)
}

func TestExchangeAfterStop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := newDispatcher(func(context.Context, *Payload) (Results, error) {
		t.Error("Exec with a context that has ended kills a worker")
		return nil, nil
	})
	d.ExchangeCtx = ctx
	_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
	require.Equal(t, wire.ReasonShutdown, FailureOf(err).Reason)
}

func TestExchangeOvertakenByReset(t *testing.T) {
	attempts := 0
	var d *Dispatcher
	d = newDispatcher(func(context.Context, *Payload) (Results, error) {
		if attempts++; attempts == 1 {
			d.Queue.pause()
			d.Queue.resume(true)
			return nil, errors.E(errors.NoFreeWorkers, errors.Str("x"))
		}
		return &one{[]*Payload{{Context: []byte("WRITE")}}}, nil
	})
	a, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
	require.NoError(t, err)
	require.Equal(t, "WRITE", string(a.Context))
	require.Zero(t, d.Queue.NoFreeWorkers())
}

func TestExchangeOvertakenByFailedResets(t *testing.T) {
	attempts := 0
	var d *Dispatcher
	d = newDispatcher(func(context.Context, *Payload) (Results, error) {
		d.Queue.pause()
		if attempts++; attempts == 1 {
			go func() { // ends when the exchange waits again
				for d.Queue.Waiting() == 0 {
					time.Sleep(time.Millisecond)
				}
				d.Queue.resume(false)
			}()
		}
		return nil, errors.E(errors.NoFreeWorkers, errors.Str("x"))
	})
	_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
	require.Equal(t, wire.ReasonOverload, FailureOf(err).Reason)
	require.Equal(t, 2, attempts, "the first reset might have brought a worker")
}

func TestExchangeRetriedWherePoolStartsWorkersForOthers(t *testing.T) {
	for retries, want := range map[bool]int{false: 1, true: 2} {
		attempts := 0
		d := newDispatcher(func(context.Context, *Payload) (Results, error) {
			attempts++
			return nil, errors.E(errors.NoFreeWorkers, errors.Str("x"))
		})
		d.RetryNoFree = retries
		_, err := d.Exchange(new(Call), nil, []byte("{}"), nil)
		require.Equal(t, wire.ReasonOverload, FailureOf(err).Reason)
		require.Equal(t, want, attempts)
		require.Equal(t, int64(1), d.Queue.NoFreeWorkers())
	}
}

func TestCloseRetried(t *testing.T) {
	attempts := 0
	d := newDispatcher(func(context.Context, *Payload) (Results, error) {
		if attempts++; attempts < 3 {
			return nil, errors.E(errors.NoFreeWorkers, errors.Str("x"))
		}
		return &one{[]*Payload{{}}}, nil
	})
	d.HandOverClose(new(Call), []byte("{}"))
	require.Equal(t, 3, attempts)
}

func TestExchangeAllocations(t *testing.T) {
	answer := &Payload{Context: []byte("WRITE")}
	results := &one{}
	d := newDispatcher(func(context.Context, *Payload) (Results, error) {
		results.frames = append(results.frames[:0], answer)
		return results, nil
	})
	c, cancel := new(Call), make(chan struct{})
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		results.frames = make([]*Payload, 0, 1)
		_, _ = d.Exchange(c, cancel, answer.Context, nil)
	}), 2.0)
}
