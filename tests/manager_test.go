package tests

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A SIGHUP is a reset: connections stay, workers are new.
func TestHangupSignal(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	before := pids(h.dir)
	for times := 1; times <= 2; times++ {
		require.NoError(t, h.cmd.Process.Signal(syscall.SIGHUP))
		eventually(t, "it says so", func() bool { return strings.Count(h.stderr(), "rr: renewed\n") == times })
	}
	require.Equal(t, "hello", c.ask("hello"))
	eventually(t, "the workers are new", func() bool {
		now := pids(h.dir)
		for _, pid := range before {
			for _, other := range now {
				if pid == other {
					return false
				}
			}
		}
		return len(now) == len(before)
	})
	h.stop()
	require.Equal(t, "shutdown", h.record.of(t, c).Reason)
}

// systemd hears when it is ready, that it is well, and when it stops; workers hear nothing of systemd.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	h := newHost(t, shortDir(t))
	socket := filepath.Join(h.dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	states := make(chan string, 1000)
	go func() { // ends when the socket is closed
		b := make([]byte, 1000)
		for {
			n, err := manager.Read(b)
			if err != nil {
				return
			}
			states <- string(b[:n])
		}
	}()
	next := func() string {
		select {
		case state := <-states:
			return state
		case <-time.After(patience):
			require.Fail(t, "systemd hears nothing")
			return ""
		}
	}

	file, servers := h.save(minimal, h.command(nil))
	cmd := exec.Command(buildProgram(t), "serve", "-c", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=20000")
	h.run(cmd, servers)
	t.Cleanup(func() { h.end() })
	require.Equal(t, "READY=1", next())
	require.Equal(t, "hello", h.dial("echo").ask("hello"))
	require.Equal(t, "WATCHDOG=1", next())
	require.Equal(t, "WATCHDOG=1", next())
	for _, pid := range pids(h.dir) {
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		require.NotContains(t, string(environ), "NOTIFY_SOCKET")
		require.NotContains(t, string(environ), "WATCHDOG")
	}
	h.terminate()
	for state := ""; state != "STOPPING=1"; state = next() {
		require.Contains(t, []string{"", "WATCHDOG=1"}, state)
	}
	h.stop()
}

// The program stops although nobody reads what it logs, and the pipe is full.
func TestUnreadLog(t *testing.T) {
	t.Parallel()
	p := startLogged(t)
	pipeSize, err := unix.FcntlInt(p.log.Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
	for range 600 { // the end of each is logged
		c, err := net.Dial("tcp", p.address)
		require.NoError(t, err)
		_, _ = c.Write([]byte("hello\r\n"))
		_ = c.Close()
	}
	eventually(t, "the log is full", func() bool {
		n, err := unix.IoctlGetInt(int(p.log.Fd()), unix.TIOCINQ)
		return err == nil && n > pipeSize-1024
	})
	p.requireStop(t)
}

// loggedProgram logs the end of each connection to standard error, a pipe.
type loggedProgram struct {
	dir, address string
	log          *os.File // the other end of the pipe
	process      *os.Process
	exited       chan error // receives once
}

func startLogged(t *testing.T) loggedProgram {
	h := newHost(t, shortDir(t))
	p := loggedProgram{dir: h.dir, address: freePort(t), exited: make(chan error, 1)}
	h.save(fmt.Sprintf("tcp: {servers: {echo: {addr: %q, access_log: true}}, pool: {num_workers: 2}}\n", p.address), h.command(nil))
	file := filepath.Join(h.dir, ".rr.yaml")
	yaml, err := os.ReadFile(file)
	require.NoError(t, err)
	toStderr := strings.ReplaceAll(string(yaml), h.dir+"/log", "stderr")
	require.NoError(t, os.WriteFile(file, []byte(toStderr), 0o600))

	unread, stderr, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = unread.Close() })
	cmd := exec.Command(buildProgram(t), "serve", "-c", file)
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, stderr.Close())
	go func() { p.exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	p.log, p.process = unread, cmd.Process
	return p
}

func (p loggedProgram) requireStop(t *testing.T) {
	require.NoError(t, p.process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.exited:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "it still runs")
	}
	requireNoWorkers(t, p.dir)
}

// The program goes on when what reads its log has ended.
func TestLogReaderEnds(t *testing.T) {
	t.Parallel()
	p := startLogged(t)
	require.NoError(t, p.log.Close())
	for range 20 { // the end of each is logged
		c, err := net.Dial("tcp", p.address)
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = c.Write([]byte("hello\r\n"))
		require.NoError(t, err)
		answer, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "hello\r\n", answer)
		require.NoError(t, c.Close())
	}
	p.requireStop(t)
}
