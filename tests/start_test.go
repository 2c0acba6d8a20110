package tests

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// freePort is one that nobody has at the moment, and will not by chance: of an address of its own, which no client is from.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.N(254), rand.N(256), 1+rand.N(254)))
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// takenPort is one that somebody listens on until the test ends.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestBindConflictUnbindsAll(t *testing.T) {
	t.Parallel()
	first, second, third := freePort(t), takenPort(t), freePort(t)
	h := newHost(t, shortDir(t))
	says := h.failedStart(fmt.Sprintf(`
tcp:
  servers: {a: {addr: %q}, b: {addr: "tcp://%s"}, c: {addr: %q}, a_unix: {addr: "unix://DIR/socket"}}
`, first, second, third))
	require.Contains(t, says, "listen b tcp://"+second)
	require.Contains(t, says, "address already in use")

	for _, addr := range []string{first, third} {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err, "it stays bound")
		require.NoError(t, l.Close())
	}
	require.NoFileExists(t, h.dir+"/socket")
	require.NoFileExists(t, recordFile(h.dir), "a worker was started")
}

func TestPortNotShared(t *testing.T) {
	t.Parallel()
	first := start(t, minimal)
	second := newHost(t, shortDir(t)).failedStart(strings.Replace(minimal, "127.0.0.1:0", first.addr("echo").String(), 1))
	require.Contains(t, second, "address already in use")
}

func TestFailedWorkersLeaveNothingBound(t *testing.T) {
	t.Parallel()
	addr := freePort(t)
	newHost(t, shortDir(t)).failedStart(fmt.Sprintf("tcp:\n  servers: {echo: {addr: %q}}\n  pool: {num_workers: 2}\n", addr),
		"/bin/false")
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err, "it stays bound")
	require.NoError(t, l.Close())
}

