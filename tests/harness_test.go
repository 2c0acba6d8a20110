// Package tests runs the plugin in a real RoadRunner: real Endure, config, server, rpc and other plugins, real sockets,
// real worker processes.
package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/config/v4"
	"github.com/roadrunner-server/endure/v2"
	"github.com/roadrunner-server/informer/v4"
	"github.com/roadrunner-server/logger/v4"
	"github.com/roadrunner-server/metrics/v4"
	"github.com/roadrunner-server/resetter/v4"
	"github.com/roadrunner-server/rpc/v4"
	"github.com/roadrunner-server/server/v4"
	"github.com/roadrunner-server/status/v4"
	"github.com/rrtcp/tcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	// patience bounds every wait. None is meant to take that long.
	patience = 20 * time.Second
	// grace is the hosts' grace period.
	grace = 10 * time.Second
	// atOnce is what takes no time worth speaking of, on a busy machine under the race detector.
	atOnce = 6 * time.Second

	inParallel = 8 // tests mostly wait: for workers to boot, for the server plugin, which sleeps for a second in Stop
)

// hostLeaks are the goroutines that RoadRunner and others never stop.
var hostLeaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/pool/static_pool.(*Pool).Start.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).poll.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).startMainThread.func1"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/events.(*Bus).handleEvents"),
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/status/v4.(*Plugin).Serve.func1"),
	// The proxy's, whose links wait for one another where one was broken.
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	// Until allocate_timeout, where a worker was killed shortly before the end.
	goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/worker_watcher.(*WorkerWatcher).Allocate"),
}

