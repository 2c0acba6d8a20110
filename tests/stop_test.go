package tests

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("idle connections end at once, and workers are told", func(t *testing.T) {
		t.Parallel()
		h := start(t, minimal)
		var clients []*client
		for range 100 {
			c := h.dial("echo")
			require.Equal(t, "hello", c.ask("hello"))
			clients = append(clients, c)
		}
		write(clients[0], "half a packet")
		clients[0].awaitRead()

		begin := time.Now()
		require.NoError(t, h.stopPlugin(grace))
		require.Less(t, time.Since(begin), atOnce)
		for _, c := range clients {
			c.requireEnd()
		}
		for _, s := range h.record.all(t, len(clients)) {
			require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, s.events)
			require.Equal(t, "shutdown", s.Reason)
		}
	})

	t.Run("a reply that is owed arrives, packets behind it are not read", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := start(t, minimal, at)
		addr := h.addr("echo").String()
		c := h.dial("echo")
		c.send("!gate echo")
		v := g.next()
		c.send("never answered")

		stopped := make(chan error, 1) // receives once
		go func() { stopped <- h.stopPlugin(grace) }()
		eventually(t, "nobody can connect", func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
		v.release()
		require.Equal(t, "!gate echo\r\n", c.rest())
		require.NoError(t, c.Close())
		require.NoError(t, <-stopped)
		s := h.record.of(t, c)
		require.Equal(t, []string{"!gate echo\r\n"}, s.bodies())
		require.Equal(t, "shutdown", s.Reason)
	})

	t.Run("a reply that is owed arrives, though the host stops all plugins at once", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := start(t, minimal, at)
		c := h.dial("echo")
		c.send("!gate echo")
		v := g.next()

		stopped := make(chan struct{}) // closed when the host has stopped
		go func() {
			defer close(stopped)
			h.stop()
		}()
		eventually(t, "it stops", func() bool {
			return h.plugin.Addr("echo") == nil && (!hostDestroysPool || len(h.logged("server", "destroy signal")) > 0)
		})
		v.release()
		require.Equal(t, "!gate echo\r\n", c.rest())
		require.NoError(t, c.Close())
		<-stopped
		if !hostDestroysPool {
			require.True(t, h.record.of(t, c).closed)
		}
	})

	for name, packet := range map[string]string{"a hung worker": "!hang", "a hung CLOSE": "hello"} {
		t.Run(name+" is cut off within the grace period", func(t *testing.T) {
			t.Parallel()
			h := start(t, minimal, "close=hang")
			c := h.dial("echo")
			c.send(packet)
			c.awaitRead()
			h.record.await(t, "a worker has it", func() bool { return len(h.record.entries) == 2 })

			begin := time.Now()
			require.NoError(t, h.stopPlugin(6*time.Second))
			require.Less(t, time.Since(begin), 6*time.Second)
			require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, h.record.closedOf(t, c).events)
			_ = c.Close()
		})
	}

	t.Run("who waits for a worker is cut off, too", func(t *testing.T) {
		t.Parallel()
		h := start(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 1", 1))
		var clients []*client
		for range 20 {
			c := h.dial("echo")
			require.Equal(t, "hello", c.ask("hello"))
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.send("!sleep 500ms echo")
			c.awaitRead()
		}
		begin := time.Now()
		require.NoError(t, h.stopPlugin(6*time.Second))
		require.Less(t, time.Since(begin), 6*time.Second)
		served := 0
		for _, c := range clients {
			line, _ := c.r.ReadString('\n')
			if line != "" {
				require.Equal(t, "!sleep 500ms echo\r\n", line)
				served++
			}
			_, err := c.r.ReadByte()
			require.Error(t, err)
		}
		require.Positive(t, served, "first those whose turn it was")
	})

	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		h := start(t, minimal)
		require.NoError(t, h.stopPlugin(grace))
		require.NoError(t, h.stopPlugin(grace))
		require.NoError(t, h.plugin.Reset())
		require.Error(t, h.plugin.AddWorker())
	})

	t.Run("before Serve", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, minimal)
		require.NoError(t, h.init())
		require.NoError(t, h.stopPlugin(grace))
		require.NoError(t, h.serve())
		require.Nil(t, h.plugin.Addr("echo"))
		require.NoFileExists(t, recordFile(h.dir), "no worker is started")
	})

	t.Run("with a context that has ended", func(t *testing.T) {
		t.Parallel()
		h := start(t, minimal)
		c := h.dial("echo")
		c.send("!hang")
		h.record.await(t, "a worker has it", func() bool { return len(h.record.entries) == 2 })
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		begin := time.Now()
		_ = h.plugin.Stop(ctx) // an error if something still runs
		require.Less(t, time.Since(begin), atOnce)
		c.requireEnd()
	})

	t.Run("while clients connect", func(t *testing.T) {
		t.Parallel()
		h := start(t, minimal)
		addr := h.addr("echo").String()
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() { // ends when nobody listens
				defer wg.Done()
				for {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte("hello\r\n"))
					_ = conn.Close()
				}
			}()
		}
		h.record.await(t, "some are served", func() bool { return len(h.record.sentences) > 20 })
		require.NoError(t, h.stopPlugin(grace))
		wg.Wait()
		h.record.all(t, len(h.record.now(t)))
	})
}

