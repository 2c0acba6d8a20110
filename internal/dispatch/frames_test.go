package dispatch_test

import (
	"context"
	stderrors "errors"
	"io"
	"testing"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/dispatch/dispatchtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// streams answers with so many frames that another one follows, and then the last one.
func streams(frames int) dispatchtest.Work {
	return func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		all := make(dispatchtest.Frames, frames)
		for i := range all {
			all[i] = &dispatch.Payload{Context: []byte("WRITE"), Body: []byte("x"), Flags: wire.FlagStream}
		}
		return &all, nil
	}
}

func TestFrames(t *testing.T) {
	f := newFixture(t, 1, func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return &dispatchtest.Frames{
			{Body: []byte("1"), Flags: wire.FlagStream}, {Body: []byte("2"), Flags: wire.FlagStream}, {Body: []byte("3"), Context: []byte("CLOSE")},
		}, nil
	})
	a, err := f.ask("x")
	require.NoError(t, err)
	require.Equal(t, "1", string(a.Body))
	frame, last, err := a.More.Next(nil)
	require.NoError(t, err)
	require.Equal(t, "2", string(frame.Body))
	require.False(t, last)
	frame, last, err = a.More.Next(nil)
	require.NoError(t, err)
	require.Equal(t, "3", string(frame.Body))
	require.Equal(t, "CLOSE", string(frame.Context))
	require.True(t, last)
	a.More.End()
	a.More.End() // does nothing
	f.requireFree(t, 1)
}

func TestFramesBreakOff(t *testing.T) {
	f := newFixture(t, 1, streams(1))
	a, err := f.ask("x")
	require.NoError(t, err)
	_, _, err = a.More.Next(nil)
	require.ErrorContains(t, err, "broke off")
	require.Equal(t, wire.ReasonError, dispatch.FailureOf(err).Reason)
	require.True(t, dispatch.FailureOf(err).Reached)
	a.More.End()
	f.requireFree(t, 1)
}

// slow is an answer whose first frame is there; the others come from the test.
type slow struct {
	begun  bool
	frames chan error // what Next returns
}

func (s *slow) Next(cancel <-chan struct{}) (*dispatch.Payload, error) {
	if !s.begun {
		s.begun = true
		return &dispatch.Payload{Flags: wire.FlagStream}, nil
	}
	select {
	case err := <-s.frames:
		return nil, err
	case <-cancel:
		return nil, dispatch.ErrCanceled
	}
}

func (f *fixture) askSlow(t *testing.T) (frames dispatch.Frames, next chan<- error) {
	s := &slow{frames: make(chan error, 2)}
	f.pool.Do(func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) { return s, nil })
	a, err := f.ask("x")
	require.NoError(t, err)
	return a.More, s.frames
}

func TestFramesCancelled(t *testing.T) {
	f := newFixture(t, 1, nil)
	frames, next := f.askSlow(t)
	cancel := make(chan struct{})
	close(cancel)
	_, _, err := frames.Next(cancel)
	require.ErrorIs(t, err, dispatch.ErrCanceled)
	require.True(t, dispatch.FailureOf(err).Reached)
	next <- stderrors.New("a frame that is dropped")
	next <- io.EOF
	frames.End()
	f.requireFree(t, 1)
}

func TestFramesFail(t *testing.T) {
	f := newFixture(t, 1, nil)
	frames, next := f.askSlow(t)
	next <- stderrors.New("of a test")
	_, _, err := frames.Next(nil)
	require.Equal(t, wire.ReasonError, dispatch.FailureOf(err).Reason)
	f.stop()
	next <- stderrors.New("of a test")
	_, _, err = frames.Next(nil)
	require.Equal(t, wire.ReasonShutdown, dispatch.FailureOf(err).Reason)
	next <- io.EOF
	frames.End()
}

