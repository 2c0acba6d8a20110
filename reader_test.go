package tcp

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pieces is a socket that delivers its slices one by one, each as far as there is room, and then its error.
type pieces struct {
	left [][]byte
	end  error
}

func (p *pieces) first() int { return waitingBuffer }

func (p *pieces) read(r *reader, wait bool) error {
	if len(p.left) == 0 {
		if !wait {
			return nil
		}
		return p.end
	}
	room, err := r.room()
	if err != nil {
		return err
	}
	n := copy(room, p.left[0])
	r.arrived(n)
	if p.left[0] = p.left[0][n:]; len(p.left[0]) == 0 {
		p.left = p.left[1:]
	}
	return nil
}

func (p *pieces) attend(step func() bool) error { return portableSocket{}.attend(step) }

func (p *pieces) writeNow([]byte, bool) (int, error) { panic("not written to") }

// batched hands over so many bytes of packets at once.
func batched(f framing, most int) framing {
	f.batch = most
	return f
}

// everyPacket reads to the end and returns copies; the last one may be the tail.
func everyPacket(t *testing.T, r *reader) (packets []string, tail bool) {
	for {
		packet, isTail, err := r.next()
		if errors.Is(err, io.EOF) {
			require.Zero(t, r.unfinished())
			return packets, tail
		}
		require.NoError(t, err)
		require.NotEmpty(t, packet)
		packets = append(packets, string(packet))
		tail = tail || isTail
	}
}

// cutByHand is the rule in other words: the first match ends a packet, the search goes on behind it.
func cutByHand(stream, delimiter string) (packets []string, tail bool) {
	for stream != "" {
		before, after, found := strings.Cut(stream, delimiter)
		if !found {
			return append(packets, stream), true
		}
		packets, stream = append(packets, before+delimiter), after
	}
	return packets, false
}

func chunks(stream string, sizes func() int) (cut [][]byte) {
	for stream != "" {
		n := min(max(1, sizes()), len(stream))
		cut, stream = append(cut, []byte(stream[:n])), stream[n:]
	}
	return cut
}

func TestPacketsAreTheSameHoweverTheyAreCut(t *testing.T) {
	for name, c := range map[string]struct{ stream, delimiter string }{
		"a delimiter whose beginning repeats itself":   {"aaab" + "aab" + "aaaab" + "ab", "aab"},
		"a delimiter that is found inside itself":      {"aaa" + "aaaa" + "b" + "aaaaa", "aa"},
		"a delimiter that overlaps itself by two":      {"ababababab", "abab"},
		"delimiters alone":                             {strings.Repeat("\r\n", 7), "\r\n"},
		"half a delimiter at the end":                  {"one\r\ntwo\r", "\r\n"},
		"carriage returns that belong to no delimiter": {"\r\r\n\n\r\r\n", "\r\n"},
		"eight bytes":                    {"x12345678y1234567812345678z1234567", "12345678"},
		"no delimiter at all":            {strings.Repeat("x", 3000), "\n"},
		"zero bytes":                     {"a\x00\x00b\x00", "\x00"},
		"packets larger than the buffer": {strings.Repeat("x", 9000) + "\n" + strings.Repeat("y", 5000) + "\n", "\n"},
		"nothing":                        {"", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			want, wantTail := cutByHand(c.stream, c.delimiter)
			rnd := rand.New(rand.NewSource(1))
			for _, sizes := range []func() int{
				func() int { return 1 }, func() int { return 2 }, func() int { return 3 }, func() int { return len(c.stream) },
				func() int { return 1 + rnd.Intn(5) }, func() int { return 1 + rnd.Intn(2000) },
			} {
				r := &reader{memory: &memory{},
					socket: &pieces{chunks(c.stream, sizes), io.EOF}, framing: splitDelimiter([]byte(c.delimiter), false), most: 1 << 20,
				}
				got, tail := everyPacket(t, r)
				require.Equal(t, want, got)
				require.Equal(t, wantTail, tail)
			}
		})
	}
}

