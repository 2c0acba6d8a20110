package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rrerrors "github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/dispatch/dispatchtest"
	"github.com/rrtcp/tcp/internal/settings"
)

// eventRecord notes the events of connections, and lets packets that begin with "gate" wait for release.
type eventRecord struct {
	busy, release chan struct{}

	mu     sync.Mutex
	events map[string][]string // by uuid
}

func newEventRecord() *eventRecord {
	return &eventRecord{busy: make(chan struct{}, 100), release: make(chan struct{}), events: make(map[string][]string)}
}

func (r *eventRecord) work(ctx context.Context, payload *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
	e := decodeEvent(payload.Context, payload.Body)
	r.mu.Lock()
	id := e.context["uuid"].(string)
	r.events[id] = append(r.events[id], e.context["event"].(string))
	r.mu.Unlock()
	if strings.HasPrefix(e.body, "gate") {
		r.busy <- struct{}{}
		select {
		case <-r.release:
		case <-ctx.Done():
			return nil, rrerrors.E(rrerrors.ExecTTL, ctx.Err())
		}
	}
	return echoWork(ctx, payload, stop)
}

// requireSentences requires that so many connections were told of, and each to its end.
func (r *eventRecord) requireSentences(t *testing.T, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(t, r.events, n)
	for _, events := range r.events {
		require.Equal(t, "CONNECTED", events[0])
		require.Equal(t, "CLOSE", events[len(events)-1])
		for _, event := range events[1 : len(events)-1] {
			require.Equal(t, "DATA", event)
		}
	}
}

func TestStopBeforeInit(t *testing.T) {
	p := new(Server)
	require.NoError(t, p.Stop(context.Background()))
	require.NoError(t, p.Reset())
	require.ErrorContains(t, p.AddWorker(), dispatch.ErrNotServing.Error())
	require.ErrorContains(t, p.RemoveWorker(context.Background()), dispatch.ErrNotServing.Error())
	require.Nil(t, p.Addr("a"))
}

func TestStopBeforeServe(t *testing.T) {
	p := newPlugin(t, servers("a"))
	require.NoError(t, p.Reset())
	require.NoError(t, p.Stop(context.Background()))
	require.Empty(t, p.Serve())
	require.Nil(t, p.Addr("a"), "what was stopped does not start")
	require.Empty(t, p.pool.Calls())
}

func TestStopTwice(t *testing.T) {
	p := startPlugin(t, servers("a"))
	require.NoError(t, p.Stop(context.Background()))
	require.NoError(t, p.Stop(context.Background()))
	require.Equal(t, []string{"destroy"}, p.pool.Calls())
	require.NoError(t, p.Reset())
	require.ErrorContains(t, p.AddWorker(), dispatch.ErrNotServing.Error())
	_, err := Exec(&p.Server, dispatch.Payload{})
	require.ErrorContains(t, err, dispatch.ErrNotServing.Error())
	require.Equal(t, []string{"destroy"}, p.pool.Calls(), "after Stop nothing is made again")
}

// An engine that hangs takes a small part of the time that Stop has.
func TestStopBesideEngineThatHangs(t *testing.T) {
	engine, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer engine.Close()
	config, timeout := servers("a"), time.Hour
	config.Cluster = &settings.Cluster{Timeout: &timeout, Redis: &settings.Redis{Addrs: []string{engine.Addr().String()}}}
	p := newPlugin(t, config)
	require.Empty(t, p.Serve())
	p.dial("a").requireEcho("hello")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stopped := make(chan error)
	go func() { stopped <- p.Stop(ctx) }()
	require.NoError(t, receive(t, stopped))
	require.Equal(t, []string{"destroy"}, p.pool.Calls())
}

// The pool is destroyed behind the last CLOSE.
func TestStopHandsOverEveryClose(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(func(ctx context.Context, e *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
		require.NotContains(t, p.pool.Calls(), "destroy")
		return r.work(ctx, e, stop)
	})
	const clients = 100
	for range clients {
		p.dial("a").requireEcho("hello")
	}
	require.NoError(t, p.Stop(context.Background()))
	r.requireSentences(t, clients)
	require.Equal(t, []string{"destroy"}, p.pool.Calls())
}

// Replies that are owed arrive, also those whose exchange waits for a worker; idle connections do not wait for them.
func TestStopDrains(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(r.work)
	idle := p.dial("a")
	idle.requireEcho("hello")
	var owed []*testClient
	for range 5 {
		c := p.dial("a")
		c.requireEcho("hello")
		owed = append(owed, c)
	}
	for _, c := range owed {
		c.send("gate")
	}
	requireEventually(t, func() bool { return p.queue.Waiting() == 4 })
	stopped, address := make(chan error), p.Addr("a")
	go func() { stopped <- p.Stop(context.Background()) }()
	require.Empty(t, idle.rest())
	require.Nil(t, p.Addr("a"))
	_, err := net.Dial(address.Network(), address.String())
	close(r.release)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the listeners are closed first")
	for _, c := range owed {
		require.Equal(t, "gate\r\n", c.rest())
		c.Close()
	}
	require.NoError(t, receive(t, stopped))
	r.requireSentences(t, 6)
}

