package tests

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// On lines whose pool has a dynamic allocator, the plugin leaves it to the pool how many workers there are.
func TestDynamicAllocator(t *testing.T) {
	t.Parallel()
	if !thisLine().dynamic {
		t.Skipf("RoadRunner %s has no dynamic_allocator", lineName())
	}
	g, at := newGate(t)
	h := start(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 1, allocate_timeout: 10s, dynamic_allocator: {max_workers: 2, spawn_rate: 1}}
`, at)
	var clients []*client
	for range 4 {
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		clients = append(clients, c)
	}

	var held []*visit
	for _, c := range clients[:3] {
		c.send("!gate echo")
		held = append(held, g.next())
	}
	require.Len(t, h.workers(), 3, "one, and two that were made when it was busy")
	clients[3].send("too many")
	clients[3].requireEnd()
	for i, v := range held {
		v.release()
		require.Equal(t, "!gate echo", clients[i].receive())
	}
	require.Equal(t, "overload", h.record.of(t, clients[3]).Reason)
	require.Empty(t, h.logged("tcp", "unknown key"))
	require.Empty(t, h.ours("error"))
}
