package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServe(t *testing.T) {
	r := startServe(t, echoConfig(t))
	c := r.dial("echo")
	c.send("hello")
	require.Equal(t, "hello", c.receive())

	old := r.pids()
	require.Len(t, old, 2)
	require.Equal(t, result{stdout: "the workers are new\n"}, r.ask("reset"))
	requireGone(t, old)
	renewed := r.pids()
	require.Len(t, renewed, 2)
	require.NotContains(t, renewed, old[0])
	require.NotContains(t, renewed, old[1])

	c.send("still there")
	require.Equal(t, "still there", c.receive())

	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	c.requireEnd()
	require.Empty(t, r.stdout.String())
}

func TestServeSaysWhatListensWhere(t *testing.T) {
	socket := filepath.Join(shortDir(t), "b.sock")
	r := startServe(t, strings.Replace(echoConfig(t), "servers: {", `servers: {beta: {addr: "unix://`+socket+`"}, `, 1))
	r.line("rr: echo listens on tcp://127.0.0.1:")
	require.Equal(t, "rr: beta listens on unix://"+socket, r.line("beta"))
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestServeTakesTheConfigInTheWorkingDirectory(t *testing.T) {
	path := file(t, strings.Replace(echoConfig(t), "127.0.0.1:0", "127.0.0.1:notaport", 1))
	got := rr(t, filepath.Dir(path), "serve")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, "tcp.servers.echo.addr")
}

func TestWorkers(t *testing.T) {
	r := startServe(t, echoConfig(t))
	r.address("echo")
	got := r.ask("workers")
	require.Zero(t, got.code, got.stderr)
	lines := strings.Split(got.stdout, "\n")
	require.Equal(t, "PID STATUS EXECS MEMORY CPU AGE", strings.Join(strings.Fields(lines[0]), " "))
	require.Regexp(t, `^ +\d+ +ready +0 +\d+\.\d MB +\d+\.\d% +\d+s$`, lines[1])
}

func TestClose(t *testing.T) {
	g := newGate(t)
	r := startServe(t, gatedConfig(t, g, ""))
	c := r.dial("gated")
	uuid := c.receive()

	require.Equal(t, result{stdout: uuid + " is closed\n"}, r.ask("close", uuid))
	c.requireEnd()
	event, answer := g.next(t)
	require.Equal(t, "CLOSE rpc", event)
	require.NoError(t, answer.Close())

	require.Equal(t, result{stdout: uuid + " is closed\n"}, r.ask("close", uuid))
	got := r.ask("close", "smtp")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, `"smtp"`)
}

func TestConnectionsAndSend(t *testing.T) {
	g := newGate(t)
	r := startServe(t, gatedConfig(t, g, ""))
	c := r.dial("gated")
	uuid := c.receive()

	got := r.ask("connections")
	require.Zero(t, got.code, got.stderr)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	require.Len(t, lines, 2)
	require.Equal(t, "UUID SERVER REMOTE AGE STATE PACKETS BYTES WRITTEN TAGS", strings.Join(strings.Fields(lines[0]), " "))
	require.Regexp(t, `^`+uuid+`  gated +`+c.LocalAddr().String()+` +\ds +reading +0 +0 +37 *$`, lines[1])
	require.Contains(t, r.ask("connections", "gated").stdout, uuid)
	requireOneLine(t, r.ask("connections", "other").stderr, `there is no "other"; want one of gated`)

	require.Equal(t, result{stdout: "sent\n"}, r.ask("send", uuid, "hello\n"))
	require.Equal(t, "hello", c.receive())
	piped := exec.Command(binary, "send", uuid, "-c", r.file)
	piped.Stdin = strings.NewReader("from a pipe\n")
	require.NoError(t, piped.Run())
	require.Equal(t, "from a pipe", c.receive())
	got = r.ask("send", "7f4df7c5-1f0e-4a2e-9a1e-6a4d5b3c2b1a", "hello")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, "is not open")
	require.Equal(t, 2, r.ask("send").code)
}

