package server

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// aLongTimeAgo is a deadline that ends waits at once.
var aLongTimeAgo = time.Unix(1, 0)

// end notes why the connection ends. The first reason counts, and the first error that goes with it. An ordinary end is no error.
func (c *connection) end(why wire.Reason, err error) wire.State {
	if c.reason == wire.ReasonNone {
		c.reason = why
	}
	if c.reason == why && c.err == nil && why != wire.ReasonEOF {
		c.err = err
	}
	return wire.Closing
}

// endedBy notes that a read or a write failed. An interruption that made it fail has the reason, but a limit that is reached
// while a drained connection waits for the end of an answer is the reason all the same.
func (c *connection) endedBy(err error) wire.State {
	err = stream.ExplainTimeout(c.conn, err)
	why := reasonOf(err)
	wokenUp := c.isAborted() || errors.Is(err, stream.ErrIdle) || errors.Is(err, stream.ErrPacketTimeout) || !why.IsLimit()
	if interrupted := c.interruption(); interrupted != wire.ReasonNone && wokenUp {
		if interrupted != why || !isUntaken(err) { // else FrameFailed has interrupted because of err
			err = nil
		}
		return c.end(interrupted, err)
	}
	if why.IsLimit() {
		c.linger, c.hard = 0, true
	}
	c.dropUnsent(err)
	return c.end(why, err)
}

// isUntaken reports whether err says that a client did not take, in time, what was written.
func isUntaken(err error) bool {
	return errors.Is(err, stream.ErrWriteTimeout) || errors.Is(err, stream.ErrMinRate)
}

// dropUnsent makes the system forget what the client did not take within write_timeout, or too slowly: it would go on offering it for minutes.
func (c *connection) dropUnsent(err error) {
	if s, ok := c.conn.(interface{ SetLinger(int) error }); ok && isUntaken(err) {
		_ = s.SetLinger(0)
	}
}

// keepOpen waits, where the client has ended its side and can still be pushed to, until something else ends the connection. It
// returns that, or err.
func (c *connection) keepOpen(err error) error {
	if !c.settings.KeepHalfClosed || !errors.Is(err, io.EOF) || c.unwritable != nil {
		return err
	}
	c.unfinished = c.reader.Unfinished()
	return c.reader.WaitGone()
}

// stoppedReading notes why there is no further packet.
func (c *connection) stoppedReading(err error) {
	if (errors.Is(err, io.EOF) || errors.Is(err, stream.ErrTruncated)) && stream.IsDead(c.conn) {
		c.writer.TakeTurn() // the system tells why once: it may have told the push that is being written
	}
	if c.isAborted() {
		c.end(c.interruption(), nil)
		return
	}
	switch {
	case c.unwritable != nil:
		err = c.unwritable // since then only what had arrived was read
	case c.pushEnds(err):
		err = c.writer.PushErr()
	case errors.Is(err, stream.ErrTruncated) && c.reader.Unfinished() == 0:
		err = io.EOF // no packet was cut off
	}
	c.endedBy(err)
	if c.reason == wire.ReasonEOF && c.unfinished == 0 {
		c.unfinished = c.reader.Unfinished()
	}
	if c.reason == wire.ReasonShutdown {
		c.linger = min(c.linger, idleLinger)
	}
}

// isCutOff reports whether an end of file is none: the system has told the push that is being written that the client is gone.
func (c *connection) isCutOff() bool {
	if !stream.IsDead(c.conn) {
		return false
	}
	c.writer.TakeTurn()
	err := c.writer.PushErr()
	if c.isAborted() || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ETIMEDOUT) { // EPIPE: it has ended its side before
		return true
	}
	c.writer.Release()
	return false
}

// pushEnds reports whether a push that failed, since the client is gone, ends the connection: it does unless the system has told
// the read, which failed with err, why.
func (c *connection) pushEnds(err error) bool {
	return c.interruption() == wire.ReasonReset && !errors.Is(err, syscall.ETIMEDOUT)
}

// goneTimeout bounds a read from a client that is gone: the system says so at once, but some other failure may look alike.
const goneTimeout = 100 * time.Millisecond

