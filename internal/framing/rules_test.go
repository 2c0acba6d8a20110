package framing_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

type rules = []framing.Rule

func TestRules(t *testing.T) {
	type length = framing.Length
	mail := framing.Packets{Rules: rules{{Starts: ".\r\n", Framing: "fixed", PacketSize: 3}, {Delimiter: "\r\n.\r\n"}}}
	gt06 := framing.Packets{Rules: rules{
		{Starts: "\x78\x78", Framing: "length", Length: &length{Bytes: 1, Offset: 2, Adjust: 2}},
		{Starts: "\x79\x79", Framing: "length", Length: &length{Bytes: 2, Offset: 2, Adjust: 2}},
	}}
	teltonika := framing.Packets{Rules: rules{
		{Starts: "\xff", Framing: "fixed", PacketSize: 1},
		{Starts: "\x00\x00\x00\x00", Framing: "length", Length: &length{Bytes: 4, Offset: 4, Adjust: 4}},
		{Starts: "\x00", Framing: "length", Length: &length{Bytes: 2}},
	}}
	h02 := framing.Packets{Rules: rules{{Starts: "$", Framing: "fixed", PacketSize: 32}, {Starts: "*", Delimiter: "#"}}}
	syslog := framing.Packets{Rules: rules{{Starts: "<", Delimiters: []string{"\r\n", "\n"}}, {Framing: "length", Length: &length{Until: " "}}}}
	for name, c := range map[string]struct {
		packets framing.Packets
		stream  string
		want    []string
	}{
		"an empty mail":              {mail, ".\r\n", []string{".\r\n"}},
		"a mail that begins with it": {mail, "..\r\n.\r\n", []string{"..\r\n.\r\n"}},
		"a mail":                     {mail, "a\r\n.\r\n.\r\nb\r\n.\r\n", []string{"a\r\n.\r\n", ".\r\n", "b\r\n.\r\n"}},
		"half of an empty one":       {mail, "a\r\n.\r\n.", []string{"a\r\n.\r\n", "."}},
		"GT06 with both lengths": {gt06, "\x78\x78\x05\x01abcd\r\n"[:10] + "\x79\x79\x00\x03xyz\r\n" + "\x78\x78\x00\r\n",
			[]string{"\x78\x78\x05\x01abcd\r\n"[:10], "\x79\x79\x00\x03xyz\r\n", "\x78\x78\x00\r\n"}},
		"Teltonika with pings": {teltonika, "\xff\x00\x0f123456789012345\xff\xff\x00\x00\x00\x00\x00\x00\x00\x02abCRC.\xff",
			[]string{"\xff", "\x00\x0f123456789012345", "\xff", "\xff", "\x00\x00\x00\x00\x00\x00\x00\x02abCRC.", "\xff"}},
		"H02 in both modes": {h02, "*HQ,1#$" + strings.Repeat("#", 31) + "*HQ,2#", []string{"*HQ,1#", "$" + strings.Repeat("#", 31), "*HQ,2#"}},
		"syslog in both framings": {syslog, "<34>a b\n5 <1>\nc<35>d\r\n0 <1>e\n",
			[]string{"<34>a b\n", "5 <1>\nc", "<35>d\r\n", "0 ", "<1>e\n"}},
		"empty packets of one rule": {framing.Packets{Rules: rules{{Starts: "~", Delimiter: "~", SkipEmpty: true}, {}}}, "~~ab\r\n~\r\n",
			[]string{"ab\r\n", "\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			requirePackets(t, c.packets, c.stream, c.want)
			if !strings.Contains(name, "empty packets") {
				c.packets.Batch = true
				require.Empty(t, c.packets.Init("x", 0))
				require.Equal(t, 100, c.packets.New(100, 0).Batch)
			}
		})
	}
}

func TestPacketThatFitsNoRule(t *testing.T) {
	p := framing.Packets{Rules: rules{{Starts: "\x78\x78", Framing: "fixed", PacketSize: 4}, {Starts: "\x79\x79", Framing: "fixed", PacketSize: 4}}}
	for stream, want := range map[string]error{
		"\x78\x78abc": framing.ErrNoRule, "\x78\x79": framing.ErrNoRule, "z": framing.ErrNoRule, "\x78\x78ab\x79": io.EOF, "\x78": io.EOF,
	} {
		require.Empty(t, p.Init("x", 0))
		for piece := 1; piece <= len(stream); piece++ {
			_, _, left, err := cut(p.New(1<<20, 0), framingtest.Pieces(stream, func() int { return piece }), 0)
			require.ErrorIs(t, err, want, "%q", stream)
			require.Equal(t, errors.Is(want, io.EOF), left == 1 && errors.Is(err, io.EOF), "%q: half of the first bytes at the end are an unfinished packet", stream)
		}
	}
}