func TestStop(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String()+" with an idle connection", func(t *testing.T) {
			r := startServe(t, echoConfig(t))
			c := r.dial("echo")
			c.send("hello")
			require.Equal(t, "hello", c.receive())
			pids := r.pids()

			begin := time.Now()
			r.signal(signal)
			require.Zero(t, r.wait())
			require.Less(t, time.Since(begin), 10*time.Second)
			c.requireEnd()
			requireGone(t, pids)
		})
	}

	t.Run("a reply that is owed still arrives, and CLOSE reaches a worker", func(t *testing.T) {
		g := newGate(t)
		r := startServe(t, gatedConfig(t, g, ""))
		c := r.dial("gated")
		c.receive()
		c.send("hello")
		event, answer := g.next(t)
		require.Equal(t, "DATA", event)
		pids := r.pids()

		r.signal(syscall.SIGTERM)
		r.line("rr: stopping, in 30s at most")
		require.NoError(t, answer.Close())
		require.Equal(t, "hello", c.receive())
		c.requireEnd()
		event, answer = g.next(t)
		require.Equal(t, "CLOSE shutdown", event)
		require.NoError(t, answer.Close())
		require.Zero(t, r.wait())
		requireGone(t, pids)
	})

	t.Run("a worker that never answers does not outlast the grace period", func(t *testing.T) {
		g := newGate(t)
		r := startServe(t, gatedConfig(t, g, "endure: {grace_period: 3s}"))
		c := r.dial("gated")
		c.receive()
		c.send("hello")
		_, answer := g.next(t)
		pids := r.pids()

		begin := time.Now()
		r.signal(syscall.SIGTERM)
		require.Zero(t, r.wait())
		require.Less(t, time.Since(begin), 4*time.Second)
		require.NoError(t, answer.Close())
		requireGone(t, pids)
	})

	t.Run("a worker killed while idle holds nothing up", func(t *testing.T) {
		r := startServe(t, echoConfig(t))
		r.address("echo")
		pids := r.pids()
		require.NoError(t, syscall.Kill(pids[0], syscall.SIGKILL))
		requireGone(t, pids[:1])

		begin := time.Now()
		r.signal(syscall.SIGTERM)
		require.Zero(t, r.wait())
		require.Less(t, time.Since(begin), 15*time.Second)
		requireGone(t, pids)
	})

	t.Run("a second signal exits at once", func(t *testing.T) {
		g := newGate(t)
		r := startServe(t, gatedConfig(t, g, ""))
		c := r.dial("gated")
		c.receive()
		c.send("hello")
		_, answer := g.next(t)
		pids := r.pids()

		r.signal(syscall.SIGINT)
		r.line("rr: stopping")
		r.signal(syscall.SIGINT)
		require.Equal(t, 1, r.wait())
		require.NoError(t, answer.Close())
		requireGone(t, pids)
	})

	t.Run("a start that waits for its workers can be stopped", func(t *testing.T) {
		g := newGate(t)
		r := startServe(t, strings.Replace(gatedConfig(t, g, ""), "env: {", `env: {TEST_BOOT: "1", `, 1))
		event, answer := g.next(t)
		require.Equal(t, "BOOT", event)

		r.signal(syscall.SIGTERM)
		require.Zero(t, r.wait())
		require.NoError(t, answer.Close())
	})
}

