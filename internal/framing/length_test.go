package framing_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

func mask(bits uint64) *uint64 { return &bits }

func TestHostileLengths(t *testing.T) {
	type length = framing.Length
	for name, c := range map[string]struct {
		length  length
		arrives string
		want    error // nil: the rest is waited for
	}{
		"as long as allowed":                 {length{Bytes: 4}, "\x00\x00\x03\xe4", nil},
		"one more":                           {length{Bytes: 4}, "\x00\x00\x03\xe5", framing.ErrTooLong},
		"one more, little endian":            {length{Bytes: 4, Endian: "little"}, "\xe5\x03\x00\x00", framing.ErrTooLong},
		"one more, in digits":                {length{ASCII: 4}, "0997", framing.ErrTooLong},
		"one more, as a varint":              {length{Varint: true}, "\xe7\x07", framing.ErrTooLong},
		"one more, adjusted":                 {length{Bytes: 2, Adjust: 1}, "\x03\xe6", framing.ErrTooLong},
		"2^31":                               {length{Bytes: 4}, "\x80\x00\x00\x00", framing.ErrTooLong},
		"2^32-1":                             {length{Bytes: 4}, "\xff\xff\xff\xff", framing.ErrTooLong},
		"2^63-1":                             {length{Bytes: 8}, "\x7f\xff\xff\xff\xff\xff\xff\xff", framing.ErrLength},
		"2^63":                               {length{Bytes: 8}, "\x80\x00\x00\x00\x00\x00\x00\x00", framing.ErrLength},
		"2^64-1":                             {length{Bytes: 8, Adjust: 8}, "\xff\xff\xff\xff\xff\xff\xff\xff", framing.ErrLength},
		"18 nines":                           {length{ASCII: 18}, strings.Repeat("9", 18), framing.ErrTooLong},
		"zero, adjusted below the field":     {length{Bytes: 2, Adjust: -1}, "\x00\x00", framing.ErrLength},
		"one less than its own header":       {length{Bytes: 2, Adjust: -2}, "\x00\x01", framing.ErrLength},
		"less than what is stripped":         {length{Bytes: 2, Strip: 4}, "\x00\x01", framing.ErrLength},
		"no digit":                           {length{ASCII: 4}, "1x", framing.ErrLength},
		"a sign":                             {length{ASCII: 4}, "-001", framing.ErrLength},
		"a blank":                            {length{ASCII: 4}, " 001", framing.ErrLength},
		"an endless varint":                  {length{Varint: true}, strings.Repeat("\x80", 10), framing.ErrLength},
		"a varint of ten bytes, over 2^64":   {length{Varint: true}, strings.Repeat("\xff", 9) + "\x02", framing.ErrLength},
		"a varint of ten bytes, below 2^64":  {length{Varint: true}, strings.Repeat("\xff", 9) + "\x01", framing.ErrLength},
		"ten digits up to a blank":           {length{Until: " "}, "9999999999 ", framing.ErrTooLong},
		"ten digits, and no end yet":         {length{Until: " "}, "0000000001", nil},
		"eleven digits":                      {length{Until: " "}, "00000000001", framing.ErrLength},
		"no digit before the end":            {length{Until: " "}, " ", framing.ErrLength},
		"a leading blank":                    {length{Until: ":"}, " 5:", framing.ErrLength},
		"a leading sign":                     {length{Until: " "}, "+5 ", framing.ErrLength},
		"a negative number":                  {length{Until: " "}, "-1 ", framing.ErrLength},
		"a hexadecimal digit among decimal":  {length{Until: " "}, "1a ", framing.ErrLength},
		"a G among hexadecimal digits":       {length{Encoding: "hex", Bytes: 4}, "00G", framing.ErrLength},
		"one more, in hexadecimal digits":    {length{Encoding: "hex", Bytes: 4}, "03e5", framing.ErrTooLong},
		"as long as allowed, in hexadecimal": {length{Encoding: "hex", Bytes: 4}, "03E4", nil},
		"16 times F":                         {length{Encoding: "hex", Bytes: 16}, strings.Repeat("F", 16), framing.ErrLength},
		"one more, in BCD":                   {length{Encoding: "bcd", Bytes: 2}, "\x09\x99", framing.ErrTooLong},
		"as long as allowed, in BCD":         {length{Encoding: "bcd", Bytes: 2}, "\x09\x98", nil},
		"no decimal digit in BCD":            {length{Encoding: "bcd", Bytes: 2}, "\x0a", framing.ErrLength},
		"none in the high half":              {length{Encoding: "bcd", Bytes: 2}, "\xa0", framing.ErrLength},
		"18 nines in BCD":                    {length{Encoding: "bcd", Bytes: 9}, strings.Repeat("\x99", 9), framing.ErrTooLong},
		"flags above the length":             {length{Bytes: 4, Mask: mask(0x7fffffff)}, "\x80\x00\x03\xe4", nil},
		"flags above what is too long":       {length{Bytes: 4, Mask: mask(0x7fffffff)}, "\x80\x00\x03\xe5", framing.ErrTooLong},
		"flags in all other bits":            {length{Bytes: 8, Mask: mask(0xff)}, "\xff\xff\xff\xff\xff\xff\xff\x10", nil},
		"flags, little endian":               {length{Bytes: 2, Endian: "little", Mask: mask(0x3fff)}, "\xe5\xc3", nil},
		"an MQTT length as long as allowed":  {length{Varint: true, Offset: 1}, "\x30\xe5\x07", nil},
	} {
		for _, maxPacketSize := range []int{1000, 0} {
			if maxPacketSize == 0 && errors.Is(c.want, framing.ErrTooLong) {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d", name, maxPacketSize), func(t *testing.T) {
				p := framing.Packets{Framing: "length", Length: &c.length}
				require.Empty(t, p.Init("x", maxPacketSize))
				n, packet, err := p.New(1<<20, maxPacketSize).Split([]byte(c.arrives), false)
				require.Zero(t, n)
				require.Nil(t, packet)
				require.Equal(t, c.want, err, "before the packet has arrived")
			})
		}
	}
}

