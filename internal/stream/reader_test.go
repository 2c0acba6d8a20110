package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

// cutByHand cuts a stream at a delimiter: the first match ends a packet, the search goes on behind it.
func cutByHand(stream, delimiter string) (packets []string, tail bool) {
	for stream != "" {
		i := strings.Index(stream, delimiter)
		if i < 0 {
			return append(packets, stream), true
		}
		end := i + len(delimiter)
		packets, stream = append(packets, stream[:end]), stream[end:]
	}
	return packets, false
}

func TestReaderAnyChunking(t *testing.T) {
	for name, c := range map[string]struct{ stream, delimiter string }{
		"a delimiter whose beginning repeats itself":   {"aaab" + "aab" + "aaaab" + "ab", "aab"},
		"a delimiter that is found inside itself":      {"aaa" + "aaaa" + "b" + "aaaaa", "aa"},
		"a delimiter that overlaps itself by two":      {"ababababab", "abab"},
		"delimiters alone":                             {strings.Repeat("\r\n", 7), "\r\n"},
		"half a delimiter at the end":                  {"one\r\ntwo\r", "\r\n"},
		"carriage returns that belong to no delimiter": {"\r\r\n\n\r\r\n", "\r\n"},
		"eight bytes":                    {"x12345678y1234567812345678z1234567", "12345678"},
		"no delimiter at all":            {x(3000), "\n"},
		"zero bytes":                     {"a\x00\x00b\x00", "\x00"},
		"packets larger than the buffer": {x(9000) + "\n" + strings.Repeat("y", 5000) + "\n", "\n"},
		"nothing":                        {"", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			want, wantTail := cutByHand(c.stream, c.delimiter)
			rnd := rand.New(rand.NewPCG(1, 1))
			for _, size := range []func() int{
				func() int { return 1 }, func() int { return 2 }, func() int { return 3 }, func() int { return len(c.stream) },
				func() int { return 1 + rnd.IntN(5) }, func() int { return 1 + rnd.IntN(2000) },
			} {
				config := lines(t, &pieces{left: framingtest.Pieces(c.stream, size), end: io.EOF})
				config.Framing = delimited(t, c.delimiter, 0)
				r := &Reader{ReaderConfig: config}
				got, tail, err := readAll(r)
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, want, got)
				require.Equal(t, wantTail, tail)
				require.Zero(t, r.Unfinished())
				require.True(t, r.EOF())
				require.EqualValues(t, len(c.stream), r.Total())
			}
		})
	}
}

func TestReaderMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := framingtest.Packets.Draw(t, "packets")
		stream := framingtest.Streams(p).Draw(t, "stream")
		maxPacketSize := rapid.SampledFrom([]int{0, 40, 12, 25}).Draw(t, "maxPacketSize")
		maxPiece := rapid.SampledFrom([]int{1, 2, 7, 1 << 20}).Draw(t, "maxPiece")
		if len(p.Init("x", maxPacketSize)) > 0 {
			t.Skip()
		}
		size := func() int { return rapid.IntRange(1, maxPiece).Draw(t, "n") }
		r := &Reader{ReaderConfig: ReaderConfig{
			Socket: &pieces{left: framingtest.Pieces(stream, size), end: io.EOF}, Framing: p.New(1<<20, maxPacketSize),
			ReadSize: 1 << 20, MaxPacketSize: maxPacketSize, Memory: NewMemory(0), SetDeadline: func(time.Time) {},
		}}
		got, tail, err := readAll(r)
		want, wantTail, wantLeft, isBad := framingtest.Cut(p, stream, maxPacketSize)
		require.Equal(t, want, got)
		require.Equal(t, wantTail, tail)
		if isBad {
			require.True(t, errors.Is(err, framing.ErrLength) || errors.Is(err, framing.ErrTooLong) || errors.Is(err, framing.ErrNoRule), "%v", err)
			return
		}
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, wantLeft, r.Unfinished())
	})
}

