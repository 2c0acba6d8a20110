package tcp

import (
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/sdk/v4/pool"
	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]address{
		"tcp://127.0.0.1:7777": {"tcp4", "127.0.0.1:7777"},
		"127.0.0.1:7777":       {"tcp4", "127.0.0.1:7777"},
		":7777":                {"tcp", ":7777"},
		"tcp://:0":             {"tcp", ":0"},
		"0.0.0.0:1":            {"tcp4", "0.0.0.0:1"},
		"[::]:1":               {"tcp", "[::]:1"},
		"tcp://[::1]:7777":     {"tcp", "[::1]:7777"},
		"[::1]:07777":          {"tcp", "[::1]:7777"},
		"localhost:1":          {"tcp", "localhost:1"},
		"TCP://127.0.0.1:1":    {"tcp4", "127.0.0.1:1"},
		"unix:///run/a.sock":   {"unix", "/run/a.sock"},
		"unix://a.sock":        {"unix", "a.sock"},
	} {
		got, err := parseAddr(addr)
		require.NoError(t, err, addr)
		require.Equal(t, want, got, addr)
	}
}

func TestAnAddressThatIsNoneSaysWhatWouldBe(t *testing.T) {
	for addr, want := range map[string]string{
		"":                      `is empty; want "tcp://host:port"`,
		"  ":                    `is empty; want`,
		"udp://127.0.0.1:1":     `unknown scheme "udp"`,
		"tls://127.0.0.1:1":     `unknown scheme "tls"`,
		"unix://":               `has no path`,
		"unix:/a.sock":          `is a path without its scheme; want`,
		"/a.sock":               `is a path without its scheme; want`,
		"127.0.0.1":             `missing port`,
		"tcp://127.0.0.1":       `missing port`,
		"127.0.0.1:":            `has the port ""`,
		"127.0.0.1:65536":       `has the port "65536"; want a number from 0 to 65535`,
		"127.0.0.1:-1":          `has the port "-1"`,
		"127.0.0.1:smtp":        `has the port "smtp"`,
		"::1:7777":              `too many colons`,
		"tcp://127.0.0.1:1/x":   `has the port "1/x"`,
		"tcp://tcp://1.1.1.1:1": `too many colons`,
	} {
		_, err := parseAddr(addr)
		require.ErrorContains(t, err, want, "%q", addr)
	}
}

func TestDefaults(t *testing.T) {
	c := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0", ReadBufferSize: 3, Packets: Packets{Delimiter: "x"}}}}
	require.NoError(t, c.InitDefault())
	require.Empty(t, c.warnings)
	require.Equal(t, 1, c.ReadBufferSize)
	require.Equal(t, dialectReleased, c.Dialect)
	require.Equal(t, "\r\n", c.Servers["a"].Delimiter)
	require.Equal(t, 1<<20, c.Servers["a"].readBytes)
	require.Equal(t, "x", c.Servers["b"].Delimiter)
	require.Equal(t, 3<<20, c.Servers["b"].readBytes)
	require.Equal(t, time.Hour, c.Pool.Supervisor.ExecTTL, "an unsupervised pool heeds no context")
	require.Equal(t, time.Minute, c.Pool.AllocateTimeout)
	require.NotZero(t, c.Pool.NumWorkers)

	c.Pool.Supervisor.ExecTTL = time.Second
	require.NoError(t, c.InitDefault())
	require.Equal(t, time.Second, c.Pool.Supervisor.ExecTTL, "a set one stays")
}

func TestAReadBufferSizeInBytesIsTakenAsSuchWithOneWarning(t *testing.T) {
	c := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0"}}, ReadBufferSize: 50485760}
	require.NoError(t, c.InitDefault())
	require.Equal(t, 50485760, c.Servers["a"].readBytes)
	require.Equal(t, []string{"tcp.read_buf_size: 50485760 is over 1024 and taken as bytes; the unit is MB: write 48"}, c.warnings)

	c = &Config{Servers: map[string]*Server{"a": {Addr: ":0", ReadBufferSize: 1025}, "b": {Addr: ":0", ReadBufferSize: 1024}}}
	require.NoError(t, c.InitDefault())
	require.Equal(t, 1025, c.Servers["a"].readBytes)
	require.Equal(t, 1<<30, c.Servers["b"].readBytes)
	require.Len(t, c.warnings, 1)
	require.Contains(t, c.warnings[0], "tcp.servers.a.read_buf_size")
}

