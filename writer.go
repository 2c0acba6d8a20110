package tcp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// writer writes to a client. Who has the turn of outbound uses it.
type writer struct {
	conn        net.Conn
	socket      socket
	timeout     time.Duration // how long the client may take nothing; 0: forever
	memory      *memory
	setDeadline func(time.Time) // of writes

	outbound outbound
	until    time.Time    // when the client must have taken a part of an answer; zero: no such time
	total    atomic.Int64 // bytes written
	stats    *serverStats
}

// below is a writer for what TLS makes of what w writes.
func (w *writer) below() *writer {
	return &writer{conn: w.conn, socket: w.socket, timeout: w.timeout, memory: w.memory, setDeadline: w.setDeadline}
}

// looks is how often within the timeout a client that is waited for is asked whether it has taken something.
const looks = 4

// write writes all of an answer when it has the turn, and keeps that until the connection releases it. The answer counts
// as memory until it is written; held is what the connection holds besides.
func (w *writer) write(p []byte, held int) error { return w.writeAnswer(p, held, false) }

// writeFrame is write for a part of an answer, all of which the client must take within the timeout: the worker waits.
func (w *writer) writeFrame(p []byte, held int) error { return w.writeAnswer(p, held, true) }

func (w *writer) writeAnswer(p []byte, held int, part bool) error {
	if !w.memory.take(len(p), held) {
		return errMemory
	}
	defer w.memory.give(len(p))
	if err := w.outbound.hold(); err != nil {
		return err
	}
	if part {
		w.until = time.Now().Add(w.timeout)
		defer func() { w.until = time.Time{} }()
	}
	return w.writeAll(p, true)
}

// writeAll has the turn. What the system takes at once costs one system call and no deadline. answer is false for what
// another goroutine than the connection's may write.
func (w *writer) writeAll(p []byte, answer bool) error {
	n, err := w.socket.writeNow(p, answer)
	w.wrote(n)
	if err != nil || n == len(p) {
		return err
	}
	return w.writeOut(p[n:], w.until)
}

// writeOut waits for the client, until then if that is not zero.
func (w *writer) writeOut(p []byte, until time.Time) error {
	defer w.setDeadline(time.Time{})
	for quiet := 0; len(p) > 0; quiet++ {
		if w.timeout > 0 {
			w.setDeadline(w.nextLook(until))
		}
		n, err := w.conn.Write(p)
		w.wrote(n)
		p = p[n:]
		switch {
		case err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || w.timeout == 0):
			return err
		case n > 0:
			quiet = -1
		case quiet == looks-1:
			return errWriteTimeout
		}
	}
	return nil
}

// nextLook is the next deadline. When until is over, so are all looks.
func (w *writer) wrote(n int) {
	w.total.Add(int64(n))
	w.stats.send(n)
}

func (w *writer) nextLook(until time.Time) time.Time {
	look := time.Now().Add(w.timeout / looks)
	if !until.IsZero() && until.Before(look) {
		return until
	}
	return look
}
