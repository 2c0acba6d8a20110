package tests

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// host is a running `rr serve`.
type host struct {
	t      *testing.T
	dir    string // its own, with a short path: sockets live there
	record *record
	log    string
	plain  bool     // rr is without the race detector, which would change what is measured
	env    []string // NAME=VALUE, in addition
	isFull bool     // the disk of another copy of its log
	picks  bool     // a server of it leaves events out: its record has no whole sentences
	cmd    *exec.Cmd

	servers map[string]address // where each listens
	exited  chan struct{}      // closed when the process has ended
	grace   time.Duration      // its grace period
	stopped time.Time          // when it got a SIGTERM; a second one would cut the end short
	err     error              // what it ended with; to be read when it has

	mu   sync.Mutex
	said strings.Builder // its stderr
}

// address is where a server listens.
type address struct{ network, text string }

func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }

var _ net.Addr = address{}

// start runs rr until the test ends and waits until all its servers listen. In the YAML, DIR stands for a directory of its
// own; there is an rpc plugin in any case. Its workers are this program, see work for their arguments.
func start(t *testing.T, yaml string, worker ...string) *host {
	t.Helper()
	return newHost(t, shortDir(t)).serve(yaml, worker...)
}

// newHost is a host that does not run yet.
func newHost(t *testing.T, dir string) *host {
	return &host{t: t, dir: dir, record: newRecord(recordFile(dir)), log: filepath.Join(dir, "log"), grace: 30 * time.Second}
}

// serve runs the host with this program as its workers.
func (h *host) serve(yaml string, worker ...string) *host {
	h.t.Helper()
	return h.serveWorker(yaml, h.command(worker)...)
}

func (h *host) command(worker []string) []string {
	return append([]string{buildWorker(h.t), recordFile(h.dir)}, worker...)
}

// serveWorker runs the host with another program as its workers.
func (h *host) serveWorker(yaml string, command ...string) *host {
	h.t.Helper()
	if h.plain {
		return h.serveProgram(buildPlainProgram(h.t), yaml, command...)
	}
	return h.serveProgram(buildProgram(h.t), yaml, command...)
}

// startPlain is start without the race detector in rr.
func startPlain(t *testing.T, yaml string, worker ...string) *host {
	t.Helper()
	h := newHost(t, shortDir(t))
	h.plain = true
	return h.serve(yaml, worker...)
}

func (h *host) serveProgram(binary, yaml string, command ...string) *host {
	h.t.Helper()
	file, servers := h.save(yaml, command)
	cmd := exec.Command(binary, "serve", "-c", file)
	cmd.Env = append(os.Environ(), h.env...)
	h.run(cmd, servers)
	h.t.Cleanup(func() { h.end() })
	return h
}

// failedStart is what rr says when it does not start with this YAML: all of its lines.
func (h *host) failedStart(yaml string, command ...string) string {
	h.t.Helper()
	if command == nil {
		command = h.command(nil)
	}
	file, _ := h.save(yaml, command)
	got := runProgram(h.t, "", "serve", "-c", file)
	requireNoWorkers(h.t, h.dir)
	require.Equal(h.t, 1, got.code, got.stderr)
	return got.stderr
}

// save writes a whole configuration to DIR/.rr.yaml and counts its servers. The workers of a host have its directory in
// their environment.
func (h *host) save(text string, command []string) (file string, servers int) {
	h.t.Helper()
	list, err := json.Marshal(command) // JSON is YAML
	require.NoError(h.t, err)
	head := `version: "3"
logs:
  {mode: production, level: debug, encoding: json, output: ["DIR/log"], err_output: ["DIR/log"], channels: {server:
  {mode: production, level: info, encoding: json, output: ["DIR/log"], err_output: ["DIR/log"]}}}
server: {command: COMMAND, env: {RRTCP_HOST: DIR, GORACE: atexit_sleep_ms=0}}
rpc: {listen: "unix://DIR/rpc"}
`
	if !strings.Contains("\n"+text, "\nendure:") {
		head += "endure: {grace_period: " + grace.String() + "}\n"
	}
	if h.isFull {
		head = strings.ReplaceAll(head, `output: ["DIR/log"], err_output: ["DIR/log"]`, `output: ["DIR/log", "/dev/full"], err_output: ["/dev/full"]`)
	}
	whole := strings.ReplaceAll(strings.Replace(head, "COMMAND", string(list), 1)+text, "DIR", h.dir)
	file = filepath.Join(h.dir, ".rr.yaml")
	require.NoError(h.t, os.WriteFile(file, []byte(whole), 0o600))
	h.grace, servers = readConfig(whole)
	h.picks = strings.Contains(text, "events: [")
	return file, servers
}

