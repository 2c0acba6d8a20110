package framing_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

// Every byte can be said in hexadecimal digits, in each setting that holds bytes.
func TestEveryByteInHex(t *testing.T) {
	const digits = "0123456789abcdef"
	for b := range 256 {
		one, hex := string([]byte{byte(b)}), digits[b>>4:b>>4+1]+digits[b&0xf:b&0xf+1]
		other := string([]byte{byte(b) ^ 0xa5})
		for name, p := range map[string]framing.Packets{
			"delimiter_hex":  {DelimiterHex: hex},
			"delimiters_hex": {DelimitersHex: []string{strings.ToUpper(hex), hex + " " + hex + "01"}},
			"rules":          {Rules: rules{{StartsHex: hex + "0000"}, {DelimiterHex: hex}}},
			"lists in rules": {Rules: rules{{StartsHex: hex + "0000"}, {DelimitersHex: []string{hex}}}},
		} {
			require.Empty(t, p.Init("x", 0), name)
			require.Empty(t, p.Init("x", 0), "%s, twice", name)
			n, packet, err := p.New(1, 0).Split([]byte(other+other+one+other+other), false)
			require.NoError(t, err)
			require.Equal(t, 3, n, "%s: %s", name, hex)
			require.Equal(t, other+other+one, string(packet))
		}
	}
	p := withLength(framing.Length{UntilHex: "ff"})
	require.Empty(t, p.Init("x", 0))
	n, _, err := p.New(1, 0).Split([]byte("2\xffab"), false)
	require.NoError(t, err)
	require.Equal(t, 4, n)
}

func TestTextsThatAreOtherBytes(t *testing.T) {
	type packets = framing.Packets
	for _, c := range []struct {
		packets packets
		want    string
	}{
		{packets{Delimiter: "\u00ff"}, `delimiter: "\u00ff" is the bytes c3bf: a text holds characters, not bytes; for the bytes ff write delimiter_hex: "ff", for the characters delimiter_hex: "c3bf"`},
		{packets{Delimiter: "~\u0080\u20ac"}, `delimiter: "~\u0080\u20ac" is the bytes 7ec280e282ac: a text holds characters, not bytes; for the bytes 7e80e282ac write`},
		{packets{Delimiters: []string{"\n", "\u00a7"}}, `delimiters: "\u00a7" is the bytes c2a7`},
		{packets{Rules: rules{{Starts: "\u00ff"}, {}}}, `rules.0.starts: "\u00ff" is the bytes c3bf: a text holds characters, not bytes; for the bytes ff write starts_hex: "ff"`},
		{packets{Rules: rules{{Delimiter: "\u00ff"}}}, `rules.0.delimiter: "\u00ff" is the bytes c3bf`},
		{withLength(framing.Length{Until: "\u00ff"}), `length.until: "\u00ff" is the bytes c3bf: a text holds characters, not bytes; for the bytes ff write until_hex: "ff"`},
		{withLength(framing.Length{UntilHex: "0d0a"}), `length.until_hex: has 2 bytes; want the one`},
		{withLength(framing.Length{UntilHex: "x"}), `length.until_hex: "x" can't be read; want two hexadecimal digits`},
		{packets{DelimiterHex: "0d0"}, `delimiter_hex: "0d0" can't be read; want two hexadecimal digits for each byte, such as "7e" or "0d 0a"`},
		{packets{DelimiterHex: " "}, `delimiter_hex: " " can't be read`},
		{packets{DelimiterHex: "7e", Delimiter: "~"}, `delimiter_hex: stands beside delimiter; want one of the two`},
		{packets{DelimiterHex: "7e", Delimiters: []string{"~"}}, `delimiters: stands beside delimiter_hex; want one of the two`},
		{packets{DelimitersHex: []string{"7e"}, Delimiters: []string{"~"}}, `delimiters_hex: stands beside delimiters; want one of the two`},
		{packets{DelimitersHex: []string{}}, `delimiters_hex: is empty; want a list`},
		{packets{DelimitersHex: []string{"7e", ""}}, `delimiters_hex: holds an empty one`},
		{packets{DelimitersHex: []string{"7e", "7E"}}, `delimiters_hex: holds "~" twice`},
		{packets{DelimitersHex: []string{"7e", "7"}}, `delimiters_hex: "7" can't be read`},
		{packets{Framing: "raw", DelimiterHex: "7e"}, `delimiter_hex: belongs to framing "delimiter", and this is "raw"`},
		{packets{Rules: rules{{Starts: "x", StartsHex: "78"}, {}}}, `rules.0.starts_hex: stands beside starts; want one of the two`},
		{packets{Rules: rules{{StartsHex: "7"}, {}}}, `rules.0.starts_hex: "7" can't be read`},
		{packets{Rules: rules{{StartsHex: "78"}, {Starts: "xy"}}}, `rules.1.starts: "xy" is never met: rule 0 takes what begins with "x"`},
	} {
		errs := c.packets.Init("tcp.servers.a", 1024)
		require.Len(t, errs, 1, c.want)
		require.True(t, strings.HasPrefix(errs[0].Error(), "tcp.servers.a."+c.want), "%v, want %s", errs[0], c.want)
	}
	for _, meant := range []string{"\xff", "\x80\xff", "\u20ac", "~", "\x7f"} { // bytes of YAML's !!binary; characters that are no bytes
		p := packets{Delimiter: meant}
		require.Empty(t, p.Init("x", 0), "%q", meant)
	}
}
