// Package tests runs rr, the program of a RoadRunner line, as a black box: a process with real sockets, real worker processes
// and the real plugins of that line. RR in the environment names the line; v2024.1.5 if not given. Workers are the test
// binary itself, without the race detector.
package tests

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience is the last resort of every wait: none is meant to take that long, on however busy a machine.
	patience = 2 * time.Minute
	// atOnce is what takes no time worth mentioning, on a busy machine under the race detector.
	atOnce = 20 * time.Second
	// grace is the grace period of hosts that have no section endure.
	grace = 10 * time.Second

	inParallel = "8" // tests mostly wait: for workers to boot, for the server plugin, which sleeps for a second in Stop
)

// repository is the folder of the repository.
const repository = ".."

func TestMain(m *testing.M) {
	if os.Getenv("RR_MODE") == "tcp" { // RoadRunner runs this program as a worker
		os.Exit(work(os.Args[1:]))
	}
	if os.Getenv("RRTCP_THRONG") != "" {
		os.Exit(throng(os.Args[1:]))
	}

	_ = flag.Set("test.parallel", inParallel) // the command line, which is read later, may have another
	if _, ok := lines[lineName()]; !ok {
		fmt.Fprintf(os.Stderr, "RR=%s: no such line\n", lineName())
		os.Exit(2)
	}
	code := m.Run()
	removePrograms()
	os.Exit(code)
}

// minimal has one server named echo and two workers.
const minimal = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`

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

// lines of the log; the last one may still be being written.
func (h *host) lines() []string {
	raw, _ := os.ReadFile(h.log)
	whole := raw[:bytes.LastIndexByte(raw, '\n')+1]
	return strings.Split(strings.TrimSpace(string(whole)), "\n")
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

// ours returns the entries of the tcp plugin of a level.
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
	eventually(t, "no worker is left", func() bool { return len(pids(dir)) == 0 })
}

// eventually polls where there is no event to wait for; ever less often, since looks at all processes cost.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(pause) {
		require.True(t, time.Now().Before(deadline), "never: "+what)
		pause = min(2*pause, 100*time.Millisecond)
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

// save replaces a file at once, as whoever renews certificates should.
func save(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}