// What still runs when too little time is left is cut off, its worker with it, and CLOSE is handed over all the same.
func TestStopCuts(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(r.work)
	c := p.dial("a")
	c.send("gate")
	receive(t, r.busy)
	worker := p.pool.Workers()[0].(*dispatchtest.Worker)
	require.NoError(t, stopWithin(t, p, 9*time.Second)) // a third of it is for what comes behind the cut
	require.Empty(t, c.rest())
	require.Positive(t, worker.Kills())
	r.requireSentences(t, 1)
}

// So is an answer that its client does not take, though no worker is at it.
func TestStopCutsUnreadAnswer(t *testing.T) {
	const size = 32 << 20 // more than the system takes
	config, timeout := servers("a"), time.Hour
	config.WriteTimeout = &timeout
	p := startPlugin(t, config)
	p.pool.Do(func(_ context.Context, event *dispatch.Payload, _ chan struct{}) (dispatch.Results, error) {
		if len(event.Body) == 0 {
			return dispatchtest.Answer("CONTINUE", ""), nil
		}
		return dispatchtest.Answer("WRITE", strings.Repeat("x", size)), nil
	})
	p.dial("a").send("x")
	requireEventually(t, func() bool { return p.memory.Used() >= size })
	require.NoError(t, stopWithin(t, p, 3*time.Second))
	require.Zero(t, p.memory.Used())
}

// unheeded has a deadline and does not end with it.
type unheeded struct {
	context.Context
	deadline time.Time
}

func (c unheeded) Deadline() (time.Time, bool) { return c.deadline, true }

// stopWithin gives Stop so long, and a busy machine some time more.
func stopWithin(t *testing.T, p *plugin, within time.Duration) error {
	t.Helper()
	begin := time.Now()
	defer func() {
		require.Less(t, time.Since(begin), 25*time.Second, "without a deadline it cuts after 25 seconds")
	}()
	stopped := make(chan error, 1) // receives once
	go func() { stopped <- p.Stop(unheeded{context.Background(), time.Now().Add(within)}) }()
	return receive(t, stopped)
}

// A context that has ended cuts at once.
func TestStopWithEndedContext(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(r.work)
	c := p.dial("a")
	c.send("gate")
	receive(t, r.busy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	_ = p.Stop(ctx) // an error if something still runs
	require.Less(t, time.Since(begin), 20*time.Second, "without a deadline it is 25 seconds")
	require.Empty(t, c.rest())
}

// Stop says so when it leaves something undone.
func TestStopTooLate(t *testing.T) {
	p := startPlugin(t, servers("a"))
	release := make(chan struct{})
	done := make(chan error)
	busy := make(chan struct{})
	go func() {
		done <- p.change(func(*dispatch.Dispatcher) error {
			close(busy)
			<-release
			return errors.New("of a test")
		})
	}()
	receive(t, busy)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Stop(ctx), context.DeadlineExceeded)
	close(release)
	require.EqualError(t, receive(t, done), "of a test")
}

func TestStopDuringReset(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(r.work)
	c := p.dial("a")
	c.send("gate")
	receive(t, r.busy)
	reset, stopped := make(chan error), make(chan error)
	go func() { reset <- p.Reset() }()
	requireEventually(t, p.queue.IsPaused)
	go func() { stopped <- p.Stop(context.Background()) }()
	requireEventually(t, func() bool { return p.Addr("a") == nil })
	close(r.release)
	require.Equal(t, "gate\r\n", c.rest())
	require.NoError(t, receive(t, reset))
	c.Close()
	require.NoError(t, receive(t, stopped))
	require.Equal(t, []string{"reset", "destroy"}, p.pool.Calls(), "no worker of the reset is left")
	require.Empty(t, p.pool.Workers())
	r.requireSentences(t, 1)
}

func TestGracePeriod(t *testing.T) {
	for within, want := range map[time.Duration]time.Duration{30 * time.Second: 5 * time.Second, time.Hour: 5 * time.Second, 3 * time.Second: time.Second} {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		left, margin := gracePeriod(ctx)
		require.InDelta(t, within, left, float64(time.Second))
		require.InDelta(t, want, margin, float64(time.Second)/2)
		cancel()
	}
	left, margin := gracePeriod(context.Background())
	require.Equal(t, 25*time.Second, left-margin)
}
