package tests

import (
	"math"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Connections leave descriptors to the workers.
func TestDescriptorsForWorkers(t *testing.T) {
	t.Parallel()
	h := newHost(t, shortDir(t))
	file, servers := h.save(`
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2, max_jobs: 20}
`, h.command(nil))
	h.run(exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" serve -c "$1"`, buildProgram(t), file), servers)
	t.Cleanup(h.end)
	require.Len(t, h.logged("tcp", "descriptors bound the connections"), 1)

	first := h.dial("echo")
	require.Equal(t, "hello", first.ask("hello"))
	var idle []*client
	for range 150 {
		idle = append(idle, h.dial("echo"))
	}
	for range 100 {
		require.Equal(t, "hello", first.ask("hello"), "workers are replaced meanwhile")
	}
	require.Empty(t, h.logged("tcp", "can't accept connections for now"))
	for _, c := range idle {
		require.NoError(t, c.Close())
	}
	require.Equal(t, "hello", first.ask("hello"))
	eventually(t, "both workers are there", func() bool { return len(h.workers()) == 2 })
}

// Clients of RPC that take all descriptors do not fill the disk: RoadRunner's RPC logs each client that it can't accept, all the time.
func TestDescriptorsTakenByRPC(t *testing.T) {
	t.Parallel()
	const linesPerSecond = 10
	h := newHost(t, shortDir(t))
	file, servers := h.save(`
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 1}
`, h.command(nil))
	h.run(exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" serve -c "$1"`, buildProgram(t), file), servers)
	t.Cleanup(h.end)

	begun := time.Now()
	for range 64 {
		c, err := net.Dial("unix", h.dir+"/rpc")
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
	}
	refused := func() int { return len(h.logged("rpc", "failed to accept the connection")) }
	eventually(t, "no descriptor is left", func() bool { return refused() > 0 })
	time.Sleep(2 * time.Second) // that is how long it is to go on
	lines := refused()
	require.LessOrEqual(t, lines, linesPerSecond*int(math.Ceil(time.Since(begun).Seconds())+1))
}