// boundRead sets the deadline for one read from a client that is gone.
func (c *connection) boundRead() {
	_ = c.conn.SetReadDeadline(time.Now().Add(goneTimeout))
	if c.isAborted() {
		_ = c.conn.SetReadDeadline(aLongTimeAgo)
	}
}

// reasonOf maps an error of the reader or the writer to a reason.
func reasonOf(err error) wire.Reason {
	var network net.Error
	switch {
	case errors.Is(err, io.EOF):
		return wire.ReasonEOF
	case errors.Is(err, stream.ErrIdle):
		return wire.ReasonIdle
	case errors.Is(err, stream.ErrPacketTimeout), isUntaken(err):
		return wire.ReasonSlow
	case errors.Is(err, framing.ErrTooLong), errors.Is(err, framing.ErrLength):
		return wire.ReasonTooLong
	case errors.Is(err, framing.ErrNoRule):
		return wire.ReasonFraming
	case errors.Is(err, stream.ErrMemory):
		return wire.ReasonMemory
	case errors.Is(err, io.ErrClosedPipe), errors.As(err, &network), errors.Is(err, stream.ErrTLS), errors.Is(err, stream.ErrTruncated):
		return wire.ReasonReset
	default:
		return wire.ReasonError
	}
}

// interruption is why drain or abort wants the connection to end; ReasonNone: neither does.
func (c *connection) interruption() wire.Reason { return wire.Reason(c.interrupted.Load() &^ abortBit) }

// drain lets the connection end as soon as no reply is owed. Any goroutine may call it.
func (c *connection) drain(why wire.Reason) {
	if !c.interrupted.CompareAndSwap(uint32(wire.ReasonNone), uint32(why)) && why != wire.ReasonReset {
		c.interrupted.CompareAndSwap(uint32(wire.ReasonReset), uint32(why)) // for which packets that have arrived go on
	}
	if why == wire.ReasonRPC && c.startsTLS.Load() {
		return // startTLS finds it: the push waits for the handshake
	}
	if c.opening.Load() {
		_ = c.conn.SetWriteDeadline(aLongTimeAgo) // before the one that wakes the reader, which resets it and says goodbye
	}
	_ = c.conn.SetReadDeadline(aLongTimeAgo)
}

// abort ends the connection at once: the socket is shut down, the wait for a worker ends, a reply that comes later is
// discarded. Any goroutine may call it, more than once; the first reason counts.
func (c *connection) abort(why wire.Reason) {
	for {
		interrupted := c.interrupted.Load()
		if interrupted&abortBit != 0 {
			return
		}
		if c.interrupted.CompareAndSwap(interrupted, uint32(why)|abortBit) {
			break
		}
	}
	close(c.aborted)
	shutdown(c.conn)
}

// isCalledOff reports whether a preamble or a handshake is to end at once. A push that ends the connection waits for it.
func (c *connection) isCalledOff() bool {
	why := c.interruption()
	return c.isAborted() || why != wire.ReasonNone && why != wire.ReasonRPC
}

func (c *connection) isAborted() bool { return c.interrupted.Load()&abortBit != 0 }

// setReadDeadline is for the goroutine that reads. A deadline in the past that drain or abort has set stays.
func (c *connection) setReadDeadline(t time.Time) {
	_ = c.conn.SetReadDeadline(t)
	if c.interruption() != wire.ReasonNone {
		_ = c.conn.SetReadDeadline(aLongTimeAgo)
	}
}

// setWriteDeadline is for the goroutine that writes. A deadline in the past that abort has set stays.
func (c *connection) setWriteDeadline(t time.Time) {
	_ = c.conn.SetWriteDeadline(t)
	if c.isAborted() {
		_ = c.conn.SetWriteDeadline(aLongTimeAgo)
	}
}

// shutdown ends both directions of a socket that another goroutine uses, without closing it.
func shutdown(conn net.Conn) {
	_ = conn.SetDeadline(aLongTimeAgo)
	if s, ok := conn.(interface{ CloseRead() error }); ok {
		_ = s.CloseRead()
	}
	if s, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = s.CloseWrite()
	}
}
