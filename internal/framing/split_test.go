package framing_test

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

// cut applies f to the pieces of a stream as stream.Reader does, one packet at a time. The error is io.EOF at the end.
func cut(f framing.Framing, pieces [][]byte, maxPacketSize int) (packets []string, isTail bool, left int, err error) {
	var data []byte
	seen := 0
	for {
		n, packet, err := f.Split(data[seen:], false)
		if n == 0 && err == nil && f.Narrow != nil && len(data) > 0 {
			if one := f.Narrow(data); one != nil { // what needs less of the packet finds no more in it
				n, _, err := one.Split(data[max(0, len(data)-one.Overlap):], false)
				if n > 0 || err != nil {
					return packets, false, 0, errors.New("Narrow is not the framing that Split has chosen")
				}
			}
		}
		isTooLong := maxPacketSize > 0 && (seen+n > maxPacketSize || n == 0 && len(data) > maxPacketSize && !mayFit(f, data, maxPacketSize))
		switch {
		case err != nil:
			return packets, false, len(data), err
		case isTooLong:
			return packets, false, len(data), framing.ErrTooLong
		case n > 0:
			if f.IsEmpty == nil || !f.IsEmpty(data, seen+n) {
				packets = append(packets, string(data[:seen])+string(packet))
			}
			data, seen = data[seen+n:], 0
		case len(pieces) > 0:
			seen = max(0, len(data)-f.Overlap)
			data, pieces = append(data, pieces[0]...), pieces[1:]
		default:
			return cutEnd(f, data, packets)
		}
	}
}

// mayFit reports whether data, in which Split has found no end, begins with a packet of at most maxPacketSize bytes if no more comes.
func mayFit(f framing.Framing, data []byte, maxPacketSize int) bool {
	from := max(0, len(data)-f.Overlap)
	n, _, err := f.Split(data[from:], true)
	return n > 0 && err == nil && from+n <= maxPacketSize
}

// cutEnd applies f to what the end of file leaves.
func cutEnd(f framing.Framing, data []byte, packets []string) ([]string, bool, int, error) {
	for len(data) > 0 {
		n, packet, err := f.Split(data, true)
		switch {
		case errors.Is(err, bufio.ErrFinalToken):
			return append(packets, string(packet)), true, 0, io.EOF
		case err != nil:
			return packets, false, len(data), err
		case n == 0:
			return packets, false, len(data), io.EOF
		}
		if f.IsEmpty == nil || !f.IsEmpty(data, n) {
			packets = append(packets, string(packet))
		}
		data = data[n:]
	}
	return packets, false, 0, io.EOF
}

func requireCut(t require.TestingT, p framing.Packets, stream string, maxPacketSize int, size func() int) {
	want, wantTail, wantLeft, isBad := framingtest.Cut(p, stream, maxPacketSize)
	got, isTail, left, err := cut(p.New(1<<20, maxPacketSize), framingtest.Pieces(stream, size), maxPacketSize)
	require.True(t, slices.Equal(want, got), "%+v %+v: %q, want %q", p, p.Length, got, want)
	require.Equal(t, wantTail, isTail)
	if isBad {
		require.True(t, errors.Is(err, framing.ErrLength) || errors.Is(err, framing.ErrTooLong) || errors.Is(err, framing.ErrNoRule), "%v", err)
		return
	}
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, wantLeft, left)
}

func TestSplitMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := framingtest.Packets.Draw(t, "packets")
		stream := framingtest.Streams(p).Draw(t, "stream")
		maxPacketSize := rapid.SampledFrom([]int{0, 40, 12, 25}).Draw(t, "maxPacketSize")
		maxPiece := rapid.SampledFrom([]int{1, 2, 7, 1 << 20}).Draw(t, "maxPiece")
		if len(p.Init("x", maxPacketSize)) > 0 {
			t.Skip()
		}
		requireCut(t, p, stream, maxPacketSize, func() int { return rapid.IntRange(1, maxPiece).Draw(t, "n") })
	})
}

func TestFinishedMatchesSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := framingtest.Packets.Draw(t, "packets")
		stream := framingtest.Streams(p).Draw(t, "stream")
		if len(p.Init("x", 0)) > 0 {
			t.Skip()
		}
		f := p.New(1<<20, 0)
		if f.Finished == nil {
			t.Skip()
		}
		finished := 0
		for finished < len(stream) {
			n, _, err := f.Split([]byte(stream[finished:]), false)
			require.NoError(t, err)
			if n == 0 {
				break
			}
			finished += n
		}
		require.Equal(t, finished, f.Finished([]byte(stream)))
	})
}

func FuzzLength(f *testing.F) {
	f.Add("\x00\x03abc\x00\x00", 2, "", false, uint64(0), 0, "", false, 0, 0, 0, 64, 1)
	f.Add("\x10\x0bxxxxxxxxxxx", 0, "", false, uint64(0), 0, "", true, 1, 0, 0, 64, 3)
	f.Add("0003abc", 0, "", false, uint64(0), 4, "", false, 0, 0, 4, 64, 2)
	f.Add("\x80\x00\x00\x00\x00\x00\x00\x00", 8, "", false, uint64(0), 0, "", false, 0, -1, 0, 0, 5)
	f.Add(strings.Repeat("\xff", 20), 0, "", false, uint64(0), 0, "", true, 0, 0, 0, 0, 1)
	f.Add("5 abcde3 abc", 0, "", false, uint64(0), 0, " ", false, 0, 0, 0, 64, 1)
	f.Add("5:abcde,0:,", 0, "", false, uint64(0), 0, ":", false, 0, 1, 0, 64, 1)
	f.Add("1F\n"+strings.Repeat("x", 31), 0, "hex", false, uint64(0), 0, "\n", false, 0, 0, 0, 64, 2)
	f.Add("001Fabc\x00\x12", 4, "hex", false, uint64(0), 0, "", false, 0, 0, 0, 64, 1)
	f.Add("\x00\x03abc\x12", 2, "bcd", false, uint64(0), 0, "", false, 0, 0, 0, 64, 1)
	f.Add("\x80\x00\x00\x05abcde", 4, "binary", false, uint64(0x7fffffff), 0, "", false, 0, 0, 0, 64, 2)
	f.Fuzz(func(t *testing.T, stream string, size int, encoding string, little bool, mask uint64, digits int, until string, varint bool,
		offset, adjust, strip, maxPacketSize, piece int,
	) {
		p := framing.Packets{Framing: "length", Length: &framing.Length{
			Bytes: size, Encoding: encoding, ASCII: framing.Digits(digits), Until: until, Varint: varint,
			Offset: offset, Adjust: adjust, Strip: strip,
		}}
		if mask != 0 {
			p.Length.Mask = &mask
		}
		if little {
			p.Length.Endian = "little"
		}
		maxPacketSize = max(0, maxPacketSize)
		if len(stream) > 1<<14 || len(p.Init("x", maxPacketSize)) > 0 {
			return
		}
		requireCut(t, p, stream, maxPacketSize, func() int { return 1 + max(0, piece%50) })
	})
}

func FuzzDelimiters(f *testing.F) {
	f.Add("a\r\nb\nc", "\r\n", "\n", "\x00", true, false, 1)
	f.Add("aababcab", "abc", "b", "ca", false, false, 2)
	f.Add("a\r\nb\rc\n\r\r\n\n", "\r\n", "\n", "\r", false, true, 1)
	f.Add("\x0bA\x1c\r\x0bB\x1c\x0bC\x1c\r", "\x1c", "\x1c\r", "\x00", true, true, 1)
	f.Add("~~ab~~~cd~", "~", "~~", "~~~", true, true, 2)
	f.Fuzz(func(t *testing.T, stream, a, b, c string, strip, skipEmpty bool, piece int) {
		p := framing.Packets{Delimiters: []string{a, b, c}, Strip: strip, SkipEmpty: skipEmpty}
		if len(stream) > 1<<14 || len(p.Init("x", 0)) > 0 {
			return
		}
		requireCut(t, p, stream, 0, func() int { return 1 + max(0, piece%50) })
	})
}

