package tests

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func itoa(n int) string { return strconv.Itoa(n) }

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

// commandOf is rr with these arguments.
func commandOf(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(buildPlainProgram(t), args...)
}

// runProgram runs rr to its end.
func runProgram(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := commandOf(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	require.NoError(t, cmd.Start())
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ctl runs a client command against the host.
func (h *host) ctl(args ...string) result {
	h.t.Helper()
	return runProgram(h.t, "", append(args, "-c", h.dir+"/.rr.yaml")...)
}

// requireOneLine fails unless the text is one line from rr that contains all of these.
func requireOneLine(t *testing.T, text string, parts ...string) {
	t.Helper()
	line, rest, _ := strings.Cut(text, "\n")
	require.Empty(t, rest)
	require.True(t, strings.HasPrefix(line, "rr: "), line)
	for _, part := range parts {
		require.Contains(t, line, part)
	}
}

// TestServe runs rr with its built-in worker.
func TestServe(t *testing.T) {
	t.Parallel()
	h := newHost(t, shortDir(t)).serveWorker(minimal, buildProgram(t), "worker", "echo")
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	old := h.workers()
	require.Len(t, old, 2)
	require.Equal(t, result{stdout: "the workers are new\n"}, h.ctl("reset"))
	for _, pid := range old {
		awaitDeath(t, pid)
		require.NotContains(t, h.workers(), pid)
	}
	require.Len(t, h.workers(), 2)
	require.Equal(t, "still there", c.ask("still there"))
	h.stop()
	c.requireEnd()
}

func TestServeAnnouncesAddresses(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(minimal, "servers: {", `servers: {beta: {addr: "unix://DIR/b.sock"}, `, 1))
	require.Regexp(t, `^rr: beta listens on unix://`+h.dir+`/b.sock\nrr: echo listens on tcp://127.0.0.1:\d+\n$`, h.stderr())
	require.NoError(t, dial(t, "unix", h.dir+"/b.sock").Close())
}

func TestServeDefaultConfigFile(t *testing.T) {
	t.Parallel()
	h := newHost(t, shortDir(t))
	h.save(strings.Replace(minimal, "127.0.0.1:0", "127.0.0.1:notaport", 1), h.command(nil))
	got := runProgram(t, h.dir, "serve")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, "tcp.servers.echo.addr")
}

func TestWorkersCommand(t *testing.T) {
	t.Parallel()
	got := start(t, minimal).ctl("workers")
	require.Zero(t, got.code, got.stderr)
	lines := strings.Split(got.stdout, "\n")
	require.Equal(t, "PID STATUS EXECS MEMORY CPU AGE", strings.Join(strings.Fields(lines[0]), " "))
	require.Regexp(t, `^ +\d+ +ready +0 +\d+\.\d MB +\d+\.\d% +\d+s$`, lines[1])
}

func TestCloseCommand(t *testing.T) {
	t.Parallel()
	h := start(t, minimal, "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()
	require.Equal(t, result{stdout: uuid + " is closed\n"}, h.ctl("close", uuid))
	c.requireEnd()
	require.Equal(t, "rpc", h.record.of(t, c).Reason)
	require.Equal(t, result{stdout: uuid + " is closed\n"}, h.ctl("close", uuid))
	got := h.ctl("close", "smtp")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, `"smtp"`)
}

func TestConnectionsAndSendCommands(t *testing.T) {
	t.Parallel()
	h := start(t, minimal, "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()

	got := h.ctl("connections")
	require.Zero(t, got.code, got.stderr)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	require.Len(t, lines, 2)
	require.Equal(t, "UUID SERVER REMOTE AGE STATE PACKETS BYTES WRITTEN TAGS", strings.Join(strings.Fields(lines[0]), " "))
	require.Regexp(t, `^`+uuid+`  echo +`+c.LocalAddr().String()+` +\d+s +reading +0 +0 +38 *$`, lines[1])
	require.Contains(t, h.ctl("connections", "echo").stdout, uuid)
	requireOneLine(t, h.ctl("connections", "other").stderr, `there is no "other"; want one of echo`)

	require.Equal(t, result{stdout: "sent\n"}, h.ctl("send", uuid, "hello\r\n"))
	require.Equal(t, "hello", c.receive())
	piped := commandOf(t, "send", uuid, "-c", h.dir+"/.rr.yaml")
	piped.Stdin = strings.NewReader("from a pipe\r\n")
	require.NoError(t, piped.Run())
	require.Equal(t, "from a pipe", c.receive())
	piped = commandOf(t, "send", uuid, "-c", h.dir+"/.rr.yaml")
	piped.Stdin = strings.NewReader(strings.Repeat("x", 2<<20))
	out, err := piped.CombinedOutput()
	require.Error(t, err)
	requireOneLine(t, string(out), "has no room for 2097152 bytes: push_queue is less")
	got = h.ctl("send", stranger, "hello")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, "is not open")
	require.Equal(t, 2, h.ctl("send").code)
}

