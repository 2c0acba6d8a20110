package tcp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// schema is a part of schema.json.
type schema map[string]any

func readSchema(t *testing.T) schema {
	t.Helper()
	raw, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var root schema
	require.NoError(t, json.Unmarshal(raw, &root))
	return root
}

// resolve is s with what its $ref adds; what stands beside $ref comes first.
func (s schema) resolve(root schema) schema {
	all := make(schema)
	for here := s; here != nil; {
		for key, value := range here {
			if _, ok := all[key]; !ok {
				all[key] = value
			}
		}
		ref, _ := here["$ref"].(string)
		here, _ = root.def(strings.TrimPrefix(ref, "#/$defs/"))
	}
	return all
}

func (s schema) def(name string) (schema, bool) {
	defs, _ := s["$defs"].(map[string]any)
	def, ok := defs[name].(map[string]any)
	return def, ok
}

// children are the schemas that stand in a map of them under the key.
func (s schema) children(key string) map[string]schema {
	found := make(map[string]schema)
	inner, _ := s[key].(map[string]any)
	for name, child := range inner {
		found[name], _ = child.(map[string]any)
	}
	return found
}

func TestTheSchemaHasTheKeysOfTheConfiguration(t *testing.T) {
	root := readSchema(t)
	require.Equal(t, "https://json-schema.org/draft/2019-09/schema", root["$schema"])
	requireSameKeys(t, root, "tcp", root, reflect.TypeOf(Config{}))
}

func requireSameKeys(t *testing.T, root schema, path string, s schema, like reflect.Type) {
	t.Helper()
	s = s.resolve(root)
	require.NotEmpty(t, s["description"], path)
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	switch {
	case like.Kind() == reflect.Struct:
		require.Equal(t, false, s["additionalProperties"], path)
		known, described := knownKeys(like), s.children("properties")
		for key := range described {
			if known[key] == nil && path+"."+key == otherLine {
				delete(described, key)
			}
		}
		require.Equal(t, sortedKeys(known), sortedKeys(described), path)
		for key, field := range known {
			requireSameKeys(t, root, path+"."+key, described[key], field)
		}
	case like.Kind() == reflect.Map:
		require.Equal(t, false, s["additionalProperties"], path)
		require.Len(t, s.children("patternProperties"), 1, path)
		for _, child := range s.children("patternProperties") {
			requireSameKeys(t, root, path+".<name>", child, like.Elem())
		}
	case like.Kind() == reflect.Slice && like.Elem().Kind() == reflect.Struct:
		items, _ := s["items"].(map[string]any)
		requireSameKeys(t, root, path+".<item>", items, like.Elem())
	default:
		key := path[strings.LastIndex(path, ".")+1:]
		require.Regexp(t, `[.\x60]`+key+`[\x60: ]`, reference(t), "%s: not in docs/configuration.md", path)
		hasDefault := s["default"] != nil || s["examples"] != nil || s["enum"] != nil
		require.True(t, hasDefault || withoutDefault[path], "%s: neither a default nor an example", path)
	}
}

// reference is the document about all keys.
func reference(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(filepath.Dir(schemaFile), "docs", "configuration.md"))
	require.NoError(t, err)
	return string(content)
}

// withoutDefault are keys that have none and explain themselves.
var withoutDefault = map[string]bool{
	"tcp.servers.<name>.read_buf_size": true, // that of tcp
	"tcp.servers.<name>.length.ascii":  true,
	"tcp.servers.<name>.length.varint": true,
}

func TestTheSchemaHasTheDefaultsOfTheConfiguration(t *testing.T) {
	root := readSchema(t)
	c := &Config{Servers: map[string]*Server{"a": {Addr: ":0", TLS: &TLS{}, ProxyProtocol: &ProxyProtocol{}}}}
	require.Error(t, c.InitDefault(), "what has no default is missing")
	server, supervisor := c.Servers["a"], c.Pool.Supervisor
	for path, want := range map[string]any{
		"read_buf_size":                     c.ReadBufferSize,
		"dialect":                           c.Dialect,
		"max_connections":                   c.MaxConnections,
		"max_connections_per_ip":            server.limits.connectionsPerIP,
		"idle_timeout":                      server.limits.idle,
		"packet_timeout":                    server.limits.packetTime,
		"write_timeout":                     server.limits.write,
		"close_timeout":                     server.limits.close,
		"keepalive":                         server.limits.keepalive,
		"reuse_port":                        server.limits.reusePort,
		"servers.framing":                   server.Framing,
		"servers.delimiter":                 server.Delimiter,
		"servers.max_connections":           server.MaxConnections,
		"servers.tls.client_auth_type":      server.TLS.ClientAuthType,
		"servers.tls.min_version":           server.TLS.MinVersion,
		"servers.tls.handshake_timeout":     *server.TLS.HandshakeTimeout,
		"servers.proxy_protocol.timeout":    *server.ProxyProtocol.Timeout,
		"pool.allocate_timeout":             c.Pool.AllocateTimeout,
		"pool.destroy_timeout":              c.Pool.DestroyTimeout,
		"pool.reset_timeout":                c.Pool.ResetTimeout,
		"pool.stream_timeout":               c.Pool.StreamTimeout,
		"pool.max_jobs":                     c.Pool.MaxJobs,
		"pool.max_queue_size":               c.Pool.MaxQueueSize,
		"pool.supervisor.watch_tick":        supervisor.WatchTick,
		"pool.supervisor.ttl":               supervisor.TTL,
		"pool.supervisor.idle_ttl":          supervisor.IdleTTL,
		"pool.supervisor.exec_ttl":          supervisor.ExecTTL,
		"pool.supervisor.max_worker_memory": supervisor.MaxWorkerMemory,
	} {
		got := root.defaultOf(t, path)
		if _, ok := want.(time.Duration); ok {
			var err error
			got, err = time.ParseDuration(got.(string))
			require.NoError(t, err, path)
		}
		require.EqualValues(t, want, got, path)
	}
	require.EqualValues(t, defaultMemoryLimit, sizeOr(0, Size(root.defaultOf(t, "memory_limit").(string))))
	require.EqualValues(t, server.limits.push, sizeOr(0, Size(root.defaultOf(t, "push_queue").(string))))
	require.EqualValues(t, server.limits.packet, sizeOr(0, Size(root.defaultOf(t, "max_packet_size").(string))))
}

// defaultOf finds the default of a key; those of any server are below servers.
func (s schema) defaultOf(t *testing.T, path string) any {
	t.Helper()
	here := s
	for _, key := range strings.Split(path, ".") {
		here = here.children("properties")[key].resolve(s)
		for _, server := range here.children("patternProperties") {
			here = server.resolve(s)
		}
	}
	require.Contains(t, here, "default", path)
	return here["default"]
}
