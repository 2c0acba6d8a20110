package hosttest

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testMissingSection(t *testing.T, l Line) {
	t.Parallel()
	h := start(t, l, "")
	require.Nil(t, h.plugin.Addr("echo"))
	require.False(t, h.logged(`"logger":"tcp"`), "without a message")
	require.Empty(t, h.events())
}

func testBeforeServe(t *testing.T, l Line) {
	t.Parallel()
	h := newHost(t, l, minimal, grace)
	require.NoError(t, h.container.Init())
	require.NoError(t, h.plugin.Reset())
	require.Error(t, h.plugin.AddWorker())
	require.Error(t, h.plugin.RemoveWorker(context.Background()))
	require.NoError(t, h.plugin.Close("7f4df7c5-1f0e-4a2e-9a1e-6a4d5b3c2b1a"))
	require.Nil(t, h.plugin.Addr("echo"))
	require.NoError(t, h.serve())
	require.Equal(t, "hello", h.dial().ask("hello"))
}

func testStopBeforeServe(t *testing.T, l Line) {
	t.Parallel()
	h := newHost(t, l, minimal, grace)
	require.NoError(t, h.container.Init())
	require.NoError(t, h.stopPlugin(grace))
	require.NoError(t, h.serve())
	require.Nil(t, h.plugin.Addr("echo"))
	require.NoFileExists(t, h.dir+"/events", "no worker is started")
}

func testStopTwice(t *testing.T, l Line) {
	t.Parallel()
	h := start(t, l, minimal)
	require.NoError(t, h.stopPlugin(grace))
	require.NoError(t, h.stopPlugin(grace))
	require.NoError(t, h.plugin.Reset())
	require.Error(t, h.plugin.AddWorker())
}

func testStopWithEndedContext(t *testing.T, l Line) {
	t.Parallel()
	h := startWith(t, l, minimal, 8*time.Second)
	c := h.dial()
	c.send("!hang")
	h.awaitEvents(2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	_ = h.plugin.Stop(ctx) // an error if something still runs
	require.Less(t, time.Since(begin), atOnce)
	require.Empty(t, c.rest())
}

// A worker that does not answer is ended so early that Stop is not late. CLOSE is handed over before the workers end.
func testStopCutsHungWorkers(t *testing.T, l Line) {
	t.Parallel()
	for name, packet := range map[string]string{"a hung worker": "!hang", "a hung CLOSE": "!hang later"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const within = 20 * time.Second
			h := startWith(t, l, strings.Replace(minimal, "num_workers: 2", "num_workers: 1", 1), within)
			c := h.dial()
			c.send(packet)
			h.awaitEvents(2)
			begin := time.Now()
			require.NoError(t, h.stopPlugin(within))
			require.Less(t, time.Since(begin), within)
			h.requireSentences(1)
		})
	}
}

// All plugins stop at once, in no order, as RoadRunner has it.
func testStopOfAllPlugins(t *testing.T, l Line) {
	t.Parallel()
	h := start(t, l, minimal)
	next := h.gate()
	c := h.dial()
	c.send("!gate")
	release := next()

	stopped := make(chan struct{}) // closed when the host has stopped
	go func() {
		defer close(stopped)
		h.stop()
	}()
	eventually(t, "it stops", func() bool {
		return h.plugin.Addr("echo") == nil && (!l.HostDestroysPool || h.logged("destroy signal"))
	})
	release()
	require.Equal(t, "!gate\r\n", c.rest(), "the reply that is owed arrives")
	require.NoError(t, c.Close())
	<-stopped
	if !l.HostDestroysPool {
		h.requireSentences(1)
	}
}

// requireSentences requires that the workers have heard of so many connections, and each to its end.
func (h *host) requireSentences(n int) {
	h.t.Helper()
	all := h.sentences()
	require.Len(h.t, all, n)
	for _, events := range all {
		require.Equal(h.t, "CONNECTED DATA CLOSE", events)
	}
}

// Not parallel: it needs the whole machine.
func testStopHandsOverClose(t *testing.T, l Line) {
	connections := 5000
	if l.HostDestroysPool {
		connections = 500
	}
	h := startWith(t, l, minimal, 30*time.Second)
	var clients []*client
	for range connections {
		clients = append(clients, h.dial())
	}
	for _, c := range clients {
		require.Equal(t, "hello", c.ask("hello"))
	}
	if l.HostDestroysPool { // where all plugins stop at once, few connections have their CLOSE
		require.NoError(t, h.stopPlugin(grace))
	}
	h.stop()
	h.requireSentences(connections)
}

