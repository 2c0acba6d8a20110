package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// validate runs rr validate with a configuration.
func validate(t *testing.T, yaml string) (path string, got result) {
	t.Helper()
	path = filepath.Join(t.TempDir(), ".rr.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	return path, runProgram(t, "", "validate", "-c", path)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := fmt.Sprintf(`version: "3"
rpc: {listen: "unix:///nowhere/rpc"}
server: {command: [%q, worker, echo]}
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`, buildProgram(t))
	instead := func(old, with string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, with, 1)
	}
	for _, tt := range []struct {
		name, config string
		says         [][]string // of each line of the output, what it holds
	}{
		{"sections of plugins that this program lacks", good + "http: {address: \":80\"}\notel: {}\n", nil},
		{"all sections of the host", good + `status: {address: "127.0.0.1:1", unavailable_status_code: 503}
metrics: {address: "127.0.0.1:1", collect: {mails: {type: counter, help: "Mails.", labels: [from]}}}
endure: {grace_period: 30s, log_level: warn, print_graph: false, watchdog_sec: 60}
`, nil},
		{
			"a host with mistakes everywhere", `version: "3"
servr: {command: "x"}
rpc: {listen: "127.0.0.1:6001", lisen: x}
logs: {level: info, leval: x, channels: {tcp: {level: debug, modus: x}}}
metrics: {addr: ":2112"}
status: {unavailable_status_code: often}
endure: {grace_period: soon, log_level: loud, grace: 1s}
tcp:
  dialekt: x
  servers: {echo: {addr: "ftp://x", delimiter: '\n', delimeter: x}}
  pool: {num_worker: 1}
`, [][]string{
				{"endure: ", "duration"},
				{"endure.log_level: ", "loud"},
				{"section server is missing"},
				{"endure.grace: unknown key"},
				{"logs.channels.tcp.modus: unknown key"},
				{"logs.leval: unknown key"},
				{"metrics.addr: unknown key"},
				{"rpc.lisen: unknown key"},
				{`rpc.listen: "127.0.0.1:6001" is no address; want tcp://HOST:PORT or unix://PATH`},
				{"servr: no plugin reads this section"},
				{"status: ", "unavailable_status_code"},
				{"tcp.dialekt: unknown key", "dialect"},
				{"tcp.pool.num_worker: unknown key", "num_workers"},
				{"tcp.servers.echo.delimeter: unknown key", "delimiter"},
				{"tcp.servers.echo.delimiter: ", `"\n"`},
				{"tcp.servers.echo.addr: ", "ftp://x"},
			},
		},
		{"every mistake of the section", instead(`{addr: "127.0.0.1:0"}`, `{framing: length}, b: {addr: ":1", idle_timeout: 5}`), [][]string{
			{"tcp.servers.b.idle_timeout: ", "10s"}, {"tcp.servers.echo.addr: is empty"}, {"tcp.servers.echo.length: is missing"},
		}},
		{"mistakes beside values that can't be read", instead(`{addr: "127.0.0.1:0"}`, `{addr: "x", idle_timeout: "5 minutes", framing: lengths, length: {bytes: two}}, b: {addr: ":1", batch: yes}`), [][]string{
			{"tcp.servers.b.batch: ", "true or false"}, {"tcp.servers.echo.idle_timeout: ", "5 minutes"}, {"tcp.servers.echo.length.bytes: ", "two"},
			{"tcp.servers.echo.addr: ", "missing port"}, {"tcp.servers.echo.framing: ", "lengths"},
		}},
		{"mistakes of a section beside values that can't be read", instead(`{num_workers: 2}`, `{num_workers: two, allocate_timeout: -1s, supervisor: {exec_ttl: soon, ttl: -1s}}`), [][]string{
			{"tcp.pool.num_workers: ", "two"}, {"tcp.pool.supervisor.exec_ttl: ", "soon"},
			{"tcp.pool.allocate_timeout: -1s is negative"}, {"tcp.pool.supervisor.ttl: -1s is negative"},
		}},
		{"a single server with a value that can't be read", instead(`{addr: "127.0.0.1:0"}`, `{addr: ":0", max_connections: 10k}`), [][]string{
			{"tcp.servers.echo.max_connections: ", "10k", "a whole number"},
		}},
		{"names that differ in capitals alone", instead(`{addr: "127.0.0.1:0"}`, `{addr: ":1", Batch: true, batch: false}, Echo: {addr: ":2"}`), [][]string{
			{"tcp.servers: RoadRunner takes Echo and echo for the same name, and drops one; rename one of them"},
			{"tcp.servers.echo: RoadRunner takes Batch and batch for the same name"},
		}},
		{"a grace period without a unit", good + "endure: {grace_period: 30}\n", [][]string{
			{`endure.grace_period: 30 without a unit is a number of nanoseconds; write a duration such as "30s"`},
		}},
		{"values that RoadRunner changes", instead(`{addr: "127.0.0.1:0"}`, `{addr: ":1", delimiter: "a$b"}, b: {addr: ":2", delimiters: ["\n", 10]}, c: {},
    d: {addr: ":3", delimiter: "$$"}, e: {addr: ":4", delimiter: "$"}, f: {addr: ":5", delimiter: "${DELIMITER:-|}"},
    g: {addr: ":6", framing: length, length: {until: "$"}}, h: {addr: ":7", events: []}, i: {addr: ":8", tls: {}}, j: {addr: ":9", batch: {}}`), [][]string{
			{"tcp.servers.d.delimiter: is empty"},
			{"tcp.servers.h.events: is empty"},
			{"tcp.servers.j.batch: is an empty list or section; want true or false"},
			{"tcp.servers.i.tls.cert: is empty"}, {"tcp.servers.i.tls.key: is empty"},
			{"tcp.servers.b.delimiters: 10 is no text", "put it in quotes"},
			{"tcp.servers.c: is empty, and RoadRunner leaves it out; name an addr"},
			{`tcp.servers.d.delimiter: "$$" becomes "", because RoadRunner replaces $name; for what the file has write delimiter_hex: "2424"`},
			{`tcp.servers.echo.delimiter: "a$b" becomes "a", because`, `delimiter_hex: "612462"`},
		}},
		{"values that are other bytes", instead(`{addr: "127.0.0.1:0"}`, `{addr: ":1", delimiter: "\xff"}, b: {addr: ":2", delimiter: 0x7e}, c: {addr: ":3", delimiter: '\xff'},
    d: {addr: ":4", delimiters: [10, 13]}, e: {addr: ":5", delimiter_hex: 0010}, f: {addr: ":6", delimiter_hex: "ff"}, g: {addr: ":7", delimiter: !!binary /w==},
    h: {addr: ":8", rules: [{starts: 78, framing: raw}]}, i: {addr: ":9", delimiters_hex: ["0d 0a", "0d"], delimiter_wait: 1s}`), [][]string{
			{`tcp.servers.c.delimiter: is the 4 characters \xff`, `delimiter_hex: "ff"`},
			{"tcp.servers.b.delimiter: 126 is a number", `delimiter_hex: "7e"`},
			{"tcp.servers.d.delimiters: 10 is a number"},
			{"tcp.servers.e.delimiter_hex: 8 is a number", "in quotes"},
			{"tcp.servers.h.rules.0.starts: 78 is a number"},
			{`tcp.servers.echo.delimiter: `, `the bytes c3bf`, `delimiter_hex: "ff"`},
		}},
		{"no command", instead("server: {command", "server: {comand"), [][]string{
			{"server.comand: unknown key"}, {"server: command should not be empty"},
		}},
		{"nothing but a version", `version: "3"`, [][]string{{"section tcp is missing"}, {"section server is missing"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, got := validate(t, tt.config)
			if tt.says == nil {
				require.Equal(t, result{stdout: path + ": nothing to correct\n"}, got)
				return
			}
			require.Equal(t, 1, got.code, got.stderr)
			requireOneLine(t, strings.TrimSuffix(got.stderr, "\n"), path, "to correct")
			lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
			require.Len(t, lines, len(tt.says), got.stdout)
			for i, line := range lines {
				for _, part := range tt.says[i] {
					require.Contains(t, line, part)
				}
			}
		})
	}
}