func TestCallCommand(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}, local: {addr: "unix://DIR/s"}}
  pool: {num_workers: 2}
`, "connected=hello")
	for _, server := range []string{"echo", "local"} {
		got := runProgram(t, "", "call", strings.TrimPrefix(h.addr(server).network+"://"+h.addr(server).text, "tcp://"), "one two")
		require.Regexp(t, `^[0-9a-f-]{36}\r\none two\r\n$`, got.stdout, "what the server says first, and its answer")
		require.Equal(t, result{stdout: got.stdout}, got)
	}
	require.Contains(t, runProgram(t, "", "call", "tcp://"+h.addr("echo").text, "--", "-c").stdout, "\r\n-c\r\n", "a text may be anything")

	require.Contains(t, runProgram(t, "", "call", h.addr("echo").text, "!stream 3").stdout, "\r\npart\r\npart\r\nend\r\n", "to the last frame")
	require.Equal(t, 38, len(runProgram(t, "", "call", h.addr("echo").text, "!answer CLOSE").stdout), "what came before the end")
}

// serveOnce is the address of a server that does this with its only client.
func serveOnce(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { // ends with the client, or the listener
		defer close(done)
		if c, err := l.Accept(); err == nil {
			do(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestCallErrors(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	silent := serveOnce(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "wait")
		<-over
	})
	got := runProgram(t, "", "call", "-t", "2s", silent, "hello")
	close(over)
	require.Equal(t, 1, got.code)
	require.Equal(t, "wait", got.stdout, "what came is not lost")
	requireOneLine(t, got.stderr, silent, "within 2s", "4 bytes")

	mute := serveOnce(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	got = runProgram(t, "", "call", mute, "hello")
	require.Equal(t, 1, got.code)
	requireOneLine(t, got.stderr, mute, "without an answer")

	for address, says := range map[string]string{
		"127.0.0.1:1":            "connection refused: does a server listen there?",
		"unix:///nowhere/socket": "no such file or directory: does a server listen there?",
		"127.0.0.1":              `"127.0.0.1" is no address: want HOST:PORT or unix://PATH`,
		"127.0.0.1:":             "is no address",
		"http://127.0.0.1:80":    "is no address",
	} {
		got := runProgram(t, "", "call", address, "hello")
		require.Equal(t, 1, got.code)
		require.Empty(t, got.stdout)
		requireOneLine(t, got.stderr, says)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	usage := runProgram(t, "", "help").stdout
	require.Contains(t, usage, "Usage: rr COMMAND [-c FILE]\n")
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"-h", 0, ""},
		{"serve --help", 0, ""},
		{"", 2, "a command is missing"},
		{"start", 2, `no such command: "start"`},
		{"serve now", 2, `no such command: "serve now"`},
		{"worker php", 2, `no such command: "worker php"`},
		{"close", 2, "close: want the UUID of a connection"},
		{"close 1 2", 2, "close: want the UUID of a connection"},
		{"send", 2, "send: want the UUID of a connection, and a text in quotes or on standard input"},
		{"send 1 hello you", 2, "send: want the UUID of a connection, and a text in quotes or on standard input"},
		{"call 127.0.0.1:1", 2, "call: want the address of a server and a text"},
		{"call 127.0.0.1:1 hello you", 2, "call: want the address of a server and a text"},
		{"call -t soon 127.0.0.1:1 hello", 2, `invalid value "soon" for flag -t: parse error`},
		{"serve -x", 2, "flag provided but not defined: -x"},
		{"serve -c", 2, "flag needs an argument: -c"},
	} {
		t.Run("rr "+tt.args, func(t *testing.T) {
			got := runProgram(t, "", strings.Fields(tt.args)...)
			if tt.code == 0 {
				require.Equal(t, result{stdout: usage}, got)
			} else {
				require.Equal(t, result{code: 2, stderr: "rr: " + tt.says + "; rr help lists the commands\n"}, got)
			}
		})
	}
}