// A plugin that fails behind this one: this one has started, and is stopped.
func TestLaterPluginFails(t *testing.T) {
	t.Parallel()
	h := newHost(t, shortDir(t))
	says := h.failedStart(fmt.Sprintf(`
tcp:
  servers: {echo: {addr: "unix://DIR/socket"}}
  pool: {num_workers: 2}
metrics: {address: %q, collect: {rr_tcp_workers_missing: {type: gauge}}}
`, freePort(t)))
	requireOneLine(t, says, "rr: metrics: ", "rr_tcp_workers_missing")
	require.NoFileExists(t, h.dir+"/socket")
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		yaml string
		says [][]string // for each mistake: its key, and what would be right
	}{
		"an unknown dialect": {
			"tcp: {dialect: rfc, servers: {a: {addr: ':0'}}}",
			[][]string{{"tcp.dialect", `"rfc"`, `"released"`, `"documented"`}},
		},
		"no servers": {"tcp: {dialect: released}", [][]string{{"tcp.servers", "at least one"}}},
		"an empty address": {
			"tcp: {servers: {a: {addr: ''}}}", [][]string{{"tcp.servers.a.addr", "empty", "tcp://host:port"}},
		},
		"no address": {
			"tcp: {servers: {a: {delimiter: x}}}", [][]string{{"tcp.servers.a.addr", "empty", "tcp://host:port"}},
		},
		"a duplicate address": {
			"tcp: {servers: {a: {addr: '127.0.0.1:7777'}, b: {addr: 'tcp://127.0.0.1:7777'}}}",
			[][]string{{"tcp.servers.b.addr", "tcp.servers.a", "its own address"}},
		},
		"an empty delimiter": {
			`tcp: {servers: {a: {addr: ':0', delimiter: ""}}}`,
			[][]string{{"tcp.servers.a.delimiter", "empty", `"\r\n"`}},
		},
		"a negative size": {
			"tcp: {read_buf_size: -1, servers: {a: {addr: ':0'}}}", [][]string{{"tcp.read_buf_size", "-1", "MB"}},
		},
		"a server's negative size": {
			"tcp: {servers: {a: {addr: ':0', read_buf_size: -5}}}",
			[][]string{{"tcp.servers.a.read_buf_size", "-5", "MB"}},
		},
		"an unknown scheme": {
			"tcp: {servers: {a: {addr: 'udp://127.0.0.1:0'}}}",
			[][]string{{"tcp.servers.a.addr", `"udp"`, "tcp://host:port", "unix:///path.sock"}},
		},
		"a port out of range": {
			"tcp: {servers: {a: {addr: '127.0.0.1:65536'}}}",
			[][]string{{"tcp.servers.a.addr", `"65536"`, "0 to 65535"}},
		},
		"no port": {
			"tcp: {servers: {a: {addr: '127.0.0.1'}}}",
			[][]string{{"tcp.servers.a.addr", "missing port", "host:port"}},
		},
		"a server's name with a dot": {
			"tcp: {servers: {'mail.in': {addr: ':0'}}}", [][]string{{"tcp.servers.mail.in", "dot", "mail_in"}},
		},
		"a negative close_timeout": {
			"tcp: {close_timeout: -1s, servers: {a: {addr: ':0'}}}", [][]string{{"tcp.close_timeout", "-1s", `"10s"`}},
		},
		"a size that is no number": {
			"tcp: {read_buf_size: big, servers: {a: {addr: ':0'}}}",
			[][]string{{"tcp.read_buf_size", `"big"`, "number"}},
		},
		"a timeout that is none": {
			"tcp: {servers: {a: {addr: ':0'}}, pool: {allocate_timeout: soon}}",
			[][]string{{"tcp.pool.allocate_timeout", `"soon"`, `"10s"`}},
		},
		"sections without a value": {
			"tcp: {servers: {a: {addr: ':0', tls: }}, bulk: , cluster: {nats: {tls: }}}",
			[][]string{{"tcp.servers.a.tls", "keys"}, {"tcp.bulk", "keys"}, {"tcp.cluster.nats.tls", "keys"}},
		},
		"an empty delimiter of a rule": {
			`tcp: {servers: {a: {addr: ':0', rules: [{starts: "<", delimiter: ""}, {delimiter: }]}}}`,
			[][]string{{"tcp.servers.a.rules.0.delimiter", "empty"}, {"tcp.servers.a.rules.1.delimiter", "empty"}},
		},
		"an empty list in a section that has nothing else": {
			"tcp: {servers: {a: {addr: ':0'}}, cluster: {redis: {addrs: []}}}", [][]string{{"tcp.cluster.redis.addrs", "at least one"}},
		},
		"servers that are a list": {
			"tcp: {servers: [':0']}", [][]string{{"tcp.servers", "keys"}},
		},
		"all of it at once": {
			`tcp:
  dialect: rfc
  read_buf_size: -1
  close_timeout: -1s
  servers:
    a: {addr: ''}
    b: {addr: 'udp://127.0.0.1:0'}
    c: {addr: '127.0.0.1:70000'}
    d: {addr: ':0', delimiter: ""}
    e: {addr: ':0', read_buf_size: -1}
    f: {addr: '127.0.0.1:7777'}
    g: {addr: '127.0.0.1:7777'}
    h.h: {addr: ':0'}
`, [][]string{
				{"tcp.dialect"},
				{"tcp.read_buf_size"},
				{"tcp.close_timeout"},
				{"tcp.servers.a.addr"},
				{"tcp.servers.b.addr"},
				{"tcp.servers.c.addr"},
				{"tcp.servers.d.delimiter"},
				{"tcp.servers.e.read_buf_size"},
				{"tcp.servers.g.addr", "tcp.servers.f"},
				{"tcp.servers.h.h", "h_h"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := mistakes(t, test.yaml)
			require.Len(t, lines, len(test.says), "%s", strings.Join(lines, "\n"))
			for i, says := range test.says {
				for _, part := range says {
					found := false
					for _, line := range lines {
						found = found || strings.Contains(line, says[0]) && strings.Contains(line, part)
					}
					require.True(t, found, "%d: %s: want %q in\n%s", i, says[0], part, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

func TestConfigurationWarnings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		yaml string
		says []string
	}{
		"an unknown key": {
			"tcp: {servers: {a: {addr: '127.0.0.1:0', delimeter: x}}}",
			[]string{"tcp.servers.a.delimeter", "unknown", "delimiter"},
		},
		"an unknown key of the section": {
			"tcp: {servers: {a: {addr: '127.0.0.1:0'}}, dialekt: x}", []string{"tcp.dialekt", "unknown", "dialect"},
		},
		"an unknown key of the pool": {
			"tcp: {servers: {a: {addr: '127.0.0.1:0'}}, pool: {workers_num: 1}}",
			[]string{"tcp.pool.workers_num", "unknown", "num_workers"},
		},
		"an empty number of the pool, beside an empty command": {
			`tcp: {servers: {a: {addr: '127.0.0.1:0'}}, pool: {max_jobs: "", command: []}}`, []string{"tcp.pool.max_jobs", "empty", "default"},
		},
		"an unknown section of a server": {
			"tcp: {servers: {a: {addr: '127.0.0.1:0', proxy_protocols: {trusted: [10.0.0.0/8]}}}}",
			[]string{"tcp.servers.a.proxy_protocols", "unknown", "proxy_protocol"},
		},
		"read_buf_size in bytes": {
			"tcp: {servers: {a: {addr: '127.0.0.1:0'}}, read_buf_size: 50485760}",
			[]string{"tcp.read_buf_size", "bytes", "write 48"},
		},
		"a delimiter in single quotes": {
			`tcp: {servers: {a: {addr: '127.0.0.1:0', delimiter: '\r\n'}}}`,
			[]string{"tcp.servers.a.delimiter", "4 characters", `"\r\n"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, test.yaml)
			warnings := h.ours("warn")
			require.Len(t, warnings, 1)
			for _, part := range test.says {
				require.Contains(t, warnings[0].Msg, part)
			}
		})
	}
}

// With metrics and status configured as well, all of RoadRunner's plugins run.
func TestAllPluginsTogether(t *testing.T) {
	t.Parallel()
	h := start(t, fmt.Sprintf("%s\nmetrics: {address: %q}\nstatus: {address: %q}\n",
		minimal, freePort(t), freePort(t)))
	require.Equal(t, "hello", h.dial("echo").ask("hello"))
	require.Empty(t, h.ours("warn"))
}

func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	for where, yaml := range configurations(t) {
		if strings.HasPrefix(yaml, belowTCP) {
			continue // part of one; the schema's test has it
		}
		t.Run(where, func(t *testing.T) { require.Empty(t, mistakes(t, withCertificates(t, yaml))) })
	}
}

var certificateFile = regexp.MustCompile(`\b(cert|key|root_ca): *[\w./-]+`)

// withCertificates is a configuration with files that are there.
func withCertificates(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t, "ca")
	ca.server("localhost").save(t, dir, "server")
	save(t, dir+"/ca.pem", ca.pem)
	names := map[string]string{"cert": "server.pem", "key": "server.key", "root_ca": "ca.pem"}
	return certificateFile.ReplaceAllStringFunc(yaml, func(found string) string {
		key, _, _ := strings.Cut(found, ":")
		return key + ": " + dir + "/" + names[key]
	})
}

// mistakes are what the plugin says about a configuration: errors and warnings. Those of other sections are left out.
func mistakes(t *testing.T, yaml string) (found []string) {
	t.Helper()
	if !strings.Contains("\n"+yaml, "\nversion:") {
		yaml = "version: \"3\"\n" + yaml
	}
	_, got := validate(t, yaml)
	for _, line := range strings.Split(got.stdout, "\n") {
		if strings.HasPrefix(line, "tcp.") || strings.HasPrefix(line, "tcp:") || strings.HasPrefix(line, "section tcp ") {
			found = append(found, line)
		}
	}
	return found
}
