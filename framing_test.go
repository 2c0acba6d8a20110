package tcp

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// byHand cuts a whole stream by the rules in other words: the packets, whether the last one is a tail, how many bytes are
// left, and whether what is left can't be a packet.
func byHand(p Packets, stream string, longest int) (packets []string, tail bool, left int, bad bool) {
	for stream != "" {
		n, packet, bad := firstByHand(p, stream, longest)
		switch {
		case bad:
			return packets, false, len(stream), true
		case n == 0 && p.Framing == framingDelimiter:
			return append(packets, stream), true, 0, false
		case n == 0:
			return packets, false, len(stream), false
		}
		packets, stream = append(packets, packet), stream[n:]
	}
	return packets, false, 0, false
}

// firstByHand is the first packet of a stream, and how many bytes it takes; 0 if it is not finished. bad: it can't be one.
func firstByHand(p Packets, stream string, longest int) (n int, packet string, bad bool) {
	unfinished := longest > 0 && len(stream) > longest
	switch p.Framing {
	case framingFixed:
		if n = p.PacketSize; n > len(stream) {
			return 0, "", unfinished
		}
		return n, stream[:n], false
	case framingLength:
		size, known := lengthByHand(p.Length, stream)
		switch {
		case !known:
			return 0, "", unfinished
		case size == nil, longest > 0 && size.Cmp(big.NewInt(int64(longest))) > 0:
			return 0, "", true
		case size.Cmp(big.NewInt(int64(len(stream)))) > 0:
			return 0, "", false
		}
		n = int(size.Int64())
		return n, stream[p.Length.Strip:n], false
	default:
		n, to := delimitedByHand(p, stream)
		if n == 0 {
			return 0, "", unfinished
		}
		return n, stream[:to], longest > 0 && n > longest
	}
}

func delimitedByHand(p Packets, stream string) (n, to int) {
	delimiters := p.Delimiters
	if delimiters == nil {
		delimiters = []string{p.Delimiter}
	}
	for i := range len(stream) {
		for _, d := range delimiters {
			if strings.HasPrefix(stream[i:], d) {
				if p.Strip {
					return i + len(d), i
				}
				return i + len(d), i + len(d)
			}
		}
	}
	return 0, 0
}

// lengthByHand is the length of the packet; nil if it can't be.
func lengthByHand(l *Length, stream string) (size *big.Int, known bool) {
	if len(stream) < l.Offset {
		return nil, false
	}
	field, value := stream[l.Offset:], new(big.Int)
	n := l.Bytes
	switch {
	case l.Varint:
		for n = 0; ; {
			if n == 10 {
				return nil, true
			}
			if n == len(field) {
				return nil, false
			}
			low := big.NewInt(int64(field[n] & 0x7f))
			value.Add(value, low.Lsh(low, uint(7*n)))
			if n++; field[n-1] < 0x80 {
				break
			}
		}
	case l.ASCII > 0:
		n = l.ASCII
		digits := field[:min(n, len(field))]
		for _, d := range digits {
			if !strings.ContainsRune("0123456789", d) {
				return nil, true
			}
		}
		if len(digits) < n {
			return nil, false
		}
		value.SetString(digits, 10)
	case len(field) < n:
		return nil, false
	default:
		b := []byte(field[:n])
		if l.Endian == "little" {
			for i := range n / 2 {
				b[i], b[n-1-i] = b[n-1-i], b[i]
			}
		}
		value.SetBytes(b)
	}
	if value.Cmp(big.NewInt(math.MaxInt64-4*mostHeader)) > 0 {
		return nil, true // no memory holds that
	}
	header := big.NewInt(int64(l.Offset + n))
	size = new(big.Int).Add(header, value)
	size.Add(size, big.NewInt(int64(l.Adjust)))
	if size.Cmp(header) < 0 || size.Cmp(big.NewInt(int64(l.Strip))) < 0 {
		return nil, true
	}
	return size, true
}

var lengthGen = rapid.Custom(func(t *rapid.T) *Length {
	l := &Length{
		Offset: rapid.IntRange(0, 3).Draw(t, "offset"), Adjust: rapid.IntRange(-6, 6).Draw(t, "adjust"),
		Strip: rapid.IntRange(0, 6).Draw(t, "strip"),
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		l.ASCII = rapid.IntRange(1, 4).Draw(t, "digits")
	case 1:
		l.Varint = true
	default:
		l.Bytes = rapid.SampledFrom([]int{1, 2, 3, 4, 8}).Draw(t, "bytes")
		l.Endian = rapid.SampledFrom([]string{"", "big", "little"}).Draw(t, "endian")
	}
	return l
})