// readConfig returns the grace period of a configuration, and how many servers it has; 0 if it can't be read.
func readConfig(text string) (grace time.Duration, servers int) {
	var config struct {
		Endure struct {
			GracePeriod string `yaml:"grace_period"`
		}
		TCP struct{ Servers map[string]any }
	}
	_ = yaml.Unmarshal([]byte(text), &config)
	grace, err := time.ParseDuration(config.Endure.GracePeriod)
	if err != nil {
		grace = 30 * time.Second // RoadRunner's own
	}
	return grace, len(config.TCP.Servers)
}

// run starts a program that says where its servers listen, and waits until it has.
func (h *host) run(cmd *exec.Cmd, servers int) {
	h.t.Helper()
	h.cmd, h.servers, h.exited = cmd, make(map[string]address), make(chan struct{})
	stderr, err := cmd.StderrPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	listening := make(chan struct{}) // closed when all servers listen, or it has exited
	go h.watch(bufio.NewScanner(stderr), servers, listening)
	if servers == 0 {
		return
	}
	select {
	case <-listening:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		require.Fail(h.t, "it neither listens nor exits", h.stderr())
	}
	if len(h.servers) < servers {
		<-h.exited
		require.Failf(h.t, "it does not listen", "%v: %s", h.err, h.stderr())
	}
}

func (h *host) watch(stderr *bufio.Scanner, servers int, listening chan<- struct{}) {
	for stderr.Scan() {
		h.mu.Lock()
		h.said.WriteString(stderr.Text() + "\n")
		h.mu.Unlock()
		words := strings.Fields(stderr.Text()) // rr: NAME listens on NETWORK://ADDRESS
		if len(words) != 5 || words[2] != "listens" || listening == nil {
			continue
		}
		network, text, _ := strings.Cut(words[4], "://")
		if h.servers[words[1]] = (address{network, text}); len(h.servers) == servers {
			close(listening)
			listening = nil
		}
	}
	if listening != nil {
		close(listening)
	}
	h.err = h.cmd.Wait()
	close(h.exited)
}

// stderr is what it has said so far.
func (h *host) stderr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.String()
}

// addr is where the server listens.
func (h *host) addr(server string) address {
	h.t.Helper()
	a, ok := h.servers[server]
	require.True(h.t, ok, "%s does not listen", server)
	return a
}

// terminate sends a SIGTERM.
func (h *host) terminate() {
	h.t.Helper()
	h.stopped = time.Now()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(h.t, err)
	}
}

// stop stops it and waits for its end.
func (h *host) stop() {
	h.t.Helper()
	if h.stopped.IsZero() {
		h.terminate()
	}
	h.requireExit()
}

// requireExit waits for its end, which must be a good one, and after a SIGTERM in time.
func (h *host) requireExit() {
	h.t.Helper()
	select {
	case <-h.exited:
		require.NoError(h.t, h.err, h.stderr())
		if !h.stopped.IsZero() {
			require.Less(h.t, time.Since(h.stopped), h.grace+atOnce, "it took longer than the grace period")
		}
	case <-time.After(patience):
		require.Fail(h.t, "it still runs", h.stderr())
	}
}

// requireCleanExit is requireExit where no worker hangs or was killed: the host may wait for those in vain, and is cut off then.
func (h *host) requireCleanExit() {
	h.t.Helper()
	h.requireExit()
	require.NotContains(h.t, h.stderr(), "the end of the grace period cut the clean-up")
}

// hasExited reports whether it has ended.
func (h *host) hasExited() bool {
	select {
	case <-h.exited:
		return true
	default:
		return false
	}
}

// end stops it if it still runs, when the test is over, and fails if a worker is left.
func (h *host) end() {
	h.t.Helper()
	defer func() {
		_ = h.cmd.Process.Kill()
		h.report()
	}()
	if !h.hasExited() {
		h.stop()
	}
	requireNoWorkers(h.t, h.dir)
	if !h.picks {
		h.record.now(h.t) // what came when the test looked no more
	}
	require.NotContains(h.t, h.stderr(), "DATA RACE")
	require.NotContains(h.t, h.stderr(), "panic:")
}

// report says what a person wants to know when the test has failed.
func (h *host) report() {
	if h.t.Failed() {
		lines := h.lines()
		h.t.Log(h.record)
		h.t.Log(h.stderr())
		h.t.Log("logs of " + h.t.Name() + ":\n" + strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// refuses reports whether nothing listens at the server's address any more.
func (h *host) refuses(server string) bool {
	conn, err := net.Dial(h.addr(server).Network(), h.addr(server).String())
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}
