package settings_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/settings/settingstest"
)

const repository = "../.."

func TestSchemaHasAllKeys(t *testing.T) {
	settingstest.ReadSchema(t, repository).RequireKeys(t, settings.Config{}, "tcp.pool") // which is compared where its type is known
}

func TestReferenceMatchesSchema(t *testing.T) {
	settingstest.ReadSchema(t, repository).RequireReference(t, repository)
}

func TestSchemaHasTheDefaults(t *testing.T) {
	schema := settingstest.ReadSchema(t, repository)
	server := &settings.Server{Addr: ":0", TLS: &settings.TLS{}, ProxyProtocol: &settings.ProxyProtocol{}}
	c := &settings.Config{Servers: map[string]*settings.Server{"a": server}, Bulk: &settings.Bulk{},
		Cluster: &settings.Cluster{NATS: &settings.NATS{}, Redis: &settings.Redis{}}}
	require.NotEmpty(t, c.Check(), "TLS and the PROXY protocol have keys without a default")
	effective := server.Effective()
	schema.RequireDefaults(t, map[string]any{
		"read_buf_size":                    c.ReadBufferSize,
		"dialect":                          c.Dialect,
		"max_connections":                  c.MaxConnections,
		"bulk.max_events":                  *c.Bulk.MaxEvents,
		"cluster.name":                     c.Cluster.Name,
		"cluster.timeout":                  *c.Cluster.Timeout,
		"cluster.required":                 c.Cluster.Required,
		"cluster.nats.addr":                c.Cluster.NATS.Addr,
		"cluster.redis.addrs":              []any{c.Cluster.Redis.Addrs[0]},
		"cluster.redis.db":                 c.Cluster.Redis.DB,
		"max_connections_per_ip":           effective.MaxConnectionsPerIP,
		"idle_timeout":                     effective.IdleTimeout,
		"idle_on":                          effective.IdleOn,
		"packet_timeout":                   effective.PacketTimeout,
		"write_timeout":                    effective.WriteTimeout,
		"close_timeout":                    effective.CloseTimeout,
		"on_too_long":                      map[framing.TooLong]string{framing.TooLongCloses: "close"}[effective.OnTooLong],
		"keepalive":                        effective.Keepalive,
		"reuse_port":                       effective.ReusePort,
		"servers.framing":                  server.Framing,
		"servers.delimiter":                server.Delimiter,
		"servers.strip":                    server.Strip,
		"servers.skip_empty":               server.SkipEmpty,
		"servers.batch":                    server.Batch,
		"servers.connected_on":             server.ConnectedOn,
		"servers.half_close":               server.HalfClose,
		"servers.access_log":               server.AccessLog,
		"servers.max_connections":          server.MaxConnections,
		"servers.tls.client_auth_type":     server.TLS.ClientAuthType,
		"servers.tls.start":                server.TLS.Start,
		"servers.tls.min_version":          server.TLS.MinVersion,
		"servers.tls.handshake_timeout":    *server.TLS.HandshakeTimeout,
		"servers.proxy_protocol.untrusted": server.ProxyProtocol.Untrusted,
		"servers.proxy_protocol.timeout":   *server.ProxyProtocol.Timeout,
	})

	alike := framing.Packets{Delimiters: []string{"\r\n", "\r"}}
	require.Empty(t, alike.Init("x", 0))
	schema.RequireDefaults(t, map[string]any{"servers.delimiter_wait": alike.New(1, 0).Wait})

	size := func(key string) settings.Size { return settings.Size(schema.Default(t, key).(string)) }
	same := &settings.Server{Addr: ":0", Limits: settings.Limits{MaxPacketSize: size("max_packet_size"), PushQueue: size("push_queue"),
		StreamBuffer: size("stream_buffer"), MinRate: size("min_rate")}}
	explicit := &settings.Config{Servers: map[string]*settings.Server{"a": same}, MemoryLimit: size("memory_limit"),
		Bulk: &settings.Bulk{MaxBytes: size("bulk.max_bytes")}}
	require.Empty(t, explicit.Check())
	require.Equal(t, c.MemoryLimitBytes(), explicit.MemoryLimitBytes())
	_, bulkBytes := c.BulkLimits()
	_, explicitBulkBytes := explicit.BulkLimits()
	require.Equal(t, bulkBytes, explicitBulkBytes)
	require.Equal(t, effective.MaxPacketSize, same.Effective().MaxPacketSize)
	require.Equal(t, effective.PushQueue, same.Effective().PushQueue)
	require.Equal(t, effective.StreamBuffer, same.Effective().StreamBuffer)
	require.Equal(t, effective.MinRate, same.Effective().MinRate)
}

func TestSchemaHasAllProtocols(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(repository, "schema.json"))
	require.NoError(t, err)
	names, err := json.Marshal(framing.Protocols())
	require.NoError(t, err)
	require.Contains(t, string(b), `"enum": `+strings.ReplaceAll(string(names), ",", ", "))
	guide, err := os.ReadFile(filepath.Join(repository, "docs", "protocols.md"))
	require.NoError(t, err)
	for _, name := range framing.Protocols() {
		require.Contains(t, string(guide), "| `"+name+"` |")
	}
}