func TestASingleQuotedEscapeIsWarnedOf(t *testing.T) {
	for delimiter, warned := range map[string]bool{`\r\n`: true, `\n`: true, "\r\n": false, `\`: false, `a\0`: true, "|": false} {
		c := &Config{Servers: map[string]*Server{"a": {Addr: ":0", Packets: Packets{Delimiter: delimiter}}}}
		require.NoError(t, c.InitDefault())
		require.Equal(t, warned, len(c.warnings) == 1, "%q: %v", delimiter, c.warnings)
		require.Equal(t, delimiter, c.Servers["a"].Delimiter, "what is written is what counts")
	}
}

func TestEveryMistakeIsReportedAtOnceWithItsKey(t *testing.T) {
	c := &Config{
		Dialect: "modern", ReadBufferSize: -5, MaxConnections: -1, MemoryLimit: "much",
		Limits: Limits{CloseTimeout: ptr(time.Duration(-1)), MaxPacketSize: "-4", PushQueue: "a lot", MaxConnectionsPerIP: ptr(-2)},
		Servers: map[string]*Server{
			"empty": {}, "null": nil, "scheme": {Addr: "udp://:1"}, "port": {Addr: ":99999"}, "a.b": {Addr: ":1"},
			"one": {Addr: "tcp://127.0.0.1:25", Limits: Limits{IdleTimeout: ptr(-time.Second), MaxPacketSize: "4 MX"}}, "two": {Addr: "127.0.0.1:25"}, "size": {Addr: ":0", ReadBufferSize: -1},
			"u1": {Addr: "unix:///a"}, "u2": {Addr: "unix:///a"},
		},
		Pool: &pool.Config{AllocateTimeout: -time.Second, Supervisor: &pool.SupervisorConfig{ExecTTL: -1}},
	}
	err := c.InitDefault()
	require.Error(t, err)
	got := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		`tcp.dialect: unknown dialect "modern"; want "released" or "documented"`,
		`tcp.max_connections: -1 is negative; want a number, or 0`,
		`tcp.memory_limit: "much" is no size; want a number of MB, such as 4, or one with a unit`,
		`tcp.max_packet_size: "-4" is no size`,
		`tcp.push_queue: "a lot" is no size`,
		`tcp.max_connections_per_ip: -2 is negative`,
		`tcp.close_timeout: -1ns is negative; want a duration such as "10s", or 0 for none`,
		`tcp.read_buf_size: -5 is negative; want a number of MB`,
		`tcp.pool.allocate_timeout: -1s is negative`,
		`tcp.pool.supervisor.exec_ttl: -1ns is negative`,
		`tcp.servers.a.b: a server's name can't hold a dot, which separates keys; write a_b`,
		`tcp.servers.empty.addr: is empty; want`,
		`tcp.servers.null.addr: is empty; want`,
		`tcp.servers.one.max_packet_size: "4 MX" is no size`,
		`tcp.servers.one.idle_timeout: -1s is negative`,
		`tcp.servers.port.addr: ":99999" has the port "99999"; want`,
		`tcp.servers.scheme.addr: "udp://:1" has the unknown scheme "udp"; want`,
		`tcp.servers.size.read_buf_size: -1 is negative`,
		`tcp.servers.two.addr: "127.0.0.1:25" is taken by tcp.servers.one`,
		`tcp.servers.u2.addr: "unix:///a" is taken by tcp.servers.u1`,
	} {
		require.NotEmpty(t, got)
		require.Contains(t, got[0], want)
		got = got[1:]
	}
	require.Empty(t, got)

	require.ErrorContains(t, new(Config).InitDefault(), "tcp.servers: is empty; name at least one server")
}

type m = map[string]any

// loaded is the error of a section, line by line, and its warnings.
func loaded(section m) (lines, warnings []string) {
	c := new(Config)
	if err := c.load(sections{"tcp": section}); err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	return lines, c.warnings
}

func TestUnknownKeysAreWarnedOf(t *testing.T) {
	lines, warnings := loaded(m{
		"read_buf_sise": 1, "servers": m{"a": m{"addr": ":0", "delimeter": "x"}, "addr": m{"addr": ":0"}},
		"pool": m{"num_worker": 1, "debug": true, "supervisor": m{"exec_tll": "1s"}},
	})
	require.Empty(t, lines)
	require.Equal(t, []string{
		"tcp.pool.num_worker: unknown key, ignored; the nearest known one is num_workers",
		"tcp.pool.supervisor.exec_tll: unknown key, ignored; the nearest known one is exec_ttl",
		"tcp.read_buf_sise: unknown key, ignored; the nearest known one is read_buf_size",
		"tcp.servers.a.delimeter: unknown key, ignored; the nearest known one is delimiter",
	}, warnings)

	_, warnings = loaded(m{"servers": m{"a": m{"addr": ":0"}}, "pool": m{"allocate_timeout": 10}})
	require.Equal(t, []string{
		`tcp.pool.allocate_timeout: 10 without a unit is a number of nanoseconds; write a duration such as "10s"`,
	}, warnings)
}

func TestAValueThatCannotBeReadSaysWhatCould(t *testing.T) {
	server := func(key string, value any) m { return m{"servers": m{"a": m{"addr": ":0", key: value}}} }
	global := func(key string, value any) m { return m{"servers": m{"a": m{"addr": ":0"}}, key: value} }
	list := []any{1}
	for _, c := range []struct {
		section m
		want    string
	}{
		{server("delimiter", ""), `tcp.servers.a.delimiter: is empty; want the bytes`},
		{server("delimiter", list), `tcp.servers.a.delimiter: "[1]" can't be read; want a text`},
		{server("addr", list), `tcp.servers.a.addr: "[1]" can't be read; want a text`},
		{server("batch", "maybe"), `tcp.servers.a.batch: "maybe" can't be read; want true or false`},
		{server("batch", []any{}), `tcp.servers.a.batch: "[]" can't be read; want true or false`},
		{m{"servers": 5}, `tcp.servers: "5" can't be read; want keys of its own`},
		{m{"servers": m{"a": "x"}}, `tcp.servers.a: "x" can't be read; want keys of its own`},
		{global("dialect", []any{}), `tcp.dialect: "[]" can't be read; want a text`},
		{global("close_timeout", "soon"), `tcp.close_timeout: "soon" can't be read; want a duration`},
		{global("close_timeout", 10), `tcp.close_timeout: "10" can't be read; want a duration with its unit, such as "10s"`},
		{global("close_timeout", list), `tcp.close_timeout: "[1]" can't be read; want a duration`},
		{global("read_buf_size", "big"), `tcp.read_buf_size: "big" can't be read; want a whole number`},
		{global("read_buf_size", -0.5), `tcp.read_buf_size: "-0.5" can't be read; want a whole number`},
		{global("read_buf_size", 1e20), `tcp.read_buf_size: "1e+20" can't be read; want a whole number`},
		{global("max_connections", 1.9), `tcp.max_connections: "1.9" can't be read; want a whole number`},
		{global("max_packet_size", true), `tcp.max_packet_size: "true" can't be read; want a number of MB`},
		{global("memory_limit", m{}), `tcp.memory_limit: "map[]" can't be read; want a number of MB`},
		{global("pool", m{"num_workers": -1}), `tcp.pool.num_workers: "-1" can't be read; want a whole number, not b`},
		{global("pool", m{"supervisor": true}), `tcp.pool.supervisor: "true" can't be read; want keys of its own`},
		{global("pool", m{"command": m{"a": 1}}), `tcp.pool.command: "map[a:1]" can't be read; want a text, or a list`},
	} {
		lines, _ := loaded(c.section)
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], c.want)
	}

	lines, _ := loaded(m{"dialect": "x", "read_buf_size": "a", "servers": m{"a": m{"addr": ""}, "b": m{"addr": list}}})
	require.Len(t, lines, 4, "one that can't be read hides none that is wrong: %v", lines)
}

