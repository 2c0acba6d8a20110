package tcp

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// reader turns what arrives on a socket into packets. It owns the buffer between the two, which grows with bytes that
// arrived and is given back whenever it is empty: a waiting connection holds none (none that matters: see socket).
// One goroutine uses it.
type reader struct {
	socket  socket
	framing framing
	own     framing // the server's
	once    bool    // framing is for one packet, then comes own
	most    int     // bytes read at once, at most
	longest int     // bytes of a packet, at most; 0: no limit
	memory  *memory
	turns   *turns // nil: large packets take none

	idle, packetTime time.Duration   // how long a packet may take to begin, and then to be finished; 0: forever
	setDeadline      func(time.Time) // of reads; nil where both of the above are 0
	asked            *atomic.Uint32  // the connection's; nil in tests of readers alone

	buffer     *buffer
	start, end int   // what is not handed over yet: buffer.bytes[start:end]
	seen       int   // how many of those split need not see again
	usual      int   // the size of what was handed over last: the next is expected to be as large
	over       error // why nothing more arrives: io.EOF, or what broke the connection
	begun      time.Time
	waits      bool         // nothing has arrived since that was asked for
	answered   bool         // so has the client, or its system, with what came last: it was not gone then
	beside     int          // bytes that the connection holds elsewhere
	total      atomic.Int64 // bytes that have arrived
	stats      *serverStats
}

// socket is a connection as reader and writer need it. One goroutine reads, one writes.
type socket interface {
	// attend calls step, and again whenever something may have arrived, until step is done. The error is what ended the wait
	// for that: a deadline, or the socket's end.
	attend(step func() (done bool)) error
	// read puts what has arrived into r.room(), which it asks for as late as it can, and tells r.arrived. Where nothing has,
	// it returns nil and attend waits; a socket that can't wait without a buffer waits here, unless wait is false. An error
	// that comes with bytes is the connection's last. It is called by step.
	read(r *reader, wait bool) error
	// first is the size in bytes of the buffer that a connection without one begins with.
	first() int
	// writeNow writes what can be written without waiting, and reports how much that was. inStep says that it is called by
	// the connection's goroutine, if anywhere in a step.
	writeNow(p []byte, inStep bool) (int, error)
}

// next returns the next packet; it is borrowed until the next call. It is nil, without an error, where next is to be called
// again when more has arrived. tail reports that the end of file ended it, not the framing. It returns io.EOF after the last
// one, and whatever ends a read otherwise.
func (r *reader) next() (packet []byte, tail bool, err error) {
	if !r.waits {
		r.begin()
	}
	for {
		packet, err = r.cut()
		switch {
		case err != nil || packet != nil:
			return packet, false, err
		case r.longest > 0 && r.unfinished() > r.longest:
			return nil, false, errTooLong
		case errors.Is(r.over, io.EOF):
			return r.rest()
		case r.over != nil:
			return nil, false, r.over
		}
		if err = r.await(); err != nil || r.waits {
			return nil, false, err
		}
	}
}

// begin is for what comes before the first look at a packet.
func (r *reader) begin() {
	r.begun = time.Time{}
	if r.start < r.end && r.end-r.start < r.framing.batch {
		// More for the batch; memory that is used up is met again when it matters.
		if err := r.fill(false); err != nil && !errors.Is(err, errMemory) {
			r.over = err
		}
	}
}

// use cuts what is not handed over yet, and what comes, by another rule: once, or from now on. It comes between packets.
func (r *reader) use(f framing, once bool) { r.framing, r.once = f, once }

// await is fill with the time limits.
func (r *reader) await() error {
	if !r.waits {
		r.limitWait()
	}
	if r.unfinished() > 0 && r.isOverdue() {
		return r.waited(os.ErrDeadlineExceeded)
	}
	return r.waited(r.fill(true))
}

// isOverdue looks at what ends a wait, for a packet of which there is always more: it never waits.
func (r *reader) isOverdue() bool {
	return r.packetTime > 0 && time.Since(r.begun) >= r.packetTime || r.asked != nil && r.asked.Load() != 0
}

