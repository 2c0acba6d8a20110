package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/dispatch/dispatchtest"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/wire"
)

// plugin is a Server with a pool in memory. Its workers answer as echoWork does, unless the pool is given other work.
type plugin struct {
	Server
	t    *testing.T
	pool *dispatchtest.Pool
	logs *logtest.Log
}

// newPlugin returns a plugin after Init.
func newPlugin(t *testing.T, config settings.Config) *plugin {
	t.Helper()
	return newPluginWith(t, config, 1, echoWork)
}

// newPluginWith returns a plugin with n workers after Init.
func newPluginWith(t *testing.T, config settings.Config, n int, work dispatchtest.Work) *plugin {
	t.Helper()
	require.Empty(t, config.Check())
	log, logs := logtest.New(slog.LevelDebug)
	p := &plugin{t: t, pool: dispatchtest.NewPool(n, work), logs: logs}
	Init(&p.Server, Options{
		Config: &config, Log: log, Workers: n, AllocateTimeout: time.Minute, DestroyTimeout: time.Minute,
		NewPool: func(*dispatch.Starts) (dispatch.Pool, error) { return p.pool, nil },
	})
	return p
}

// startPlugin returns a plugin that serves until the test ends.
func startPlugin(t *testing.T, config settings.Config) *plugin {
	t.Helper()
	p := newPlugin(t, config)
	require.Empty(t, p.Serve())
	t.Cleanup(func() { require.NoError(t, p.Stop(context.Background())) })
	return p
}

// servers returns a configuration with servers of these names.
func servers(names ...string) settings.Config {
	c := settings.Config{Servers: make(map[string]*settings.Server)}
	for _, name := range names {
		c.Servers[name] = &settings.Server{Addr: "127.0.0.1:0"}
	}
	return c
}

// echoWork answers DATA with WRITE and the packet, and other events with CONTINUE.
func echoWork(_ context.Context, event *dispatch.Payload, _ chan struct{}) (dispatch.Results, error) {
	if e := decodeEvent(event.Context, nil); e.context["event"] != "DATA" {
		return dispatchtest.Answer("CONTINUE", ""), nil
	}
	return dispatchtest.Answer("WRITE", string(event.Body)), nil
}

// testClient is a client of a plugin.
type testClient struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (p *plugin) dial(server string) *testClient {
	p.t.Helper()
	address := p.Addr(server)
	require.NotNil(p.t, address)
	conn, err := net.Dial(address.Network(), address.String())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	require.NoError(p.t, conn.SetDeadline(time.Now().Add(patience)))
	return &testClient{conn, p.t, bufio.NewReader(conn)}
}

func (c *testClient) send(line string) {
	c.t.Helper()
	_, err := io.WriteString(c, line+"\r\n")
	require.NoError(c.t, err)
}

func (c *testClient) requireEcho(line string) {
	c.t.Helper()
	c.send(line)
	got, err := c.r.ReadString('\n')
	require.NoError(c.t, err)
	require.Equal(c.t, line+"\r\n", got)
}

// rest returns what comes until the server closes.
func (c *testClient) rest() string {
	b, _ := io.ReadAll(c.r)
	return string(b)
}

// uuids returns the open connections, sorted.
func (p *plugin) uuids() (all []string) {
	for _, c := range p.registry.all() {
		all = append(all, c.uuid)
	}
	slices.Sort(all)
	return all
}

func TestServe(t *testing.T) {
	p := startPlugin(t, servers("a", "b"))
	require.Equal(t, "tcp", p.Name())
	require.Nil(t, p.Addr("c"))
	for _, name := range []string{"a", "b"} {
		p.dial(name).requireEcho("hello")
	}
	require.Len(t, p.logs.Saying("listening"), 2)
}

// Every address listens, or none does.
func TestServeBindsAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "socket")
	p := newPlugin(t, settings.Config{Servers: map[string]*settings.Server{
		"a": {Addr: "unix://" + path}, "b": {Addr: taken.Addr().String()}, "c": {Addr: "127.0.0.1:0"},
	}})
	p.options.NewPool = func(*dispatch.Starts) (dispatch.Pool, error) {
		t.Error("workers are started for nothing")
		return nil, nil
	}
	require.ErrorContains(t, receive(t, p.Serve()), "listen b "+taken.Addr().String())
	require.NoFileExists(t, path)
	for _, name := range []string{"a", "b", "c"} {
		require.Nil(t, p.Addr(name))
	}
	require.NoError(t, p.Stop(context.Background()))
}

func TestServeWithoutWorkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	p := newPlugin(t, settings.Config{Servers: map[string]*settings.Server{"a": {Addr: "unix://" + path}}})
	p.options.NewPool = func(*dispatch.Starts) (dispatch.Pool, error) { return nil, errors.New("no such file") }
	require.ErrorContains(t, receive(t, p.Serve()), "start the workers (server.command or tcp.pool.command): no such file")
	require.NoFileExists(t, path)
	require.NoError(t, p.Stop(context.Background()))
}

// Stop may come while Serve starts the workers: nothing listens then, and no worker is left.
func TestStopDuringServe(t *testing.T) {
	p := newPlugin(t, servers("a"))
	stopped := make(chan error, 1) // receives once
	p.options.NewPool = func(*dispatch.Starts) (dispatch.Pool, error) {
		go func() { stopped <- p.Stop(context.Background()) }()
		requireEventually(t, p.isStopping)
		return p.pool, nil
	}
	require.Empty(t, p.Serve())
	require.NoError(t, receive(t, stopped))
	require.Nil(t, p.Addr("a"))
	require.Equal(t, []string{"destroy"}, p.pool.Calls())
}

// The end of one listener by an error ends RoadRunner, once.
func TestServeReportsAcceptError(t *testing.T) {
	p := startPlugin(t, servers("a"))
	errs := make(chan error, 1)
	for range 2 {
		l := p.newListener("a", p.options.Config.Servers["a"], failingListener{})
		p.accepting.Add(1)
		p.acceptLoop(l, errs)
	}
	require.ErrorContains(t, receive(t, errs), "accept a tcp://127.0.0.1:1: of a test")
}

type failingListener struct{}

func (failingListener) Accept() (net.Conn, error) { return nil, errors.New("of a test") }
func (failingListener) Close() error              { return nil }
func (failingListener) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func TestOverloadIsLogged(t *testing.T) {
	p := startPlugin(t, servers("a"))
	p.ended(wire.ReasonEOF)
	p.ended(wire.ReasonOverload)
	require.Len(t, p.logs.Saying("no worker was free in time"), 1)
}

func TestFaultsAreLogged(t *testing.T) {
	p := startPlugin(t, servers("a"))
	p.pool.Do(func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return dispatchtest.Answer("nonsense", ""), nil
	})
	const connections = 150 // 100 lines a second
	for range connections {
		require.Empty(t, p.dial("a").rest())
	}
	require.NoError(t, p.Stop(context.Background()))
	logged := 0
	for _, line := range p.logs.At(slog.LevelError) {
		if line.Message == "connection ended" {
			logged++
		}
	}
	summed := 0
	for _, entry := range p.logs.Saying("more connections ended with an error") {
		summed += int(entry.Attrs["connections"].(int64))
	}
	require.Equal(t, connections, logged+summed)
}

func TestMetricsAtAnyTime(t *testing.T) {
	require.Nil(t, new(Server).metricsSource(), "before Init")
	p := startPlugin(t, servers("a"))
	p.dial("a").requireEcho("hello")
	source := p.metricsSource()
	require.Len(t, source.Servers, 1)
	require.EqualValues(t, 1, source.Servers[0].Packets.Load())
	require.Zero(t, source.Waiting())
	require.Len(t, p.MetricsCollector(), 1)
	registered := prometheus.NewPedanticRegistry()
	require.NoError(t, registered.Register(p.MetricsCollector()[0]))
	families, err := registered.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
	}
	require.EqualValues(t, 1, values["rr_tcp_total_workers"])
	require.EqualValues(t, 1, values["rr_tcp_packets_total"])
	require.Contains(t, values, "rr_tcp_pushes_total")
}

func TestHealth(t *testing.T) {
	var zero Server
	require.False(t, IsReady(&zero))
	require.False(t, IsAlive(&zero))
	require.Empty(t, Workers(&zero))
	require.Equal(t, []int{200, 503}, []int{HealthCode(true), HealthCode(false)})

	p := newPlugin(t, servers("a"))
	busy, release := make(chan struct{}), make(chan struct{})
	p.pool.Do(func(ctx context.Context, e *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
		if bytes.Contains(e.Body, []byte("gate")) {
			close(busy)
			<-release
		}
		return echoWork(ctx, e, stop)
	})
	require.False(t, IsReady(&p.Server), "before Serve")
	require.Empty(t, p.Serve())
	require.True(t, IsReady(&p.Server))
	c := p.dial("a")
	c.send("gate")
	receive(t, busy)
	require.False(t, IsReady(&p.Server), "no worker is free")
	require.True(t, IsAlive(&p.Server))
	workers := Workers(&p.Server)
	require.Len(t, workers, 1)
	require.Equal(t, "working", workers[0].StatusStr)

	stopped := make(chan error)
	go func() { stopped <- p.Stop(context.Background()) }()
	requireEventually(t, func() bool { return p.Addr("a") == nil })
	require.False(t, IsReady(&p.Server), "it stops")
	require.True(t, IsAlive(&p.Server))
	close(release)
	require.Equal(t, "gate\r\n", c.rest())
	require.NoError(t, receive(t, stopped))
	require.False(t, IsAlive(&p.Server))
}

