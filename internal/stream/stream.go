// Package stream moves the bytes of one connection: packets in, answers and pushes out. It owns the reader and the writer of
// a socket, their buffers and deadlines, the accounting of memory_limit, TLS, and what differs by platform. It must know
// nothing of events, workers, the pool or the configuration: internal/server opens, ends and closes connections and hands
// packets over.
package stream

import (
	"errors"
	"io"
	"net"
	"time"
)

// Errors of Reader and Writer. Those of framing and of the socket itself are returned as they are.
var (
	ErrMemory        = errors.New("memory_limit is used up")
	ErrIdle          = errors.New("no packet began within idle_timeout")
	ErrPacketTimeout = errors.New("the packet was not finished within packet_timeout")
	ErrMinRate       = errors.New("the client took less of what was written for it than min_rate")
	ErrWriteTimeout  = errors.New("the client took nothing of the answer, or not all of a frame, within write_timeout")
	// ErrTLS wraps what broke a TLS session.
	ErrTLS = errors.New("TLS is broken")
	// ErrTruncated is the end of a TLS session without close_notify: an attacker may have cut off what came last.
	ErrTruncated = errors.New("the client closed without close_notify")
	// ErrPushClosed is the error of an answer that comes after a push which ends the connection.
	ErrPushClosed = errors.New("a push has closed the connection")
)

// Socket reads and writes the bytes of a connection for one Reader and one Writer. NewSocket returns the implementation for
// the platform.
type Socket interface {
	// fill waits until bytes have arrived, or isUnfinished has changed, and stores them with r.arrived in r.space(), which it
	// calls as late as it can. With wait unset it returns at once where none have. An error that comes with bytes ends the
	// stream behind them. Where the read deadline ends the wait, the error is os.ErrDeadlineExceeded.
	fill(r *Reader, wait bool) error
	// firstSize is the size in bytes of the buffer that a connection without one begins with.
	firstSize() int
	// writeNow writes what can be written without waiting and returns how much that was.
	writeNow(p []byte) (int, error)
	// untaken is how many bytes the system has taken and the client has not, as its system says; 0 where that is not known. Of a
	// unix socket it is the memory that they take.
	untaken() int
	// waitGone waits, behind the end of file, until the connection is broken, which the error tells; io.EOF: the client has closed
	// it. Where the read deadline ends the wait, it is os.ErrDeadlineExceeded. Some platforms notice the deadline alone.
	waitGone() error
	// isUnfinished reports whether something has begun to arrive that fill can't store yet.
	isUnfinished() bool
	// overTLS returns the Socket that reads and writes through s, which lies above this one.
	overTLS(s *SecureSocket) Socket
}

// portableSocket is any net.Conn. It can't wait without a buffer, so its first one is small.
type portableSocket struct {
	conn  io.Reader
	below net.Conn // below TLS, if there is any
}

var _ Socket = portableSocket{}

func (s portableSocket) firstSize() int { return portableFirstSize }

func (s portableSocket) fill(r *Reader, wait bool) error {
	if !wait {
		return nil
	}
	space, err := r.space()
	if err != nil {
		return err
	}
	n, err := s.conn.Read(space)
	r.arrived(n)
	if errors.Is(err, errChanged) {
		return nil
	}
	return err
}

// writeNow writes nothing: any write may have to wait.
func (s portableSocket) writeNow([]byte) (int, error) { return 0, nil }

func (s portableSocket) untaken() int { return 0 }

func (s portableSocket) isUnfinished() bool { return false }

// lookInterval is how often a portableSocket looks whether a read deadline is over.
const lookInterval = 50 * time.Millisecond

func (s portableSocket) waitGone() error {
	for {
		if _, err := s.below.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		time.Sleep(lookInterval)
	}
}

func (s portableSocket) overTLS(tls *SecureSocket) Socket { return portableSocket{tls, s.below} }
