package tests

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdleConnectionMemory(t *testing.T) {
	t.Parallel()
	const connections = 3000
	most := 9 // KiB each
	if len(buildFlags) > 0 {
		most *= 9 // the race detector keeps books on every byte
	}
	p := start(t, minimal)
	require.Equal(t, "hello", p.dial("echo").ask("hello"))
	before := p.rss()
	all := make([]*client, connections)
	for i := range all {
		all[i] = p.dial("echo")
		require.Equal(t, "hello", all[i].ask("hello"))
	}
	taken := p.rssBelow(before+connections*most) - before
	t.Logf("%.1f KiB each", float64(taken)/connections)
	for _, c := range all {
		_ = c.Close()
	}
	if len(buildFlags) == 0 {
		p.rssBelow(before + taken/2)
	}
}

// rssBelow waits until the program, which has nothing to do, has given back what is too much.
func (p *host) rssBelow(most int) (kib int) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("RSS is below %d KiB", most), func() bool {
		kib = p.rss()
		return kib < most
	})
	return kib
}

func TestIdleTLSConnectionMemory(t *testing.T) {
	t.Parallel()
	connections, most := 2000, 40 // KiB each
	if len(buildFlags) > 0 {
		connections, most = 300, most*10 // the race detector keeps books on every byte, those of keys among them
	}
	ca, dir := newAuthority(t, "ca"), shortDir(t)
	ca.server("localhost").save(t, dir, "server")
	p := start(t, strings.ReplaceAll(secure, "DIR", dir))
	config := ca.trust("localhost")
	ask := func(packet string) {
		conn := tls.Client(p.dial("echo").Conn, config)
		require.NoError(t, conn.Handshake())
		require.Equal(t, packet, clientOf(t, conn).ask(packet))
	}
	ask("hello")
	for _, size := range []int{5, 16 << 10} {
		packet := string(pattern(size))
		before := p.rss()
		for range connections {
			ask(packet)
		}
		each := (p.rssBelow(before+connections*most) - before) / connections
		t.Logf("%d KiB each after packets of %d bytes", each, size)
	}
}

// rss is the program's resident memory in KiB.
func (p *host) rss() (kib int) {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(line, &kib)
	require.NoError(p.t, err)
	return kib
}
