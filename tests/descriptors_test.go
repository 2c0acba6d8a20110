package tests

import (
	"os/exec"
	"testing"

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