func FuzzPackets(f *testing.F) {
	f.Add("aaabaab", "aab", int64(1), 0, 16)
	f.Add("one\r\ntwo\r\nrest", "\r\n", int64(2), 8, 1<<19)
	f.Add(strings.Repeat("a", 5000), "aa", int64(3), 100, 1)
	f.Fuzz(func(t *testing.T, stream, delimiter string, seed int64, batch, most int) {
		if delimiter == "" || len(delimiter) > 64 || len(stream) > 1<<16 {
			t.Skip()
		}
		rnd := rand.New(rand.NewSource(seed))
		batch, most = max(0, batch%(1<<16)), 1+max(0, most%(1<<20))
		r := &reader{memory: &memory{},
			socket:  &pieces{chunks(stream, func() int { return 1 + rnd.Intn(700) }), io.EOF},
			framing: batched(splitDelimiter([]byte(delimiter), false), batch), most: most,
		}
		got, tail := everyPacket(t, r)
		want, wantTail := cutByHand(stream, delimiter)
		require.Equal(t, wantTail, tail)
		if batch == 0 {
			require.Equal(t, want, got)
			return
		}
		checkBatches(t, want, got, batch)
	})
}

// checkBatches takes the packets out of what was handed over together: whole ones, in order, no more than fit.
func checkBatches(t *testing.T, packets, batches []string, most int) {
	for _, batch := range batches {
		count := 0
		for rest := batch; rest != ""; count++ {
			require.NotEmpty(t, packets, "%q is no packet", rest)
			require.True(t, strings.HasPrefix(rest, packets[0]), "%q does not begin with the packet %q", rest, packets[0])
			rest, packets = rest[len(packets[0]):], packets[1:]
		}
		require.True(t, count == 1 || len(batch) <= most, "%d packets of %d bytes in all; %d fit", count, len(batch), most)
	}
	require.Empty(t, packets)
}

func TestBatchHandsOverAllThatHasArrived(t *testing.T) {
	r := &reader{memory: &memory{},
		socket:  &pieces{[][]byte{[]byte("1\n2\n3"), []byte("\n4\n"), []byte("5\n")}, io.EOF},
		framing: batched(splitDelimiter([]byte("\n"), false), 1<<20), most: 1 << 20,
	}
	packet, _, err := r.next()
	require.NoError(t, err)
	require.Equal(t, "1\n2\n", string(packet), "a finished packet never waits for an unfinished one")
	packet, _, err = r.next()
	require.NoError(t, err)
	require.Equal(t, "3\n4\n", string(packet))
}

func TestWhatCameBeforeAResetIsHandedOver(t *testing.T) {
	r := &reader{memory: &memory{},
		socket: &pieces{[][]byte{[]byte("1\n2\n3")}, net.ErrClosed}, framing: splitDelimiter([]byte("\n"), false), most: 1 << 20,
	}
	for _, want := range []string{"1\n", "2\n"} {
		packet, tail, err := r.next()
		require.NoError(t, err)
		require.False(t, tail)
		require.Equal(t, want, string(packet))
	}
	_, _, err := r.next()
	require.ErrorIs(t, err, net.ErrClosed, "an unfinished packet is no tail when the connection breaks")
	require.Equal(t, 1, r.unfinished())
}

func TestALargePacketIsScannedOnce(t *testing.T) {
	stream := append(bytes.Repeat([]byte("x"), 1<<20), "\r\n"...)
	scanned := 0
	f := splitDelimiter([]byte("\r\n"), false)
	inner := f.split
	f.split = func(data []byte, atEOF bool) (int, []byte, error) {
		scanned += len(data)
		return inner(data, atEOF)
	}
	r := &reader{memory: &memory{}, socket: &pieces{chunks(string(stream), func() int { return 1000 }), io.EOF}, framing: f, most: 1 << 20}
	packet, _, err := r.next()
	require.NoError(t, err)
	require.Equal(t, stream, packet)
	require.Less(t, scanned, len(stream)+len(stream)/100, "bytes shown to split in all")
}

func TestTheBufferGrowsWithWhatArrivedOnly(t *testing.T) {
	stream := strings.Repeat("x", 100_000) + "\n"
	r := &reader{memory: &memory{},
		socket: &pieces{chunks(stream, func() int { return 100 }), io.EOF}, framing: splitDelimiter([]byte("\n"), false), most: 50 << 20,
	}
	for {
		if packet, err := r.cut(); packet != nil || err != nil {
			require.NoError(t, err)
			break
		}
		require.NoError(t, r.fill(true))
		require.LessOrEqual(t, len(r.buffer.bytes), max(waitingBuffer, 4*r.unfinished()))
	}
	require.NoError(t, r.fill(true)) // the end of file: the buffer is empty and not needed any more
	require.Nil(t, r.buffer)
}

