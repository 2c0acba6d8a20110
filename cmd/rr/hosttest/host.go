package hosttest

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/endure/v2"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/cmd/rr/program"
)

// patience is the last resort of every wait: none is meant to take that long, on however busy a machine.
const patience = 2 * time.Minute

// grace is the hosts' grace period where a test is not about it.
const grace = time.Minute

// atOnce is what takes no time worth mentioning, on a busy machine under the race detector. It is shorter than what the plugin
// would wait without a reason: the grace period that Stop assumes, reset_timeout.
const atOnce = 20 * time.Second

// host is a RoadRunner in this process.
type host struct {
	t         *testing.T
	plugin    Plugin
	container *endure.Endure
	dir       string // its own; short, since sockets live there
	grace     time.Duration
	serving   bool
	before    []string // pids of its workers, before a reset
}

const minimal = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`

// start runs a host until the test ends.
func start(t *testing.T, l Line, yaml string) *host {
	t.Helper()
	return startWith(t, l, yaml, grace)
}

// startWith is start with another grace period, for tests that leave a worker hung: the stop takes all of it.
func startWith(t *testing.T, l Line, yaml string, grace time.Duration) *host {
	t.Helper()
	h := newHost(t, l, yaml, grace)
	require.NoError(t, h.container.Init())
	require.NoError(t, h.serve())
	return h
}

// newHost makes a host that is not initialized yet. Its workers are the program hostworker.
func newHost(t *testing.T, l Line, yaml string, grace time.Duration) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "rrtcp")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	const head = `version: "3"
logs: {mode: production, level: debug, encoding: json, output: ["DIR/log"], err_output: ["DIR/log"]}
server: {command: ["WORKER"], env: {RRTCP_HOST: DIR}}
`
	whole := strings.NewReplacer("WORKER", workerProgram, "DIR", dir).Replace(head + yaml)
	h := &host{t: t, plugin: l.TCP().(Plugin), dir: dir, grace: grace}
	h.container = endure.New(max(slog.LevelError, l.LogLevel), endure.GracefulShutdownTimeout(grace))
	all := append([]any{l.Config(sourceOf(whole, grace))}, l.Plugins()...)
	require.NoError(t, h.container.RegisterAll(append(all, h.plugin)...))
	t.Cleanup(func() {
		h.stop()
		if log, _ := os.ReadFile(h.dir + "/log"); t.Failed() {
			t.Logf("%s\n%s", log, strings.Join(h.events(), "\n"))
		}
	})
	return h
}

func sourceOf(yaml string, grace time.Duration) program.Source {
	return program.Source{YAML: []byte(yaml), Stop: grace}
}

func (h *host) serve() error {
	_, err := h.container.Serve()
	h.serving = err == nil
	return err
}

// stop stops all plugins at once within the grace period, and fails if a worker is left.
func (h *host) stop() {
	h.t.Helper()
	if h.serving {
		h.serving = false
		begin := time.Now()
		require.NoError(h.t, h.container.Stop())
		require.Less(h.t, time.Since(begin), h.grace, "Stop took longer than the grace period")
	}
	h.requireNoWorkers()
}

// stopPlugin stops the plugin alone, as the program does first: the workers are still there.
func (h *host) stopPlugin(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return h.plugin.Stop(ctx)
}

// requireNoWorkers waits until no worker is left.
func (h *host) requireNoWorkers() {
	h.t.Helper()
	eventually(h.t, "no worker is left", func() bool { return len(h.pids()) == 0 })
}

// pids are the processes that have the host's directory in their environment: its workers.
func (h *host) pids() (found []string) {
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range entries {
		environ, _ := os.ReadFile(path)
		if strings.Contains(string(environ)+"\x00", "RRTCP_HOST="+h.dir+"\x00") {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

func (h *host) logged(text string) bool {
	log, _ := os.ReadFile(h.dir + "/log")
	return strings.Contains(string(log), text)
}

// events are what the workers have been told: EVENT UUID REASON.
func (h *host) events() []string {
	raw, _ := os.ReadFile(h.dir + "/events")
	return strings.Fields(strings.NewReplacer(" ", "_", "\n", " ").Replace(string(raw)))
}

// sentences are the names of each connection's events, by uuid.
func (h *host) sentences() map[string]string {
	all := make(map[string]string)
	for _, line := range h.events() {
		word := strings.Split(line, "_")
		all[word[1]] = strings.TrimSpace(all[word[1]] + " " + word[0])
	}
	return all
}

// awaitEvents waits until workers have been told n events.
func (h *host) awaitEvents(n int) {
	h.t.Helper()
	eventually(h.t, "the workers have the events", func() bool { return len(h.events()) >= n })
}

// gate is where workers that were told !gate wait, in turn, until the function that comes back is called.
func (h *host) gate() (next func() (release func())) {
	h.t.Helper()
	l, err := net.Listen("unix", h.dir+"/gate")
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = l.Close() })
	return func() func() {
		require.NoError(h.t, l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
		conn, err := l.Accept()
		require.NoError(h.t, err, "no worker comes to the gate")
		h.t.Cleanup(func() { _ = conn.Close() })
		return func() { _ = conn.Close() }
	}
}

// eventually polls where there is no event to wait for.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "never: "+what)
	}
}

// client is a connection to a server of a host.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (h *host) dial() *client {
	h.t.Helper()
	address := h.plugin.Addr("echo")
	require.NotNil(h.t, address)
	conn, err := net.Dial("tcp", address.String())
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(patience)))
	return &client{h.t, conn, bufio.NewReader(conn)}
}

func (c *client) send(packet string) {
	c.t.Helper()
	_, err := io.WriteString(c, packet+"\r\n")
	require.NoError(c.t, err)
}

func (c *client) ask(packet string) string {
	c.t.Helper()
	c.send(packet)
	line, err := c.r.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSuffix(line, "\r\n")
}

// rest is all that comes before the server closes.
func (c *client) rest() string {
	rest, _ := io.ReadAll(c.r) // a reset where the server had not read all
	return string(rest)
}