func TestValidateDefaultConfig(t *testing.T) {
	t.Parallel()
	got := runProgram(t, t.TempDir(), "validate")
	require.Equal(t, result{stdout: "the built-in config: nothing to correct\n"}, got)

	got = runProgram(t, t.TempDir(), "validate", "-c", "missing.yaml")
	require.Equal(t, 1, got.code)
	require.Empty(t, got.stdout)
	requireOneLine(t, got.stderr, "config missing.yaml: ", "no such file")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".rr.yaml"), []byte(`{version: "3", server: {command: "php worker.php"}, tcp: {servers: {a: {addr: ":0"}}}}`), 0o600))
	require.Equal(t, result{stdout: ".rr.yaml: nothing to correct\n"}, runProgram(t, dir, "validate"))
}

// TestValidateExamples also finds keys outside of the section tcp that nobody reads.
func TestValidateExamples(t *testing.T) {
	t.Parallel()
	var found []string
	for _, pattern := range []string{"examples/*.rr.yaml", "examples/*/*.rr.yaml", "cmd/rr/examples/*/*.rr.yaml"} {
		files, err := filepath.Glob(filepath.Join(repository, pattern))
		require.NoError(t, err)
		found = append(found, files...)
	}
	require.NotEmpty(t, found)
	for _, path := range found {
		t.Run(path, func(t *testing.T) {
			got := runProgram(t, "", "validate", "-c", path)
			if got.code == 0 {
				require.Equal(t, result{stdout: path + ": nothing to correct\n"}, got)
				return
			}
			for _, line := range strings.Split(strings.TrimSpace(got.stdout), "\n") {
				require.Contains(t, line, "open certs/", "but for certificates, which nobody has made here")
			}
		})
	}
}