func TestDelimitersThatBeginAlike(t *testing.T) {
	type packets = framing.Packets
	for name, c := range map[string]struct {
		packets packets
		stream  string
		want    []string
	}{
		"three ends of a line": {packets{Delimiters: []string{"\n", "\r", "\r\n"}}, "a\r\nb\rc\nd\r\r\n\n",
			[]string{"a\r\n", "b\r", "c\n", "d\r", "\r\n", "\n"}},
		"stripped": {packets{Delimiters: []string{"\r\n", "\n", "\r"}, Strip: true}, "a\r\nb\rc\n\r", []string{"a", "b", "c", ""}},
		"MLLP with and without the carriage return": {packets{Delimiters: []string{"\x1c\r", "\x1c"}}, "\x0bA\x1c\x0bB\x1c\r\x0bC\x1c",
			[]string{"\x0bA\x1c", "\x0bB\x1c\r", "\x0bC\x1c"}},
		"a long one that does not come":        {packets{Delimiters: []string{"a", "aaab"}}, "aaaaxaaab", []string{"a", "a", "a", "a", "xaaab"}},
		"empty ones are skipped":               {packets{Delimiters: []string{"\r\n", "\n", "\r"}, SkipEmpty: true}, "\r\n\na\r\r\r\nb\n", []string{"a\r", "b\n"}},
		"frames between marks":                 {packets{Delimiter: "~", SkipEmpty: true}, "~ab~~cd~~~ef~", []string{"ab~", "cd~", "ef~"}},
		"frames between marks, which are gone": {packets{Delimiter: "~", SkipEmpty: true, Strip: true}, "~ab~~cd~~~ef~", []string{"ab", "cd", "ef"}},
	} {
		t.Run(name, func(t *testing.T) { requirePackets(t, c.packets, c.stream, c.want) })
	}
}

// What may still grow is decided by more bytes, by the end of file, and by who waits no longer: Split with atEOF.
func TestUndecidedDelimiter(t *testing.T) {
	none, wait := time.Duration(0), time.Second
	for _, c := range []struct {
		delimiters []string
		wait       *time.Duration
		arrived    string
		waits      time.Duration
		n, nAtEnd  int
	}{
		{[]string{"\r\n", "\n", "\r"}, nil, "ab\r", 20 * time.Millisecond, 0, 3},
		{[]string{"\r\n", "\n", "\r"}, &wait, "ab\r", time.Second, 0, 3},
		{[]string{"\r\n", "\n", "\r"}, &none, "ab\r", 0, 3, 3},
		{[]string{"\r\n", "\n", "\r"}, nil, "ab\rc", 20 * time.Millisecond, 3, 3},
		{[]string{"\r\n", "\n", "\r"}, nil, "ab\n", 20 * time.Millisecond, 3, 3},
		{[]string{"\r\n", "\n"}, nil, "ab\r", 0, 0, 0},
		{[]string{"abc", "b"}, nil, "xab", 20 * time.Millisecond, 0, 3},
		{[]string{"abc", "b"}, &none, "xab", 0, 3, 3},
		{[]string{"\r\n\r\n", "\n"}, nil, "foo\r\n", 20 * time.Millisecond, 0, 5},
		{[]string{"\r\n\r\n", "\n"}, &none, "foo\r\n", 0, 5, 5},
		{[]string{"\r\n\r\n", "\n"}, &none, "foo\r", 0, 0, 0},
		{[]string{"\r\n\r\n", "\n"}, &none, "foo\r\n\r\n", 0, 7, 7},
	} {
		p := framing.Packets{Delimiters: c.delimiters, DelimiterWait: c.wait}
		require.Empty(t, p.Init("x", 0))
		f := p.New(1<<20, 0)
		require.Equal(t, c.waits, f.Wait, "%q", c.delimiters)
		n, _, err := f.Split([]byte(c.arrived), false)
		require.NoError(t, err)
		require.Equal(t, c.n, n, "%q %q", c.delimiters, c.arrived)
		n, _, err = f.Split([]byte(c.arrived), true)
		if c.nAtEnd == 0 {
			require.ErrorIs(t, err, bufio.ErrFinalToken)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.nAtEnd, n, "%q %q", c.delimiters, c.arrived)
	}
}

