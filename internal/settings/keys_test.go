package settings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnknownKeysWarn(t *testing.T) {
	lines, warnings := load(m{
		"read_buf_sise": 1, "servers": m{"a": m{"addr": ":0", "delimeter": "x"}, "addr": m{"addr": ":0"}},
		"pool": m{"num_worker": 1, "debug": true, "supervisor": m{"exec_tll": "1s"}},
	})
	require.Empty(t, lines, "old files must still start")
	require.Equal(t, []string{
		"tcp.pool.num_worker: unknown key, ignored; the nearest known one is num_workers",
		"tcp.pool.supervisor.exec_tll: unknown key, ignored; the nearest known one is exec_ttl",
		"tcp.read_buf_sise: unknown key, ignored; the nearest known one is read_buf_size",
		"tcp.servers.a.delimeter: unknown key, ignored; the nearest known one is delimiter",
	}, warnings)

	_, warnings = load(with("pool", m{"allocate_timeout": 10, "destroy_timeout": time.Second}))
	require.Equal(t, []string{
		`tcp.pool.allocate_timeout: 10 without a unit is a number of nanoseconds; write a duration such as "10s"`,
	}, warnings)

	_, warnings = load(m{"Servers": m{"a": m{"ADDR": ":0", "Length": nil}}, "warnings": 1})
	require.Equal(t, []string{"tcp.warnings: unknown key, ignored; the nearest known one is servers"}, warnings, "keys are found in any case")
}

func TestUnknownKeysOfOtherSections(t *testing.T) {
	_, warnings := load(m{
		"addr": ":1", "tls": m{"cert": "x"}, "exec_ttl": "1s", "workers": 4,
		"servers": m{"a": m{"addr": ":0", "num_workers": 4, "timeout": "1s", "trusted": []any{"::1"}}},
		"pool":    m{"num_workers": 1, "max_connections": 4, "max_worker_memory": 100},
	})
	require.Equal(t, []string{
		"tcp.addr: unknown key, ignored; it is a key of tcp.servers.<name>",
		"tcp.exec_ttl: unknown key, ignored; it is a key of tcp.pool.supervisor",
		"tcp.pool.max_connections: unknown key, ignored; it is a key of tcp",
		"tcp.pool.max_worker_memory: unknown key, ignored; it is a key of tcp.pool.supervisor",
		"tcp.servers.a.num_workers: unknown key, ignored; it is a key of tcp.pool",
		"tcp.servers.a.timeout: unknown key, ignored; the nearest known one is idle_timeout",
		"tcp.servers.a.trusted: unknown key, ignored; it is a key of tcp.servers.<name>.proxy_protocol",
		"tcp.tls: unknown key, ignored; it is a key of tcp.servers.<name>",
		"tcp.workers: unknown key, ignored; the nearest known one is servers",
	}, warnings)
}