func TestTheBufferDoesNotGrowForPacketsThatFit(t *testing.T) {
	stream := strings.Repeat(strings.Repeat("x", 69)+"\n", 1000)
	r := &reader{memory: &memory{},
		socket: &pieces{chunks(stream, func() int { return 300 }), io.EOF}, framing: splitDelimiter([]byte("\n"), false), most: 1 << 20,
	}
	for range 1000 {
		_, _, err := r.next()
		require.NoError(t, err)
		require.Len(t, r.buffer.bytes, waitingBuffer)
	}
}

func TestReadBufferSizeIsTheMostReadAtOnce(t *testing.T) {
	r := &reader{memory: &memory{}, socket: &pieces{[][]byte{make([]byte, 5000)}, io.EOF}, framing: splitDelimiter([]byte("\n"), false), most: 7}
	for range 20 {
		room, err := r.room()
		require.NoError(t, err)
		require.LessOrEqual(t, len(room), 7)
		require.NoError(t, r.fill(true))
	}
}

// tcpPair is a connection over the loopback: the server's side and the client's.
func tcpPair(t testing.TB) (server net.Conn, client *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); dialed.Close() })
	return server, dialed.(*net.TCPConn)
}

// hesitant is a socket that wakes its reader twice in vain before each piece.
type hesitant struct {
	pieces
	looks int
}

func (h *hesitant) read(r *reader, wait bool) error {
	if !wait {
		return nil
	}
	if h.looks++; h.looks%3 != 0 {
		return nil
	}
	return h.pieces.read(r, wait)
}

func TestAWaitThatIsWokenInVainGoesOn(t *testing.T) {
	const idle, packetTime = time.Minute, time.Hour
	for _, c := range []struct {
		batch  int
		pieces []string
		limits []time.Duration // that were set: until a packet begins, and from then
	}{
		{0, []string{"a", "b", "\nc", "\n"}, []time.Duration{idle, packetTime, packetTime}},
		{100, []string{"ab\nc", "\n"}, []time.Duration{idle, packetTime}},
	} {
		var limits []time.Duration
		h := new(hesitant)
		for _, piece := range c.pieces {
			h.left = append(h.left, []byte(piece))
		}
		r := &reader{
			memory: &memory{}, socket: h, framing: batched(splitDelimiter([]byte("\n"), false), c.batch), most: 1 << 20,
			idle: idle, packetTime: packetTime,
			setDeadline: func(d time.Time) { limits = append(limits, time.Until(d).Round(time.Minute)) },
		}
		for _, want := range []string{"ab\n", "c\n"} {
			packet, _, err := await(r)
			require.NoError(t, err)
			require.Equal(t, want, string(packet))
		}
		require.Equal(t, c.limits, limits)
	}
}

// await is r.next, waited for.
func await(r *reader) (packet []byte, tail bool, err error) {
	over := r.socket.attend(func() bool {
		packet, tail, err = r.next()
		return packet != nil || err != nil
	})
	if over != nil {
		r.waits, err = false, r.waited(over)
	}
	return packet, tail, err
}