func FuzzReader(f *testing.F) {
	f.Add("aaabaab", "aab", int64(1), 0, 16)
	f.Add("one\r\ntwo\r\nrest", "\r\n", int64(2), 8, 1<<19)
	f.Add(strings.Repeat("a", 1500), "aa", int64(3), 100, 1)
	f.Fuzz(func(t *testing.T, stream, delimiter string, seed int64, batch, readSize int) {
		batch, readSize = max(0, batch%(1<<16)), 1+max(0, readSize%(1<<20))
		p := framing.Packets{Delimiter: delimiter, Batch: batch > 0}
		if delimiter == "" || len(delimiter) > 64 || len(stream) > 1<<12 || len(p.Init("x", 0)) > 0 {
			return
		}
		rnd := rand.New(rand.NewPCG(uint64(seed), 0))
		r := &Reader{ReaderConfig: ReaderConfig{
			Socket:  &pieces{left: framingtest.Pieces(stream, func() int { return 1 + rnd.IntN(700) }), end: io.EOF},
			Framing: p.New(batch, 0), ReadSize: readSize, Memory: NewMemory(0), SetDeadline: func(time.Time) {},
		}}
		got, tail, err := readAll(r)
		require.ErrorIs(t, err, io.EOF)
		want, wantTail := cutByHand(stream, delimiter)
		require.Equal(t, wantTail, tail)
		if batch == 0 {
			require.Equal(t, want, got)
		} else {
			requireBatches(t, want, got, batch)
		}
		r.Discard()
		require.Zero(t, r.Memory.Used())
	})
}

// requireBatches finds the packets in what was handed over together: complete ones, in order, maxSize bytes at most.
func requireBatches(t require.TestingT, packets, batches []string, maxSize int) {
	for _, batch := range batches {
		count := 0
		for rest := batch; rest != ""; count++ {
			if len(packets) == 0 || !strings.HasPrefix(rest, packets[0]) { // no require: there may be thousands
				require.Fail(t, "not the packets in their order", "%q of %q, packets left: %q", rest, batch, packets)
			}
			rest, packets = rest[len(packets[0]):], packets[1:]
		}
		if count != 1 && len(batch) > maxSize {
			require.Fail(t, "too large", "%d packets of %d bytes in all; %d fit", count, len(batch), maxSize)
		}
	}
	require.Empty(t, packets)
}

func TestReaderBatchesWholePackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := framingtest.Packets.Draw(t, "packets")
		p.Batch = true
		for i := range p.Rules {
			p.Rules[i].SkipEmpty = false // a batch alone does not say by which rule it was cut
		}
		stream := framingtest.Streams(p).Draw(t, "stream")
		if len(p.Init("x", 0)) > 0 {
			t.Skip()
		}
		readSize := rapid.IntRange(1, 60).Draw(t, "readSize")
		config := lines(t, &pieces{left: framingtest.Pieces(stream, func() int { return rapid.IntRange(1, 30).Draw(t, "n") }), end: io.EOF})
		config.Framing = p.New(readSize, 0)
		batches, _, err := readAll(&Reader{ReaderConfig: config})
		packets, _, _, isBad := framingtest.Cut(p, stream, 0)
		require.Equal(t, isBad, !errors.Is(err, io.EOF), "%v", err)
		if p.SkipEmpty { // between others they stay: a batch is as it came
			for i, batch := range batches {
				batches[i] = strings.Join(requireWhole(t, p, batch), "")
				require.NotEmpty(t, batches[i], "%q has no packet", batch)
			}
		}
		requireBatches(t, packets, batches, readSize)
	})
}

// requireWhole cuts what ends with a packet, or with a tail.
func requireWhole(t require.TestingT, p framing.Packets, batch string) []string {
	packets, _, left, isBad := framingtest.Cut(p, batch, 0)
	require.Zero(t, left)
	require.False(t, isBad)
	return packets
}

func TestReaderSkipsEmptyPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.SliceOfN(rapid.SampledFrom([]string{"~", "~", "a", "bc"}), 0, 30).Draw(t, "stream")
		p := framing.Packets{Delimiter: "~", SkipEmpty: true, Strip: rapid.Bool().Draw(t, "strip")}
		require.Empty(t, p.Init("x", 0))
		config := lines(t, &pieces{left: framingtest.Pieces(strings.Join(stream, ""), func() int { return rapid.IntRange(1, 9).Draw(t, "n") }), end: io.EOF})
		config.Framing = p.New(1<<20, 0)
		r := &Reader{ReaderConfig: config}
		got, _, err := readAll(r)
		require.ErrorIs(t, err, io.EOF)
		for _, packet := range got {
			require.NotEmpty(t, strings.Trim(packet, "~"))
		}
		require.Equal(t, strings.ReplaceAll(strings.Join(stream, ""), "~", ""), strings.ReplaceAll(strings.Join(got, ""), "~", ""))
	})
}

func TestReaderBatchFillsBuffer(t *testing.T) {
	for name, p := range map[string]framing.Packets{
		"one framing": {Delimiter: "\n", Batch: true}, "rules": {Rules: []framing.Rule{{Delimiter: "\n"}}, Batch: true},
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, p.Init("x", 0))
			config := lines(t, &pieces{left: [][]byte{[]byte("1"), []byte("\n2\n3"), []byte("\n4\n"), []byte("5\n")}, end: io.EOF})
			config.Framing = p.New(1<<20, 0)
			r := &Reader{ReaderConfig: config}
			packet, _, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, "1\n2\n", string(packet), "a finished packet never waits for an unfinished one")
			packet, _, err = r.Next()
			require.NoError(t, err)
			require.Equal(t, "3\n4\n", string(packet))
		})
	}
}

func TestReaderKeepsPacketsBeforeReset(t *testing.T) {
	r := &Reader{ReaderConfig: lines(t, &pieces{left: [][]byte{[]byte("1\n2\n3")}, end: net.ErrClosed})}
	got, tail, err := readAll(r)
	require.Equal(t, []string{"1\n", "2\n"}, got)
	require.False(t, tail, "an unfinished packet is no tail when the connection breaks")
	require.ErrorIs(t, err, net.ErrClosed)
	require.Equal(t, 1, r.Unfinished())
	require.False(t, r.EOF())
}

// lastPieces gives its error together with the last bytes.
type lastPieces struct{ pieces }

func (p *lastPieces) fill(r *Reader, wait bool) error {
	err := p.pieces.fill(r, wait)
	if len(p.left) == 0 {
		return p.end
	}
	return err
}

func TestReaderErrorBesideBytes(t *testing.T) {
	for _, end := range []error{io.EOF, errors.New("of a test")} {
		r := &Reader{ReaderConfig: lines(t, &lastPieces{pieces{left: [][]byte{[]byte("a\nb\n")}, end: end}})}
		got, _, err := readAll(r)
		require.Equal(t, []string{"a\n", "b\n"}, got)
		require.ErrorIs(t, err, end)
	}
}

func TestReaderScansOnce(t *testing.T) {
	stream := append(bytes.Repeat([]byte("x"), 1<<20), "\r\n"...)
	config := lines(t, &pieces{left: framingtest.Pieces(string(stream), func() int { return 1000 }), end: io.EOF})
	scanned, split := 0, delimited(t, "\r\n", 0).Split
	config.Framing = delimited(t, "\r\n", 0)
	config.Framing.Split = func(data []byte, atEOF bool) (int, []byte, error) {
		scanned += len(data)
		return split(data, atEOF)
	}
	packet, _, err := (&Reader{ReaderConfig: config}).Next()
	require.NoError(t, err)
	require.Equal(t, stream, packet)
	require.Less(t, scanned, len(stream)+len(stream)/100, "bytes passed to Split in all")
}

