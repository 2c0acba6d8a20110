package tests

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  idle_timeout: 6s
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	for name, talk := range map[string]func(*client) time.Time{ // which tells when the clock may begin
		"a packet now and then": func(c *client) (last time.Time) {
			for i := range 8 {
				time.Sleep(time.Second)
				last = time.Now()
				require.Equal(c.t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
			}
			return last
		},
		"a worker that takes long": func(c *client) time.Time {
			begin := time.Now()
			require.Equal(c.t, "!sleep 7s echo", c.ask("!sleep 7s echo"))
			return begin.Add(7 * time.Second)
		},
		"a packet that takes long": func(c *client) time.Time {
			write(c, "half ")
			time.Sleep(7 * time.Second)
			end := time.Now()
			require.Equal(c.t, "half a packet", c.ask("a packet"))
			return end
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, "echo")
			begin := talk(c)
			c.requireEnd()
			require.GreaterOrEqual(t, time.Since(begin), 6*time.Second)
			require.Equal(t, "idle", h.record.of(t, c).Reason)
		})
	}
}

func TestPacketTimeout(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  packet_timeout: 5s
  servers: {echo: {addr: "127.0.0.1:0"}, batch: {addr: "127.0.0.1:0", batch: true}}
  pool: {num_workers: 4}
`)
	for _, server := range []string{"echo", "batch"} {
		t.Run(server+": a reply is owed while the next packet is begun", func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, server)
			for range 2 {
				write(c, "!sleep 6s echo\r\nbeg")
				require.Equal(t, "!sleep 6s echo", c.receive())
				require.Equal(t, "begun", c.ask("un"))
			}
			write(c, "beg")
			c.requireEnd()
			require.Equal(t, "slow", h.record.of(t, c).Reason)
		})
	}
	t.Run("bytes now and then do not help", func(t *testing.T) {
		t.Parallel()
		c := h.dialFrom(t, "echo")
		begin := time.Now()
		for err := error(nil); err == nil; time.Sleep(50 * time.Millisecond) {
			_, err = c.Write([]byte("."))
			require.Less(t, time.Since(begin), 5*time.Second+atOnce)
		}
		s := h.record.of(t, c)
		require.Equal(t, "slow", s.Reason)
		require.Empty(t, s.packets)
	})
	t.Run("a client that does nothing is not slow", func(t *testing.T) {
		t.Parallel()
		c := h.dialFrom(t, "echo")
		require.Equal(t, "hello", c.ask("hello"))
		time.Sleep(6 * time.Second)
		require.Equal(t, "hello", c.ask("hello"))
	})
}

func TestSteadyReaderServed(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  write_timeout: 8s
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	const size = 20 << 20
	c := h.dial("echo")
	// On the loopback device a segment has 64 KiB: a buffer of that size opens too late for the system's own timers.
	require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(512<<10))
	c.send(fmt.Sprintf("!bytes WRITECLOSE %d", size))
	var got strings.Builder
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		n, err := io.CopyN(&got, c.r, 128<<10)
		if n == 0 || err != nil {
			require.ErrorIs(t, err, io.EOF)
			require.Greater(t, time.Since(begin), 8*time.Second)
			break
		}
	}
	require.True(t, string(pattern(size)) == got.String(), "%d bytes", got.Len())
	require.NoError(t, c.Close())
	require.Equal(t, "worker", h.record.of(t, c).Reason)
}

func TestCloseTimeoutPerServer(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  close_timeout: 2s
  servers:
    general: {addr: "127.0.0.1:0"}
    own: {addr: "127.0.0.1:0", close_timeout: 5s}
    off: {addr: "127.0.0.1:0", close_timeout: 0}
  pool: {num_workers: 3, supervisor: {exec_ttl: 8s}}
`, "close=hang")
	servers := []string{"off", "own", "general"} // the one with the longest time begins
	busy := make(map[int]string)                 // servers by worker
	ends := make(map[string]time.Time)
	var clients []*client
	for _, server := range servers {
		c := h.dial(server)
		require.Equal(t, "hello", c.ask("hello"))
		clients = append(clients, c)
	}
	for _, c := range clients {
		ends[c.server] = time.Now()
		require.NoError(t, c.Close())
	}
	for _, c := range clients {
		s := h.record.closedOf(t, c)
		busy[s.pids[len(s.pids)-1]] = c.server
	}
	var killed []logEntry
	eventually(t, "the workers that do not answer are replaced", func() bool {
		killed = h.logged("server", "execTTL")
		return len(killed) == len(servers)
	})
	slices.Reverse(servers)
	for i, least := range []time.Duration{2 * time.Second, 5 * time.Second, 8 * time.Second} {
		require.Equal(t, servers[i], busy[int(killed[i].Pid)])
		require.GreaterOrEqual(t, time.Unix(0, killed[i].Time).Sub(ends[servers[i]]), least)
	}
	require.Equal(t, "hello", h.dial("own").ask("hello"), "there are workers again")
	require.Len(t, h.ours("warn"), 1)
}
