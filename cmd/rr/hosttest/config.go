package hosttest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// RoadRunner's config plugin drops empty sections from a file, but not from a configuration that it is given as text.
func testEmptySections(t *testing.T, l Line) {
	t.Parallel()
	for section, says := range map[string]string{
		"tls":            "tcp.servers.echo.tls.cert: is empty",
		"proxy_protocol": "tcp.servers.echo.proxy_protocol.trusted: is empty",
	} {
		h := newHost(t, l, "tcp: {servers: {echo: {addr: \"127.0.0.1:0\", "+section+": {}}}}\n", grace)
		require.ErrorContains(t, h.container.Init(), says)
	}
}
