package tests

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAddAndRemoveWorkers(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, withRPC, at)
	require.Len(t, h.workers(), 1)
	require.ErrorContains(t, h.removeWorker(), "last worker")
	require.Len(t, h.workers(), 1)

	var clients []*client
	var visits []*visit
	for i := range 3 {
		if i > 0 {
			require.NoError(t, h.addWorker())
		}
		require.Len(t, h.workers(), i+1)
		c := h.dial("echo")
		c.send("!gate echo")
		clients = append(clients, c)
		visits = append(visits, g.next()) // as many exchanges at once as there are workers
	}

	removed := make(chan error, 1) // receives once
	go func() { removed <- h.removeWorker() }()
	for i, c := range clients {
		visits[i].release()
		require.Equal(t, "!gate echo", c.receive(), "the worker to be removed ends its exchange")
	}
	require.NoError(t, <-removed)
	require.NoError(t, h.removeWorker())
	eventually(t, "two are gone", func() bool { return len(h.workers()) == 1 && len(pids(h.dir)) == 1 })
	require.ErrorContains(t, h.removeWorker(), "last worker")
	for _, c := range clients {
		require.Equal(t, "hello", c.ask("hello"))
	}
}

func TestAddWorkerDuringRemoval(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1), at)
	var visits []*visit
	for range 2 {
		h.dial("echo").send("!gate echo")
		visits = append(visits, g.next())
	}
	removed := make(chan error, 1) // receives once
	go func() { removed <- h.removeWorker() }()
	eventually(t, "it waits", func() bool { return h.stats().ExchangesWaiting == 1 })
	require.NoError(t, h.addWorker())
	require.NoError(t, <-removed, "it is the one that was added")
	eventually(t, "there are two", func() bool { return len(h.workers()) == 2 })
	for _, v := range visits {
		v.release()
	}
}

func TestIdleWorkerKilled(t *testing.T) {
	t.Parallel()
	const yaml = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, reset_timeout: 1m}
`
	kill := func(t *testing.T, h *host) int {
		pid := h.workers()[0]
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		eventually(t, "it is dead", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
		return pid
	}

	t.Run("closes no connection and fails no exchange", func(t *testing.T) {
		t.Parallel()
		h := start(t, yaml)
		var clients []*client
		for range 10 {
			c := h.dial("echo")
			require.Equal(t, "hello", c.ask("hello"))
			clients = append(clients, c)
		}
		for range 3 {
			kill(t, h)
			for _, c := range clients {
				c.send("still here")
			}
			for _, c := range clients {
				require.Equal(t, "still here", c.receive())
			}
			eventually(t, "it is replaced", func() bool { return len(h.workers()) == 2 })
		}
	})

	t.Run("does not make Reset wait for reset_timeout", func(t *testing.T) {
		t.Parallel()
		h := start(t, yaml)
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		dead := kill(t, h)
		eventually(t, "it is replaced", func() bool {
			pids := h.workers()
			return len(pids) == 2 && pids[0] != dead && pids[1] != dead
		})
		begin := time.Now()
		h.reset()
		require.Less(t, time.Since(begin), atOnce)
		require.Equal(t, "hello", c.ask("hello"))
		require.Len(t, h.workers(), 2)
	})
}

func TestRemoveWorkerDuringRepair(t *testing.T) {
	t.Parallel()
	broken := shortDir(t) + "/broken"
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1), "broken="+broken)
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	require.Error(t, h.tryReset())
	require.Empty(t, h.workers())
	begin := time.Now()
	require.Error(t, h.removeWorker(), "there is none, and none starts")

	require.NoError(t, os.Remove(broken))
	require.NoError(t, h.removeWorker())
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	require.Less(t, time.Since(begin), 2*atOnce)
	eventually(t, "one is left", func() bool { return len(h.workers()) == 1 })
	require.Equal(t, "again", c.ask("again"))
}

// An event that certainly reached no worker is offered once more.
func TestUnwritableWorkerRetried(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	for range 3 {
		require.Equal(t, "!deaf", c.ask("!deaf"))
		for range 4 { // the workers take turns
			require.Equal(t, "hello", c.ask("hello"))
		}
		eventually(t, "it is replaced", func() bool { return len(h.workers()) == 2 })
	}
	require.NoError(t, c.Close())
	require.Equal(t, "eof", h.record.of(t, c).Reason)
	require.Len(t, h.logged("server", "sync_worker_send_frame"), 3)
}

func TestMaxJobsKeepsConnections(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, max_jobs: 5}
`)
	cr := h.crowd(10)
	cr.busy(t, 30)
	h.reset()
	cr.busy(t, 30)
	cr.requireUnharmed(t)
	require.Greater(t, h.record.bootCount(t), 12)
}

func TestSupervisorLimitsKeepConnections(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, supervisor: {watch_tick: 300ms, max_worker_memory: 1}}
`)
	cr := h.crowd(4)
	h.record.await(t, "workers are replaced for their memory", func() bool { return len(h.record.boots) > 6 })
	cr.requireUnharmed(t)
}

func TestExecTTL(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, supervisor: {exec_ttl: 3s}}
`)
	hung, other := h.dial("echo"), h.dial("echo")
	require.Equal(t, "hello", other.ask("hello"))
	hung.send("!hang")
	hung.requireEnd()
	require.Equal(t, "error", h.record.of(t, hung).Reason)
	require.Equal(t, "hello", other.ask("hello"))
}

func TestDebugPool(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {debug: true}
`)
	c := h.dial("echo")
	require.Equal(t, "one", c.ask("one"))
	require.Equal(t, "two", c.ask("two"))
	require.NoError(t, c.Close())
	seen := h.record.of(t, c)
	require.Equal(t, []string{"CONNECTED", "DATA", "DATA", "CLOSE"}, seen.events)
	require.Len(t, h.record.boots, 4)
}
