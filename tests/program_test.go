package tests

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rr is cmd/rr, built when the first test wants it.
var rr struct {
	once sync.Once
	dir  string
	err  error
}

var buildFlags []string // -race, if these tests have it: what is compiled already need not be compiled again

func removeProgram() {
	if rr.dir != "" {
		_ = os.RemoveAll(rr.dir)
	}
}

func buildProgram(t *testing.T) string {
	t.Helper()
	rr.once.Do(func() {
		if rr.dir, rr.err = os.MkdirTemp("", "rrtcp"); rr.err != nil {
			return
		}
		build := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", rr.dir+"/rr", ".")...)
		build.Dir = filepath.Join("..", "cmd", "rr")
		if out, err := build.CombinedOutput(); err != nil {
			rr.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, rr.err)
	return rr.dir + "/rr"
}

// program is a running `rr serve`, whose workers are this program.
type program struct {
	*host
	cmd   *exec.Cmd
	addrs map[string]string // by server
	ended chan error        // receives once, when it has exited
	said  strings.Builder   // on its stderr; to be read when it has exited
}

// startProgram runs rr until the test ends and waits until all n servers listen.
func startProgram(t *testing.T, n int, yaml string, worker ...string) *program {
	t.Helper()
	return startProgramOf(t, buildProgram(t), n, yaml, worker...)
}

func startProgramOf(t *testing.T, binary string, n int, yaml string, worker ...string) *program {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := shortDir(t)
	h := &host{t: t, dir: dir, record: newRecord(recordFile(dir)), log: filepath.Join(dir, "log")}
	file := filepath.Join(dir, ".rr.yaml")
	yaml = string(h.config(yaml, append([]string{self, recordFile(dir)}, worker...)))
	require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
	return h.run(n, exec.Command(binary, "serve", "-c", file))
}

// run starts a program whose workers can be known by the host's directory.
func (h *host) run(n int, cmd *exec.Cmd) *program {
	t := h.t
	t.Helper()
	p := &program{host: h, cmd: cmd, addrs: make(map[string]string), ended: make(chan error, 1)}
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		requireNoWorkers(t, h.dir)
		h.report()
	})

	listening := make(chan struct{}) // closed when all servers listen, or it has exited
	go p.watch(bufio.NewScanner(stderr), n, listening)
	<-listening
	require.Len(t, p.addrs, n, "it does not listen")
	return p
}

func (p *program) watch(stderr *bufio.Scanner, n int, listening chan<- struct{}) {
	for stderr.Scan() {
		p.said.WriteString(stderr.Text() + "\n")
		words := strings.Fields(stderr.Text()) // rr: NAME listens on NETWORK://ADDRESS
		if len(words) != 5 || words[2] != "listens" || len(p.addrs) == n {
			continue
		}
		_, p.addrs[words[1]], _ = strings.Cut(words[4], "://")
		if len(p.addrs) == n {
			close(listening)
			listening = nil
		}
	}
	if listening != nil {
		close(listening)
	}
	p.ended <- p.cmd.Wait()
}

func (p *program) dial(server string) *client {
	p.t.Helper()
	return dial(p.t, "tcp", p.addrs[server])
}

// terminate sends a SIGTERM and waits for the exit code.
func (p *program) terminate() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
}

func (p *program) requireExit(within time.Duration) {
	p.t.Helper()
	select {
	case err := <-p.ended:
		require.NoError(p.t, err)
	case <-time.After(within):
		require.Fail(p.t, "still running after "+within.String())
	}
}
