package stream

import (
	"bufio"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
)

// ReaderConfig is what a Reader needs to know of its connection.
type ReaderConfig struct {
	Socket        Socket          // Handshake replaces it
	Framing       framing.Framing // the server's
	ReadSize      int             // read_buf_size: the maximum size of one read in bytes
	MaxPacketSize int             // max_packet_size in bytes; 0: no limit
	OnTooLong     framing.TooLong // what becomes of a packet that is larger
	Memory        *Memory
	Limiter       *ReadLimiter  // for large packets; nil: no limit
	IdleTimeout   time.Duration // how long no packet may begin; 0: forever
	Written       *Activity     // what is written counts for IdleTimeout, too; nil: it does not
	PacketTimeout time.Duration // how long a packet may take from its first wait to its end; 0: forever
	// SetDeadline sets the read deadline; it keeps one in the past that an interruption has set.
	SetDeadline func(time.Time)
	// These count, for several connections, the bytes that arrive and the packets that were too long; each may be nil.
	Received, DiscardedTotal, TruncatedTotal *atomic.Int64
}

// Reader turns what arrives on a socket into packets. It owns the buffer between the two, which grows with bytes that have
// arrived and is given back whenever it is empty: a connection that waits for a packet holds no buffer (see Socket). One
// goroutine uses it.
type Reader struct {
	ReaderConfig
	replaced framing.Framing  // in place of Framing; no Split: none
	once     bool             // replaced is for one packet
	narrowed *framing.Framing // the one of them that cuts the packet which has begun; nil: not known yet, or there is one

	buffer     *Buffer // nil: none
	start, end int     // buffer.Bytes[start:end] has arrived and is not handed over yet
	seen       int     // how many of those bytes Split need not see again
	lastSize   int     // the size of what was handed over last: the next is expected to be as large
	readErr    error   // why nothing more arrives: io.EOF, or what broke the connection
	stopped    error   // of StopWaiting, as is boundRead; nil: Next waits
	boundRead  func()
	begun      time.Time    // when the wait for the rest of the packet began; zero: it has not
	isLimited  bool         // a read deadline is set
	decided    bool         // a delimiter that may still grow has waited long enough
	dropping   dropping     // of a packet that was too long
	discarded  int          // packets
	truncated  bool         // the last packet was too long
	extra      int          // bytes that the connection holds elsewhere
	total      atomic.Int64 // bytes that have arrived
}

// Next waits for the next packet, which is borrowed until the next call of Next, Release or Discard. tail reports that the
// end of file ended it, not the framing. The error is io.EOF after the last packet, otherwise what ended the wait.
func (r *Reader) Next() (packet []byte, tail bool, err error) {
	r.begun, r.truncated = time.Time{}, false
	r.fillBatch()
	for {
		packet, err = r.cut()
		switch {
		case err != nil || packet != nil:
			return packet, false, err
		case r.stopped != nil && r.readErr != nil:
			return nil, false, r.stopped
		case r.EOF() && r.dropTail():
			continue
		case r.EOF():
			return r.cutTail()
		case r.readErr != nil:
			return nil, false, r.readErr
		}
		if err = r.await(); err != nil {
			return nil, false, err
		}
	}
}

// fillBatch reads what has arrived since the last read where the next batch has begun. Memory that is used up is met again
// when it matters.
func (r *Reader) fillBatch() {
	if r.start == r.end || r.Unfinished() >= r.rule().Batch {
		return
	}
	if err := r.fill(false); err != nil && !errors.Is(err, ErrMemory) {
		r.readErr = err
	}
}

// Use cuts what is not handed over yet, and what comes, by another framing: once, or from now on. It comes between packets.
func (r *Reader) Use(f framing.Framing, once bool) { r.replaced, r.once, r.narrowed = f, once, nil }

// Restart drops what has arrived and is not handed over: what comes is another stream. It comes between packets.
func (r *Reader) Restart() {
	r.Discard()
	r.seen, r.narrowed, r.decided, r.dropping = 0, nil, false, dropping{}
}

// StopWaiting makes Next return the packets that have arrived, and err when a read brings nothing; setDeadline, which is called
// before each read, bounds it. The unfinished packet behind them is no tail. It must not be called while Next runs.
func (r *Reader) StopWaiting(err error, setDeadline func()) {
	r.stopped, r.boundRead = err, setDeadline
}

// rule is the framing in force.
func (r *Reader) rule() *framing.Framing {
	switch {
	case r.narrowed != nil:
		return r.narrowed
	case r.replaced.Split != nil:
		return &r.replaced
	}
	return &r.Framing
}

// Unfinished returns the number of bytes that have arrived and are not handed over yet.
func (r *Reader) Unfinished() int { return r.end - r.start }

// Total returns the number of bytes that have arrived. Any goroutine may call it.
func (r *Reader) Total() int64 { return r.total.Load() }

// EOF reports whether the client has ended its side of the stream.
func (r *Reader) EOF() bool { return errors.Is(r.readErr, io.EOF) }

// SetExtra says how many bytes the connection holds besides the buffer; they are taken from Memory elsewhere.
func (r *Reader) SetExtra(n int) { r.extra = n }

// Extra returns what SetExtra has set.
func (r *Reader) Extra() int { return r.extra }