func TestUnreadableValuesAreNamed(t *testing.T) {
	list := []any{1}
	for _, c := range []struct {
		section m
		want    string
	}{
		{withServer("delimiter", ""), `tcp.servers.a.delimiter: is empty; want the bytes that end a packet, such as "\r\n"`},
		{withServer("delimiter", []any{"x"}), `tcp.servers.a.delimiter: "[x]" can't be read; want a text`},
		{withServer("delimiter", 0x7e), `tcp.servers.a.delimiter: 126 is a number; for the byte 0x7e write delimiter_hex: "7e", for its digits put it in quotes: "126"`},
		{withServer("delimiter", 10), `tcp.servers.a.delimiter: 10 is a number; for the byte 0x0a write delimiter_hex: "0a", for its digits put it in quotes: "10"`},
		{withServer("delimiter", 0xffff), `tcp.servers.a.delimiter: 65535 is a number; for its digits put it in quotes: "65535"`},
		{withServer("delimiter", 1.5), `tcp.servers.a.delimiter: 1.5 is a number; for its digits put it in quotes: "1.5"`},
		{withServer("delimiter", true), `tcp.servers.a.delimiter: "true" can't be read; want a text`},
		{withServer("delimiter_hex", 8), `tcp.servers.a.delimiter_hex: 8 is a number, and YAML reads 0010 as 8 and 1e5 as 100000; put the digits in quotes`},
		{withServer("delimiter_hex", ""), `tcp.servers.a.delimiter_hex: is empty; want bytes, or leave it out`},
		{withServer("delimiter_hex", "0x7e"), `tcp.servers.a.delimiter_hex: "0x7e" can't be read; want two hexadecimal digits for each byte, such as "7e" or "0d 0a"`},
		{withServer("delimiter", "\u00ff"), `tcp.servers.a.delimiter: "\u00ff" is the bytes c3bf: a text holds characters, not bytes; for the bytes ff write delimiter_hex: "ff", for the characters delimiter_hex: "c3bf"`},
		{withServer("delimiter", "a\u0080"), `for the bytes 6180 write delimiter_hex: "6180"`},
		{withServer("delimiters", []any{"\n", "\u009c"}), `tcp.servers.a.delimiters: "\u009c" is the bytes c29c`},
		{withServer("delimiters", []any{10, 13}), `tcp.servers.a.delimiters: 10 is a number; for the byte 0x0a write delimiters_hex: "0a"`},
		{withServer("delimiters", "\r\n,\n"), `tcp.servers.a.delimiters: is a text, which is split at its commas; want a list, such as ["\r\n", "\n"]`},
		{withServer("delimiters_hex", "0d,0a"), `tcp.servers.a.delimiters_hex: is a text, which is split at its commas; want a list, such as ["0d0a", "0a"]`},
		{withServer("rules", []any{m{"starts": 78}}), `tcp.servers.a.rules.0.starts: 78 is a number; for the byte 0x4e write starts_hex: "4e", for its digits`},
		{withServer("rules", []any{m{"starts_hex": 7878, "delimiter": "\n"}}), `tcp.servers.a.rules.0.starts_hex: 7878 is a number`},
		{withServer("rules", []any{m{"delimiter": ""}}), `tcp.servers.a.rules.0.delimiter: is empty; want the bytes that end a packet, such as "\r\n"`},
		{withServer("rules", []any{m{"starts": "x", "delimiter": nil}, m{}}), `tcp.servers.a.rules.0.delimiter: is empty; want the bytes`},
		{withServer("delimiter", nil), `tcp.servers.a.delimiter: is empty; want the bytes that end a packet`},
		{withServer("rules", []any{m{"starts": ""}}), `tcp.servers.a.rules.0.starts: is empty; want bytes, or leave it out`},
		{withServer("rules", m{"starts": "x"}), `tcp.servers.a.rules: "map[starts:x]" can't be read; want a list`},
		{withServer("rules", []any{"x"}), `tcp.servers.a.rules: "[x]" can't be read; want a list, with keys of its own in each of its items`},
		{withServer("batch", 2), `tcp.servers.a.batch: "2" can't be read; want true or false`},
		{withServer("batch", "yes"), `tcp.servers.a.batch: "yes" can't be read; want true or false`},
		{withServer("skip_empty", 0.5), `tcp.servers.a.skip_empty: "0.5" can't be read; want true or false`},
		{withServer("delimiter_wait", 20), `tcp.servers.a.delimiter_wait: "20" can't be read; want a duration with its unit, such as "10s"`},
		{withServer("addr", list), `tcp.servers.a.addr: "[1]" can't be read; want a text`},
		{withServer("batch", "maybe"), `tcp.servers.a.batch: "maybe" can't be read; want true or false`},
		{withServer("batch", []any{}), `tcp.servers.a.batch: is an empty list or section; want true or false`},
		{withServer("events", []any{true}), `tcp.servers.a.events: "[true]" can't be read; want a text, or a list of texts`},
		{withServer("length", 2), `tcp.servers.a.length: "2" can't be read; want keys of its own below it`},
		{m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{"ascii": true}}}}, `tcp.servers.a.length.ascii: is true; want the number of digits, such as 4, or beside it`},
		{m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{"bytes": 4, "mask": -1}}}}, `tcp.servers.a.length.mask: "-1" can't be read; want a whole number, not below zero`},
		{m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{"bytes": 4, "mask": "7f"}}}}, `tcp.servers.a.length.mask: "7f" can't be read; want a whole number`},
		{m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{"ascii": 1, "until": " "}}}}, `tcp.servers.a.length.ascii: is 1, but until ends the digits, however many; write ascii: true`},
		{withServer("rules", []any{m{"framing": "length", "length": m{"ascii": 0, "until_hex": "20"}}}), `tcp.servers.a.rules.0.length.ascii: is 0, but until`},
		{m{"servers": 5}, `tcp.servers: "5" can't be read; want keys of its own`},
		{m{"servers": m{"a": "x"}}, `tcp.servers.a: "x" can't be read; want keys of its own`},
		{with("dialect", []any{}), `tcp.dialect: is an empty list or section; want a text`},
		{with("close_timeout", "soon"), `tcp.close_timeout: "soon" can't be read; want a duration`},
		{with("close_timeout", 10), `tcp.close_timeout: "10" can't be read; want a duration with its unit, such as "10s"`},
		{with("close_timeout", list), `tcp.close_timeout: "[1]" can't be read; want a duration`},
		{with("read_buf_size", "big"), `tcp.read_buf_size: "big" can't be read; want a whole number`},
		{with("read_buf_size", -0.5), `tcp.read_buf_size: "-0.5" can't be read; want a whole number`},
		{with("read_buf_size", 1e20), `tcp.read_buf_size: "1e+20" can't be read; want a whole number`},
		{with("max_connections", ""), `tcp.max_connections: "" can't be read; want a whole number`},
		{withServer("batch", ""), `tcp.servers.a.batch: "" can't be read; want true or false`},
		{with("pool", m{"allocate_timeout": ""}), `tcp.pool.allocate_timeout: "" can't be read; want a duration`},
		{with("max_connections", 1.9), `tcp.max_connections: "1.9" can't be read; want a whole number`},
		{with("max_packet_size", true), `tcp.max_packet_size: "true" can't be read; want a number of MB`},
		{with("memory_limit", m{}), `tcp.memory_limit: is an empty list or section; want a number of MB`},
		{with("pool", 3), `tcp.pool: "3" can't be read; want keys of its own below it`},
		{with("pool", m{"num_workers": -1}), `tcp.pool.num_workers: "-1" can't be read; want a whole number, not below zero`},
		{with("pool", m{"num_workers": "+1"}), `tcp.pool.num_workers: "+1" can't be read; want a whole number, not below zero`},
		{with("pool", m{"num_workers": "-1"}), `tcp.pool.num_workers: "-1" can't be read; want a whole number, not below zero`},
		{with("pool", m{"supervisor": true}), `tcp.pool.supervisor: "true" can't be read; want keys of its own`},
		{with("pool", m{"supervisor": m{"exec_ttl": "x"}}), `tcp.pool.supervisor.exec_ttl: "x" can't be read; want a duration`},
		{with("pool", m{"command": m{"a": 1}}), `tcp.pool.command: "map[a:1]" can't be read; want a text, or a list`},
	} {
		lines, _ := load(c.section)
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], c.want)
	}
}

