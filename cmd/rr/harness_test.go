package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rrtcp/tcp/cmd/rr/worker"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience bounds every wait of these tests. None is meant to take that long.
const patience = 30 * time.Second

var (
	binary     string // rr, built for these tests; its path holds a space
	buildFlags []string
)

func TestMain(m *testing.M) {
	if gate := os.Getenv("TEST_GATE"); gate != "" { // this is a worker, see gatekept
		if os.Getenv("TEST_BOOT") != "" {
			_ = ask(gate, "BOOT")
		}
		if err := worker.Serve(gatekept(gate)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}

	dir, err := os.MkdirTemp("", "rr test")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "rr")
	build := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", binary, ".")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	if err = goleak.Find(goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/events.(*Bus).handleEvents")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// gatekept makes a worker that tells its uuid to each client and, for the other events, asks at the gate: it dials, says
// which event it has, and answers it when the gate closes the connection.
func gatekept(gate string) func(worker.Event) (worker.Reply, error) {
	return func(e worker.Event) (worker.Reply, error) {
		if e.Event == worker.Connected {
			return worker.Reply{Context: worker.Write, Body: []byte(e.UUID + "\n")}, nil
		}
		return worker.Reply{Context: worker.Write, Body: e.Body}, ask(gate, e.Event, e.Reason)
	}
}

func ask(gate string, what ...any) error {
	conn, err := net.Dial("unix", gate)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintln(conn, what...)
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

// gate is where gatekept workers wait.
type gate struct{ net.Listener }

func newGate(t *testing.T) gate {
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "gate"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return gate{l}
}

// next waits for an event to reach a worker and says which it is. It is answered when the connection is closed.
func (g gate) next(t *testing.T) (string, io.Closer) {
	t.Helper()
	require.NoError(t, g.Listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
	conn, err := g.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), conn
}

// shortDir is a directory whose path is short enough for the name of a socket in it.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "rr")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// echoConfig is for an rr with the built-in worker and rpc on a unix socket.
func echoConfig(t *testing.T) string {
	return fmt.Sprintf(`version: "3"
rpc: {listen: "unix://%s/rpc"}
logs: {mode: production, level: warn}
server: {command: [%q, worker, echo]}
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`, shortDir(t), binary)
}

// gatedConfig is for an rr whose workers wait at the gate.
func gatedConfig(t *testing.T, g gate, more string) string {
	self, err := os.Executable()
	require.NoError(t, err)
	return fmt.Sprintf(`version: "3"
rpc: {listen: "unix://%s/rpc"}
logs: {mode: production, level: warn}
server: {command: [%q, "-test.v=false"], env: {TEST_GATE: %q}}
tcp:
  servers: {gated: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
%s`, shortDir(t), self, g.Addr().String(), more)
}

func file(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), ".rr.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

// rr runs the program to its end.
func rr(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := exec.Command(binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	require.NoError(t, cmd.Start())
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// running is an `rr serve`.
type running struct {
	t      *testing.T
	file   string
	cmd    *exec.Cmd
	stdout bytes.Buffer
	ended  chan struct{} // closed when the program has ended and all it wrote is in lines

	mu    sync.Mutex
	wrote *sync.Cond
	lines []string // of its stderr
	eof   bool
}

// startServe starts an rr that is killed, if need be, at the end of the test.
func startServe(t *testing.T, content string) *running {
	t.Helper()
	r := &running{t: t, file: file(t, content), ended: make(chan struct{})}
	r.wrote = sync.NewCond(&r.mu)
	r.cmd = exec.Command(binary, "serve", "-c", r.file)
	r.cmd.Stdout = &r.stdout
	stderr, err := r.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	go r.read(stderr)
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended // the workers end with their pipes
		if t.Failed() {
			t.Log(strings.Join(r.lines, "\n"))
		}
	})
	return r
}

func (r *running) read(stderr io.Reader) {
	defer close(r.ended)
	for s := bufio.NewScanner(stderr); s.Scan(); {
		r.mu.Lock()
		r.lines = append(r.lines, s.Text())
		r.mu.Unlock()
		r.wrote.Broadcast()
	}
	_ = r.cmd.Wait()
	r.mu.Lock()
	r.eof = true
	r.mu.Unlock()
	r.wrote.Broadcast()
}

// line waits for the first line of its stderr that contains the text.
func (r *running) line(text string) string {
	r.t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		expired = true
		r.wrote.Broadcast()
	})
	defer timer.Stop()

	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for _, l := range r.lines {
			if strings.Contains(l, text) {
				return l
			}
		}
		if r.eof || expired {
			require.Failf(r.t, "not written", "%q", text)
		}
		r.wrote.Wait()
	}
}

// address is where the server listens, as rr says it.
func (r *running) address(server string) string {
	r.t.Helper()
	_, address, _ := strings.Cut(r.line("rr: "+server+" listens on tcp://"), "://")
	return address
}

func (r *running) dial(server string) *client {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address(server))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	return &client{r.t, conn, bufio.NewReader(conn)}
}

// ask runs a client command against it.
func (r *running) ask(args ...string) result {
	r.t.Helper()
	return rr(r.t, "", append(args, "-c", r.file)...)
}

func (r *running) signal(s os.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(s))
}

// wait returns its exit code.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case <-r.ended:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		require.Fail(r.t, "still running")
		return -1
	}
}

// pids of the workers, as `rr workers` prints them.
func (r *running) pids() []int {
	r.t.Helper()
	got := r.ask("workers")
	require.Zero(r.t, got.code, got.stderr)
	var pids []int
	for _, row := range strings.Split(strings.TrimSpace(got.stdout), "\n")[1:] {
		var pid int
		_, err := fmt.Sscan(row, &pid)
		require.NoError(r.t, err, row)
		pids = append(pids, pid)
	}
	return pids
}

// requireGone waits until the processes have ended. What is left of a worker that outlived rr may stay a zombie where
// nobody collects those.
func requireGone(t *testing.T, pids []int) {
	t.Helper()
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		require.Eventually(t, func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil {
				_, state, _ := bytes.Cut(stat, []byte(") "))
				return bytes.HasPrefix(state, []byte("Z"))
			}
			return syscall.Kill(pid, 0) == syscall.ESRCH
		}, patience, 10*time.Millisecond, "worker %d is alive", pid)
	}
}

// client is a connection to a server.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (c *client) send(line string) {
	c.t.Helper()
	_, err := c.Write([]byte(line + "\r\n"))
	require.NoError(c.t, err)
}

func (c *client) receive() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSpace(line)
}

// requireEnd fails unless the server closes the connection without another byte.
func (c *client) requireEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	require.Empty(c.t, string(rest))
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

// freePort is for plugins that can't be asked for theirs: one that nobody has at the moment, and will not by chance, of an
// address of its own, which no client is from.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.N(254), rand.N(256), 1+rand.N(254)))
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// takenPort is one that somebody listens on until the test ends.
func takenPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