// fill reads once, or as often as a batch needs. The end of the stream is no error here, nor is one that comes with bytes:
// what arrived before it is handed over first.
func (r *Reader) fill(wait bool) error {
	if r.readErr != nil {
		return nil
	}
	r.rewind()
	held := r.Unfinished()
	err := r.Socket.fill(r, wait)
	if err == nil {
		return nil
	}
	r.Release()
	if errors.Is(err, io.EOF) || r.Unfinished() > held {
		r.readErr, err = err, nil
	}
	return err
}

// arrived notes that a Socket has stored n bytes in space.
func (r *Reader) arrived(n int) {
	r.end += n
	r.total.Add(int64(n))
	if r.Received != nil {
		r.Received.Add(int64(n))
	}
}

// cut takes the next complete packet, or as many as fit a batch; nil where there is none yet. Empty packets that are not to be
// handed over are passed.
func (r *Reader) cut() ([]byte, error) {
	for {
		if r.isDropping() {
			if !r.drop() {
				return nil, nil
			}
			r.begun = time.Time{} // what follows is another packet
		}
		n, packet, err := r.first()
		if r.OnTooLong != framing.TooLongCloses && errors.Is(err, framing.ErrTooLong) {
			packet, again, err := r.cutTooLong(n)
			if again {
				continue
			}
			return packet, err
		}
		if err != nil || n == 0 {
			return nil, err
		}
		rule := r.rule()
		if rule.IsEmpty != nil && rule.IsEmpty(r.buffer.Bytes[r.start:r.end], n) {
			r.skip(n)
			r.begun = time.Time{}
			continue
		}
		if rule.Batch > 0 {
			r.narrowed = nil // the packets behind the first may have another one
			n = r.batchSize(n)
			packet = r.buffer.Bytes[r.start : r.start+n]
		}
		r.advance(n)
		return packet, nil
	}
}

// first finds the first packet, which takes n bytes; 0: it is not complete. With framing.ErrTooLong, too, n is its size where it
// is complete.
func (r *Reader) first() (n int, packet []byte, err error) {
	n, packet, err = r.split(r.start+r.seen, r.decided)
	if r.decided && errors.Is(err, bufio.ErrFinalToken) {
		n, err = 0, nil
	}
	r.decided = false
	if err != nil || n == 0 {
		r.see()
		if err == nil && r.isTooLong(r.Unfinished()) && (r.decidedSize() == 0 || r.isTooLong(r.seen+r.decidedSize())) {
			err = framing.ErrTooLong
		}
		return 0, nil, err
	}
	if r.seen > 0 { // strip removes bytes at the end only: a framing that strips leading bytes has Overlap Everything
		packet = r.buffer.Bytes[r.start : r.start+r.seen+len(packet)]
		n += r.seen
	}
	if r.isTooLong(n) {
		return n, nil, framing.ErrTooLong
	}
	return n, packet, nil
}

// see notes that what has arrived is no whole packet.
func (r *Reader) see() {
	if narrow := r.rule().Narrow; narrow != nil && r.Unfinished() > 0 {
		r.narrowed = narrow(r.buffer.Bytes[r.start:r.end])
	}
	r.seen = max(0, r.Unfinished()-r.rule().Overlap)
}

// batchSize returns how many bytes of complete packets are handed over together; the first packet has n.
func (r *Reader) batchSize(n int) int {
	rule := r.rule()
	if whole := min(r.Unfinished(), rule.Batch); rule.Finished != nil && !r.isTooLong(whole) {
		return max(n, rule.Finished(r.buffer.Bytes[r.start:r.start+whole]))
	}
	for {
		more, _, err := r.split(r.start+n, false)
		if err != nil || more == 0 || n+more > rule.Batch || r.isTooLong(more) {
			return n // an error is met again when its packet comes first
		}
		n += more
	}
}

func (r *Reader) isTooLong(n int) bool { return r.MaxPacketSize > 0 && n > r.MaxPacketSize }

// advance moves behind a packet of n bytes.
func (r *Reader) advance(n int) {
	r.skip(n)
	r.lastSize = n
	if r.once {
		r.Use(framing.Framing{}, false)
	}
}

// skip moves behind a packet of n bytes that is not handed over.
func (r *Reader) skip(n int) { r.start, r.seen, r.narrowed = r.start+n, 0, nil }

// cutTail takes what the end of file completes.
func (r *Reader) cutTail() ([]byte, bool, error) {
	for {
		n, packet, err := r.split(r.start, true)
		isTail := errors.Is(err, bufio.ErrFinalToken)
		switch {
		case r.OnTooLong != framing.TooLongCloses && errors.Is(err, framing.ErrTooLong): // not even its beginning has arrived
			return nil, false, io.EOF
		case err != nil && !isTail:
			return nil, false, err
		case n == 0:
			return nil, false, io.EOF
		}
		if isEmpty := r.rule().IsEmpty; !isTail && isEmpty != nil && isEmpty(r.buffer.Bytes[r.start:r.end], n) {
			r.skip(n)
			continue
		}
		r.advance(n)
		return packet, isTail, nil
	}
}

func (r *Reader) split(from int, atEOF bool) (int, []byte, error) {
	if from >= r.end {
		return 0, nil, nil
	}
	return r.rule().Split(r.buffer.Bytes[from:r.end:r.end], atEOF)
}
