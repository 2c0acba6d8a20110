package framing

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProtocolsAreRight(t *testing.T) {
	for _, name := range Protocols() {
		p := Packets{Protocol: name}
		require.Empty(t, p.Init("x", 1<<20), name)
		again := p
		require.Empty(t, again.Init("x", 1<<20), name)
		require.Equal(t, p, again, "%s: a second time it changes nothing", name)
	}
}

// What is set counts, and takes the place of what the protocol has for the same purpose.
func TestProtocolsAreOverridden(t *testing.T) {
	for name, c := range map[string]struct{ set, want Packets }{
		"nothing": {Packets{Protocol: "netstring"}, Packets{Framing: "length", Length: &Length{ASCII: DigitsUntil, Until: ":", Adjust: 1}}},
		"a delimiter": {
			Packets{Protocol: "nmea", Delimiter: "\n"}, Packets{Framing: "delimiter", Delimiter: "\n", SkipEmpty: true},
		},
		"a delimiter in digits": {
			Packets{Protocol: "gelf", DelimiterHex: "0a"}, Packets{Framing: "delimiter", DelimiterHex: "0a"},
		},
		"delimiters in digits": {
			Packets{Protocol: "jt808", DelimitersHex: []string{"7e", "7f"}},
			Packets{Framing: "delimiter", DelimitersHex: []string{"7e", "7f"}, SkipEmpty: true},
		},
		"a length": {
			Packets{Protocol: "iso8583", Length: &Length{ASCII: 4}}, Packets{Framing: "length", Length: &Length{ASCII: 4}},
		},
		"rules": {
			Packets{Protocol: "gt06", Rules: []Rule{{Delimiter: "\n"}}},
			Packets{Framing: "rules", Rules: []Rule{{Framing: "delimiter", Delimiter: "\n"}}},
		},
		"another framing": {Packets{Protocol: "gt06", Framing: "raw"}, Packets{Framing: "raw"}},
		"false":           {Packets{Protocol: "jt808", set: []string{"skip_empty"}}, Packets{Framing: "delimiter", DelimiterHex: "7e", set: []string{"skip_empty"}}},
		"true": {
			Packets{Protocol: "smtp", Batch: true}, Packets{Framing: "delimiter", Delimiter: "\r\n", Batch: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, c.set.Init("x", 1<<20))
			c.want.Protocol = c.set.Protocol
			require.Equal(t, c.want, c.set)
		})
	}
}

func TestProtocolMistakes(t *testing.T) {
	for want, p := range map[string]Packets{
		`x.protocol: unknown protocol "http"; want one of gelf, gt06, h02, iso8583, jt808, mllp, modbus, mqtt, netstring, nmea, redis, smpp, smtp, stomp, syslog, teltonika, or none and framing`: {Protocol: "http"},
		`x.delimiter: belongs to framing "delimiter", and this is "length"; leave it out or set framing: delimiter`:                                                                               {Protocol: "mqtt", Delimiter: "\n"},
		`x.batch: without what strip takes away nobody could tell the packets apart; leave one of them out`:                                                                                       {Protocol: "iso8583", Batch: true},
	} {
		require.EqualError(t, errors.Join(p.Init("x", 1<<20)...), want)
	}
	require.Empty(t, protocols["gt06"].Rules[0].Delimiter, "the table stays as it is")
}

func TestNextKnowsProtocols(t *testing.T) {
	f, once, err := DecodeNext([]byte(`{"protocol":"jt808","skip_empty":false}`), 1<<20, 1<<20)
	require.NoError(t, err)
	require.False(t, once)
	require.Nil(t, f.IsEmpty)
	f, _, err = DecodeNext([]byte(`{"protocol":"redis"}`), 1<<10, 1<<20)
	require.NoError(t, err)
	require.Equal(t, 1<<10, f.Batch)
	f, _, err = DecodeNext([]byte(`{"protocol":"redis","Batch":false}`), 1<<20, 1<<20)
	require.NoError(t, err)
	require.Zero(t, f.Batch, "keys may have capital letters")

	f, once, err = DecodeNext([]byte(`{"protocol":"redis","once":true}`), 1<<20, 1<<20)
	require.NoError(t, err)
	require.True(t, once)
	require.Zero(t, f.Batch, "one packet")
	_, _, err = DecodeNext([]byte(`{"protocol":"http"}`), 1<<20, 1<<20)
	require.ErrorContains(t, err, `next.protocol: unknown protocol "http"`)
}