// It may be installed beside a RoadRunner that is rr.
func TestVersionOfAnotherName(t *testing.T) {
	t.Parallel()
	named := t.TempDir() + "/rrtcp"
	require.NoError(t, os.Symlink(buildPlainProgram(t), named))
	out, err := exec.Command(named, "version").Output()
	require.NoError(t, err)
	require.Regexp(t, `^rrtcp \S`, string(out))
	usage, err := exec.Command(named, "help").Output()
	require.NoError(t, err)
	require.Contains(t, string(usage), "Usage: rrtcp COMMAND")
	mistake, err := exec.Command(named, "call").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(mistake), "rrtcp: call: ")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := runProgram(t, "", "version")
	require.Zero(t, got.code)
	require.Empty(t, got.stderr)
	m := regexp.MustCompile(`^rr (\d+\.\d+\.\d+) \(RoadRunner (\S+), \S.*, go1\.\S+, \w+/\w+\)\n$`).FindStringSubmatch(got.stdout)
	require.Len(t, m, 3, got.stdout)
	require.Equal(t, thisLine().release, m[2])
	require.Equal(t, m[1], start(t, minimal).stats().Version)
}

// TestErrorsInOneLine checks that whatever is wrong, rr says it in one line and exits with 1.
func TestErrorsInOneLine(t *testing.T) {
	t.Parallel()
	socket, taken := shortDir(t)+"/rpc", takenPort(t)
	quiet := fmt.Sprintf(`version: "3"
rpc: {listen: "unix://%s"}
logs: {mode: none, level: warn}
server: {command: [%q, worker, echo]}
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`, socket, buildProgram(t))
	instead := func(old, with string) string {
		require.Contains(t, quiet, old)
		return strings.Replace(quiet, old, with, 1)
	}
	rpc := strings.Split(quiet, "\n")[1]

	for _, tt := range []struct {
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
		{"workers with an rpc address without a network", instead("unix://", ""), "workers", []string{"rpc.listen: ", "is no address; want tcp://HOST:PORT"}},
		{"workers where nothing runs", quiet, "workers", []string{"rpc.listen: ", "is rr serve running?"}},
		{"reset where nothing runs", quiet, "reset", []string{"rpc.listen: "}},
		{"close where nothing runs", quiet, "close x", []string{"rpc.listen: "}},
		{"top where nothing runs", quiet, "top", []string{"rpc.listen: "}},
		{"workers without a section rpc", instead(rpc, ""), "workers", []string{"section rpc is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".rr.yaml")
			require.NoError(t, os.WriteFile(file, []byte(tt.config), 0o600))
			got := runProgram(t, "", append(strings.Fields(tt.command), "-c", file)...)
			require.Equal(t, 1, got.code, got.stderr)
			require.Empty(t, got.stdout)
			requireOneLine(t, withoutEndure(got.stderr), tt.wants...)
		})
	}

	t.Run("a config that is missing", func(t *testing.T) {
		got := runProgram(t, t.TempDir(), "serve", "-c", "missing.yaml")
		require.Equal(t, 1, got.code)
		requireOneLine(t, got.stderr, "config missing.yaml: ", "no such file")
	})

	t.Run("an rpc socket that is taken", func(t *testing.T) {
		h := start(t, minimal)
		got := h.ctl("serve")
		require.Equal(t, 1, got.code)
		requireOneLine(t, got.stderr, "rpc.listen: unix://", "address already in use")
		require.Len(t, h.workers(), 2)
	})
}

// withoutEndure is standard error without what Endure logs where it can't be told not to, and without the servers that had
// started before something else failed.
func withoutEndure(stderr string) (rest string) {
	for _, line := range strings.SplitAfter(stderr, "\n") {
		isEndure := !thisLine().quietEndure && strings.HasPrefix(line, `{"level":"error"`)
		if !isEndure && !strings.HasPrefix(line, "rr: echo listens on") {
			rest += line
		}
	}
	return rest
}
