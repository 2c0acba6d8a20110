package linetest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/roadrunner-server/endure/v2"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/server"
)

// section is the section tcp of a configuration, as the config plugin would have read it.
type section map[string]any

// configPlugin is a config plugin with one section, or none.
type configPlugin struct{ tcp section }

// Init is for Endure.
func (*configPlugin) Init() error { return nil }

// Name is for Endure.
func (*configPlugin) Name() string { return "config" }

// Has is the plugin's Configurer.
func (c *configPlugin) Has(name string) bool { return name == "tcp" && c.tcp != nil }

var jsonKey = regexp.MustCompile(`"[^"]*":`)

// UnmarshalKey is the plugin's Configurer. Go matches keys to fields in any case, but without underscores.
func (c *configPlugin) UnmarshalKey(_ string, out any) error {
	if m, ok := out.(*map[string]any); ok {
		*m = c.tcp
		return nil
	}
	b, err := json.Marshal(c.tcp)
	if err != nil {
		return err
	}
	return json.Unmarshal(jsonKey.ReplaceAllFunc(b, func(key []byte) []byte {
		return []byte(strings.ReplaceAll(string(key), "_", ""))
	}), out)
}

func oneServer(addr string) section {
	return section{
		"servers": map[string]any{"echo": map[string]any{"addr": addr}},
		"pool":    map[string]any{"num_workers": 1},
	}
}

// host is the plugin in Endure.
type host struct {
	Plugin
	container *endure.Endure
	stopped   bool
}

// startHost returns the error of Init or Serve.
func startHost(t *testing.T, line Line, tcp section, command func([]string) *exec.Cmd) (*host, error) {
	t.Helper()
	return startHostWithGrace(t, patience, line, tcp, command)
}

// startHostWithGrace is startHost with a grace period of its own, all of which RoadRunner waits for a worker that hangs.
func startHostWithGrace(t *testing.T, grace time.Duration, line Line, tcp section, command func([]string) *exec.Cmd) (*host, error) {
	t.Helper()
	h := &host{Plugin: line.NewPlugin(), container: endure.New(slog.LevelError+1, endure.GracefulShutdownTimeout(grace))}
	require.NoError(t, h.container.RegisterAll(h.Plugin, &configPlugin{tcp}, line.NewLogger(), line.NewServer(command)))
	if err := h.container.Init(); err != nil {
		return h, err
	}
	_, err := h.container.Serve()
	t.Cleanup(func() { h.stop(t) })
	return h, err
}

func (h *host) stop(t *testing.T) {
	if !h.stopped {
		h.stopped = true
		require.NoError(t, h.container.Stop())
	}
}

func (h *host) dial(t *testing.T) net.Conn {
	t.Helper()
	addr := h.Addr("echo")
	require.NotNil(t, addr)
	conn, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func requireEcho(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_, err := io.WriteString(conn, line)
	require.NoError(t, err)
	got, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, line, got)
}