// limitWait sets the deadline for what is to arrive.
func (r *reader) limitWait() {
	unfinished := r.unfinished() > 0
	switch {
	case unfinished && r.packetTime > 0:
		if r.begun.IsZero() {
			r.begun = time.Now()
			r.setDeadline(r.begun.Add(r.packetTime))
		}
	case !unfinished && r.idle > 0:
		r.setDeadline(time.Now().Add(r.idle))
	case r.setDeadline != nil:
		r.setDeadline(time.Time{})
	}
}

// waited says which limit was reached, if it was one that ended a wait.
func (r *reader) waited(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case r.unfinished() > 0:
		return errPacketTimeout
	default:
		return errIdle
	}
}

// unfinished counts the bytes that arrived and are not handed over yet.
func (r *reader) unfinished() int { return r.end - r.start }

// cut takes the next finished packet, or as many as fit a batch; nil where there is none yet.
func (r *reader) cut() ([]byte, error) {
	n, packet, err := r.split(r.start+r.seen, false)
	if err != nil || n == 0 {
		r.seen = max(0, r.end-r.start-r.framing.overlap)
		return nil, err
	}

	if r.seen > 0 {
		packet = r.buffer.bytes[r.start : r.start+r.seen+len(packet)]
		n += r.seen
	}
	if r.isTooLong(n) {
		return nil, errTooLong
	}
	if r.framing.batch > 0 {
		n = r.batch(n)
		packet = r.buffer.bytes[r.start : r.start+n]
	}

	r.cutOff(n)
	return packet, nil
}

// batch is how many bytes of finished packets come together, the first of which has n.
func (r *reader) batch(n int) int {
	most := r.framing.batch
	if whole := min(r.unfinished(), most); r.framing.finished != nil && !r.isTooLong(whole) {
		return max(n, r.framing.finished(r.buffer.bytes[r.start:r.start+whole]))
	}
	for {
		more, _, err := r.split(r.start+n, false)
		if err != nil || more == 0 || n+more > most || r.isTooLong(more) {
			return n // what is wrong with it is met again when it comes first
		}
		n += more
	}
}

func (r *reader) isTooLong(n int) bool { return r.longest > 0 && n > r.longest }

// cutOff is the end of a packet of n bytes.
func (r *reader) cutOff(n int) {
	r.start, r.seen, r.usual = r.start+n, 0, n
	if r.once {
		r.use(r.own, false)
	}
}

// rest takes what the end of file finishes.
func (r *reader) rest() ([]byte, bool, error) {
	n, packet, err := r.split(r.start, true)
	tail := errors.Is(err, bufio.ErrFinalToken)
	switch {
	case err != nil && !tail:
		return nil, false, err
	case n == 0:
		return nil, false, io.EOF
	}
	r.cutOff(n)
	return packet, tail, nil
}

func (r *reader) split(from int, atEOF bool) (int, []byte, error) {
	if from >= r.end {
		return 0, nil, nil
	}
	return r.framing.split(r.buffer.bytes[from:r.end:r.end], atEOF)
}

// fill reads once, or as often as a batch needs. The end of the stream is no error here: next hands over what came
// before it first.
func (r *reader) fill(wait bool) error {
	if r.over != nil {
		return nil
	}
	r.rewind()

	held := r.unfinished()
	err := r.socket.read(r, wait)
	r.waits = wait && err == nil && r.unfinished() == held
	if err != nil {
		r.release()
	}
	if err != nil && (errors.Is(err, io.EOF) || r.unfinished() > held) {
		r.over, err = err, nil
	}
	return err
}

func (r *reader) arrived(n int) {
	r.end += n
	r.answered = false
	r.total.Add(int64(n))
	r.stats.receive(n)
}

// takesTurns reports whether the packet that is read is large.
func (r *reader) takesTurns() bool { return r.turns != nil && r.unfinished() >= firstBuffer }