func TestEmptyPackets(t *testing.T) {
	for name, c := range map[string]struct {
		packets framing.Packets
		stream  string
	}{
		"nothing before the delimiter": {framing.Packets{Strip: true}, "\r\n\r\na\r\n"},
		"one of several delimiters":    {framing.Packets{Strip: true, Delimiters: []string{"\r\n", "\n"}}, "\n\r\na\n"},
		"nothing behind the header":    {framing.Packets{Framing: "length", Length: &framing.Length{Bytes: 1, Strip: 1}}, "\x00\x00\x01a"},
		"nothing but what is stripped": {framing.Packets{Framing: "length", Length: &framing.Length{ASCII: 1, Strip: 3}}, "2xx2xx3xxa"},
	} {
		require.Empty(t, c.packets.Init("x", 0))
		for piece := 1; piece <= len(c.stream); piece++ {
			got, _, _, err := cut(c.packets.New(1<<20, 0), framingtest.Pieces(c.stream, func() int { return piece }), 0)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, []string{"", "", "a"}, got, name)
		}
		for _, stream := range []string{"\r\n", "\n", "\x00", "2xx"} { // nil would say that more is needed
			if n, packet, _ := c.packets.New(1<<20, 0).Split([]byte(stream), false); n > 0 {
				require.NotNil(t, packet, name)
			}
		}
	}
}

func TestDelimiterInsideAnother(t *testing.T) {
	p := framing.Packets{Delimiters: []string{"abc", "b"}}
	require.Empty(t, p.Init("x", 0))
	for stream, want := range map[string][]string{
		"xabcy": {"xabc", "y"}, "xabdy": {"xab", "dy"}, "xab": {"xab"}, "ab": {"ab"}, "aab": {"aab"}, "ababc": {"ab", "abc"},
	} {
		for piece := 1; piece <= len(stream); piece++ {
			got, isTail, _, err := cut(p.New(1<<20, 0), framingtest.Pieces(stream, func() int { return piece }), 0)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, want, got, "pieces of %d", piece)
			require.Equal(t, strings.HasSuffix(stream, "y"), isTail, "a delimiter that the end of file decides ends no tail")
		}
	}
}

func TestRawSplitsArrivedBytes(t *testing.T) {
	raw := framing.Packets{Framing: "raw"}
	require.Empty(t, raw.Init("x", 0))
	stream := strings.Repeat("x", 100)
	for _, size := range []int{1, 4, 7} { // the smaller one of read_buf_size and max_packet_size
		for _, f := range []framing.Framing{raw.New(size, 0), raw.New(1<<20, size)} {
			require.Equal(t, size, f.Batch)
			got, isTail, left, err := cut(f, [][]byte{[]byte(stream)}, 0)
			require.ErrorIs(t, err, io.EOF)
			require.False(t, isTail, "there are no tails")
			require.Zero(t, left)
			require.Equal(t, stream, strings.Join(got, ""))
			for _, packet := range got {
				require.LessOrEqual(t, len(packet), size)
			}
		}
	}
	n, packet, err := raw.New(4, 0).Split([]byte("abc"), false)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, "abc", string(packet), "it waits for no more")
}

func TestBatchIsReadSize(t *testing.T) {
	for _, batch := range []bool{false, true} {
		p := framing.Packets{Batch: batch}
		require.Empty(t, p.Init("x", 0))
		require.Equal(t, batch, p.New(1234, 0).Batch == 1234)
		require.Equal(t, !batch, p.New(1234, 0).Batch == 0)
	}
}