// packetsGen makes any framing but raw.
var packetsGen = rapid.Custom(func(t *rapid.T) Packets {
	switch rapid.IntRange(0, 3).Draw(t, "framing") {
	case 0:
		return Packets{Framing: framingFixed, PacketSize: rapid.IntRange(1, 20).Draw(t, "size")}
	case 1:
		return Packets{
			Framing: framingDelimiter, Strip: rapid.Bool().Draw(t, "strip"),
			Delimiter: rapid.SampledFrom([]string{"\r\n", "\n", "aab", "\r\n.\r\n", "\x00"}).Draw(t, "delimiter"),
		}
	case 2:
		return Packets{Framing: framingDelimiter, Strip: rapid.Bool().Draw(t, "strip"), Delimiters: rapid.SampledFrom([][]string{
			{"\r\n", "\n"}, {"\n", "\r"}, {"abc", "b"}, {"b", "aab", "ca"}, {"aaab", "aaac", "\xff"}, {"\x00"},
		}).Draw(t, "delimiters")}
	default:
		return Packets{Framing: framingLength, Length: lengthGen.Draw(t, "length")}
	}
})

// streamGen makes bytes that hold packets of that framing, and what is none.
func streamGen(p Packets) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		pieces := []string{"a", "aab", "abc", "\r\n", "\r", "\n", ".", "\x00", "\xff", "aaac", "xyz", "c"}
		if p.Length != nil {
			pieces = append(pieces, announcing(t, p.Length), announcing(t, p.Length), announcing(t, p.Length))
			if !rapid.Bool().Draw(t, "noise") {
				pieces = pieces[len(pieces)-3:]
			}
		}
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 40).Draw(t, "stream"), "")
	})
}

// announcing is a packet whose field says how long it is.
func announcing(t *rapid.T, l *Length) string {
	payload := rapid.IntRange(0, 30).Draw(t, "payload")
	value := uint64(max(0, payload-l.Adjust))
	return x(l.Offset) + encodedLength(l, value) + x(payload)
}

func encodedLength(l *Length, value uint64) string {
	switch {
	case l.Varint:
		var b []byte
		for ; value >= 0x80; value >>= 7 {
			b = append(b, byte(value)|0x80)
		}
		return string(append(b, byte(value)))
	case l.ASCII > 0:
		return fmt.Sprintf("%0*d", l.ASCII, value)[:l.ASCII]
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

// read reads a stream in pieces to its end.
func readWith(f framing, stream string, longest int, sizes func() int) (packets []string, tail bool, left int, err error) {
	r := &reader{
		memory: &memory{}, socket: &pieces{chunks(stream, sizes), io.EOF}, framing: f, own: f, most: 1 << 20, longest: longest,
	}
	for {
		packet, isTail, err := r.next()
		if err != nil {
			return packets, tail, r.unfinished(), err
		}
		packets, tail = append(packets, string(packet)), tail || isTail
	}
}

func TestEveryFramingCutsAsItDoesByHandHoweverTheBytesAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := packetsGen.Draw(t, "packets")
		stream := streamGen(p).Draw(t, "stream")
		longest := rapid.SampledFrom([]int{0, 40, 12, 25}).Draw(t, "longest")
		most := rapid.SampledFrom([]int{1, 2, 7, 1 << 20}).Draw(t, "piece")
		if errs := p.init("x", longest); len(errs) > 0 {
			t.Skip()
		}
		sizes := func() int { return rapid.IntRange(1, most).Draw(t, "n") }
		checkCut(t, p, stream, longest, sizes)
	})
}

func checkCut(t require.TestingT, p Packets, stream string, longest int, sizes func() int) {
	want, wantTail, wantLeft, bad := byHand(p, stream, longest)
	got, tail, left, err := readWith(p.framing(1<<20, longest), stream, longest, sizes)
	require.True(t, slices.Equal(want, got), "%+v %+v: %q, want %q", p, p.Length, got, want)
	require.Equal(t, wantTail, tail)
	if bad {
		require.True(t, errors.Is(err, errLength) || errors.Is(err, errTooLong), "%v", err)
		return
	}
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, wantLeft, left)
}

