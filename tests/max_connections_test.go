package tests

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	t.Run("of a server", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  servers: {few: {addr: "127.0.0.1:0", max_connections: 3}, many: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		h.requireMost(t, 3, []string{"few"})
		for range 20 {
			require.Equal(t, "hello", h.dialFrom(t, "many").ask("hello"), "other servers don't care")
		}
	})
	t.Run("of the plugin", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  max_connections: 3
  servers: {one: {addr: "127.0.0.1:0"}, two: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		h.requireMost(t, 3, []string{"one", "two"})
	})
	t.Run("of both", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  max_connections: 3
  servers: {one: {addr: "127.0.0.1:0", max_connections: 1}, two: {addr: "127.0.0.1:0", max_connections: 10}}
  pool: {num_workers: 2}
`)
		one := h.dial("one")
		require.Equal(t, "hello", one.ask("hello"))
		waits := h.dial("one")
		waits.send("waits")
		h.requireMost(t, 2, []string{"two"})
		require.NoError(t, one.Close())
		require.Equal(t, "waits", waits.receive())
	})
	t.Run("who waits does not hold up Stop", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
endure: {grace_period: 60s}
tcp:
  max_connections: 1
  servers: {one: {addr: "127.0.0.1:0"}, two: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		require.Equal(t, "hello", h.dial("one").ask("hello"))
		for _, server := range []string{"one", "two", "one", "two"} {
			h.dial(server).send("hello")
		}
		begin := time.Now()
		h.stop()
		require.Less(t, time.Since(begin), atOnce)
		require.Len(t, h.record.now(t), 1)
	})
}

// requireMost fails unless most clients of these servers are served at a time, the others when those have left, and
// every one in the end.
func (h *host) requireMost(t *testing.T, most int, servers []string) {
	t.Helper()
	const turns = 6
	var clients []*client
	for i := range most * turns {
		c := h.dialFrom(t, servers[i%len(servers)])
		c.send(fmt.Sprint(i))
		clients = append(clients, c)
		if i < most {
			require.Equal(t, fmt.Sprint(i), c.receive())
		}
	}
	before := len(h.record.now(t))
	served := make([]int, 0, len(clients))
	answers := make(chan int, len(clients)) // the index of who has an answer; -1: has none
	for i, c := range clients[most:] {
		go func() { // ends when it is served, or by its deadline
			if line, _ := c.r.ReadString('\n'); line == fmt.Sprintf("%d\r\n", i+most) {
				answers <- i + most
				return
			}
			answers <- -1
		}()
	}
	for i := range most {
		served = append(served, i)
	}
	for i := 0; i < len(clients); i++ {
		for range 5 { // those who may be here are served, and nobody else
			c := clients[served[i]]
			require.Equal(t, "hello", c.ask("hello"))
		}
		require.Len(t, h.record.now(t), before+len(served)-most, "nobody else was let in")
		require.NoError(t, clients[served[i]].Close())
		if len(served) < len(clients) {
			next := <-answers
			require.Positive(t, next, "somebody was dropped")
			served = append(served, next)
		}
	}
	if len(servers) == 1 {
		for i, next := range served {
			require.Equal(t, i, next, "first come, first served")
		}
	}
}

func TestMaxConnectionsPerIP(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  max_connections_per_ip: 2
  servers:
    echo: {addr: "127.0.0.1:0"}
    other: {addr: "127.0.0.1:0", max_connections_per_ip: 3}
    off: {addr: "127.0.0.1:0", max_connections_per_ip: 0}
  pool: {num_workers: 2}
`)
	from := func(ip, server string) *client {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
		conn, err := dialer.Dial("tcp", h.addr(server).String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		c := clientOf(t, conn)
		c.server = server
		return c
	}
	served := func(ip, server string) *client {
		c := from(ip, server)
		require.Equal(t, "hello", c.ask("hello"), "%s at %s", ip, server)
		return c
	}

	first, second := served("127.0.0.2", "echo"), served("127.0.0.2", "echo")
	const refused = 100
	begin := time.Now()
	for range refused {
		from("127.0.0.2", "echo").requireEnd()
	}
	require.Less(t, time.Since(begin), refused*time.Second, "they are closed at once")
	served("127.0.0.3", "echo")
	for range 3 {
		served("127.0.0.2", "other")
	}
	from("127.0.0.2", "other").requireEnd()
	for range 10 {
		served("127.0.0.2", "off")
	}
	require.Len(t, h.record.now(t), 2+1+3+10, "who is refused has no events")

	require.Equal(t, "hello", first.ask("hello"))
	require.NoError(t, first.Close())
	h.record.of(t, first)
	served("127.0.0.2", "echo")
	from("127.0.0.2", "echo").requireEnd()
	second.reset()
	h.record.of(t, second)
	served("127.0.0.2", "echo")

	for server, times := range map[string]int{"echo": refused + 1, "other": 1} {
		var lines, sum int
		eventually(t, "all are counted", func() bool {
			lines, sum = h.summed("max_connections_per_ip", server)
			return sum >= times
		})
		require.Equal(t, times, sum)
		require.LessOrEqual(t, lines, 2+int(time.Since(begin)/time.Second), "one line a second")
	}
	require.Empty(t, h.ours("warn"))
}

// summed counts the lines of ours that hold the text and, if that is not empty, name the server, and adds up their
// connections.
func (h *host) summed(text, server string) (lines, connections int) {
	h.t.Helper()
	for _, line := range h.lines() {
		var e struct {
			Logger, Server string
			Connections    int
		}
		if !strings.Contains(line, text) {
			continue
		}
		require.NoError(h.t, json.Unmarshal([]byte(line), &e))
		if e.Logger == "tcp" && (server == "" || e.Server == server) {
			lines, connections = lines+1, connections+e.Connections
		}
	}
	return lines, connections
}