func TestExec(t *testing.T) {
	_, err := Exec(new(Server), dispatch.Payload{})
	require.ErrorContains(t, err, dispatch.ErrNotServing.Error())
	p := startPlugin(t, servers("a"))
	got, err := Exec(&p.Server, dispatch.Payload{Context: []byte(`{"event":"DATA"}`), Body: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "x", string(got.Body))
	require.Equal(t, "WRITE", string(got.Context))

	p.pool.Do(func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return &dispatchtest.Frames{{Flags: wire.FlagStream}, {}}, nil
	})
	_, err = Exec(&p.Server, dispatch.Payload{})
	require.ErrorContains(t, err, "answered in several frames")
	p.pool.Do(echoWork)
	p.dial("a").requireEcho("the worker is free again")
}

func TestWorkerChanges(t *testing.T) {
	p := startPlugin(t, servers("a"))
	c := p.dial("a")
	c.requireEcho("hello")
	require.ErrorContains(t, p.RemoveWorker(context.Background()), "last worker")
	require.NoError(t, p.AddWorker())
	require.Len(t, Workers(&p.Server), 2)
	require.NoError(t, p.RemoveWorker(context.Background()))
	require.NoError(t, p.Reset())
	c.requireEcho("sockets outlive workers")
	p.pool.Fail("add", errors.New("no such file"))
	require.ErrorContains(t, p.AddWorker(), "no such file")
	require.Len(t, p.logs.Saying("reset: done"), 1)
}

// After a reset that failed the workers are started again as soon as they can be.
func TestFailedResetIsRepaired(t *testing.T) {
	p := startPlugin(t, servers("a"))
	c := p.dial("a")
	c.requireEcho("hello")
	p.pool.Fail("reset", errors.New("no such file"))
	require.ErrorContains(t, p.Reset(), "no such file")
	requireEventually(t, func() bool { return len(p.logs.Saying("workers are missing")) > 0 })
	p.pool.Fail("reset", nil)
	requireEventually(t, func() bool { return IsReady(&p.Server) })
	c.requireEcho("sockets outlive workers")
}

// All who ask for a reset before it begins share it, and its error. One that has begun is too early for who asks then.
func TestResetsAreShared(t *testing.T) {
	p, r := startPlugin(t, servers("a")), newEventRecord()
	p.pool.Do(r.work)
	p.dial("a").send("gate")
	receive(t, r.busy)
	first, second := make(chan error), make(chan error)
	go func() { first <- p.Reset() }()
	requireEventually(t, p.queue.IsPaused) // it waits for the worker
	one, another := p.upcomingReset(), p.upcomingReset()
	go func() { second <- one() }()
	close(r.release)
	require.NoError(t, receive(t, first))
	require.NoError(t, receive(t, second))
	require.NoError(t, another())
	require.Equal(t, []string{"reset", "reset"}, p.pool.Calls())
	require.Len(t, p.logs.Saying("reset: done"), 2)

	one, another = p.upcomingReset(), p.upcomingReset()
	p.pool.Fail("reset", errors.New("no such file"))
	require.ErrorContains(t, one(), "no such file")
	p.pool.Fail("reset", nil)
	require.ErrorContains(t, another(), "no such file")
	require.NoError(t, p.Reset())
}

func TestResetRenewsCertificates(t *testing.T) {
	p := newPlugin(t, settings.Config{Servers: map[string]*settings.Server{
		"plain": {Addr: "127.0.0.1:0"}, "secure": {Addr: "127.0.0.1:0", TLS: testTLS(t)},
	}})
	require.Empty(t, p.Serve())
	require.NoError(t, p.Reset())
	require.NoError(t, p.Stop(context.Background()))
	require.Empty(t, p.logs.Saying("certificate"))
}