func testPluginInEndure(t *testing.T, line Line) {
	h, err := startHost(t, line, oneServer("127.0.0.1:0"), worker(t))
	require.NoError(t, err)
	require.Nil(t, h.Addr("unknown"))
	conn := h.dial(t)
	requireEcho(t, conn, "hello\r\n")
	require.NoError(t, h.Reset())
	requireEcho(t, conn, "sockets outlive workers\r\n")
	require.NoError(t, h.AddWorker())
	require.NoError(t, h.RemoveWorker(context.Background()))

	require.Error(t, h.Close("no uuid"))
	require.NoError(t, h.Close(uuid.NewString()))
	requireEcho(t, conn, "still open\r\n")
	page, err := h.Connections(server.ConnectionQuery{})
	require.NoError(t, err)
	require.Len(t, page.Connections, 1)
	require.NoError(t, h.Close(page.Connections[0].UUID))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func testPluginDisabled(t *testing.T, line Line) {
	h, err := startHost(t, line, nil, worker(t))
	require.NoError(t, err)
	require.Nil(t, h.Addr("echo"))
}

func testPluginBadConfig(t *testing.T, line Line) {
	_, err := startHost(t, line, section{
		"dialect": "x", "servers": map[string]any{"a": map[string]any{"addr": "x"}}, "pool": map[string]any{"destroy_timeout": -1},
	}, worker(t))
	require.ErrorContains(t, err, "tcp.dialect")
	require.ErrorContains(t, err, "tcp.servers.a.addr")
	require.ErrorContains(t, err, "tcp.pool.destroy_timeout")
}

func testPluginWorkersFail(t *testing.T, line Line) {
	path := filepath.Join(t.TempDir(), "a.sock")
	_, err := startHost(t, line, oneServer("unix://"+path), func([]string) *exec.Cmd { return exec.Command("/nowhere") })
	require.ErrorContains(t, err, "start the workers (server.command or tcp.pool.command)")
	require.NoFileExists(t, path, "nothing stays bound")
}

// A worker that can't be added is not waited for by resets.
func testPluginWorkerMissing(t *testing.T, line Line) {
	var missing atomic.Bool
	tcp := oneServer("127.0.0.1:0")
	tcp["pool"] = map[string]any{"num_workers": 2, "allocate_timeout": 10 * time.Second, "reset_timeout": time.Hour}
	h, err := startHost(t, line, tcp, unless(&missing, worker(t)))
	require.NoError(t, err)
	missing.Store(true)
	require.Error(t, h.AddWorker())
	missing.Store(false)
	reset := make(chan error, 1)
	go func() { reset <- h.Reset() }()
	require.NoError(t, receive(t, reset))
	requireEcho(t, h.dial(t), "hello\r\n")
}

// An exchange that finds no free worker within allocate_timeout gets one of those that the pool starts then.
func testPluginAllocator(t *testing.T, line Line) {
	if !line.HasAllocator {
		t.Skip("the pool of this line makes no more workers")
	}
	tcp := oneServer("127.0.0.1:0")
	tcp["pool"] = map[string]any{
		"num_workers": 1, "allocate_timeout": 10 * time.Second,
		"dynamic_allocator_opts": map[string]any{"max_workers": 1}, // by the field's name: see configPlugin
	}
	h, err := startHost(t, line, tcp, worker(t))
	require.NoError(t, err)
	done := filepath.Join(t.TempDir(), "done")
	working := h.dial(t)
	requireEcho(t, working, "x\r\n")
	_, err = io.WriteString(working, "until "+done+"\r\n")
	require.NoError(t, err)
	awaitState(t, h, "replying")
	requireEcho(t, h.dial(t), "x\r\n")
	touch(t, done)
	_, err = working.Read(make([]byte, 1))
	require.NoError(t, err)
}

func testPluginStopAnyTime(t *testing.T, line Line) {
	p := line.NewPlugin()
	ctx := context.Background()
	require.NoError(t, p.Stop(ctx), "before Init")
	require.NoError(t, p.Reset())
	notServing := dispatch.ErrNotServing.Error() // errors of package errors have no Unwrap
	require.ErrorContains(t, p.AddWorker(), notServing)
	require.ErrorContains(t, p.RemoveWorker(ctx), notServing)

	h, err := startHost(t, line, oneServer("127.0.0.1:0"), worker(t))
	require.NoError(t, err)
	require.NoError(t, h.Stop(ctx))
	require.NoError(t, h.Stop(ctx), "twice")
	require.NoError(t, h.Reset(), "there is nothing to replace")
	require.ErrorContains(t, h.AddWorker(), notServing)
	require.Empty(t, h.Serve())
	require.Nil(t, h.Addr("echo"), "what was stopped does not start")
}

// Whenever Stop comes during a reset, no worker is left.
func testPluginStopInReset(t *testing.T, line Line) {
	done := filepath.Join(t.TempDir(), "done")
	h, err := startHost(t, line, oneServer("127.0.0.1:0"), worker(t))
	require.NoError(t, err)
	conn := h.dial(t)
	_, err = io.WriteString(conn, "until "+done+"\r\n")
	require.NoError(t, err)
	awaitState(t, h, "replying")
	reset := make(chan error, 1)
	go func() { reset <- h.Reset() }() // waits for the worker
	stopped := make(chan error, 1)
	go func() { stopped <- h.container.Stop() }()
	h.stopped = true
	await(t, "the plugin stops", func() bool { return h.Addr("echo") == nil })
	touch(t, done)
	require.NoError(t, receive(t, stopped))
	_ = receive(t, reset) // it may be cut off
	await(t, "no worker is left", func() bool { return children(t) == 0 })
}

func testPluginStopDeadline(t *testing.T, line Line) {
	h, err := startHostWithGrace(t, time.Second, line, oneServer("127.0.0.1:0"), worker(t))
	require.NoError(t, err)
	conn := h.dial(t)
	_, err = io.WriteString(conn, "hang\r\n")
	require.NoError(t, err)
	awaitState(t, h, "replying")
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(endless{context.Background(), time.Now().Add(3 * time.Second)}) }()
	require.NoError(t, receive(t, stopped))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}

// endless has a deadline and does not end with it: Stop must come to its end by itself, while time is left for the host.
type endless struct {
	context.Context
	deadline time.Time
}

func (c endless) Deadline() (time.Time, bool) { return c.deadline, true }

func testPluginStopDrains(t *testing.T, line Line) {
	h, err := startHost(t, line, oneServer("127.0.0.1:0"), worker(t))
	require.NoError(t, err)
	done := filepath.Join(t.TempDir(), "done")
	ask := "until " + done + "\r\n"
	var conns []net.Conn
	for range 5 { // there is one worker: four wait in the queue
		conn := h.dial(t)
		requireEcho(t, conn, "x\r\n")
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		_, err := io.WriteString(conn, ask)
		require.NoError(t, err)
	}
	awaitState(t, h, "replying")
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(context.Background()) }()
	await(t, "the plugin stops", func() bool { return h.Addr("echo") == nil })
	touch(t, done)
	for _, conn := range conns {
		b, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, ask, string(b))
	}
	require.NoError(t, receive(t, stopped))
}

// awaitState waits until all connections are in a state.
func awaitState(t *testing.T, h *host, state string) {
	t.Helper()
	await(t, "all connections are "+state, func() bool {
		page, err := h.Connections(server.ConnectionQuery{})
		require.NoError(t, err)
		for _, c := range page.Connections {
			if c.State != state {
				return false
			}
		}
		return len(page.Connections) > 0
	})
}