func TestMain(m *testing.M) {
	if os.Getenv(tcp.RrMode) == tcp.PluginName { // RoadRunner runs this program as a worker
		os.Exit(work(os.Args[1:]))
	}
	if os.Getenv("RRTCP_THRONG") != "" {
		os.Exit(throng(os.Args[1:]))
	}

	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < inParallel {
		_ = flag.Set("test.parallel", strconv.Itoa(inParallel))
	}
	code := m.Run()
	removeProgram()
	if err := leaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// leaks is an error where goroutines do not end. A pool whose workers had to be killed is looked after for a second, which is
// as long as goleak waits.
func leaks() (err error) {
	for range 5 {
		if err = goleak.Find(hostLeaks...); err == nil {
			return nil
		}
	}
	return err
}

// host is a RoadRunner.
type host struct {
	t         *testing.T
	plugin    *tcp.Plugin
	container *endure.Endure
	dir       string // its own, with a short path: sockets live there
	record    *record
	log       string
	grace     time.Duration
	serving   bool
}

// gracePeriod is the one key of the section endure that a host here heeds.
var gracePeriod = regexp.MustCompile(`(?m)^endure: \{grace_period: (\w+)\}$`)

// minimal has one server named echo and two workers.
const minimal = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`

// start runs a RoadRunner until the test ends. In the YAML, DIR stands for a directory of its own. Its workers are this
// program, see work for their arguments.
func start(t *testing.T, yaml string, worker ...string) *host {
	t.Helper()
	h := newHost(t, yaml, worker...)
	require.NoError(t, h.init())
	require.NoError(t, h.serve())
	return h
}

func newHost(t *testing.T, yaml string, worker ...string) *host {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := shortDir(t)
	return newHostOf(t, dir, yaml, append([]string{self, recordFile(dir)}, worker...)...)
}

// newHostOf is a host whose workers are another program.
func newHostOf(t *testing.T, dir, yaml string, command ...string) *host {
	t.Helper()
	h := &host{
		t: t, plugin: &tcp.Plugin{}, dir: dir, record: newRecord(recordFile(dir)), log: filepath.Join(dir, "log"), grace: grace,
	}
	if set := gracePeriod.FindStringSubmatch(yaml); set != nil {
		var err error
		h.grace, err = time.ParseDuration(set[1])
		require.NoError(t, err)
	}
	h.container = endure.New(quiet, endure.GracefulShutdownTimeout(h.grace))
	require.NoError(t, h.container.RegisterAll(
		&config.Plugin{Type: "yaml", ReadInCfg: h.config(yaml, command), Timeout: grace, Version: roadRunner},
		&logger.Plugin{},
		&server.Plugin{},
		&rpc.Plugin{},
		&informer.Plugin{},
		&resetter.Plugin{},
		&metrics.Plugin{},
		&status.Plugin{},
		h.plugin,
	))
	t.Cleanup(h.stop)
	return h
}

// config is a whole configuration. The workers of a host know each other by DIR in their environment.
func (h *host) config(yaml string, command []string) []byte {
	h.t.Helper()
	list, err := json.Marshal(command) // JSON is YAML
	require.NoError(h.t, err)
	const head = `version: "3"
logs:
  {mode: production, level: debug, encoding: json, output: ["DIR/log"], err_output: ["DIR/log"], channels: {server:
  {mode: production, level: info, encoding: json, output: ["DIR/log"], err_output: ["DIR/log"]}}}
server: {command: COMMAND, env: {RRTCP_HOST: DIR, GORACE: atexit_sleep_ms=0}}
`
	whole := strings.Replace(head, "COMMAND", string(list), 1) + yaml
	return []byte(strings.ReplaceAll(whole, "DIR", h.dir))
}

func (h *host) init() error { return h.container.Init() }

func (h *host) serve() error {
	_, err := h.container.Serve()
	h.serving = err == nil
	return err
}

// stop ends it within the grace period and with it everything that belongs to it.
func (h *host) stop() {
	h.t.Helper()
	if h.serving {
		h.serving = false
		begin := time.Now()
		require.NoError(h.t, h.container.Stop())
		require.Less(h.t, time.Since(begin), h.grace, "Stop took longer than the grace period")
	}
	requireNoWorkers(h.t, h.dir)
	h.report()
}

// report says what a person wants to know when the test has failed.
func (h *host) report() {
	if h.t.Failed() {
		lines := h.lines()
		h.t.Log(h.record)
		h.t.Log("logs of " + h.t.Name() + ":\n" + strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// stopPlugin stops the plugin alone, as cmd/rr does first: the workers are still there.
func (h *host) stopPlugin(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return h.plugin.Stop(ctx)
}

// addr is where the server listens.
func (h *host) addr(server string) net.Addr {
	h.t.Helper()
	a := h.plugin.Addr(server)
	require.NotNil(h.t, a, "%s does not listen", server)
	return a
}

// logEntry is a line of the log.
type logEntry struct {
	Level  string  `json:"level"`
	Time   int64   `json:"ts"`
	Logger string  `json:"logger"`
	Msg    string  `json:"msg"`
	Server string  `json:"server"`
	Addr   string  `json:"address"`
	UUID   string  `json:"uuid"`
	Reason string  `json:"reason"`
	Error  string  `json:"error"`
	Pid    float64 `json:"pid"`
}

func (h *host) lines() []string {
	raw, _ := os.ReadFile(h.log)
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// logged returns the entries of a plugin that contain the text somewhere.
func (h *host) logged(plugin, text string) (found []logEntry) {
	h.t.Helper()
	for _, line := range h.lines() {
		if !strings.Contains(line, text) {
			continue
		}
		var e logEntry
		require.NoError(h.t, json.Unmarshal([]byte(line), &e), line)
		if e.Logger == plugin {
			found = append(found, e)
		}
	}
	return found
}

// ours returns the entries of the plugin from a level that an administrator sees by default or is woken by.
func (h *host) ours(level string) (found []logEntry) {
	h.t.Helper()
	for _, e := range h.logged("tcp", "") {
		if e.Level == level {
			found = append(found, e)
		}
	}
	return found
}

// pids of the processes that have RRTCP_HOST=dir in their environment: the workers of a host. What has ended, but was
// not waited for yet, has none.
func pids(dir string) (found []int) {
	mark := []byte("RRTCP_HOST=" + dir + "\x00")
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range entries {
		environ, _ := os.ReadFile(path)
		if !bytes.Contains(append(environ, 0), mark) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

func requireNoWorkers(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(pids(dir)) == 0 }, patience, 10*time.Millisecond,
		"workers are left: %v", pids(dir))
}

// eventually polls where there is no event to wait for.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "never: "+what)
	}
}

// shortDir is a directory whose path is short enough for the name of a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rrtcp")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func recordFile(dir string) string { return filepath.Join(dir, "record") }