func testStopDuringReset(t *testing.T, l Line) {
	t.Parallel()
	const within = 12 * time.Second // the grace period
	begin := func(t *testing.T, until func(h *host) bool) (*host, <-chan error) {
		h := startWith(t, l, minimal, within)
		require.Equal(t, "hello", h.dial().ask("hello"))
		h.before = h.pids()
		reset := make(chan error, 1) // receives once
		go func() { reset <- h.plugin.Reset() }()
		eventually(t, "the reset is so far", func() bool { return until(h) })
		return h, reset
	}
	for name, until := range stagesOfReset {
		t.Run(name+": the plugin first, as the program does", func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t, until)
			stopping := time.Now()
			require.NoError(t, h.stopPlugin(within))
			h.stop()
			require.Less(t, time.Since(stopping), atOnce, "nothing is there to wait for")
			t.Log("the reset, which may be cut off:", <-reset)
			h.requireNoWorkers()
		})
		t.Run(name+": all plugins at once", func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t, until)
			stopping := time.Now()
			h.serving = false
			// The pool's Reset and its Destroy may stop the same worker and wait ten seconds for each other. Then Stop is an
			// error, but in time.
			_ = h.container.Stop()
			require.Less(t, time.Since(stopping), within+atOnce)
			t.Log("the reset, which may be cut off:", <-reset)
			h.requireNoWorkers()
		})
	}
	t.Run("a reset that waits for a hung worker", func(t *testing.T) {
		t.Parallel()
		h := startWith(t, l, strings.Replace(minimal, "num_workers: 2", "num_workers: 2, reset_timeout: 1h", 1), within)
		c := h.dial()
		c.send("!hang")
		h.awaitEvents(2)
		reset := make(chan error, 1) // receives once
		go func() { reset <- h.plugin.Reset() }()
		eventually(t, "the reset has begun", func() bool { return h.logged("reset") })

		// On a busy machine the new workers may take longer than Stop has left when it ends the exchange.
		begin := time.Now()
		if err := h.stopPlugin(within); err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Less(t, time.Since(begin), within+atOnce)
		select {
		case err := <-reset:
			t.Log("the reset, which may be cut off:", err)
		case <-time.After(patience):
			t.Fatal("it waits for reset_timeout")
		}
		h.stop()
		h.requireNoWorkers()
	})
}

// stagesOfReset are the points of a reset at which Stop comes.
var stagesOfReset = map[string]func(h *host) bool{
	"a reset that has been asked for": func(*host) bool { return true },
	"a reset that has begun":          func(h *host) bool { return h.logged("reset") },
	"the first worker is gone":        func(h *host) bool { return h.left() < len(h.before) },
	"all workers are gone":            func(h *host) bool { return h.left() == 0 },
	"a worker has started":            func(h *host) bool { return len(h.pids()) > h.left() },
}

// left counts the workers from before the reset that are alive.
func (h *host) left() (n int) {
	for _, pid := range h.pids() {
		if slices.Contains(h.before, pid) {
			n++
		}
	}
	return n
}

// Connections of every kind are open when the host stops; Main finds the goroutines that are left of them.
func testNoGoroutineLeft(t *testing.T, l Line) {
	t.Parallel()
	h := start(t, l, `
tcp:
  write_timeout: 2s
  idle_timeout: 1m
  packet_timeout: 1m
  servers:
    echo: {addr: "127.0.0.1:0"}
    proxied: {addr: "127.0.0.1:0", proxy_protocol: {trusted: ["127.0.0.0/8"]}}
    unix: {addr: "unix://DIR/socket", batch: true}
  pool: {num_workers: 4}
`)
	idle, gone, half := h.dial(), h.dial(), h.dial()
	require.Equal(t, "hello", idle.ask("hello"))
	require.Equal(t, "hello", gone.ask("hello"))
	require.NoError(t, gone.Close())
	half.send("hello")
	_, _ = half.Write([]byte("half a packet"))
	failed := h.dial()
	failed.send("!error")
	require.Empty(t, failed.rest())
	require.NoError(t, h.plugin.Reset())
	require.Equal(t, "again", idle.ask("again"))
	hung := h.dial()
	hung.send("!hang")
	require.NoError(t, h.stopPlugin(8*time.Second))
	for _, c := range []*client{idle, half, hung} {
		_ = c.rest()
	}
	h.stop()
	_, err := os.Stat(h.dir + "/socket")
	require.ErrorIs(t, err, os.ErrNotExist)
}