func TestADotInAServersNameIsFoundHoweverTheLibraryTakesIt(t *testing.T) {
	for want, servers := range map[string]m{
		"a.b.c: a server's name can't hold a dot, which separates keys; write a_b_c": {"a": m{"b": m{"c": m{"addr": ":1"}}}},
		"a.b: a server's name can't hold a dot, which separates keys; write a_b":     {"a": m{"addr": ":0", "b": m{"addr": ":1"}}},
		"x.addr: a server's name can't hold a dot, which separates keys; write x_ad": {"x": m{"addr": m{"addr": ":1"}}},
		"d.e: a server's name can't hold a dot, which separates keys; write d_e":     {"d": m{"e": m{"delimiter": "x"}}},
	} {
		lines, warnings := loaded(m{"servers": servers})
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], "tcp.servers."+want)
		require.Empty(t, warnings)
	}
}

func TestAddressesThatCollideAreFoundInAnySpelling(t *testing.T) {
	for addrs, want := range map[[2]string]bool{
		{"127.0.0.1:25", "localhost:25"}:        true,
		{"LOCALHOST:25", "localhost:25"}:        true,
		{":25", "127.0.0.1:25"}:                 true,
		{":25", "[::]:25"}:                      true,
		{":25", "0.0.0.0:25"}:                   true,
		{"[::1]:25", "[0:0:0:0:0:0:0:1]:25"}:    true,
		{"[::1]:25", ":25"}:                     true,
		{"[::1]:25", "0.0.0.0:25"}:              false,
		{"127.0.0.1:25", "127.0.0.2:25"}:        false,
		{"127.0.0.1:25", "127.0.0.1:26"}:        false,
		{":0", ":0"}:                            false,
		{"unix:///a/b", "unix:///a/../a/b"}:     true,
		{"unix:///a", "unix:///b"}:              false,
		{"mail.example:25", "MAIL.example:25"}:  true,
		{"mail.example:25", "other.example:25"}: false,
	} {
		a, err := parseAddr(addrs[0])
		require.NoError(t, err)
		b, err := parseAddr(addrs[1])
		require.NoError(t, err)
		require.Equal(t, want, a.collides(b), "%v", addrs)
		require.Equal(t, want, b.collides(a), "%v", addrs)
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, addr := range []string{"tcp://127.0.0.1:1", ":1", "unix:///a", "[::1]:2", "", "://", "tcp://", "::"} {
		f.Add(addr)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		a, err := parseAddr(addr)
		if err != nil {
			return
		}
		again, err := parseAddr(strings.TrimSuffix(a.network, "4") + "://" + a.address)
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}

func ptr[T any](v T) *T { return &v }

func TestSizes(t *testing.T) {
	for size, want := range map[Size]int64{
		"4": 4 << 20, "0": 0, "0.5": 1 << 19, "64KiB": 64 << 10, "64kb": 64 << 10, "4MB": 4 << 20, "1g": 1 << 30, "512b": 512,
		"1.5 MB": 3 << 19,
	} {
		got, err := size.bytes()
		require.NoError(t, err, size)
		require.Equal(t, want, got, size)
	}
	for _, size := range []Size{"-1", "x", "4 apples", "MB", "NaN", "-1MB", "0.0001KB", "1e-9"} {
		_, err := size.bytes()
		require.ErrorContains(t, err, "is no size; want", size)
	}
}

func TestAPacketSizeThatMemoryDoesNotAllowIsAWarning(t *testing.T) {
	for size, want := range map[Size]int{"32MB": 0, "33MB": 1, "0": 0} {
		c := &Config{MemoryLimit: "64MB", Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{MaxPacketSize: size}}}}
		require.NoError(t, c.InitDefault())
		require.Len(t, c.warnings, want, size)
		if want > 0 {
			require.Contains(t, c.warnings[0], "tcp.servers.a.max_packet_size: 33MiB can't be reached")
			require.Contains(t, c.warnings[0], "make tcp.memory_limit 66MiB or more")
		}
	}
}

