package stream

import (
	"errors"
	"os"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
)

// The part of Reader that waits, within the time limits.

// Wait waits until something has arrived, within IdleTimeout. The error is io.EOF where nothing comes.
func (r *Reader) Wait() error {
	for r.Unfinished() == 0 {
		if r.readErr != nil {
			return r.readErr
		}
		if err := r.await(); err != nil {
			return err
		}
	}
	return nil
}

// WaitGone waits, behind the end of file, until the connection breaks, or IdleTimeout is over. What was not handed over is dropped.
func (r *Reader) WaitGone() error {
	r.Discard()
	for {
		r.limitWait(0)
		err := r.Socket.waitGone()
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case !r.hasWritten():
			return ErrIdle
		}
		r.Written.renews = true
	}
}

// await waits for bytes, within the time limits.
func (r *Reader) await() error {
	wait := r.undecided()
	if r.stopped != nil {
		err := r.takeArrived()
		if r.decided = err != nil && wait > 0; r.decided {
			return nil
		}
		return err
	}
	r.limitWait(wait)
	err := r.fill(true)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case wait > 0:
		r.decided = true
		return nil
	case r.isUnfinished():
		return ErrPacketTimeout
	case r.hasWritten():
		r.Written.renews = true
		return nil
	default:
		return ErrIdle
	}
}

// hasWritten reports, at the end of IdleTimeout, that something was written within it. A deadline that came before was set by an
// interruption.
func (r *Reader) hasWritten() bool {
	return r.Written != nil && r.Written.age() < r.IdleTimeout && !time.Now().Before(r.Written.until)
}

// takeArrived is await after StopWaiting.
func (r *Reader) takeArrived() error {
	before := r.Total()
	r.boundRead()
	err := r.fill(true)
	if r.Total() == before && !errors.Is(err, ErrMemory) {
		return r.stopped
	}
	return err
}

// undecided returns how long a packet that is complete, but for a delimiter that may still grow, waits for more; 0: there is
// none.
func (r *Reader) undecided() time.Duration {
	if wait := r.nextRule().Wait; wait > 0 && r.decidedSize() > 0 {
		return wait
	}
	return 0
}

// decidedSize returns the size of the packet that there would be if no more came, of those bytes that Split has to see again; 0:
// there would be none.
func (r *Reader) decidedSize() int {
	from := r.start + r.seen
	if from >= r.end {
		return 0
	}
	n, _, err := r.nextRule().Split(r.buffer.Bytes[from:r.end:r.end], true)
	if err != nil {
		return 0
	}
	return n
}

// nextRule is the framing that finds the next end: of what is dropped, or of a packet.
func (r *Reader) nextRule() *framing.Framing {
	if r.dropping.until != nil {
		return r.dropping.until
	}
	return r.rule()
}

// limitWait sets the deadline for what is to arrive. All waits for one packet share a deadline, but for that of a delimiter.
func (r *Reader) limitWait(delimiter time.Duration) {
	isUnfinished := r.isUnfinished()
	if !isUnfinished {
		r.begun = time.Time{}
	}
	switch {
	case delimiter > 0:
		r.limit(time.Now().Add(delimiter))
	case isUnfinished && r.PacketTimeout > 0:
		if r.begun.IsZero() {
			r.begun = time.Now()
			r.limit(r.begun.Add(r.PacketTimeout))
		}
	case !isUnfinished && r.IdleTimeout > 0:
		r.limitIdle()
	case r.isLimited:
		r.SetDeadline(time.Time{})
		r.isLimited = false
	}
}

// limitIdle sets the deadline for a packet to begin.
func (r *Reader) limitIdle() {
	until := time.Now().Add(r.IdleTimeout)
	if a := r.Written; a != nil {
		if a.renews {
			until = until.Add(-a.age())
		}
		a.until, a.renews = until, false
	}
	r.limit(until)
}

// isUnfinished reports whether a packet has begun, be it that none of it is decrypted yet. Nothing is, behind the end.
func (r *Reader) isUnfinished() bool {
	return r.Unfinished() > 0 || r.isDropping() || r.Socket.isUnfinished() && !r.EOF()
}

func (r *Reader) limit(until time.Time) {
	r.SetDeadline(until)
	r.isLimited = true
}
