package settings

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProxyTrustsAddresses(t *testing.T) {
	p := ProxyProtocol{Trusted: []string{"10.0.0.0/8", "192.0.2.7", "fd00::/8", "::ffff:198.51.100.0/120", "fe80::1%eth0"}}
	for _, err := range p.check("k", "tcp") {
		require.NoError(t, err)
	}
	require.Equal(t, 5*time.Second, *p.Timeout)
	for addr, want := range map[string]bool{
		"10.255.0.1:1": true, "[::ffff:10.0.0.1]:1": true, "11.0.0.1:1": false, "192.0.2.7:9": true, "192.0.2.8:9": false,
		"[fd12::1]:1": true, "[fe80::1%eth1]:1": true, "[fe80::2]:1": false, "198.51.100.9:1": true, "198.51.101.9:1": false,
		"127.0.0.1:1": false,
	} {
		require.Equal(t, want, p.Trusts(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))), addr)
	}
	require.True(t, p.Trusts(&net.UnixAddr{}), "the file's permissions say who may connect")
	require.False(t, p.Trusts(&net.IPAddr{IP: net.IPv4(10, 0, 0, 1)}))

	require.True(t, (&ProxyProtocol{}).Trusts(&net.UnixAddr{}))
	for _, err := range (&ProxyProtocol{}).check("k", "unix") {
		require.NoError(t, err, "a unix socket needs no list")
	}
}

func TestProxyMistakesAreNamed(t *testing.T) {
	const at = "tcp.servers.a.proxy_protocol"
	for _, test := range []struct {
		value any
		want  []string
	}{
		{nil, []string{at + ": is empty; want keys of its own below it, or leave it out"}},
		{m{}, []string{at + `.trusted: is empty; name the addresses of your proxies, such as "10.0.0.0/8"`}},
		{m{"trusted": []any{"10.0.0.0/8"}, "untrusted": "serve"}, []string{at + `.untrusted: unknown value "serve"; want "refuse" or "direct"`}},
		{m{"trusted": []any{"10.0.0.0/8"}, "untrusted": "direct"}, nil},
		{m{"timeout": 5}, []string{at + `.timeout: "5" can't be read`, at + `.trusted: is empty`}},
		{m{"trusted": []any{"10.0.0.0/33", "::1", "proxy.local"}, "timeout": -time.Second}, []string{
			at + ".timeout: -1s is negative",
			at + `.trusted: "10.0.0.0/33" is no address; want such as "10.0.0.0/8", "10.1.2.3" or "fd00::/8"`,
			at + `.trusted: "proxy.local" is no address`,
		}},
	} {
		lines, _ := load(withServer("proxy_protocol", test.value))
		require.Len(t, lines, len(test.want), "%v", lines)
		for i, want := range test.want {
			require.Contains(t, lines[i], want)
		}
	}
}
