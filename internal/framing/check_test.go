package framing_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

func withLength(l framing.Length) framing.Packets {
	return framing.Packets{Framing: "length", Length: &l}
}

func TestInitRefusesMistakes(t *testing.T) {
	type packets = framing.Packets
	type length = framing.Length
	negative := -time.Second
	for _, c := range []struct {
		packets packets
		want    string
	}{
		{packets{Framing: "lines"}, `framing: unknown framing "lines"; want "delimiter", "length", "fixed" or "raw"`},
		{packets{Framing: "length"}, `length: is missing; framing length wants length: {bytes: 2}`},
		{withLength(length{}), `length.bytes: is missing; want the size of the field`},
		{withLength(length{Bytes: 2, Varint: true}), `length: has 2 kinds of field; want one of`},
		{withLength(length{Bytes: 5}), `length.bytes: 5 is no size of a binary number; want 1, 2, 3, 4 or 8`},
		{withLength(length{Bytes: -1}), `length.bytes: -1 is no size`},
		{withLength(length{ASCII: 19}), `length.ascii: 19 is no number of digits; want one from 1 to 18`},
		{withLength(length{ASCII: -1}), `length.ascii: -1 is no number of digits`},
		{withLength(length{Bytes: 2, Endian: "middle"}), `length.endian: unknown order of bytes "middle"; want "big" or "little"`},
		{withLength(length{Varint: true, Endian: "big"}), `length.endian: belongs to a field of bytes; leave it out`},
		{withLength(length{Bytes: 2, Offset: -1}), `length.offset: -1 is out of range; want a number of bytes from 0 to`},
		{withLength(length{Bytes: 2, Adjust: 1<<30 + 1}), `length.adjust: 1073741825 is out of range; want a number of bytes from -1073741824 to`},
		{withLength(length{Bytes: 2, Adjust: -1<<30 - 1}), `length.adjust: -1073741825 is out of range`},
		{withLength(length{Bytes: 2, Strip: -3}), `length.strip: -3 is out of range; want a number of bytes from 0`},
		{withLength(length{Bytes: 4, Offset: 1021}), `length.offset: the field ends after 1025 bytes, max_packet_size is 1024`},
		{withLength(length{Encoding: "ascii"}), `length.bytes: is missing; want the size of the field`},
		{withLength(length{Bytes: 4, Encoding: "octal"}), `length.encoding: unknown encoding "octal"; want "binary", "ascii", "hex" or "bcd"`},
		{withLength(length{Bytes: 19, Encoding: "ascii"}), `length.bytes: 19 is no size of a number in ascii; want 1 to 18`},
		{withLength(length{Bytes: 17, Encoding: "hex"}), `length.bytes: 17 is no size of a number in hex; want 1 to 16`},
		{withLength(length{Bytes: 10, Encoding: "bcd"}), `length.bytes: 10 is no size of a number in bcd; want 1 to 9`},
		{withLength(length{ASCII: 4, Encoding: "hex"}), `length.encoding: belongs to a field of bytes; leave it out`},
		{withLength(length{Varint: true, Encoding: "bcd"}), `length.encoding: belongs to a field of bytes; leave it out`},
		{withLength(length{Bytes: 2, Encoding: "bcd", Endian: "big"}), `length.endian: belongs to a field of bytes; leave it out`},
		{withLength(length{ASCII: framing.DigitsUntil}), `length.ascii: is true; want the number of digits, such as 4, or beside it`},
		{withLength(length{ASCII: 4, Until: " "}), `length.ascii: is 4, but until ends the digits, however many; write ascii: true`},
		{withLength(length{Until: "\r\n"}), `length.until: has 2 bytes; want the one that ends the digits, such as " "`},
		{withLength(length{Until: "\xff\u00a7"}), `length.until: has 3 bytes; want the one that ends the digits`}, // no text, of YAML's !!binary
		{withLength(length{Until: "7"}), `length.until: "7" is a digit itself`},
		{withLength(length{Until: "e", Encoding: "hex"}), `length.until: "e" is a digit itself`},
		{withLength(length{Until: " ", Encoding: "bcd"}), `length.until: ends digits; leave it out, or want encoding: ascii or hex`},
		{withLength(length{Until: " ", Bytes: 2}), `length: has 2 kinds of field; want one of`},
		{withLength(length{ASCII: 4, Mask: mask(1)}), `length.mask: belongs to a binary field of bytes; leave it out`},
		{withLength(length{Bytes: 2, Mask: mask(0)}), `length.mask: 0x0 has no bit of the length, or more bits than the field; want those that are the length, such as 0x7fff`},
		{withLength(length{Bytes: 2, Mask: mask(0x10000)}), `length.mask: 0x10000 has no bit of the length, or more bits`},
		{packets{Framing: "fixed"}, `packet_size: is 0; framing fixed wants the length of every packet in bytes`},
		{packets{Framing: "fixed", PacketSize: -2}, `packet_size: is -2; framing fixed wants`},
		{packets{Framing: "fixed", PacketSize: 1025}, `packet_size: 1025 is over max_packet_size, 1024 bytes`},
		{packets{Framing: "raw", Delimiter: "x"}, `delimiter: belongs to framing "delimiter", and this is "raw"; leave it out or set framing: delimiter`},
		{packets{Framing: "fixed", PacketSize: 2, Delimiters: []string{"x"}}, `delimiters: belongs to framing "delimiter", and this is "fixed"`},
		{packets{Framing: "raw", Strip: true}, `strip: belongs to framing "delimiter", and this is "raw"`},
		{packets{Length: &length{Bytes: 2}}, `length: belongs to framing "length", and this is "delimiter"; leave it out or set framing: length`},
		{packets{PacketSize: 2}, `packet_size: belongs to framing "fixed", and this is "delimiter"`},
		{packets{Framing: "raw", Batch: true}, `batch: raw packets are whatever has arrived`},
		{packets{Strip: true, Batch: true}, `batch: without what strip takes away nobody could tell the packets apart`},
		{packets{Framing: "length", Length: &length{Bytes: 2, Strip: 2}, Batch: true}, `batch: without what strip takes away`},
		{packets{Delimiter: "x", Delimiters: []string{"y"}}, `delimiters: stands beside delimiter; want one of the two`},
		{packets{DelimiterHex: "7e", DelimitersHex: []string{"7f"}}, `delimiters_hex: stands beside delimiter_hex; want one of the two`},
		{packets{Delimiter: "x", DelimitersHex: []string{"7f"}}, `delimiters_hex: stands beside delimiter; want one of the two`},
		{packets{DelimiterHex: "7e", Delimiters: []string{"y"}}, `delimiters: stands beside delimiter_hex; want one of the two`},
		{packets{DelimitersHex: []string{}}, `delimiters_hex: is empty; want a list of them`},
		{withLength(length{UntilHex: "0d0a"}), `length.until_hex: has 2 bytes; want the one that ends the digits, such as " ", or in hexadecimal digits "20"`},
		{withLength(length{UntilHex: "37"}), `length.until_hex: "7" is a digit itself; want the byte that ends the digits`},
		{withLength(length{UntilHex: "20", Encoding: "bcd"}), `length.until_hex: ends digits; leave it out, or want encoding: ascii or hex`},
		{packets{Delimiters: []string{}}, `delimiters: is empty; want a list of them`},
		{packets{Delimiters: []string{"\n", ""}}, `delimiters: holds an empty one`},
		{packets{Delimiters: []string{"ab", "c", "ab"}}, `delimiters: holds "ab" twice; leave one of them out`},
		{packets{Framing: "fixed", PacketSize: 2, SkipEmpty: true}, `skip_empty: belongs to framing "delimiter", and this is "fixed"`},
		{packets{Framing: "raw", DelimiterWait: new(time.Duration)}, `delimiter_wait: belongs to framing "delimiter", and this is "raw"`},
		{packets{DelimiterWait: new(time.Duration)}, `delimiter_wait: is for delimiters of which one begins with another`},
		{packets{Delimiters: []string{"\r\n", "\n"}, DelimiterWait: new(time.Duration)}, `delimiter_wait: is for delimiters of which one begins with`},
		{packets{Delimiters: []string{"\r\n", "\r"}, DelimiterWait: &negative}, `delimiter_wait: -1s is negative; want a duration such as "20ms"`},
	} {
		errs := c.packets.Init("tcp.servers.a", 1024)
		require.Len(t, errs, 1, c.want)
		require.True(t, strings.HasPrefix(errs[0].Error(), "tcp.servers.a."+c.want), "%v, want %s", errs[0], c.want)
	}
}

