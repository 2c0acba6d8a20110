package tcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// limitedReader reads stream in pieces of that many bytes; a packet ends with a line feed.
func limitedReader(stream string, piece, longest, batch int) *reader {
	return &reader{
		socket: &pieces{chunks(stream, func() int { return piece }), io.EOF}, framing: batched(splitDelimiter([]byte("\n"), false), batch),
		most: 1 << 20, longest: longest, memory: &memory{limit: defaultMemoryLimit},
	}
}

// readAll is what r hands over, and why it ends.
func readAll(r *reader) (packets []string, end error) {
	for {
		packet, _, err := r.next()
		if err != nil {
			return packets, err
		}
		packets = append(packets, string(packet))
	}
}

func x(n int) string { return strings.Repeat("x", n) }

func TestAPacketAsLongAsMaxPacketSizePassesAndOneByteMoreDoesNot(t *testing.T) {
	for _, longest := range []int{1, 2, 10, 511, 512, 513, 4095, 4096, 4097, 5000, mappedBuffer, 100_000} {
		fits := x(longest-1) + "\n"
		for name, c := range map[string]struct {
			stream string
			want   []string
			end    error
		}{
			"that is all":                 {fits, []string{fits}, io.EOF},
			"among others":                {"\n" + fits + "\n" + fits, []string{"\n", fits, "\n", fits}, io.EOF},
			"one byte more":               {"\nx" + fits, []string{"\n"}, errTooLong},
			"a byte more, without an end": {fits + x(longest+1), []string{fits}, errTooLong},
			"a tail":                      {fits + x(longest), []string{fits, x(longest)}, io.EOF},
			"a packet behind one that is much longer": {x(3*longest) + "\n\n", nil, errTooLong},
		} {
			for _, piece := range []int{1, 7, 600, 1 << 20} {
				if piece == 1 && longest > 5000 {
					continue
				}
				r := limitedReader(c.stream, piece, longest, 0)
				got, err := readAll(r)
				require.Equal(t, c.end, err, "%s: %d bytes in pieces of %d", name, longest, piece)
				require.Equal(t, c.want, got, "%s: %d bytes in pieces of %d", name, longest, piece)
				r.discard()
				require.Zero(t, r.memory.used.Load())
			}
		}
	}
}

func TestABatchMayBeLongerThanMaxPacketSizeButNoPacketInIt(t *testing.T) {
	for piece := range 20 {
		for _, batch := range []int{9, 100} {
			got, err := readAll(limitedReader("12\n45\n7890\nx\n", piece, 4, batch))
			require.ErrorIs(t, err, errTooLong)
			require.Equal(t, "12\n45\n", strings.Join(got, ""), "what came before is handed over")
		}
	}
	got, err := readAll(limitedReader("12\n45\n789\nx\n", 100, 4, 10))
	require.Equal(t, []string{"12\n45\n789\n", "x\n"}, got)
	require.ErrorIs(t, err, io.EOF)

	got, err = readAll(limitedReader("12\n45\n789\n1234", 100, 4, 100))
	require.Equal(t, []string{"12\n45\n789\n", "1234"}, got)
	require.ErrorIs(t, err, io.EOF)
	got, err = readAll(limitedReader("12\n45\n789\n12345", 100, 4, 100))
	require.Equal(t, []string{"12\n45\n789\n"}, got)
	require.ErrorIs(t, err, errTooLong, "a tail too")
}