func TestAWaitingSocketHoldsNoBuffer(t *testing.T) {
	server, client := tcpPair(t)
	r := &reader{memory: &memory{}, socket: newSocket(server), framing: splitDelimiter([]byte("\n"), false), most: 1 << 20}
	for _, packet := range []string{"one\n", strings.Repeat("x", 100_000) + "\n"} {
		_, err := client.Write([]byte(packet))
		require.NoError(t, err)
		got, _, err := await(r)
		require.NoError(t, err)
		require.Equal(t, packet, string(got))

		require.NoError(t, server.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
		_, _, err = await(r)
		require.ErrorIs(t, err, errIdle)
		if r.buffer != nil {
			require.LessOrEqual(t, len(r.buffer.bytes), 512)
		}
		require.NoError(t, server.SetReadDeadline(time.Time{}), "a deadline ends one read, not the reader")
	}
}

// countedPieces is a socket of a connection that needs no buffer to wait.
type countedPieces struct {
	pieces
	reads int
}

func (p *countedPieces) first() int { return firstBuffer }

func (p *countedPieces) read(r *reader, wait bool) error {
	p.reads++
	return p.pieces.read(r, wait)
}

func TestAPacketAsLargeAsTheLastOneIsReadAtOnce(t *testing.T) {
	large := strings.Repeat("x", 64<<10-2) + "\r\n"
	m := &memory{limit: 1 << 20}
	s := &countedPieces{pieces: pieces{[][]byte{[]byte(large), []byte(large), []byte("x\r\n"), []byte("y\r\n"), []byte(large)}, io.EOF}}
	r := &reader{memory: m, socket: s, framing: splitDelimiter([]byte("\r\n"), false), most: 1 << 20}
	for i, want := range []struct{ reads, held int }{
		{5, 64 << 10}, {1, 64 << 10}, {1, 64 << 10}, {1, firstBuffer}, {5, 64 << 10},
	} {
		s.reads = 0
		packet, _, err := r.next()
		require.NoError(t, err)
		require.Len(t, packet, []int{len(large), len(large), 3, 3, len(large)}[i])
		require.Equal(t, want.reads, s.reads, "reads of packet %d", i)
		require.Equal(t, want.held, r.held(), "held with packet %d", i)
	}

	m.used.Store(1<<20 - 16<<10) // others have nearly all of it
	r.release()
	s.left = append(s.left, []byte("z\r\n"))
	packet, _, err := r.next()
	require.NoError(t, err, "a smaller buffer does")
	require.Equal(t, "z\r\n", string(packet))
	require.Equal(t, firstBuffer, r.held())
}

func TestAnUnfinishedPacketHoldsNoMoreThanWhatArrivedOfIt(t *testing.T) {
	server, client := tcpPair(t)
	m := &memory{}
	r := &reader{socket: newSocket(server), memory: m, framing: splitDelimiter([]byte("\r\n"), false), most: 1 << 20}
	large := append(bytes.Repeat([]byte("x"), 64<<10-2), "\r\n"...)
	got := make(chan int)
	go func() {
		for range 3 {
			packet, _, err := await(r)
			if err != nil {
				t.Error(err)
			}
			got <- len(packet)
		}
		close(got)
	}()
	for range 2 {
		client.Write(large)
		require.Equal(t, len(large), <-got)
	}
	for _, more := range []int{1, 9 << 10, 20 << 10} {
		client.Write(large[:more])
		require.Eventually(t, func() bool {
			held := int(m.used.Load())
			return held >= more && held <= max(firstBuffer, 4*more)
		}, 5*time.Second, time.Millisecond, "%d of %d", m.used.Load(), more)
	}
	client.Write(large[len(large)-2:])
	require.Equal(t, 1+9<<10+20<<10+2, <-got)
}

func TestAnEmptyBufferIsUsedAgainUnlessItIsTooLarge(t *testing.T) {
	r := &reader{memory: &memory{}, framing: splitDelimiter([]byte("\n"), false), most: 1 << 20}
	r.socket = &countedPieces{pieces: pieces{left: [][]byte{[]byte("a\n"), []byte("b\n"), bytes.Repeat([]byte("c"), 100_000), []byte("\n"), []byte("d\n"), []byte("e\n")}}}
	next := func() *buffer {
		_, _, err := r.next()
		require.NoError(t, err)
		return r.buffer
	}
	first := next()
	require.Same(t, first, next())
	large := next()
	require.Greater(t, r.held(), 100_000)
	require.Same(t, large, next(), "the next packet may be as large")
	next()
	require.Equal(t, firstBuffer, r.held(), "it was not")
}

func TestABatchAsLargeAsTheLastOneDoesNotFillTheBuffer(t *testing.T) {
	for batch, want := range map[int]int{0: firstBuffer, 1 << 20: 2 * firstBuffer} {
		r := &reader{framing: batched(splitDelimiter([]byte("\n"), false), batch), usual: firstBuffer}
		require.Equal(t, want, r.firstBuffer(firstBuffer), "a full buffer would ask for another read, which finds nothing")
	}
}
