package stream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// SecureSocket is a Socket with TLS above it. Waiting happens below TLS: for bytes to arrive without a buffer, and for the
// client to take an answer with a look at its progress, both without an error that would break the TLS session.
type SecureSocket struct {
	Socket // the one below, which reads through Read
	tls    *tls.Conn
	below  *transport
	broken atomic.Bool // nothing more can be sent, not even close_notify
}

var _ Socket = (*SecureSocket)(nil)

// transport is the net.Conn below tls.Conn: the connection itself during the handshake, the Socket of Reader and Writer after
// it.
type transport struct {
	net.Conn
	records *Writer                     // writes what TLS has encrypted; nil during the handshake
	answers *Writer                     // the connection's Writer, above TLS
	tryRead func(p []byte) (int, error) // does not wait; nil during the handshake, and where the Socket can't
	turn    *handshakeTurn              // nil after the handshake
	input   undecrypted
}

// Handshake makes the connection a TLS server: on success r and w, the Reader and the Writer of conn, go through TLS. The
// caller sets the deadline; expired reports that it has passed, or that the handshake is to end for another reason.
func Handshake(conn net.Conn, config *tls.Config, r *Reader, w *Writer, l *HandshakeLimiter, expired func() bool) (*SecureSocket, error) {
	turn := &handshakeTurn{limiter: l, expired: expired}
	below := &transport{Conn: conn, turn: turn, input: undecrypted{reader: r}}
	t := tls.Server(below, config)
	defer turn.end()
	if err := t.Handshake(); err != nil {
		below.input.release()
		return nil, err
	}

	below.turn = nil
	below.input.handshaken()
	below.records, below.answers = w.below(), w
	s := &SecureSocket{tls: t, below: below}
	s.Socket = r.Socket.overTLS(s)
	r.Socket, w.Socket = s, s
	return s, nil
}

// ConnectionState returns what the handshake negotiated.
func (s *SecureSocket) ConnectionState() tls.ConnectionState { return s.tls.ConnectionState() }

// Read reads what is decrypted. An error that does not come from waiting is the client's fault.
func (s *SecureSocket) Read(p []byte) (int, error) {
	n, err := s.tls.Read(p)
	if n > 0 {
		s.below.input.decrypted()
	}
	switch {
	case isTimeout(err): // EAGAIN too
		if n > 0 && !errors.Is(err, syscall.ETIMEDOUT) {
			err = nil // the record behind the one that was read has arrived in part
		}
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrTruncated):
		s.broken.Store(true)
		err = fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return n, err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// writeNow writes all of p. Waiting for the client happens below TLS.
func (s *SecureSocket) writeNow(p []byte) (int, error) {
	n, err := s.tls.Write(p)
	if err != nil {
		s.broken.Store(true)
	}
	return n, err
}

// hurriedTimeout is how long what is sent last, in a hurry, waits for a client that takes nothing.
const hurriedTimeout = 100 * time.Millisecond

// CloseNotify sends close_notify, unless TLS is broken. It waits for the client as an answer does; in a hurry only for
// hurriedTimeout. The caller has the turn of the Writer.
func (s *SecureSocket) CloseNotify(hurry bool) {
	if s.broken.Load() {
		return // half a record is out, or an alert
	}
	if hurry {
		s.hurry()
	}
	_ = s.tls.CloseWrite()
}

// hurry makes what is written from now on wait for hurriedTimeout only.
func (s *SecureSocket) hurry() { s.below.records.Timeout = hurriedTimeout }

// isUnfinished reports whether the client has begun something that TLS can't decrypt yet.
func (s *SecureSocket) isUnfinished() bool { return s.below.input.isUnfinished() }

// Release ends the accounting of what TLS holds. Nothing is read any more.
func (s *SecureSocket) Release() { s.below.input.release() }

func (t *transport) Read(p []byte) (n int, err error) {
	if err := t.input.account(); err != nil {
		return 0, err
	}
	switch {
	case t.turn != nil:
		t.turn.end() // a handshake that waits for its client has none
		n, err = t.Conn.Read(p)
	case t.tryRead != nil:
		if n, err = t.tryRead(p); errors.Is(err, syscall.EAGAIN) && t.input.hasChanged() {
			err = errChanged
		}
	case t.input.hasChanged():
		return 0, errChanged
	default:
		n, err = t.Conn.Read(p)
	}
	t.input.arrived(p[:n])
	if t.turn != nil && err == nil {
		err = t.turn.begin()
	}
	if t.records != nil && errors.Is(err, io.EOF) {
		return n, ErrTruncated // tls.Conn returns io.EOF for close_notify and for the end of the stream alike
	}
	return n, err
}

func (t *transport) Write(p []byte) (int, error) {
	if t.records == nil {
		t.turn.end() // what comes next is the end, or a Read
		return t.Conn.Write(p)
	}
	t.records.frameDeadline = t.answers.frameDeadline
	if err := t.records.writeAll(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline does nothing: tls.Conn calls it around close_notify, but the Writer sets the deadlines.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
