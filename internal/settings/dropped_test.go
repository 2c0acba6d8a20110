package settings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A section that is empty in the file is empty, not absent.
func TestEmptySectionsAreSet(t *testing.T) {
	lines, _ := load(m{"servers": m{"a": m{"addr": ":0", "tls": m{}, "proxy_protocol": m{}}}})
	require.Len(t, lines, 3, "%v", lines)
	require.Contains(t, lines[0], "tcp.servers.a.proxy_protocol.trusted: ")
	require.Contains(t, lines[1], "tcp.servers.a.tls.cert: ")

	lines, _ = load(m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{}}}})
	require.Len(t, lines, 1, "%v", lines)
	require.Contains(t, lines[0], "tcp.servers.a.length.bytes: is missing")

	c := new(lineConfig)
	require.NoError(t, c.load(sections{"tcp": m{"servers": m{"a": m{"addr": "unix:///a", "proxy_protocol": m{}}}}}))
	require.NotNil(t, c.Servers["a"].ProxyProtocol, "the clients of a unix socket are trusted, so nothing is missing")
}

// So are those in a section that has nothing else, which the configuration library drops with them.
func TestEmptySectionsInSections(t *testing.T) {
	c := new(lineConfig)
	require.NoError(t, c.load(sections{"tcp": with("cluster", m{"timeout": 2 * time.Second, "redis": m{"tls": m{}}})}))
	require.NotNil(t, c.Cluster.Redis.TLS.Config(nil), "plain text is not what the file says")

	c = new(lineConfig)
	require.NoError(t, c.load(sections{"tcp": with("cluster", m{"nats": m{"tls": m{}}})}))
	require.NotNil(t, c.Cluster.NATS.TLS.Config(nil))

	for _, pool := range []m{{"num_workers": 4, "dynamic_allocator": m{}}, {"dynamic_allocator": m{}}} {
		c = new(lineConfig)
		require.NoError(t, c.load(sections{"tcp": with("pool", pool)}))
		require.NotNil(t, c.Pool.DynamicAllocator, "the section of the RoadRunner line, too")
	}

	lines, _ := load(with("cluster", m{"redis": m{"addrs": []any{}}}))
	require.Len(t, lines, 1, "%v", lines)
	require.Contains(t, lines[0], "tcp.cluster.redis.addrs: is empty; want a list of at least one item")
	for _, pool := range []m{{"command": []any{}}, {"command": []any{}, "num_workers": 4}} {
		lines, _ = load(with("pool", pool))
		require.Empty(t, lines, "old files must still start")
	}
}

func TestEmptyListsAreRefused(t *testing.T) {
	for key, want := range map[string]string{
		"events":         "is empty; for DATA alone write [DATA], for all events leave it out",
		"delimiters":     "is empty; want a list of at least one item, or leave it out",
		"delimiters_hex": "is empty; want a list of at least one item",
		"rules":          "is empty; want a list of at least one item",
	} {
		for _, empty := range []any{[]any{}, nil} { // nil is the key above comments
			lines, _ := load(withServer(key, empty))
			require.Len(t, lines, 1, "%v", lines)
			require.Contains(t, lines[0], "tcp.servers.a."+key+": "+want)
		}
	}
	lines, _ := load(with("cluster", m{"redis": m{"addrs": nil}}))
	require.Len(t, lines, 1, "%v", lines)
	require.Contains(t, lines[0], "tcp.cluster.redis.addrs: is empty; want a list")
	lines, _ = load(with("pool", m{"command": nil}))
	require.Empty(t, lines, "old files must still start")
	lines, _ = load(withServer("tls", m{"cert": "x", "key": "x", "certs": []any{}}))
	require.Contains(t, lines[0], "tcp.servers.a.tls.certs: is empty; want a list")
}