func FuzzLength(f *testing.F) {
	f.Add("\x00\x03abc\x00\x00", 2, false, 0, false, 0, 0, 0, 64, 1)
	f.Add("\x10\x0bxxxxxxxxxxx", 0, false, 0, true, 1, 0, 0, 64, 3)
	f.Add("0003abc", 0, false, 4, false, 0, 0, 4, 64, 2)
	f.Add("\x80\x00\x00\x00\x00\x00\x00\x00", 8, false, 0, false, 0, -1, 0, 0, 5)
	f.Add(strings.Repeat("\xff", 20), 0, false, 0, true, 0, 0, 0, 0, 1)
	f.Fuzz(func(t *testing.T, stream string, size int, little bool, digits int, varint bool, offset, adjust, strip, longest, piece int) {
		p := Packets{Framing: framingLength, Length: &Length{
			Bytes: size, ASCII: digits, Varint: varint, Offset: offset, Adjust: adjust, Strip: strip,
		}}
		if little {
			p.Length.Endian = "little"
		}
		longest = max(0, longest)
		if len(stream) > 1<<14 || len(p.init("x", longest)) > 0 {
			t.Skip()
		}
		checkCut(t, p, stream, longest, func() int { return 1 + max(0, piece%50) })
	})
}

func FuzzDelimiters(f *testing.F) {
	f.Add("a\r\nb\nc", "\r\n", "\n", "\x00", true, 1)
	f.Add("aababcab", "abc", "b", "ca", false, 2)
	f.Fuzz(func(t *testing.T, stream, a, b, c string, strip bool, piece int) {
		p := Packets{Delimiters: []string{a, b, c}, Strip: strip}
		if len(stream) > 1<<14 || len(p.init("x", 0)) > 0 {
			t.Skip()
		}
		checkCut(t, p, stream, 0, func() int { return 1 + max(0, piece%50) })
	})
}

func TestHostileLengthsEndAtOnceAndTakeNoMemory(t *testing.T) {
	endless := strings.Repeat("\x80", 10)
	for name, c := range map[string]struct {
		length Length
		header string // what arrives
		want   error  // nil: the packet is waited for
	}{
		"as long as allowed":                {Length{Bytes: 4}, "\x00\x00\x03\xe4", nil},
		"one more":                          {Length{Bytes: 4}, "\x00\x00\x03\xe5", errTooLong},
		"one more, little end first":        {Length{Bytes: 4, Endian: "little"}, "\xe5\x03\x00\x00", errTooLong},
		"one more, in digits":               {Length{ASCII: 4}, "0997", errTooLong},
		"one more, as a varint":             {Length{Varint: true}, "\xe7\x07", errTooLong},
		"one more, adjusted":                {Length{Bytes: 2, Adjust: 1}, "\x03\xe6", errTooLong},
		"2^31":                              {Length{Bytes: 4}, "\x80\x00\x00\x00", errTooLong},
		"2^32-1":                            {Length{Bytes: 4}, "\xff\xff\xff\xff", errTooLong},
		"2^63-1":                            {Length{Bytes: 8}, "\x7f\xff\xff\xff\xff\xff\xff\xff", errLength},
		"2^63":                              {Length{Bytes: 8}, "\x80\x00\x00\x00\x00\x00\x00\x00", errLength},
		"2^64-1":                            {Length{Bytes: 8, Adjust: 8}, "\xff\xff\xff\xff\xff\xff\xff\xff", errLength},
		"18 nines":                          {Length{ASCII: 18}, strings.Repeat("9", 18), errTooLong},
		"zero":                              {Length{Bytes: 2}, "\x00\x00x", nil},
		"zero, adjusted below the field":    {Length{Bytes: 2, Adjust: -1}, "\x00\x00", errLength},
		"one less than its own header":      {Length{Bytes: 2, Adjust: -2}, "\x00\x01", errLength},
		"less than what is stripped":        {Length{Bytes: 2, Strip: 4}, "\x00\x01", errLength},
		"no digit":                          {Length{ASCII: 4}, "1x", errLength},
		"a sign":                            {Length{ASCII: 4}, "-001", errLength},
		"a blank":                           {Length{ASCII: 4}, " 001", errLength},
		"an endless varint":                 {Length{Varint: true}, endless, errLength},
		"a varint of ten bytes, over 2^64":  {Length{Varint: true}, strings.Repeat("\xff", 9) + "\x02", errLength},
		"a varint of ten bytes, below 2^64": {Length{Varint: true}, strings.Repeat("\xff", 9) + "\x01", errLength},
		"an MQTT length as long as allowed": {Length{Varint: true, Offset: 1}, "\x30\xe5\x07", nil},
	} {
		for _, longest := range []int{1000, 0} {
			if longest == 0 && errors.Is(c.want, errTooLong) {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d", name, longest), func(t *testing.T) {
				p := Packets{Framing: framingLength, Length: &c.length}
				require.Empty(t, p.init("x", longest))
				r := &reader{
					memory: &memory{}, socket: &pieces{[][]byte{[]byte(c.header)}, errors.New("the rest is waited for")},
					framing: p.framing(1<<20, longest), most: 1 << 20, longest: longest,
				}
				packet, _, err := r.next()
				require.LessOrEqual(t, r.memory.used.Load(), int64(waitingBuffer))
				switch {
				case c.want != nil:
					require.ErrorIs(t, err, c.want)
					require.Equal(t, reasonTooLong, reasonOf(err))
				case name == "zero":
					require.NoError(t, err)
					require.Equal(t, "\x00\x00", string(packet))
				default:
					require.ErrorContains(t, err, "waited for")
				}
			})
		}
	}
}

