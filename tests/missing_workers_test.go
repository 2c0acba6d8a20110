package tests

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Workers that could not be started for longer than allocate_timeout are there again when they can be, without a reset.
func TestMissingWorkersComeBack(t *testing.T) {
	t.Parallel()
	broken := shortDir(t) + "/broken"
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, allocate_timeout: 10s}
`, "broken="+broken)
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	save(t, broken, nil)
	for _, pid := range h.workers() {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	eventually(t, "it is said", func() bool { return len(h.logged("tcp", "workers are missing")) == 1 })
	time.Sleep(11 * time.Second) // the pool would have given them up
	require.ErrorContains(t, h.tryReset(), "start the workers (server.command or tcp.pool.command): ")
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGHUP))
	eventually(t, "it says what failed", func() bool {
		return strings.Contains(h.stderr(), "rr: renewing failed: tcp: start the workers (server.command or tcp.pool.command): ")
	})
	require.Empty(t, h.workers())

	require.NoError(t, os.Remove(broken))
	eventually(t, "they are back", func() bool { return len(h.workers()) == 2 && len(pids(h.dir)) == 2 })
	require.Equal(t, "hello", c.ask("hello"))
	eventually(t, "it is said", func() bool { return len(h.logged("tcp", "workers can be started again")) == 1 })
	h.reset()
	eventually(t, "none is too many", func() bool { return len(h.workers()) == 2 && len(pids(h.dir)) == 2 })
	require.Len(t, h.logged("tcp", "workers are missing"), 1)
}

// Workers that hang when they start are killed, and their number is bounded. Stop leaves none.
func TestStuckWorkersAreKilled(t *testing.T) {
	t.Parallel()
	const workers, timeout = 4, 10 * time.Second
	stuck := shortDir(t) + "/stuck"
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 4, allocate_timeout: `+timeout.String()+"}\n", "stuck="+stuck)
	save(t, stuck, nil)
	reset := make(chan error, 1) // receives once
	go func() { reset <- h.tryReset() }()
	for deadline := time.Now().Add(3 * timeout); time.Now().Before(deadline); time.Sleep(250 * time.Millisecond) {
		require.LessOrEqual(t, len(pids(h.dir)), 2*workers)
	}
	require.ErrorContains(t, <-reset, "did not answer within allocate_timeout")
	require.NoError(t, os.Remove(stuck))
	eventually(t, "they are back", func() bool { return len(h.workers()) == workers && len(pids(h.dir)) == workers })
	require.Equal(t, "hello", h.dial("echo").ask("hello"))

	save(t, stuck, nil)
	require.NoError(t, syscall.Kill(h.workers()[0], syscall.SIGKILL))
	eventually(t, "it is said again", func() bool { return len(h.logged("tcp", "workers are missing")) == 2 })
	h.stop()
	requireNoWorkers(t, h.dir)
}

// Stop does not leave what has not come up: RoadRunner ends before allocate_timeout.
func TestStopEndsStartsThatHang(t *testing.T) {
	t.Parallel()
	stuck := shortDir(t) + "/stuck"
	h := start(t, minimal, "stuck="+stuck)
	save(t, stuck, nil)
	for _, pid := range h.workers() {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	eventually(t, "they are starting", func() bool { return len(h.workers()) == 0 && len(pids(h.dir)) == 2 })
	h.stop()
	requireNoWorkers(t, h.dir)
}
