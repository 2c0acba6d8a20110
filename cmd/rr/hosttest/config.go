package hosttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/cmd/rr/program"
	"github.com/rrtcp/tcp/internal/settings"
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

// What it has dropped from a file, with the sections around it that have nothing else, is in force all the same.
func testDroppedSections(t *testing.T, l Line) {
	t.Parallel()
	load := func(cluster string) *settings.Cluster {
		file := filepath.Join(t.TempDir(), ".rr.yaml")
		yaml := "version: \"3\"\ntcp: {servers: {echo: {addr: \"127.0.0.1:0\"}}, cluster: " + cluster + "}\n"
		require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
		config := l.Config(program.Source{Path: file})
		require.NoError(t, config.Init())
		tcp := new(settings.Config)
		require.NoError(t, tcp.Load(config, tcp, tcp.Check))
		return tcp.Cluster
	}
	require.NotNil(t, load("{nats: {}}").NATS)
	require.NotNil(t, load("{nats: {tls: {}}}").NATS.TLS.Config(nil))
	require.NotNil(t, load("{timeout: 2s, redis: {tls: {}}}").Redis.TLS.Config(nil), "plain text is not what the file says")
	require.Nil(t, load("{redis: {db: 1}}").Redis.TLS.Config(nil))
}