func TestStopDuringResetLeavesNoWorker(t *testing.T) {
	t.Parallel()
	// A whole Reset is about as long as the longest of these delays.
	for _, delay := range []int{0, 1, 4, 16, 128} {
		after := time.Duration(delay) * time.Millisecond
		begin := func(t *testing.T) (*host, <-chan error) {
			h := start(t, minimal)
			require.Equal(t, "hello", h.dial("echo").ask("hello"))
			reset := make(chan error, 1) // receives once
			go func() { reset <- h.plugin.Reset() }()
			time.Sleep(after)
			return h, reset
		}

		t.Run(fmt.Sprintf("after %s: the plugin first, as cmd/rr does", after), func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t)
			stopping := time.Now()
			require.NoError(t, h.stopPlugin(grace))
			h.stop()
			require.Less(t, time.Since(stopping), grace/2, "nothing is there to wait for")
			<-reset
			requireNoWorkers(t, h.dir)
		})

		t.Run(fmt.Sprintf("after %s: all plugins at once", after), func(t *testing.T) {
			t.Parallel()
			h, reset := begin(t)
			stopping := time.Now()
			h.serving = false
			// Now and then the pool's Reset and its Destroy stop the same worker and wait for each other, ten seconds
			// long: then the plugin's Stop is an error, but in time.
			_ = h.container.Stop()
			require.Less(t, time.Since(stopping), grace+atOnce)
			<-reset
			requireNoWorkers(t, h.dir)
		})
	}

	t.Run("that waits for a hung worker", func(t *testing.T) {
		t.Parallel()
		h := start(t, minimal)
		c := h.dial("echo")
		c.send("!hang")
		h.record.await(t, "a worker has it", func() bool { return len(h.record.entries) == 2 })
		reset := make(chan error, 1) // receives once
		go func() { reset <- h.plugin.Reset() }()
		eventually(t, "the reset has begun", func() bool { return len(h.logged("tcp", "reset")) > 0 })

		begin := time.Now()
		require.NoError(t, h.stopPlugin(4*time.Second))
		require.Less(t, time.Since(begin), 4*time.Second)
		h.stop()
		<-reset
		requireNoWorkers(t, h.dir)
	})
}

// All plugins stop at once, where that leaves this one its workers. Not parallel: it needs the whole machine.
func TestStopHandsOverEveryClose(t *testing.T) {
	h := start(t, "endure: {grace_period: 30s}\n"+minimal)
	var clients []*client
	for range drained {
		clients = append(clients, h.dial("echo"))
	}
	for _, c := range clients {
		require.Equal(t, "hello", c.ask("hello"))
	}
	if hostDestroysPool {
		require.NoError(t, h.stopPlugin(grace))
	}
	h.stop()
	for _, s := range h.record.now(t) {
		require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, s.events)
	}
	require.Len(t, h.record.sentences, drained)
}

// A real process: SIGTERM with hundreds of connections.
func TestTheProgramStops(t *testing.T) {
	t.Parallel()
	const idle, busy = 300, 40
	p := startProgram(t, 1, `
endure: {grace_period: 15s}
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 4}
`)
	var idlers, owed []*client
	for i := range idle + busy {
		c := p.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		if i < idle {
			idlers = append(idlers, c)
		} else {
			owed = append(owed, c)
		}
	}
	for _, c := range owed {
		c.send("!sleep 100ms echo")
		c.awaitRead()
	}

	p.terminate()
	for _, c := range idlers {
		c.requireEnd()
		require.NoError(t, c.Close())
	}
	for _, c := range owed {
		require.Equal(t, "!sleep 100ms echo\r\n", c.rest())
		require.NoError(t, c.Close())
	}
	p.requireExit(15 * time.Second)
	for _, s := range p.record.all(t, idle+busy) {
		require.Equal(t, "shutdown", s.Reason)
	}
}
