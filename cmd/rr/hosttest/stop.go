package hosttest

import (
	"context"
	"fmt"
	"os"
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
	require.Less(t, time.Since(begin), grace/2)
	require.Empty(t, c.rest())
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
		for _, events := range h.sentences() {
			require.Equal(t, "CONNECTED DATA CLOSE", events)
		}
	}
}

// Not parallel: it needs the whole machine.
func testStopHandsOverClose(t *testing.T, l Line) {
	connections := 5000
	if l.HostDestroysPool {
		connections = 500
	}
	h := start(t, l, minimal)
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
	all := h.sentences()
	require.Len(t, all, connections)
	for _, events := range all {
		require.Equal(t, "CONNECTED DATA CLOSE", events)
	}
}

func testStopDuringReset(t *testing.T, l Line) {
	t.Parallel()
	begin := func(t *testing.T, after time.Duration) (*host, <-chan error) {
		h := start(t, l, minimal)
		require.Equal(t, "hello", h.dial().ask("hello"))
		reset := make(chan error, 1) // receives once
		go func() { reset <- h.plugin.Reset() }()
		time.Sleep(after)
		return h, reset
	}
	for _, delay := range []int{0, 1, 4, 16, 128} { // a whole Reset is about as long as the longest of them
		after := time.Duration(delay) * time.Millisecond
		t.Run(fmt.Sprintf("after %s: the plugin first, as the program does", after), func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t, after)
			require.NoError(t, h.stopPlugin(grace))
			h.stop()
			t.Log("the reset, which may be cut off:", <-reset)
			h.requireNoWorkers()
		})
		t.Run(fmt.Sprintf("after %s: all plugins at once", after), func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t, after)
			h.serving = false
			// The pool's Reset and its Destroy may stop the same worker and wait ten seconds for each other.
			_ = h.container.Stop()
			t.Log("the reset, which may be cut off:", <-reset)
			h.requireNoWorkers()
		})
	}
	t.Run("a reset that waits for a hung worker", func(t *testing.T) {
		t.Parallel()
		h := startWith(t, l, minimal, 8*time.Second)
		c := h.dial()
		c.send("!hang")
		h.awaitEvents(2)
		reset := make(chan error, 1) // receives once
		go func() { reset <- h.plugin.Reset() }()
		eventually(t, "the reset has begun", func() bool { return h.logged("reset") })

		begin := time.Now()
		require.NoError(t, h.stopPlugin(4*time.Second))
		require.Less(t, time.Since(begin), grace/2, "it does not wait for reset_timeout")
		h.stop()
		t.Log("the reset, which may be cut off:", <-reset)
		h.requireNoWorkers()
	})
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
