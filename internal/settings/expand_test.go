package settings

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExpand(t *testing.T) {
	c := new(lineConfig)
	require.NoError(t, c.load(sections{"tcp": m{"servers": m{
		"a": m{"addr": ":1", "protocol": "teltonika"},
		"b": m{"addr": ":2"},
		"c": m{"addr": ":3", "protocol": "syslog", "batch": true},
		"d": m{"addr": ":4", "protocol": "redis", "batch": false},
		"e": m{"addr": ":5", "protocol": "mllp"},
	}}}))
	var lengths string
	for digit := range 9 {
		lengths += fmt.Sprintf(`{starts: "%d", framing: "length", length: {ascii: true, until: " "}}, `, digit+1)
	}
	require.Equal(t, `tcp:
  servers:
    "a":
      addr: ":1"
      protocol: "teltonika"
      framing: "rules"
      rules: [{starts_hex: "ff", framing: "fixed", packet_size: 1}, `+
		`{starts_hex: "00000000", framing: "length", length: {bytes: 4, offset: 4, adjust: 4}}, {framing: "length", length: {bytes: 2}}]
    "b":
      addr: ":2"
      framing: "delimiter"
      delimiter: "\r\n"
    "c":
      addr: ":3"
      protocol: "syslog"
      framing: "rules"
      rules: [{starts: "<", framing: "delimiter", delimiter: "\n"}, `+lengths+
		`{framing: "delimiter", delimiters: ["\r\n", "\n"], skip_empty: true}]
      batch: true
    "d":
      addr: ":4"
      protocol: "redis"
      framing: "rules"
      rules: [{starts: "$", framing: "length", length: {ascii: true, until: "\r", offset: 1, adjust: 3}}, {framing: "delimiter", delimiter: "\r\n"}]
    "e":
      addr: ":5"
      protocol: "mllp"
      framing: "delimiter"
      delimiters_hex: ["1c0d", "1c"]
`, c.Expand())
}

// YAML takes a control character only as an escape, and bytes that are no text only as binary.
func TestExpandQuotesBytes(t *testing.T) {
	for text, want := range map[string]string{
		"\r\n": `"\r\n"`, "\x7f": `"\x7f"`, "\x01\"\\": `"\x01\"\\"`, "\ufeff": `"\ufeff"`, "<\u20ac": "\"<\u20ac\"", "\xff\n": `!!binary "/wo="`,
	} {
		server := &Server{Addr: ":1"}
		server.Delimiter = text
		c, err := checked(server)
		require.NoError(t, err)
		require.Contains(t, c.Expand(), "      delimiter: "+want+"\n")
	}
}

func TestProtocolKey(t *testing.T) {
	lines, _ := load(withServer("protocol", "http"))
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], `tcp.servers.a.protocol: unknown protocol "http"; want one of gelf, `)
	lines, _ = load(withServer("protocol", 3))
	require.NotEmpty(t, lines)
	_, warnings := load(withServer("protocoll", "mqtt"))
	require.Equal(t, []string{"tcp.servers.a.protocoll: unknown key, ignored; the nearest known one is protocol"}, warnings)
}