// TestErrors: whatever is wrong, it is told in one line, and rr exits with 1.
func TestErrors(t *testing.T) {
	quiet := strings.Replace(echoConfig(t), "mode: production", "mode: none", 1)
	instead := func(old, with string) string {
		require.Contains(t, quiet, old)
		return strings.Replace(quiet, old, with, 1)
	}
	rpc := strings.Split(quiet, "\n")[1]
	taken := takenPort(t)

	tests := []struct {
		name, config, command string
		wants                 []string
	}{
		{"YAML that is none", "version: \"3\"\ntcp: [", "serve", []string{"config ", ".rr.yaml: ", "yaml: line"}},
		{"no version", instead(`version: "3"`, ""), "serve", []string{"config ", "version"}},
		{"nothing but a version", `version: "3"`, "serve", []string{"section tcp is missing", "; section server is missing"}},
		{"no section tcp", instead("tcp:\n", "http:\n"), "serve", []string{"section tcp is missing"}},
		{"an empty section tcp", instead("tcp:\n", "tcp:\nother:\n"), "serve", []string{"section tcp is missing"}},
		{"no section server", instead("server:", "service:"), "serve", []string{"section server is missing"}},
		{"no command", instead("server: {command", "server: {comand"), "serve", []string{"server: ", "command"}},
		{
			"two mistakes in section tcp", instead(`{addr: "127.0.0.1:0"}`, `{addr: "ftp://x", delimiter: ""}`), "serve",
			[]string{"tcp.servers.echo.addr", "; ", "tcp.servers.echo.delimiter"},
		},
		{"an unknown log level", quiet + "endure: {log_level: loud}", "serve", []string{"endure.log_level", `"loud"`}},
		{"a grace period that is none", quiet + "endure: {grace_period: soon}", "serve", []string{"endure: ", "grace_period"}},
		{
			"a taken address", instead("127.0.0.1:0", taken), "serve",
			[]string{"rr: tcp: listen echo", taken, "address already in use"},
		},
		{
			"a taken rpc address", instead(rpc, `rpc: {listen: "tcp://`+taken+`"}`), "serve",
			[]string{"rpc.listen", taken, "address already in use"},
		},
		{"an rpc address that is none", instead("unix://", "ftp://"), "serve", []string{"rr: rpc: ", "ftp://"}},
		{"a section rpc that is none", instead(rpc, "rpc: 1"), "serve", []string{"rr: rpc: "}},
		{"a worker that can't be started", instead("worker, echo", "nothing"), "serve", []string{"rr: tcp: start the workers"}},
		{
			"a plugin that fails later", quiet + "metrics: {address: \"" + taken + "\"}", "serve",
			[]string{"rr: metrics: listen", taken, "address already in use"},
		},
		{"workers where nothing runs", quiet, "workers", []string{"rpc.listen: ", "is rr serve running?"}},
		{"reset where nothing runs", quiet, "reset", []string{"rpc.listen: "}},
		{"close where nothing runs", quiet, "close x", []string{"rpc.listen: "}},
		{"workers without a section rpc", instead(rpc, ""), "workers", []string{"section rpc is missing"}},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rr(t, "", append(strings.Fields(tt.command), "-c", file(t, tt.config))...)
			require.Equal(t, 1, got.code, got.stderr)
			require.Empty(t, got.stdout)
			lines := slices.DeleteFunc(strings.SplitAfter(got.stderr, "\n"), func(line string) bool {
				return strings.HasPrefix(line, "rr: echo listens on") || // what fails later has been started
					endureLevel <= slog.LevelError && strings.HasPrefix(line, `{"level":"error"`) // Endure's
			})
			requireOneLine(t, strings.Join(lines, ""), tt.wants...)
		})
	}

	t.Run("a config that is missing", func(t *testing.T) {
		got := rr(t, t.TempDir(), "serve", "-c", "missing.yaml")
		require.Equal(t, 1, got.code)
		requireOneLine(t, got.stderr, "config missing.yaml: ", "no such file")
	})

	t.Run("an rpc socket that is taken", func(t *testing.T) {
		r := startServe(t, quiet)
		r.address("echo")
		got := r.ask("serve")
		require.Equal(t, 1, got.code)
		requireOneLine(t, got.stderr, "rpc.listen: unix://", "address already in use")
		require.Len(t, r.pids(), 2)
	})
}

func TestUsage(t *testing.T) {
	tests := []struct {
		args string
		code int
		says string
	}{
		{"help", 0, ""},
		{"-h", 0, ""},
		{"serve --help", 0, ""},
		{"", 2, "a command is missing"},
		{"start", 2, `no such command: "start"`},
		{"serve now", 2, `no such command: "serve now"`},
		{"worker php", 2, `no such command: "worker php"`},
		{"close", 2, "close: the UUID of a connection is missing"},
		{"serve -x", 2, "flag provided but not defined: -x"},
		{"serve -c", 2, "flag needs an argument: -c"},
	}

	for _, tt := range tests {
		t.Run("rr "+tt.args, func(t *testing.T) {
			got := rr(t, "", strings.Fields(tt.args)...)
			if tt.code == 0 {
				require.Equal(t, result{stdout: usage}, got)
			} else {
				require.Equal(t, result{code: 2, stderr: "rr: " + tt.says + "\n\n" + usage}, got)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	got := rr(t, "", "version")
	require.Zero(t, got.code)
	require.Regexp(t, `^rr \S.* \(RoadRunner `+regexp.QuoteMeta(roadRunner)+`, go1\.\S+, \w+/\w+\)\n$`, got.stdout)
	require.Empty(t, got.stderr)
}

// TestMetricsAndStatus: in the other tests their sections are missing, and nobody misses the plugins.
func TestMetricsAndStatus(t *testing.T) {
	metrics, status := freePort(t), freePort(t)
	r := startServe(t, echoConfig(t)+fmt.Sprintf("metrics: {address: %q}\nstatus: {address: %q}\n", metrics, status))
	r.address("echo")

	for _, url := range []string{"http://" + metrics + "/metrics", "http://" + status + "/health?plugin=tcp"} {
		require.Eventually(t, func() bool { // they listen when their plugins have started, some time
			response, err := http.Get(url)
			if err != nil {
				return false
			}
			return response.Body.Close() == nil && response.StatusCode == http.StatusOK
		}, patience, 10*time.Millisecond, url)
	}
	http.DefaultClient.CloseIdleConnections()
}