func TestADeadlineThatIsOverDoesNotEndTheNextBatch(t *testing.T) {
	server, client := tcpPair(t)
	r := limitedReader("", 1, 0, 100)
	r.socket, r.packetTime, r.setDeadline = newSocket(server), time.Minute, func(t time.Time) { server.SetReadDeadline(t) }
	io.WriteString(client, "a\nb")
	var packets []string
	err := r.socket.attend(func() bool {
		for len(packets) < 2 {
			packet, _, err := r.next()
			require.NoError(t, err)
			if packet == nil {
				return false
			}
			packets = append(packets, string(packet))
			server.SetReadDeadline(past) // the worker took its time
			io.WriteString(client, "\n")
		}
		return true
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a\n", "b\n"}, packets)
}

// slowly is a socket on which there is always more.
type slowly struct {
	pieces
	then func()
}

func (s *slowly) read(r *reader, wait bool) error {
	time.Sleep(time.Millisecond)
	if s.then != nil {
		s.then()
	}
	return s.pieces.read(r, wait)
}

func TestAPacketOfWhichThereIsAlwaysMoreEnds(t *testing.T) {
	for name, c := range map[string]struct {
		packetTime time.Duration
		ask        reason
	}{"with packet_timeout": {30 * time.Millisecond, reasonNone}, "when somebody asks for that": {time.Hour, reasonShutdown}} {
		t.Run(name, func(t *testing.T) {
			r := limitedReader("", 1, 0, 0)
			s := &slowly{pieces: pieces{chunks(x(2000), func() int { return 1 }), io.EOF}}
			r.socket, r.packetTime, r.setDeadline, r.asked = s, c.packetTime, func(time.Time) {}, new(atomic.Uint32)
			s.then = func() {
				if len(s.left) < 1990 {
					r.asked.Store(uint32(c.ask))
				}
			}
			begin := time.Now()
			_, _, err := r.next()
			require.ErrorIs(t, err, errPacketTimeout)
			if c.ask == reasonNone {
				require.GreaterOrEqual(t, time.Since(begin), c.packetTime)
			}
			require.Greater(t, len(s.left), 1000, "while there was more")
		})
	}
}

func TestMaxPacketSizeZeroIsNoLimit(t *testing.T) {
	stream := x(3<<20) + "\n"
	got, err := readAll(limitedReader(stream, 1<<20, 0, 0))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{stream}, got)
}

// What the buffer may hold: what shows that a packet is too long, or four times what arrived.
func TestTheBufferIsNeverLargerThanShowsThatAPacketIsTooLong(t *testing.T) {
	for _, longest := range []int{100, 512, 1000, 3000, 4096, 5000, 40_000, 70_000, 1 << 17} {
		for _, piece := range []int{1, 100, 5000, 1 << 20} {
			r := limitedReader(x(longest+1), piece, longest, 0)
			largest := 0
			for r.unfinished() <= longest {
				require.NoError(t, r.fill(true))
				largest = max(largest, r.held())
				require.LessOrEqual(t, r.held(), max(waitingBuffer, 4*r.unfinished()))
			}
			require.LessOrEqual(t, largest, max(waitingBuffer, longest+1), "pieces of %d", piece)
			require.EqualValues(t, r.held(), r.memory.used.Load(), "capacity counts, not length")
		}
	}
}

func TestWhatIsLeftIsMovedWhereThatMakesRoomEnough(t *testing.T) {
	r := limitedReader(x(299)+"\n"+x(1000), 1<<20, 0, 0)
	_, _, err := r.next()
	require.NoError(t, err)
	require.NoError(t, r.fill(true))
	require.Equal(t, waitingBuffer, r.held())
	require.Equal(t, waitingBuffer, r.unfinished())
}

func TestTheBufferIsNeverLargerThanABatchNeeds(t *testing.T) {
	const batch = 10_000
	r := limitedReader(strings.Repeat(x(99)+"\n", 200), 700, 100, batch)
	for r.unfinished() < batch {
		require.NoError(t, r.fill(true))
		require.LessOrEqual(t, r.held(), batch+1)
	}
}

func TestAPacketOfThe64MBThatAreTheDefaultFitsIntoTheDefaultMemory(t *testing.T) {
	l := new(Limits).over(new(Limits))
	packet := append(bytes.Repeat([]byte("x"), l.packet-1), '\n')
	r := limitedReader("", 1, l.packet, 0)
	r.socket = &pieces{[][]byte{packet}, io.EOF}
	got, _, err := r.next()
	require.NoError(t, err)
	require.Equal(t, len(packet), len(got))
	require.LessOrEqual(t, r.memory.used.Load(), int64(l.packet+1))
	r.discard()
	require.Zero(t, r.memory.used.Load())
}

func TestAPacketThatMemoryLimitHasNoRoomForEndsTheConnection(t *testing.T) {
	r := limitedReader("ok\n"+x(100_000)+"\n", 1000, 0, 0)
	r.memory.limit = 64 << 10 // of which one may have half
	got, err := readAll(r)
	require.ErrorIs(t, err, errMemory)
	require.Equal(t, []string{"ok\n"}, got)
	require.Equal(t, 32<<10, r.held(), "what it holds when it asks for more")
	require.EqualValues(t, r.held(), r.memory.used.Load())
	r.discard()
	require.Zero(t, r.memory.used.Load())

	r = limitedReader(x(100_000)+"\n", 1000, 0, 0)
	r.memory.limit = 56 << 10
	_, err = readAll(r)
	require.ErrorIs(t, err, errMemory)
	require.Equal(t, 16<<10, r.held(), "what it holds counts when it asks for more")
	r.discard()

	r = limitedReader(strings.Repeat(x(4095)+"\n", 10), 1<<20, 0, 0)
	r.memory.limit = 1
	r.memory.used.Store(1 << 40)
	got, err = readAll(r)
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, got, 10, "what is guaranteed is enough for packets of 4 KiB, however little is left")
}

func TestTheBufferIsGivenBackWhenItIsEmptyHoweverTheReadEnds(t *testing.T) {
	for name, end := range map[string]error{"end of file": io.EOF, "an error": errors.New("of a test")} {
		r := limitedReader("a\nb\n", 3, 100, 0)
		r.socket.(*pieces).end = end
		got, err := readAll(r)
		require.Equal(t, []string{"a\n", "b\n"}, got, name)
		require.Equal(t, end, err, name)
		require.Nil(t, r.buffer, name)
		require.Zero(t, r.memory.used.Load(), name)
	}
}