func TestInitRefusesMistakesInRules(t *testing.T) {
	for _, c := range []struct {
		packets framing.Packets
		want    string
	}{
		{framing.Packets{Framing: "rules"}, `rules: is missing; framing rules wants a list`},
		{framing.Packets{Rules: rules{}}, `rules: is missing; framing rules wants a list`},
		{framing.Packets{Framing: "raw", Rules: rules{{}}}, `rules: belongs to framing "rules", and this is "raw"; leave it out or set framing: rules`},
		{framing.Packets{Rules: rules{{Framing: "raw"}}, Strip: true}, `strip: belongs to framing "delimiter", and this is "rules"`},
		{framing.Packets{Rules: rules{{Framing: "rules"}}}, `rules.0.framing: is "rules" itself; want "delimiter", "length", "fixed" or "raw"`},
		{framing.Packets{Rules: rules{{}, {Starts: "x"}}}, `rules.0.starts: is missing, so the rules behind it are never met`},
		{framing.Packets{Rules: rules{{Starts: "a"}, {Starts: "ab"}}}, `rules.1.starts: "ab" is never met: rule 0 takes what begins with "a"; put the longer one first`},
		{framing.Packets{Rules: rules{{Starts: "a"}, {Starts: "a"}}}, `rules.1.starts: "a" is never met`},
		{framing.Packets{Rules: rules{{Starts: "a"}, {StartsHex: "6162"}}}, `rules.1.starts_hex: "ab" is never met: rule 0 takes what begins with "a"`},
		{framing.Packets{Rules: rules{{Starts: "a"}, {Framing: "fixed"}}}, `rules.1.packet_size: is 0; framing fixed wants`},
		{framing.Packets{Rules: rules{{Starts: "a", PacketSize: 2}}}, `rules.0.packet_size: belongs to framing "fixed", and this is "delimiter"`},
		{framing.Packets{Rules: rules{{Framing: "length", Length: &framing.Length{Bytes: 9}}}}, `rules.0.length.bytes: 9 is no size of a binary number`},
		{framing.Packets{Rules: rules{{Starts: "a", Strip: true}, {}}, Batch: true}, `batch: without what strip takes away`},
		{framing.Packets{Rules: rules{{}}, DelimiterWait: new(time.Duration)}, `delimiter_wait: is for delimiters of which one begins with another`},
	} {
		errs := c.packets.Init("tcp.servers.a", 1024)
		require.Len(t, errs, 1, c.want)
		require.True(t, strings.HasPrefix(errs[0].Error(), "tcp.servers.a."+c.want), "%v, want %s", errs[0], c.want)
	}
	p := framing.Packets{Rules: rules{{Starts: "ab", Delimiters: []string{"\r\n", "\r"}}, {Starts: "a"}, {Framing: "raw"}}, DelimiterWait: new(time.Duration)}
	require.Empty(t, p.Init("x", 0))
	require.Equal(t, "rules", p.Framing)
	require.Equal(t, "\r\n", p.Rules[1].Delimiter)
}

func FuzzRules(f *testing.F) {
	f.Add("\xff\x00\x02ab\xff", "\xff", 1, "\x00", 2, 0, false, false, 64, 1)
	f.Add("<1>a\n5 <1>\nb", "<", -1, "", 0, 1, true, true, 0, 2)
	f.Add(".\r\na\r\n.\r\n", ".\r\n", 3, "x", -1, 0, false, false, 16, 3)
	f.Fuzz(func(t *testing.T, stream, startsA string, sizeA int, startsB string, bytesB, offsetB int, rest, skipEmpty bool, maxPacketSize, piece int) {
		a := framing.Rule{Starts: startsA, Framing: "fixed", PacketSize: sizeA}
		if sizeA < 0 {
			a = framing.Rule{Starts: startsA, Delimiters: []string{"\n", "\r\n", "\r"}, SkipEmpty: skipEmpty}
		}
		b := framing.Rule{Starts: startsB, Framing: "length", Length: &framing.Length{Bytes: bytesB, Offset: offsetB}}
		if bytesB <= 0 {
			b.Length = &framing.Length{Until: " ", Offset: offsetB}
		}
		p := framing.Packets{Rules: rules{a, b}}
		if rest {
			p.Rules = append(p.Rules, framing.Rule{Delimiter: "\r\n.\r\n", Strip: true})
		}
		maxPacketSize = max(0, maxPacketSize)
		if len(stream) > 1<<14 || len(p.Init("x", maxPacketSize)) > 0 {
			return
		}
		requireCut(t, p, stream, maxPacketSize, func() int { return 1 + max(0, piece%50) })
	})
}