// room is where the next bytes go: at least one, or the error is errMemory. Bytes that wait to be handed over stay, but
// may move.
func (r *reader) room() ([]byte, error) {
	switch {
	case r.buffer == nil:
		if first := r.socket.first(); !r.grow(r.firstBuffer(first)) && !r.grow(first) {
			return nil, errMemory
		}
	case r.end == len(r.buffer.bytes):
		if !r.makeRoom() {
			return nil, errMemory
		}
	}
	return r.buffer.bytes[r.end:min(len(r.buffer.bytes), r.end+r.most)], nil
}

// makeRoom moves what is left to the beginning of the buffer, or of one twice as large where more than half is taken.
func (r *reader) makeRoom() bool {
	if left := r.unfinished(); left > len(r.buffer.bytes)/2 {
		return r.grow(r.largerBuffer())
	}
	r.end = copy(r.buffer.bytes, r.buffer.bytes[r.start:r.end])
	r.start = 0
	return true
}

// firstBuffer is the size of the buffer that a packet as large as the last one fits in; least, if the connection waits
// with it.
func (r *reader) firstBuffer(least int) int {
	size, expected := least, r.usual
	if r.framing.batch > 0 {
		expected++ // a read that does not fill the buffer has found all there is
	}
	for least >= firstBuffer && size < expected && size < largestFirst {
		size *= 2
	}
	if r.longest > 0 {
		size = min(size, max(least, max(r.longest, r.framing.batch)+1))
	}
	return size
}

// largerBuffer is the size of the next buffer: twice this one's, but no more than shows that a packet is too long.
func (r *reader) largerBuffer() int {
	size := 2 * len(r.buffer.bytes)
	if r.longest == 0 {
		return size
	}
	if most := max(r.longest, r.framing.batch) + 1; size >= most-1 && most > len(r.buffer.bytes) {
		return most
	}
	return size
}

// grow takes a buffer of size bytes, with what the old one holds.
func (r *reader) grow(size int) bool {
	held := r.held()
	if !r.memory.take(size-held, r.beside+held) {
		return false
	}
	r.move(size)
	return true
}

// move puts what the buffer holds into one of size bytes.
func (r *reader) move(size int) {
	old := r.buffer
	r.buffer = newBuffer(size)
	if old != nil {
		r.end = copy(r.buffer.bytes, old.bytes[r.start:r.end])
		r.start = 0
		old.free()
	}
}

// shrink gives back what a connection need not hold while it waits: all of an empty buffer, and what it would not have
// got for the bytes that have arrived.
func (r *reader) shrink() {
	r.release()
	size := firstBuffer
	for size < 2*r.unfinished() {
		size *= 2
	}
	if held := r.held(); size < held {
		r.memory.give(held - size)
		r.move(size)
	}
}

// held is the buffer's size in bytes.
func (r *reader) held() int {
	if r.buffer == nil {
		return 0
	}
	return len(r.buffer.bytes)
}

// rewind makes an empty buffer ready for what comes. One that is larger than that will likely need is given back.
func (r *reader) rewind() {
	switch {
	case r.start < r.end || r.buffer == nil:
	case r.held() > r.firstBuffer(r.socket.first()):
		r.release()
	default:
		r.start, r.end, r.seen = 0, 0, 0
	}
}

// release gives an empty buffer back; a buffer that holds bytes stays.
func (r *reader) release() {
	if r.start == r.end && r.buffer != nil {
		r.memory.give(r.held())
		r.buffer.free()
		r.buffer, r.start, r.end, r.seen = nil, 0, 0, 0
	}
}

// discard drops everything and gives the buffer back.
func (r *reader) discard() {
	r.start = r.end
	r.release()
}

// portableSocket is any net.Conn. It has no way to wait without a buffer, so its first one is small.
type portableSocket struct{ conn io.Reader }

func (s portableSocket) first() int { return waitingBuffer }

func (s portableSocket) attend(step func() bool) error {
	for done := false; !done; {
		done = step()
	}
	return nil
}

func (s portableSocket) read(r *reader, wait bool) error {
	if !wait {
		return nil
	}
	room, err := r.room()
	if err != nil {
		return err
	}
	n, err := s.conn.Read(room)
	r.arrived(n)
	return err
}

func (s portableSocket) writeNow([]byte, bool) (int, error) { return 0, nil }