// Old files may have a variable there that is not set.
func TestEmptyNumbersOfOldFilesWarn(t *testing.T) {
	for key, section := range map[string]m{
		"tcp.servers.a.read_buf_size":           withServer("read_buf_size", ""),
		"tcp.read_buf_size":                     with("read_buf_size", ""),
		"tcp.pool.num_workers":                  with("pool", m{"num_workers": ""}),
		"tcp.pool.debug":                        with("pool", m{"debug": ""}),
		"tcp.pool.supervisor.max_worker_memory": with("pool", m{"supervisor": m{"max_worker_memory": ""}}),
	} {
		v := validateKeys(section, typeOf[lineConfig]())
		require.Empty(t, v.errs, "old files must still start")
		require.Equal(t, []string{key + ": is empty, and the default is taken; write a value, or leave the key out"}, v.warnings)
	}
}

func TestDigitsAreANumberOrTrue(t *testing.T) {
	section := m{"servers": m{"a": m{"length": m{"ascii": "many"}}}}
	require.ErrorContains(t, validateKeys(section, typeOf[lineConfig]()).errs[0],
		`tcp.servers.a.length.ascii: "many" can't be read; want a number of digits, or true beside until`)
}

// What the configuration library converts without loss is no mistake.
func TestConvertedValuesAreAccepted(t *testing.T) {
	for _, value := range []struct {
		key   string
		value any
	}{
		{"batch", 1}, {"batch", "true"}, {"read_buf_size", "2"}, {"read_buf_size", 2.0}, {"max_packet_size", 4}, {"max_packet_size", "4KB"},
		{"close_timeout", 0}, {"close_timeout", "1s"}, {"close_timeout", time.Second}, {"events", "DATA"}, {"events", []any{"DATA"}},
		{"addr", 1}, {"idle_timeout", nil}, {"length", m{"ascii": true, "until": " "}}, {"length", m{"mask": uint64(1 << 63)}},
		{"length", m{"mask": "0x7f"}}, {"length", m{"mask": "0xffffffffffffffff"}}, {"batch", 0}, {"delimiter_hex", "7e"}, {"delimiters_hex", []any{"0d0a", "0d"}}, {"delimiters", "|"},
		{"delimiter", "\xff"}, {"delimiter", "\u20ac"}, {"rules", []any{m{"starts_hex": "78 78", "delimiter_hex": "0d0a"}, m{}}},
	} {
		section := m{"servers": m{"a": m{value.key: value.value}}}
		require.Empty(t, validateKeys(section, typeOf[lineConfig]()).errs, "%s: %v", value.key, value.value)
	}
	for _, value := range []any{3, uint8(3), "3", 3.0} {
		require.Empty(t, validateKeys(m{"pool": m{"num_workers": value}}, typeOf[lineConfig]()).errs, "%v", value)
	}
}