// lastPieces gives its error together with the last bytes.
type lastPieces struct{ pieces }

func (p *lastPieces) read(r *reader, wait bool) error {
	err := p.pieces.read(r, wait)
	if len(p.left) == 0 {
		return p.end
	}
	return err
}

func TestAnErrorThatComesWithBytesEndsTheConnectionBehindThem(t *testing.T) {
	for _, end := range []error{io.EOF, errors.New("of a test")} {
		r := limitedReader("", 1, 0, 0)
		r.socket = &lastPieces{pieces{[][]byte{[]byte("a\nb\n")}, end}}
		got, err := readAll(r)
		require.Equal(t, []string{"a\n", "b\n"}, got)
		require.ErrorIs(t, err, end)
	}
}

func TestABufferThatHoldsBytesStays(t *testing.T) {
	r := limitedReader("a\nb", 100, 100, 0)
	_, _, err := r.next()
	require.NoError(t, err)
	r.release()
	require.NotNil(t, r.buffer)
	packet, tail, err := r.next()
	require.NoError(t, err)
	require.True(t, tail)
	require.Equal(t, "b", string(packet))
	r.release()
	require.Zero(t, r.memory.used.Load())
}

func TestWhoReadsIntoALargePacketTakesTurns(t *testing.T) {
	r := limitedReader(x(firstBuffer), firstBuffer-1, 0, 0)
	r.turns = newTurns()
	require.NoError(t, r.fill(true))
	for !r.takesTurns() {
		require.Less(t, r.unfinished(), firstBuffer)
		require.NoError(t, r.fill(true))
	}
	require.Equal(t, firstBuffer, r.unfinished())
	r.turns = nil
	require.False(t, r.takesTurns(), "but not without any")
}

func TestLimitsThatAreNegativeAreNamed(t *testing.T) {
	negative := ptr(-time.Second)
	l := Limits{
		IdleTimeout: negative, PacketTimeout: negative, WriteTimeout: negative, CloseTimeout: negative, Keepalive: negative,
	}
	errs := errors.Join(l.check("tcp.servers.a")...).Error()
	for _, key := range []string{"idle_timeout", "packet_timeout", "write_timeout", "close_timeout", "keepalive"} {
		require.Contains(t, errs, "tcp.servers.a."+key+": -1s is negative")
	}
	zero := ptr(time.Duration(0))
	l = Limits{IdleTimeout: zero, PacketTimeout: zero, WriteTimeout: zero, CloseTimeout: zero, Keepalive: zero, MaxConnectionsPerIP: ptr(0)}
	require.NoError(t, errors.Join(l.check("tcp")...))
}

func FuzzSize(f *testing.F) {
	for _, size := range []string{"", "4", "0.5", "64KiB", "4MB", "1g", "-1", "NaN", "Inf", "1e3", "1e300", "0x1p4", "4 apples", "9e12"} {
		f.Add(size)
	}
	f.Fuzz(func(t *testing.T, size string) {
		n, err := Size(size).bytes()
		if err != nil {
			require.ErrorContains(t, err, "is no size; want a number of MB")
			require.Zero(t, n)
			return
		}
		require.GreaterOrEqual(t, n, int64(0))
		require.Equal(t, n, sizeOr(math.MaxInt64, "", Size(size)))
	})
}

// What stands in the file may be of any type: nothing panics, and whatever is wrong is named by its key.
func FuzzConfig(f *testing.F) {
	for _, section := range []string{
		`{"servers":{"a":{"addr":":0","delimiter":"\n","batch":true,"max_packet_size":"4MB"}},"pool":{"num_workers":1}}`,
		`{"servers":{"a":{"b":{"addr":":0"}}},"memory_limit":"x","max_connections":-1,"idle_timeout":-5,"write_timeout":"1s"}`,
		`{"servers":{"a":null,"b":[],"c":5},"pool":{"supervisor":{"exec_ttl":"-1s"}},"dialect":1,"read_buf_size":1e300}`,
		`{"servers":[1],"pool":"x","max_packet_size":{},"close_timeout":[],"keepalive":true,"reuse_port":"maybe"}`,
		`{"SERVERS":{"A":{"ADDR":"unix://"}},"":{"":{"":{}}},"servers.a":1}`, `{}`, `{"servers":{"":{"addr":"::"}}}`,
	} {
		f.Add([]byte(section))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var section map[string]any
		if json.Unmarshal(file, &section) != nil || section == nil {
			t.Skip()
		}
		c := new(Config)
		err := c.load(sections{PluginName: section})
		if err == nil {
			for name, s := range c.Servers {
				require.NotEmpty(t, s.address, name)
				require.NotEmpty(t, s.Delimiter, name)
				require.Positive(t, s.readBytes, name)
				require.GreaterOrEqual(t, s.limits.packet, 0, name)
			}
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			require.True(t, strings.HasPrefix(line, "tcp.") || strings.HasPrefix(line, "tcp: "), "%q names no key", line)
		}
	})
}
