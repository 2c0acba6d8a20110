package tests

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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

// crowd is a number of clients that ask, each in its own goroutine, until they are told to stop.
type crowd struct {
	clients   []*client
	exchanges atomic.Int64
	failed    atomic.Pointer[error] // the first one
	over      atomic.Bool
	wg        sync.WaitGroup
}

func (h *host) crowd(n int) *crowd {
	h.t.Helper()
	cr := new(crowd)
	for range n {
		cr.clients = append(cr.clients, h.dial("echo"))
	}
	for i, c := range cr.clients {
		cr.wg.Add(1)
		go cr.ask(i, c) // ends after stop
	}
	return cr
}

func (cr *crowd) ask(i int, c *client) {
	defer cr.wg.Done()
	for n := 0; !cr.over.Load(); n++ {
		want := fmt.Sprintf("%d of client %d\r\n", n, i)
		_, err := c.Write([]byte(want))
		if err == nil {
			var got string
			if got, err = c.r.ReadString('\n'); err == nil && got != want {
				err = fmt.Errorf("got %q for %q", got, want)
			}
		}
		if err != nil {
			cr.failed.CompareAndSwap(nil, &err)
			return
		}
		cr.exchanges.Add(1)
	}
}

// busy waits until n more exchanges have ended.
func (cr *crowd) busy(t *testing.T, n int64) {
	t.Helper()
	from := cr.exchanges.Load()
	eventually(t, "exchanges go on", func() bool {
		if err := cr.failed.Load(); err != nil {
			require.NoError(t, *err)
		}
		return cr.exchanges.Load() >= from+n
	})
}

// requireUnharmed ends the asking and fails if one exchange did, or one connection.
func (cr *crowd) requireUnharmed(t *testing.T) {
	t.Helper()
	cr.over.Store(true)
	cr.wg.Wait()
	if err := cr.failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	for _, c := range cr.clients {
		require.Equal(t, "still here", c.ask("still here"))
	}
}

func TestResetKeepsConnections(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1))
	before := h.workers()
	cr := h.crowd(100)
	for range 4 {
		cr.busy(t, 200)
		h.reset()
	}
	cr.busy(t, 200)
	cr.requireUnharmed(t)
	require.Len(t, h.workers(), 2)
	for _, pid := range before {
		require.NotContains(t, h.workers(), pid)
	}
	require.Empty(t, h.ours("error"))
	require.Empty(t, h.ours("warn"))
}

func TestConcurrentResets(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1))
	cr := h.crowd(20)
	resets := make(chan error, 4)
	for range cap(resets) {
		go func() { resets <- h.tryReset() }()
	}
	for range cap(resets) {
		require.NoError(t, <-resets)
	}
	cr.requireUnharmed(t)
	require.Len(t, h.workers(), 2)
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

func TestWorkerKilledDuringReset(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1), at)
	c := h.dial("echo")
	c.send("!gate echo")
	v := g.next()
	reset := make(chan error, 1) // receives once
	go func() { reset <- h.tryReset() }()
	eventually(t, "the reset has begun", func() bool { return len(h.logged("tcp", "reset")) > 0 })
	for _, pid := range h.workers() {
		if pid != v.pid {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	time.Sleep(100 * time.Millisecond) // the dead one is replaced and both are in the pool's queue

	v.release()
	require.Equal(t, "!gate echo", c.receive())
	begin := time.Now()
	require.NoError(t, <-reset)
	require.Less(t, time.Since(begin), atOnce, "not reset_timeout")
	require.Equal(t, "hello", c.ask("hello"))
	eventually(t, "there are two", func() bool { return len(h.workers()) == 2 })
}

func TestFailedResetRepaired(t *testing.T) {
	t.Parallel()
	broken := shortDir(t) + "/broken"
	h := start(t, withRPC, "broken="+broken)
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	require.Error(t, h.tryReset())
	require.Empty(t, h.workers())
	c.send("still here")
	eventually(t, "it is tried again", func() bool { return len(h.logged("tcp", "do not start")) > 0 })

	require.NoError(t, os.Remove(broken))
	require.Equal(t, "still here", c.receive())
	h.reset()
	require.Equal(t, "hello", c.ask("hello"))
	require.Len(t, h.workers(), 1)
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

func TestResetAfterFailedAddWorker(t *testing.T) {
	t.Parallel()
	broken := shortDir(t) + "/broken"
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 3, allocate_timeout: 10s", 1), "broken="+broken)
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	require.Error(t, h.addWorker())
	require.NoError(t, os.Remove(broken))
	eventually(t, "there are as many as the pool counts", func() bool { return len(h.workers()) == 2 })
	begin := time.Now()
	h.reset()
	require.Less(t, time.Since(begin), 2*atOnce)
	require.NoError(t, h.addWorker())
	require.Len(t, h.workers(), 3)
	require.Equal(t, "hello", h.dial("echo").ask("hello"))
}

func TestContinuousResets(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 2", 1))
	cr := h.crowd(20)
	over := make(chan struct{}) // closed to end the resets
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() { // ends when told
			defer wg.Done()
			for {
				select {
				case <-over:
					return
				default:
					_ = h.tryReset()
				}
			}
		}()
	}
	cr.busy(t, 1000)
	close(over)
	wg.Wait()
	cr.requireUnharmed(t)
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

// The time of a reset does not count against allocate_timeout.
func TestResetOutlastsAllocateTimeout(t *testing.T) {
	t.Parallel()
	const allocateTimeout = 10 * time.Second // workers must start within it
	g, at := newGate(t)
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, allocate_timeout: 10s}
`, at)
	busy, waiting := h.dial("echo"), h.dial("echo")
	require.Equal(t, "hello", waiting.ask("hello"))
	busy.send("!gate echo")
	v := g.next()
	reset := make(chan error, 1) // receives once
	go func() { reset <- h.tryReset() }()
	eventually(t, "the reset has begun", func() bool { return len(h.logged("tcp", "reset")) > 0 })
	waiting.send("hello")
	eventually(t, "an exchange waits", func() bool { return h.stats().ExchangesWaiting == 1 })

	time.Sleep(allocateTimeout + time.Second) // that is what must not matter
	v.release()
	require.Equal(t, "hello", waiting.receive())
	require.Equal(t, "!gate echo", busy.receive())
	require.NoError(t, <-reset)
	require.Empty(t, h.ours("warn"))
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
  pool: {num_workers: 2, supervisor: {exec_ttl: 500ms}}
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