func TestInitReportsAllMistakes(t *testing.T) {
	p := framing.Packets{Framing: "fixed", Strip: true, Delimiter: "x", Batch: true}
	require.Len(t, p.Init("x", 0), 4)
}

func TestInitAcceptsAllFramings(t *testing.T) {
	for _, p := range []framing.Packets{
		{}, {Framing: "delimiter", Strip: true, SkipEmpty: true}, {Delimiters: []string{"\n", "\n\n"}, DelimiterWait: new(time.Duration)}, {Delimiters: []string{"\r\n", "\n"}, Strip: true},
		{Delimiters: []string{"\r\n\r\n", "\n"}, DelimiterWait: new(time.Duration)},
		{Framing: "fixed", PacketSize: 1024, Batch: true}, {Framing: "raw"},
		withLength(framing.Length{Bytes: 8, Endian: "little", Offset: 3, Adjust: -3, Strip: 2}),
		{Framing: "length", Length: &framing.Length{ASCII: 18}, Batch: true},
		withLength(framing.Length{Varint: true}), withLength(framing.Length{Bytes: 4, Offset: 1020}),
		withLength(framing.Length{Until: " ", Offset: 1022}), withLength(framing.Length{ASCII: framing.DigitsUntil, Until: ":", Adjust: 1}),
		{Framing: "length", Length: &framing.Length{Until: " ", Encoding: "ascii"}, Batch: true},
		withLength(framing.Length{Bytes: 16, Encoding: "hex"}), withLength(framing.Length{Bytes: 9, Encoding: "bcd"}),
		withLength(framing.Length{ASCII: 4, Encoding: "ascii"}), withLength(framing.Length{Bytes: 8, Mask: mask(1 << 63), Encoding: "binary"}),
		withLength(framing.Length{Bytes: 2, Adjust: -1 << 30}),
	} {
		require.Empty(t, p.Init("x", 1024), "%+v", p)
	}
	var p framing.Packets
	require.Empty(t, p.Init("x", 0))
	require.Equal(t, framing.Packets{Framing: "delimiter", Delimiter: "\r\n"}, p)
	p = framing.Packets{Framing: "fixed", PacketSize: math.MaxInt}
	require.Empty(t, p.Init("x", 0), "without max_packet_size")
}