func TestLengthZero(t *testing.T) {
	p := framing.Packets{Framing: "length", Length: &framing.Length{Bytes: 2}}
	require.Empty(t, p.Init("x", 1000))
	n, packet, err := p.New(1<<20, 1000).Split([]byte("\x00\x00x"), false)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, "\x00\x00", string(packet))
}

// The four headers of ISO 8583 over TCP, octet counting of RFC 6587, netstrings, and a header whose highest bit is a flag.
func TestLengthNotations(t *testing.T) {
	type length = framing.Length
	for name, c := range map[string]struct {
		length length
		stream string
		want   []string
	}{
		"binary":           {length{Bytes: 2}, "\x00\x040800\x00\x00\x00\x03081", []string{"\x00\x040800", "\x00\x00", "\x00\x03081"}},
		"decimal digits":   {length{ASCII: 4}, "0004080000000003081", []string{"00040800", "0000", "0003081"}},
		"decimal, named":   {length{Bytes: 4, Encoding: "ascii"}, "0004080000000003081", []string{"00040800", "0000", "0003081"}},
		"hexadecimal":      {length{Bytes: 4, Encoding: "hex"}, "000a0123456789000Aabcdefghij", []string{"000a0123456789", "000Aabcdefghij"}},
		"BCD":              {length{Bytes: 2, Encoding: "bcd"}, "\x00\x120123456789ab\x00\x00\x00\x01x", []string{"\x00\x120123456789ab", "\x00\x00", "\x00\x01x"}},
		"header included":  {length{Bytes: 2, Encoding: "bcd", Adjust: -2}, "\x00\x060800\x00\x02", []string{"\x00\x060800", "\x00\x02"}},
		"digits included":  {length{ASCII: 2, Adjust: -2}, "06080002", []string{"060800", "02"}},
		"octet counting":   {length{ASCII: framing.DigitsUntil, Until: " "}, "11 <34>1 hello0 3 abc", []string{"11 <34>1 hello", "0 ", "3 abc"}},
		"netstring":        {length{ASCII: 1, Until: ":", Adjust: 1}, "12:hello world!,0:,", []string{"12:hello world!,", "0:,"}},
		"hex up to a byte": {length{Encoding: "hex", Until: ";"}, "1F;" + strings.Repeat("x", 31) + "0;", []string{"1F;" + strings.Repeat("x", 31), "0;"}},
		"behind a header":  {length{Until: " ", Offset: 2}, "ab3 xyzcd0 ", []string{"ab3 xyz", "cd0 "}},
		"stripped":         {length{Until: ":", Strip: 2, Adjust: 1}, "3:abc,", []string{"abc,"}},
		"flags":            {length{Bytes: 4, Mask: mask(0x7fffffff)}, "\x80\x00\x00\x05abcde\x00\x00\x00\x01x", []string{"\x80\x00\x00\x05abcde", "\x00\x00\x00\x01x"}},
	} {
		t.Run(name, func(t *testing.T) { requirePackets(t, withLength(c.length), c.stream, c.want) })
	}
}

// requirePackets requires that p cuts a stream into packets, whole and cut once at every position, and that batches hold
// whole packets.
func requirePackets(t *testing.T, p framing.Packets, stream string, want []string) {
	t.Helper()
	require.Empty(t, p.Init("x", 1000))
	f := p.New(1<<20, 1000)
	for at := range len(stream) + 1 {
		got, _, left, err := cut(f, pieces(stream[:at], stream[at:]), 1000)
		require.ErrorIs(t, err, io.EOF, "cut at %d", at)
		require.Equal(t, want, got, "cut at %d", at)
		require.Zero(t, left, "cut at %d", at)
	}
	got, _, _, err := cut(f, framingtest.Pieces(stream, func() int { return 1 }), 1000)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, want, got, "byte by byte")
}

func pieces(all ...string) (pieces [][]byte) {
	for _, p := range all {
		if p != "" {
			pieces = append(pieces, []byte(p))
		}
	}
	return pieces
}
