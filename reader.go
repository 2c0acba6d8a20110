package tcp

import (
	"errors"
	"io"
	"math/bits"
	"net"
	"sync"
)

// reader turns what arrives on a socket into packets. It owns the buffer between the two, which grows with bytes that
// arrived and is given back whenever it is empty: a waiting connection holds none (none that matters: see source).
// One goroutine uses it.
type reader struct {
	source  source
	framing framing
	most    int // bytes read at once, at most
	batch   int // bytes of finished packets handed over together, at most; 0: one packet at a time

	buffer     *buffer
	start, end int   // what is not handed over yet: buffer.bytes[start:end]
	seen       int   // how many of those split need not see again
	over       error // why nothing more arrives: io.EOF, or what broke the connection
}

// source is a socket as the reader needs it.
type source interface {
	// read waits until bytes have arrived, puts them into r.room(), which it asks for as late as it can, and tells
	// r.arrived; with wait == false it does not wait. An error that comes with bytes is the connection's last.
	read(r *reader, wait bool) error
	// first is the size in bytes of the buffer that a connection without one begins with.
	first() int
}

// next returns the next packet; it is borrowed until the next call. tail reports that the end of file ended it, not the
// framing. It returns io.EOF after the last one, and whatever ends a read otherwise.
func (r *reader) next() (packet []byte, tail bool, err error) {
	if r.start < r.end && r.end-r.start < r.batch {
		if err = r.fill(false); err != nil {
			return nil, false, err
		}
	}

	for {
		packet, err = r.cut()
		switch {
		case err != nil || packet != nil:
			return packet, false, err
		case errors.Is(r.over, io.EOF):
			return r.rest()
		case r.over != nil:
			return nil, false, r.over
		}
		if err = r.fill(true); err != nil {
			return nil, false, err
		}
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

	packet = r.buffer.bytes[r.start : r.start+r.seen+len(packet)]
	n += r.seen
	if r.batch > 0 {
		for {
			more, _, err := r.split(r.start+n, false)
			if err != nil || more == 0 || n+more > r.batch {
				break // an error is met again when it comes first
			}
			n += more
		}
		packet = r.buffer.bytes[r.start : r.start+n]
	}

	r.start, r.seen = r.start+n, 0
	return packet, nil
}

// rest takes what the end of file finishes.
func (r *reader) rest() ([]byte, bool, error) {
	n, packet, err := r.split(r.start, true)
	switch {
	case err != nil:
		return nil, false, err
	case n == 0:
		return nil, false, io.EOF
	}
	r.start, r.seen = r.start+n, 0
	return packet, true, nil
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
	if r.start == r.end {
		r.release()
	}

	held := r.unfinished()
	err := r.source.read(r, wait)
	if err != nil && (errors.Is(err, io.EOF) || r.unfinished() > held) {
		r.over, err = err, nil
	}
	return err
}

func (r *reader) arrived(n int) { r.end += n }

// room is where the next bytes go: at least one. Bytes that wait to be handed over stay, but may move.
func (r *reader) room() []byte {
	switch {
	case r.buffer == nil:
		r.buffer = newBuffer(r.source.first())
	case r.end == len(r.buffer.bytes):
		r.makeRoom()
	}
	return r.buffer.bytes[r.end:min(len(r.buffer.bytes), r.end+r.most)]
}

// makeRoom moves what is left to the beginning of the buffer, or of one twice as large where more than half is taken.
func (r *reader) makeRoom() {
	old, left := r.buffer, r.buffer.bytes[r.start:r.end]
	if len(left) > len(old.bytes)/2 {
		r.buffer = newBuffer(2 * len(old.bytes))
	}
	copy(r.buffer.bytes, left)
	if r.buffer != old {
		old.free()
	}
	r.start, r.end = 0, len(left)
}

// release gives an empty buffer back; a buffer that holds bytes stays.
func (r *reader) release() {
	if r.start == r.end && r.buffer != nil {
		r.buffer.free()
		r.buffer, r.start, r.end, r.seen = nil, 0, 0, 0
	}
}

// discard drops everything and gives the buffer back.
func (r *reader) discard() {
	r.start = r.end
	r.release()
}

// portableSource reads any net.Conn. It has no way to wait without a buffer, so its first one is small.
type portableSource struct{ conn net.Conn }

func (s portableSource) first() int { return waitingBuffer }

func (s portableSource) read(r *reader, wait bool) error {
	if !wait {
		return nil
	}
	n, err := s.conn.Read(r.room())
	r.arrived(n)
	return err
}

// Buffers are powers of two; those up to 1 MiB are used again.
const (
	waitingBuffer = 512     // what a waiting connection may hold, in bytes
	firstBuffer   = 4 << 10 // the first buffer of a connection that needs none to wait
	maxClass      = 20
)

var buffers [maxClass + 1]sync.Pool

type buffer struct {
	bytes []byte
	class int
}

// newBuffer returns a buffer of size bytes, a power of two.
func newBuffer(size int) *buffer {
	class := bits.Len(uint(size)) - 1
	if class <= maxClass {
		if b, ok := buffers[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{bytes: make([]byte, size), class: class}
}

// free gives the buffer to the next that asks for its size. Nobody may hold a part of it any more.
func (b *buffer) free() {
	if b.class <= maxClass {
		buffers[b.class].Put(b)
	}
}