func TestAPacketOfZeroBytesIsAPacket(t *testing.T) {
	for name, c := range map[string]struct {
		packets Packets
		stream  string
	}{
		"nothing before the delimiter": {Packets{Strip: true}, "\r\n\r\na\r\n"},
		"of several":                   {Packets{Strip: true, Delimiters: []string{"\r\n", "\n"}}, "\n\r\na\n"},
		"nothing behind the header":    {Packets{Framing: framingLength, Length: &Length{Bytes: 1, Strip: 1}}, "\x00\x00\x01a"},
		"nothing but what is stripped": {Packets{Framing: framingLength, Length: &Length{ASCII: 1, Strip: 3}}, "2xx2xx3xxa"},
	} {
		require.Empty(t, c.packets.init("x", 0))
		for piece := 1; piece <= len(c.stream); piece++ {
			got, _, _, err := readWith(c.packets.framing(1<<20, 0), c.stream, 0, func() int { return piece })
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, []string{"", "", "a"}, got, name)
		}
	}
}

func TestRawHandsOverWhateverHasArrived(t *testing.T) {
	raw := Packets{Framing: framingRaw}
	got, tail, left, err := readWith(raw.framing(4, 0), "abcdefghij", 0, func() int { return 3 })
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"abc", "def", "ghi", "j"}, got)
	require.False(t, tail, "there are no tails")
	require.Zero(t, left)
	for _, most := range []int{1, 4, 7} { // of read_buf_size and max_packet_size the smaller one
		for _, f := range []framing{raw.framing(most, 0), raw.framing(1<<20, most)} {
			got, _, _, err = readWith(f, x(100), 0, func() int { return 100 })
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, x(100), strings.Join(got, ""))
			for _, packet := range got {
				require.LessOrEqual(t, len(packet), most)
			}
		}
	}
}

func TestBatchesOfEveryFramingAreWholePackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := packetsGen.Draw(t, "packets")
		p.Batch = true
		stream := streamGen(p).Draw(t, "stream")
		if len(p.init("x", 0)) > 0 {
			t.Skip()
		}
		most := rapid.IntRange(1, 60).Draw(t, "most")
		f := p.framing(most, 0)
		batches, _, _, err := readWith(f, stream, 0, func() int { return rapid.IntRange(1, 30).Draw(t, "n") })
		p.Batch = false
		packets, _, _, bad := byHand(p, stream, 0)
		require.Equal(t, bad, !errors.Is(err, io.EOF), "%v", err)
		for _, batch := range batches {
			require.True(t, len(batch) <= most || batch == packets[0], "%d packets do not fit", len(packets))
			for rest := batch; rest != ""; packets = packets[1:] {
				require.NotEmpty(t, packets, "%q is no packet", rest)
				require.True(t, strings.HasPrefix(rest, packets[0]), "%q does not begin with %q", rest, packets[0])
				rest = rest[len(packets[0]):]
			}
		}
		require.Empty(t, packets)
	})
}