// What --expand prints is a configuration that does the same.
func TestValidateExpands(t *testing.T) {
	t.Parallel()
	head := fmt.Sprintf("version: \"3\"\nserver: {command: [%q, worker, echo]}\n", buildProgram(t))
	path := filepath.Join(t.TempDir(), ".rr.yaml")
	expand := func(yaml string) result {
		require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
		return runProgram(t, "", "validate", "--expand", "-c", path)
	}
	got := expand(head + "tcp: {servers: {a: {addr: \"127.0.0.1:0\", protocol: gt06}, b: {addr: \"127.0.0.1:0\", protocol: redis, batch: false}}}\n")
	require.Zero(t, got.code, "%s", got.stderr)
	require.Contains(t, got.stdout, `rules: [{starts_hex: "7878", framing: "length", length: {bytes: 1, offset: 2, adjust: 2}}, `)
	require.NotContains(t, got.stdout, "batch")
	again := expand(head + strings.ReplaceAll(strings.ReplaceAll(got.stdout, "      protocol: \"gt06\"\n", ""), "      protocol: \"redis\"\n", ""))
	require.Zero(t, again.code, "%s", again.stderr)
	require.Equal(t, strings.ReplaceAll(strings.ReplaceAll(got.stdout, "      protocol: \"gt06\"\n", ""), "      protocol: \"redis\"\n", ""), again.stdout)

	got = expand(head + "tcp: {servers: {a: {addr: \"127.0.0.1:0\", protocol: http}}}\n")
	require.NotZero(t, got.code)
	require.Contains(t, got.stdout, `tcp.servers.a.protocol: unknown protocol "http"`)
	require.NotContains(t, got.stdout, "framing: ")
	require.Equal(t, 2, runProgram(t, "", "version", "--expand").code, "it belongs to validate")
}

// docs/operations.md names keys that only later RoadRunners know.
func TestValidateKnowsKeysOfItsRoadRunner(t *testing.T) {
	t.Parallel()
	path, got := validate(t, fmt.Sprintf(`version: "3"
server: {command: [%q, worker, echo], on_init: {command: "true", exit_on_error: true}}
tcp: {servers: {echo: {addr: "127.0.0.1:0"}}, pool: {num_workers: 2, dynamic_allocator: {max_workers: 3}}}
`, buildProgram(t)))
	if thisLine().dynamic {
		require.Equal(t, result{stdout: path + ": nothing to correct\n"}, got)
		return
	}
	lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
	require.Len(t, lines, 2, got.stdout)
	require.Equal(t, "server.on_init.exit_on_error: unknown key, ignored", lines[0])
	require.Contains(t, lines[1], "tcp.pool.dynamic_allocator: unknown key, ignored")
}