// A packet that a rule cuts is scanned once, too, however it arrives.
func TestReaderScansPacketsOfRulesOnce(t *testing.T) {
	p := framing.Packets{Rules: []framing.Rule{{Starts: "$", Framing: "fixed", PacketSize: 2}, {Delimiter: "\n.\n"}}}
	require.Empty(t, p.Init("x", 0))
	stream, scanned := x(1<<20)+"\n.\n", 0
	config := lines(t, &pieces{left: framingtest.Pieces("$$"+stream+"$$", func() int { return 1000 }), end: io.EOF})
	config.Framing = p.New(1<<20, 0)
	narrow := config.Framing.Narrow
	config.Framing.Narrow = func(data []byte) *framing.Framing {
		f := *narrow(data)
		split := f.Split
		f.Split = func(data []byte, atEOF bool) (int, []byte, error) { scanned += len(data); return split(data, atEOF) }
		return &f
	}
	got, _, err := readAll(&Reader{ReaderConfig: config})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"$$", stream, "$$"}, got)
	require.Greater(t, scanned, 1<<20-2000)
	require.Less(t, scanned, len(stream)+len(stream)/100, "bytes passed to Split in all")
}

func TestReaderUsesAnotherFraming(t *testing.T) {
	const before, mail, behind = "EHLO\nDATA\n", "a\n.b\n\n.\n", "QUIT\nNOOP\n"
	for name, next := range map[string]struct {
		packets framing.Packets
		bytes   string
		want    []string
	}{
		"delimiter": {framing.Packets{Delimiter: "\n.\n"}, mail, []string{mail}},
		"stripped":  {framing.Packets{Delimiter: "\n.\n", Strip: true}, mail, []string{"a\n.b\n"}},
		"length":    {framing.Packets{Framing: "length", Length: &framing.Length{Bytes: 2}}, "\x00\x05ab\ncd", []string{"\x00\x05ab\ncd"}},
		"empty":     {framing.Packets{Framing: "length", Length: &framing.Length{Varint: true, Strip: 1}}, "\x00", []string{""}},
		"rules":     {framing.Packets{Rules: []framing.Rule{{Starts: "Q"}, {Starts: "a", Delimiter: "\n.\n"}}}, mail, []string{mail}},
		"fixed":     {framing.Packets{Framing: "fixed", PacketSize: 7}, "a\nb\nc\nd", []string{"a\nb\nc\nd"}},
	} {
		require.Empty(t, next.packets.Init("next", 0))
		stream := before + next.bytes + behind
		for cut := 1; cut <= len(stream); cut++ {
			for _, piece := range []int{1, 3, len(stream)} {
				size := func() int { return piece }
				all := append(framingtest.Pieces(stream[:cut], size), framingtest.Pieces(stream[cut:], size)...)
				r := &Reader{ReaderConfig: lines(t, &pieces{left: all, end: io.EOF})}
				var got []string
				for {
					packet, tail, err := r.Next()
					if err != nil {
						require.ErrorIs(t, err, io.EOF)
						break
					}
					require.False(t, tail)
					got = append(got, string(packet))
					if string(packet) == "DATA\n" {
						r.Use(next.packets.New(1<<20, 0), true)
					}
				}
				want := append(append([]string{"EHLO\n", "DATA\n"}, next.want...), "QUIT\n", "NOOP\n")
				require.Equal(t, want, got, "%s, cut at %d", name, cut)
			}
		}
	}
}

// What came in plain text behind the packet that asked for TLS is nobody's.
func TestReaderRestartDropsWhatHasArrived(t *testing.T) {
	r := &Reader{ReaderConfig: lines(t, &pieces{left: [][]byte{[]byte("a\nb\nc"), []byte("d\n")}, end: io.EOF})}
	requirePacket(t, r, "a\n")
	r.Restart()
	require.Zero(t, r.Unfinished())
	require.Zero(t, r.Memory.Used())
	requirePacket(t, r, "d\n")
}

func TestReaderKeepsAnotherFraming(t *testing.T) {
	r := &Reader{ReaderConfig: lines(t, &pieces{left: [][]byte{[]byte("a\nb;c;d,e;f;")}, end: io.EOF})}
	next := func() string {
		packet, _, err := r.Next()
		require.NoError(t, err)
		return string(packet)
	}
	require.Equal(t, "a\n", next())
	r.Use(delimited(t, ";", 0), false)
	require.Equal(t, "b;", next())
	require.Equal(t, "c;", next())
	r.Use(delimited(t, ",", 0), true)
	require.Equal(t, "d,", next())
	require.Equal(t, "e;f;", next(), "the server's own again")
}