func TestAnotherFramingFromAnyByteOnCutsWhatWasReadAhead(t *testing.T) {
	const lines, mail, behind = "EHLO\nDATA\n", "a\n.b\n\n.\n", "QUIT\nNOOP\n"
	for name, next := range map[string]struct {
		packets Packets
		bytes   string
		want    []string
	}{
		"delimiter": {Packets{Delimiter: "\n.\n"}, mail, []string{mail}},
		"stripped":  {Packets{Delimiter: "\n.\n", Strip: true}, mail, []string{"a\n.b\n"}},
		"length":    {Packets{Framing: framingLength, Length: &Length{Bytes: 2}}, "\x00\x05ab\ncd", []string{"\x00\x05ab\ncd"}},
		"empty":     {Packets{Framing: framingLength, Length: &Length{Varint: true, Strip: 1}}, "\x00", []string{""}},
		"fixed":     {Packets{Framing: framingFixed, PacketSize: 7}, "a\nb\nc\nd", []string{"a\nb\nc\nd"}},
	} {
		require.Empty(t, next.packets.init("next", 0))
		stream := lines + next.bytes + behind
		for cut := 1; cut <= len(stream); cut++ {
			for _, piece := range []int{1, 3, len(stream)} {
				r := &reader{memory: &memory{}, framing: splitDelimiter([]byte("\n"), false), most: 1 << 20}
				r.own = r.framing
				r.socket = &pieces{append(chunks(stream[:cut], func() int { return piece }), chunks(stream[cut:], func() int { return piece })...), io.EOF}
				var got []string
				for {
					packet, tail, err := r.next()
					if err != nil {
						require.ErrorIs(t, err, io.EOF)
						break
					}
					require.False(t, tail)
					got = append(got, string(packet))
					if string(packet) == "DATA\n" {
						r.use(next.packets.framing(1<<20, 0), true)
					}
				}
				want := append(append([]string{"EHLO\n", "DATA\n"}, next.want...), "QUIT\n", "NOOP\n")
				require.Equal(t, want, got, "%s, cut at %d", name, cut)
			}
		}
	}
}