func TestDottedServerNames(t *testing.T) {
	for want, servers := range map[string]m{
		"a.b.c: a server's name can't hold a dot, which separates keys; write a_b_c": {"a": m{"b": m{"c": m{"addr": ":1"}}}},
		"a.b: a server's name can't hold a dot, which separates keys; write a_b":     {"a": m{"addr": ":0", "b": m{"addr": ":1"}}},
		"x.addr: a server's name can't hold a dot, which separates keys; write x_ad": {"x": m{"addr": m{"addr": ":1"}}},
		"d.e: a server's name can't hold a dot, which separates keys; write d_e":     {"d": m{"e": m{"delimiter": "x"}}},
	} {
		lines, warnings := load(m{"servers": servers})
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], "tcp.servers."+want)
		require.Empty(t, warnings)
	}
}

func TestMisspeltSectionsWarn(t *testing.T) {
	lines, warnings := load(withServer("proxy_protocols", m{"trusted": []any{"10.0.0.0/8"}}))
	require.Empty(t, lines, "old files must still start")
	require.Equal(t, []string{"tcp.servers.a.proxy_protocols: unknown key, ignored; the nearest known one is proxy_protocol"}, warnings)
}

func TestSectionsWithoutAValue(t *testing.T) {
	const want = ": is empty; want keys of its own below it, or leave it out"
	for key, section := range map[string]m{
		"tcp.bulk":              with("bulk", nil),
		"tcp.cluster":           with("cluster", nil),
		"tcp.cluster.redis":     with("cluster", m{"nats": m{"addr": "x"}, "redis": nil}),
		"tcp.cluster.nats.tls":  with("cluster", m{"nats": m{"tls": nil}}),
		"tcp.servers.a.tls":     withServer("tls", nil),
		"tcp.servers.a.goodbye": withServer("goodbye", nil),
	} {
		lines, _ := load(section)
		require.Equal(t, []string{key + want}, lines)
	}
	for _, section := range []m{with("pool", nil), with("pool", m{"supervisor": nil, "dynamic_allocator": nil}), withServer("length", nil)} {
		lines, _ := load(section)
		require.Empty(t, lines, "old files must still start")
	}
	lines, _ := load(m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": nil}}})
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "tcp.servers.a.length: is missing; framing length wants")
}

func TestEditDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"kitten", "sitting"}: 3, {"exec_tll", "exec_ttl"}: 1, {"flaw", "lawn"}: 2,
	} {
		require.Equal(t, want, editDistance(pair[0], pair[1]), "%v", pair)
	}
}
