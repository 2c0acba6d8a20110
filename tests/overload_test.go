package tests

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOverload(t *testing.T) {
	t.Parallel()
	for limit, pool := range map[string]string{
		"allocate_timeout": "{num_workers: 1, allocate_timeout: 10s}",
		"max_queue_size":   "{num_workers: 1, max_queue_size: 1}",
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			g, at := newGate(t)
			h := start(t, "tcp:\n  servers: {echo: {addr: \"127.0.0.1:0\"}}\n  pool: "+pool+"\n", at)
			known := h.dial("echo")
			require.Equal(t, "hello", known.ask("hello"))
			busy := h.dial("echo")
			require.Equal(t, "hello", busy.ask("hello"))
			busy.send("!gate echo")
			v := g.next()

			known.send("too much")
			unknown := h.dial("echo")
			known.requireEnd()
			unknown.requireEnd()
			seen := h.record.now(t)
			require.Len(t, seen, 2, "who was not handed to a worker has no events")
			for _, s := range seen {
				require.False(t, s.closed)
			}

			v.release()
			require.Equal(t, "!gate echo", busy.receive(), "the one that had a worker is not harmed")
			s := h.record.of(t, known)
			require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, s.events, "CLOSE is handed over when a worker is free")
			require.Equal(t, []string{"hello\r\n"}, s.bodies())
			require.Equal(t, "overload", s.Reason)
			require.Empty(t, h.ours("error"))
			eventually(t, "clients are served again", func() bool {
				c := h.dial("echo")
				write(c, "hello\r\n")
				line, _ := c.r.ReadString('\n')
				return line == "hello\r\n"
			})
		})
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, "tcp:\n  servers: {echo: {addr: \"127.0.0.1:0\"}}\n  pool: {num_workers: 1}\n", at)
	const n = 12
	var clients []*client
	for range n {
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		clients = append(clients, c)
	}
	clients[0].send("!gate echo")
	v := g.next()
	var want []string
	for i, c := range clients[1:] {
		c.send(fmt.Sprint(i))
		c.awaitRead()
		want = append(want, fmt.Sprint(i)+"\r\n")
	}
	v.release()
	for i, c := range clients[1:] {
		require.Equal(t, fmt.Sprint(i), c.receive())
	}

	h.record.now(t)
	var got []string
	for _, e := range h.record.entries[2*n+1:] {
		got = append(got, string(e.Body))
	}
	require.Equal(t, want, got)
}