func TestFramingsAreCheckedKeyByKey(t *testing.T) {
	length := func(more m) m {
		return m{"framing": "length", "length": more}
	}
	for _, c := range []struct {
		server m
		want   string
	}{
		{m{"framing": "lines"}, `framing: unknown framing "lines"; want "delimiter", "length", "fixed" or "raw"`},
		{m{"framing": "length"}, `length: is missing; framing length wants length: {bytes: 2}`},
		{m{"framing": "length", "length": 4}, `length: "4" can't be read; want keys of its own below it`},
		{length(m{}), `length.bytes: is missing; want the size of the field`},
		{length(m{"bytes": 2, "varint": true}), `length: has 2 kinds of field; want one of`},
		{length(m{"bytes": 5}), `length.bytes: 5 is no size of a binary number; want 1, 2, 3, 4 or 8`},
		{length(m{"bytes": -1}), `length.bytes: -1 is no size`},
		{length(m{"bytes": "two"}), `length.bytes: "two" can't be read; want a whole number`},
		{length(m{"ascii": 19}), `length.ascii: 19 is no number of digits; want one from 1 to 18`},
		{length(m{"ascii": -1}), `length.ascii: -1 is no number of digits`},
		{length(m{"bytes": 1, "varint": "perhaps"}), `length.varint: "perhaps" can't be read; want true or false`},
		{length(m{"bytes": 2, "endian": "middle"}), `length.endian: unknown order of bytes "middle"; want "big" or "little"`},
		{length(m{"varint": true, "endian": "big"}), `length.endian: belongs to a field of bytes; leave it out`},
		{length(m{"bytes": 2, "offset": -1}), `length.offset: -1 is out of range; want a number of bytes from 0 to`},
		{length(m{"bytes": 2, "adjust": 1 << 31}), `length.adjust: 2147483648 is out of range; want a number of bytes from -1073741824 to`},
		{length(m{"bytes": 2, "strip": -3}), `length.strip: -3 is out of range; want a number of bytes from 0`},
		{length(m{"bytes": 4, "offset": 1021}), `length.offset: the field ends after 1025 bytes, max_packet_size is 1024`},
		{m{"framing": "fixed"}, `packet_size: is 0; framing fixed wants the length of every packet in bytes`},
		{m{"framing": "fixed", "packet_size": -2}, `packet_size: is -2; framing fixed wants`},
		{m{"framing": "fixed", "packet_size": 1025}, `packet_size: 1025 is over max_packet_size, 1024 bytes`},
		{m{"framing": "raw", "delimiter": "x"}, `delimiter: belongs to framing "delimiter", and this is "raw"; leave it out or set framing: delimiter`},
		{m{"framing": "fixed", "packet_size": 2, "delimiters": []any{"x"}}, `delimiters: belongs to framing "delimiter", and this is "fixed"`},
		{m{"framing": "raw", "strip": true}, `strip: belongs to framing "delimiter", and this is "raw"`},
		{m{"length": m{"bytes": 2}}, `length: belongs to framing "length", and this is "delimiter"; leave it out or set framing: length`},
		{m{"packet_size": 2}, `packet_size: belongs to framing "fixed", and this is "delimiter"`},
		{m{"framing": "raw", "batch": true}, `batch: raw packets are whatever has arrived`},
		{m{"strip": true, "batch": true}, `batch: without what strip takes away nobody could tell the packets apart`},
		{m{"framing": "length", "length": m{"bytes": 2, "strip": 2}, "batch": true}, `batch: without what strip takes away`},
		{m{"delimiter": "x", "delimiters": []any{"y"}}, `delimiters: stands beside delimiter; want one of the two`},
		{m{"delimiters": []any{}}, `delimiters: is empty; want a list of them`},
		{m{"delimiters": []any{"\n", ""}}, `delimiters: holds an empty one`},
		{m{"delimiters": []any{"\n", "\n\n"}}, `delimiters: "\n" and "\n\n" begin alike, so the longer one is never met`},
		{m{"delimiters": []any{"ab", "c", "ab"}}, `delimiters: "ab" and "ab" begin alike`},
		{m{"delimiters": []any{[]any{}}}, `can't be read; want a text, or a list of texts`},
	} {
		c.server["addr"], c.server["max_packet_size"] = ":0", "1KB"
		lines, warnings := loaded(m{"servers": m{"a": c.server}})
		require.Len(t, lines, 1, "%s: %v", c.want, lines)
		require.Contains(t, lines[0], "tcp.servers.a.")
		require.Contains(t, lines[0], c.want)
		require.Empty(t, warnings)
	}

	for _, good := range []m{
		{}, {"framing": "delimiter", "strip": true}, {"delimiters": []any{"\r\n", "\n"}, "strip": true},
		{"framing": "length", "length": m{"bytes": 8, "endian": "little", "offset": 3, "adjust": -3, "strip": 2}},
		{"framing": "length", "length": m{"ascii": 18}, "batch": true}, {"framing": "length", "length": m{"varint": true}},
		{"framing": "fixed", "packet_size": 1024, "batch": true}, {"framing": "raw"},
	} {
		good["addr"], good["max_packet_size"] = ":0", "1KB"
		lines, warnings := loaded(m{"servers": m{"a": good}})
		require.Empty(t, lines)
		require.Empty(t, warnings)
	}

	_, warnings := loaded(m{"servers": m{"a": m{"addr": ":0", "framing": "length", "length": m{"bytes": 2, "adjustment": 1}}}})
	require.Equal(t, []string{"tcp.servers.a.length.adjustment: unknown key, ignored; the nearest known one is adjust"}, warnings)
	_, warnings = loaded(m{"servers": m{"a": m{"addr": ":0", "delimiters": []any{"\n", `\r`}}}})
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "tcp.servers.a.delimiters: is the 2 characters \\r, a backslash among them")
}

func TestADelimiterInsideAnotherIsDecidedTheSameHoweverItIsCut(t *testing.T) {
	p := Packets{Delimiters: []string{"abc", "b"}}
	require.Empty(t, p.init("x", 0))
	for stream, want := range map[string][]string{
		"xabcy": {"xabc", "y"}, "xabdy": {"xab", "dy"}, "xab": {"xab"}, "ab": {"ab"}, "aab": {"aab"}, "ababc": {"ab", "abc"},
	} {
		for piece := 1; piece <= len(stream); piece++ {
			got, tail, _, err := readWith(p.framing(1<<20, 0), stream, 0, func() int { return piece })
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, want, got, strconv.Itoa(piece))
			require.Equal(t, strings.HasSuffix(stream, "y"), tail, "a delimiter that the end of file decides ends no tail")
		}
	}
}
