package tests

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
	eventually(t, "it is tried again", func() bool { return len(h.logged("tcp", "workers are missing")) > 0 })

	require.NoError(t, os.Remove(broken))
	require.Equal(t, "still here", c.receive())
	h.reset()
	require.Equal(t, "hello", c.ask("hello"))
	require.Len(t, h.workers(), 1)
}

func TestResetAfterFailedAddWorker(t *testing.T) {
	t.Parallel()
	broken := shortDir(t) + "/broken"
	h := start(t, strings.Replace(withRPC, "num_workers: 1", "num_workers: 3, allocate_timeout: 10s", 1), "broken="+broken)
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	require.Error(t, h.addWorker())
	require.Error(t, h.addWorker())
	require.NoError(t, os.Remove(broken))
	require.Len(t, h.workers(), 3)
	begin := time.Now()
	h.reset()
	require.Less(t, time.Since(begin), 2*atOnce)
	eventually(t, "one more can be added", func() bool { return h.addWorker() == nil })
	eventually(t, "there are four: one that came up late is removed", func() bool { return len(h.workers()) == 4 })
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
