package tests

import (
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stopsWithin is a configuration with its own grace period.
func stopsWithin(grace, yaml string) string { return "endure: {grace_period: " + grace + "}\n" + yaml }

func TestStop(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String()+": idle connections end, and workers are told", func(t *testing.T) {
			t.Parallel()
			h := start(t, stopsWithin("60s", minimal))
			var clients []*client
			for range 100 {
				c := h.dial("echo")
				require.Equal(t, "hello", c.ask("hello"))
				clients = append(clients, c)
			}
			write(clients[0], "half a packet")
			clients[0].awaitRead()

			begin := time.Now()
			require.NoError(t, h.cmd.Process.Signal(signal))
			for _, c := range clients {
				c.requireEnd()
			}
			h.requireCleanExit()
			require.Less(t, time.Since(begin), atOnce)
			for _, s := range h.record.all(t, len(clients)) {
				require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, s.events)
				require.Equal(t, "shutdown", s.Reason)
			}
		})
	}

	t.Run("a reply that is owed arrives, packets behind it are not read", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := start(t, stopsWithin("60s", minimal), at)
		c := h.dial("echo")
		c.send("!gate echo")
		v := g.next()
		c.send("never answered")

		h.terminate()
		eventually(t, "it says so", func() bool { return strings.Contains(h.stderr(), "rr: stopping, in 1m0s at most\n") })
		eventually(t, "nobody can connect", func() bool { return h.refuses("echo") })
		v.release()
		require.Equal(t, "!gate echo\r\n", c.rest())
		require.NoError(t, c.Close())
		h.requireCleanExit()
		s := h.record.of(t, c)
		require.Equal(t, []string{"!gate echo\r\n"}, s.bodies())
		require.Equal(t, "shutdown", s.Reason)
	})

	for name, packet := range map[string]string{"a hung worker": "!hang", "a hung CLOSE": "hello"} {
		t.Run(name+" is cut off within the grace period", func(t *testing.T) {
			t.Parallel()
			h := start(t, stopsWithin("12s", minimal), "close=hang")
			c := h.dial("echo")
			c.send(packet)
			c.awaitRead()
			h.record.await(t, "a worker has it", func() bool { return len(h.record.entries) == 2 })

			begin := time.Now()
			h.stop()
			require.Less(t, time.Since(begin), 12*time.Second+atOnce)
			require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, h.record.closedOf(t, c).events)
		})
	}

	t.Run("clients that wait for a worker are cut off", func(t *testing.T) {
		t.Parallel()
		h := start(t, stopsWithin("12s", strings.Replace(minimal, "num_workers: 2", "num_workers: 1", 1)))
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
		h.stop()
		require.Less(t, time.Since(begin), 12*time.Second+atOnce)
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
		require.Positive(t, served, "the first of the queue")
	})

	t.Run("while clients connect", func(t *testing.T) {
		t.Parallel()
		h := start(t, stopsWithin("60s", minimal))
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() { // ends when nobody listens
				defer wg.Done()
				for {
					conn, err := net.Dial("tcp", h.servers["echo"].String())
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte("hello\r\n"))
					_ = conn.Close()
				}
			}()
		}
		h.record.await(t, "some are served", func() bool { return len(h.record.sentences) > 20 })
		h.stop()
		wg.Wait()
		h.record.all(t, len(h.record.now(t)))
	})

	t.Run("a worker killed while idle holds nothing up", func(t *testing.T) {
		t.Parallel()
		h := start(t, stopsWithin("60s", minimal))
		killed := h.workers()[0]
		require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
		awaitDeath(t, killed)
		begin := time.Now()
		h.stop()
		require.Less(t, time.Since(begin), atOnce)
	})

	t.Run("a second signal exits at once", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := start(t, stopsWithin("60s", minimal), at)
		h.dial("echo").send("!gate echo")
		v := g.next()
		h.terminate()
		eventually(t, "it stops", func() bool { return strings.Contains(h.stderr(), "rr: stopping") })
		h.terminate()
		<-h.exited
		require.Equal(t, 1, h.cmd.ProcessState.ExitCode())
		v.release()
	})

	t.Run("a start that waits for its workers", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := newHost(t, shortDir(t))
		file, _ := h.save(strings.Replace(minimal, "num_workers: 2", "num_workers: 1", 1), h.command([]string{at, "boot=gate"}))
		h.run(commandOf(t, "serve", "-c", file), 0)
		t.Cleanup(h.end)
		v := g.next()
		require.Equal(t, "BOOT", v.event)
		h.terminate()
		h.requireExit()
		v.release()
	})

	t.Run("a start whose workers do not come up", func(t *testing.T) {
		t.Parallel()
		g, at := newGate(t)
		h := newHost(t, shortDir(t))
		file, _ := h.save(strings.Replace(minimal, "127.0.0.1:0", "unix://DIR/s", 1), h.command([]string{at, "boot=gate"}))
		h.run(commandOf(t, "serve", "-c", file), 0)
		t.Cleanup(h.end)
		require.Equal(t, "BOOT", g.next().event)
		h.terminate()
		h.requireExit()
		requireNoWorkers(t, h.dir)
		require.NoFileExists(t, h.dir+"/s")
	})
}

// TestStopUnderLoad stops hundreds of connections.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	const idle, busy = 300, 40
	h := start(t, stopsWithin("60s", strings.Replace(minimal, "num_workers: 2", "num_workers: 4", 1)))
	var idlers, owed []*client
	for i := range idle + busy {
		c := h.dial("echo")
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

	h.terminate()
	for _, c := range idlers {
		c.requireEnd()
		require.NoError(t, c.Close())
	}
	for _, c := range owed {
		require.Equal(t, "!sleep 100ms echo\r\n", c.rest())
		require.NoError(t, c.Close())
	}
	h.requireCleanExit()
	for _, s := range h.record.all(t, idle+busy) {
		require.Equal(t, "shutdown", s.Reason)
	}
}

func TestStopDuringReset(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, stopsWithin("12s", minimal), at)
	c := h.dial("echo")
	c.send("!gate echo")
	g.next()
	reset := make(chan error, 1) // receives once
	go func() { reset <- h.tryReset() }()
	eventually(t, "the reset has begun", func() bool { return len(h.logged("tcp", "reset")) > 0 })
	begin := time.Now()
	h.stop()
	require.Less(t, time.Since(begin), 12*time.Second+atOnce, "the reset waits for a worker that does not answer")
	<-reset
}

// awaitDeath waits until the process is gone. What is left of it may be a zombie where nobody collects those.
func awaitDeath(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the process is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
		_, state, _ := strings.Cut(string(stat), ") ")
		return err != nil || strings.HasPrefix(state, "Z")
	})
}
