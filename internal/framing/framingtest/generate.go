package framingtest

import (
	"encoding/hex"
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/framing"
)

// Packets generates settings of any framing but raw. Init may refuse them.
var Packets = rapid.Custom(func(t *rapid.T) framing.Packets {
	if rapid.IntRange(0, 4).Draw(t, "rules") > 0 {
		return single.Draw(t, "packets")
	}
	p := framing.Packets{Framing: "rules"}
	for _, s := range rapid.SliceOfN(single, 1, 4).Draw(t, "packets") {
		p.Rules = append(p.Rules, framing.Rule{
			Starts:  rapid.SampledFrom([]string{"a", "aa", "x", "\r", "\x00", "0", "1"}).Draw(t, "starts"),
			Framing: s.Framing, Delimiter: s.Delimiter, Delimiters: s.Delimiters, Strip: s.Strip, SkipEmpty: s.SkipEmpty,
			Length: s.Length, PacketSize: s.PacketSize,
		})
	}
	if rapid.Bool().Draw(t, "all") {
		p.Rules[len(p.Rules)-1].Starts = ""
	}
	return p
})

// single generates settings of one framing.
var single = rapid.Custom(func(t *rapid.T) framing.Packets {
	switch rapid.IntRange(0, 3).Draw(t, "framing") {
	case 0:
		return framing.Packets{Framing: "fixed", PacketSize: rapid.IntRange(1, 20).Draw(t, "size")}
	case 1:
		return framing.Packets{
			Framing: "delimiter", Strip: rapid.Bool().Draw(t, "strip"), SkipEmpty: rapid.Bool().Draw(t, "skipEmpty"),
			Delimiter: rapid.SampledFrom([]string{"\r\n", "\n", "aab", "\r\n.\r\n", "\x00", "aa"}).Draw(t, "delimiter"),
		}
	case 2:
		return framing.Packets{
			Framing: "delimiter", Strip: rapid.Bool().Draw(t, "strip"), SkipEmpty: rapid.Bool().Draw(t, "skipEmpty"),
			Delimiters: rapid.SampledFrom([][]string{
				{"\r\n", "\n"}, {"\n", "\r"}, {"abc", "b"}, {"b", "aab", "ca"}, {"aaab", "aaac", "\xff"}, {"\x00"},
				{"\r\n", "\n", "\r"}, {"a", "aab", "aaab"}, {"b", "abc", "bca"}, {"\r", "\r\n.\r\n"},
			}).Draw(t, "delimiters"),
		}
	default:
		return framing.Packets{Framing: "length", Length: lengths.Draw(t, "length")}
	}
})

var lengths = rapid.Custom(func(t *rapid.T) *framing.Length {
	l := &framing.Length{
		Offset: rapid.IntRange(0, 3).Draw(t, "offset"), Adjust: rapid.IntRange(-6, 6).Draw(t, "adjust"),
		Strip: rapid.IntRange(0, 6).Draw(t, "strip"),
	}
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		l.ASCII = framing.Digits(rapid.IntRange(1, 4).Draw(t, "digits"))
	case 1:
		l.Varint = true
	case 2:
		l.Until = rapid.SampledFrom([]string{" ", ":", "x"}).Draw(t, "until")
		l.Encoding = rapid.SampledFrom([]string{"", "ascii", "hex"}).Draw(t, "encoding")
	case 3:
		l.Encoding = rapid.SampledFrom([]string{"ascii", "hex", "bcd"}).Draw(t, "encoding")
		l.Bytes = rapid.IntRange(1, 4).Draw(t, "bytes")
	default:
		l.Bytes = rapid.SampledFrom([]int{1, 2, 3, 4, 8}).Draw(t, "bytes")
		l.Endian = rapid.SampledFrom([]string{"", "big", "little"}).Draw(t, "endian")
		l.Encoding = rapid.SampledFrom([]string{"", "binary"}).Draw(t, "encoding")
		if mask := rapid.SampledFrom([]uint64{0, 0x7f, 0x3fff, 1 << 7}).Draw(t, "mask"); mask != 0 {
			l.Mask = &mask
		}
	}
	return l
})

// Streams generates bytes that hold packets of p, and bytes that are none.
func Streams(p framing.Packets) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		pieces := []string{"a", "aab", "abc", "\r\n", "\r", "\n", ".", "\x00", "\xff", "aaac", "xyz", "c"}
		lengths := []*framing.Length{p.Length}
		for _, r := range p.Rules {
			lengths = append(lengths, r.Length)
			pieces = append(pieces, r.Starts+"a\r\n", r.Starts)
		}
		for _, l := range lengths[1:] {
			if l != nil {
				pieces = append(pieces, lengthPacket(t, l), lengthPacket(t, l))
			}
		}
		if p.Length != nil {
			whole := []string{lengthPacket(t, p.Length), lengthPacket(t, p.Length), lengthPacket(t, p.Length)}
			if rapid.Bool().Draw(t, "noise") {
				whole = append(whole, pieces...)
			}
			pieces = whole
		}
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 40).Draw(t, "stream"), "")
	})
}

// lengthPacket is a packet that announces its length.
func lengthPacket(t *rapid.T, l *framing.Length) string {
	payload := rapid.IntRange(0, 30).Draw(t, "payload")
	value := uint64(max(0, payload-l.Adjust))
	return strings.Repeat("x", l.Offset) + encode(l, value) + strings.Repeat("x", payload)
}

func encode(l *framing.Length, value uint64) string {
	digits := "%0*d"
	if l.Encoding == "hex" {
		digits = "%0*X"
	}
	switch size := max(l.Bytes, int(l.ASCII)); {
	case l.Varint:
		var b []byte
		for ; value >= 0x80; value >>= 7 {
			b = append(b, byte(value)|0x80)
		}
		return string(append(b, byte(value)))
	case l.Until != "":
		return fmt.Sprintf(digits, 0, value) + l.Until
	case l.Encoding == "bcd":
		packed, _ := hex.DecodeString(fmt.Sprintf("%0*d", 2*size, value)[:2*size])
		return string(packed)
	case l.ASCII > 0, l.Encoding != "" && l.Encoding != "binary":
		return fmt.Sprintf(digits, size, value)[:size]
	}
	if l.Mask != nil {
		value |= ^*l.Mask // flags, which do not count
	}
	b := make([]byte, l.Bytes)
	for i := range b {
		at := len(b) - 1 - i
		if l.Endian == "little" {
			at = i
		}
		b[at] = byte(value >> (8 * i))
	}
	return string(b)
}

// Pieces cuts stream into pieces of the given sizes, at least 1 byte each.
func Pieces(stream string, size func() int) (pieces [][]byte) {
	for stream != "" {
		n := min(max(1, size()), len(stream))
		pieces, stream = append(pieces, []byte(stream[:n])), stream[n:]
	}
	return pieces
}
