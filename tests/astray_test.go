package tests

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A worker that answers an event twice would give its answers to other clients from then on. It is found and replaced.
func TestAnswersThatGoAstray(t *testing.T) {
	t.Parallel()
	h := start(t, "tcp:\n  servers: {echo: {addr: \"127.0.0.1:0\"}}\n  pool: {num_workers: 1}\n")
	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	before := pids(h.dir)
	require.Equal(t, "one", c.ask("!twice one two"))
	eventually(t, "it is said", func() bool { return len(h.logged("tcp", "without an event")) == 1 })
	require.Equal(t, "warn", h.logged("tcp", "without an event")[0].Level)
	eventually(t, "it is replaced", func() bool {
		now := pids(h.dir)
		return len(now) == 1 && now[0] != before[0]
	})
	for range 3 {
		other := h.dial("echo")
		require.Equal(t, "mine", other.ask("mine"))
	}
	require.Equal(t, "mine", c.ask("mine"), "the connection stays")
}
