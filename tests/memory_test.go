package tests

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdleConnectionsAreSmall(t *testing.T) {
	t.Parallel()
	const connections = 1000
	most := 24 // KiB each
	if len(buildFlags) > 0 {
		most *= 6 // the race detector keeps books on every byte
	}
	p := startProgram(t, 1, minimal)
	require.Equal(t, "hello", p.dial("echo").ask("hello"))
	before := p.rss()
	for range connections {
		c := p.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
	}
	each := (p.rss() - before) / connections
	t.Logf("%d KiB each", each)
	require.Less(t, each, most, "KiB for each idle connection")
}

// rss is the program's resident memory in KiB.
func (p *program) rss() (kib int) {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(line, &kib)
	require.NoError(p.t, err)
	return kib
}