func TestAServersLimitOverridesTheGeneralOneAndZeroIsNotUnset(t *testing.T) {
	c := &Config{
		Limits: Limits{
			MaxPacketSize: "1", IdleTimeout: ptr(time.Minute), WriteTimeout: ptr(time.Duration(0)), MaxConnectionsPerIP: ptr(5), PushQueue: "2",
		},
		Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0", Limits: Limits{
			MaxPacketSize: "64KiB", IdleTimeout: ptr(time.Duration(0)), WriteTimeout: ptr(time.Second), ReusePort: ptr(true),
			PushQueue: "0", MaxConnectionsPerIP: ptr(0), Keepalive: ptr(time.Duration(0)), CloseTimeout: ptr(time.Duration(0)),
		}}},
	}
	require.NoError(t, c.InitDefault())
	require.Equal(t, limits{
		packet: 1 << 20, push: 2 << 20, idle: time.Minute, connectionsPerIP: 5, close: 10 * time.Second, keepalive: 15 * time.Second,
	}, c.Servers["a"].limits)
	require.Equal(t, limits{packet: 64 << 10, write: time.Second, reusePort: true}, c.Servers["b"].limits)

	require.Equal(t, limits{
		packet: 64 << 20, push: 1 << 20, write: time.Minute, close: 10 * time.Second, keepalive: 15 * time.Second,
	}, new(Limits).over(new(Limits)), "the defaults")
}