// The worker is free only with the end of its answer.
func TestFramesHoldPlace(t *testing.T) {
	f := newFixture(t, 1, nil)
	frames, next := f.askSlow(t)
	asked := make(chan error)
	f.pool.Do(echoes)
	go func() { _, err := f.ask("y"); asked <- err }()
	await(t, func() bool { return f.Queue.Waiting() == 1 })
	next <- io.EOF
	frames.End()
	require.NoError(t, receive(t, asked))
}

// So it is where the answer is ended early: nobody is asked before the worker has stopped.
func TestEndedFramesHoldPlace(t *testing.T) {
	f := newFixture(t, 1, nil)
	stopped := make(chan (<-chan struct{}), 1)
	s := &slow{frames: make(chan error, 2)}
	f.pool.Do(func(_ context.Context, _ *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
		stopped <- stop
		return s, nil
	})
	a, err := f.ask("x")
	require.NoError(t, err)
	asked, ended := make(chan error), make(chan struct{})
	f.pool.Do(echoes)
	go func() { _, err := f.ask("y"); asked <- err }()
	await(t, func() bool { return f.Queue.Waiting() == 1 })
	go func() { defer close(ended); a.More.End() }()
	receive(t, <-stopped)
	require.Equal(t, 1, f.Queue.Waiting())
	s.frames <- io.EOF
	receive(t, ended)
	require.NoError(t, receive(t, asked))
}

// The time of every exchange that has reached a worker is counted, once: of an answer in several frames up to the last one.
func TestExchangesAreCounted(t *testing.T) {
	count := func(stats *telemetry.Server) (n uint64) {
		for _, c := range stats.Exchanges(wire.Data).Counts() {
			n += c
		}
		return n
	}
	for name, c := range map[string]struct {
		work dispatchtest.Work
		want uint64
	}{
		"an answer": {echoes, 1},
		"frames":    {streams(3), 1},
		"it dies":   {fails(errors.Network), 1},
		"overload":  {fails(errors.NoFreeWorkers), 0},
	} {
		f, stats := newFixture(t, 1, c.work), new(telemetry.Server)
		a, err := f.Exchange(&dispatch.Call{Event: wire.Data, Stats: stats}, nil, []byte("{}"), nil)
		if a.More != nil {
			require.Zero(t, count(stats), "the worker is still at it")
			a.More.End()
			a.More.End()
		}
		require.Equal(t, c.want, count(stats), "%s: %v", name, err)
	}
}

func fails(kind errors.Kind) dispatchtest.Work {
	return func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return nil, errors.E(kind, errors.Str("of a test"))
	}
}

// Stop kills a worker that is silent between two frames.
func TestFramesKilled(t *testing.T) {
	f := newFixture(t, 1, nil)
	frames, next := f.askSlow(t)
	w := f.Pool.Workers()[0].(*dispatchtest.Worker)
	f.pool.Do(echoes)
	w.Retire() // it is at work until the last frame
	f.stop()
	ended := make(chan struct{})
	go func() { defer close(ended); frames.End() }()
	await(t, func() bool { return w.Kills() > 0 })
	next <- io.EOF
	receive(t, ended)
}

func TestFirstFrameFails(t *testing.T) {
	f := newFixture(t, 1, func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return new(dispatchtest.Frames), nil
	})
	_, err := f.ask("x")
	require.Equal(t, wire.ReasonError, dispatch.FailureOf(err).Reason)
	f.requireFree(t, 1)
}

func TestQueueFull(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, 1, gated(busy, release))
	f.Queue = dispatch.NewQueue(1, 0, 1)
	asked := make(chan error)
	go func() { _, err := f.ask("x"); asked <- err }()
	receive(t, busy)
	_, err := f.ask("y")
	require.Equal(t, wire.ReasonOverload, dispatch.FailureOf(err).Reason)
	require.False(t, dispatch.FailureOf(err).Reached)
	require.EqualValues(t, 1, f.Queue.NoFreeWorkers())
	close(release)
	require.NoError(t, receive(t, asked))
	f.Queue.Close()
	f.Queue.Close()
}
