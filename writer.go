package tcp

import (
	"errors"
	"net"
	"os"
	"time"
)

// writer writes answers. One goroutine uses it.
type writer struct {
	conn        net.Conn
	socket      socket
	timeout     time.Duration // how long the client may take nothing; 0: forever
	memory      *memory
	setDeadline func(time.Time) // of writes

	total int64     // bytes written
	until time.Time // when the client must have taken what is written; zero: no such time
}

// looks is how often within the timeout a client that is waited for is asked whether it has taken something.
const looks = 4

// write writes all of p, which counts as memory until then; held is what the connection holds besides. What the system
// takes at once costs one system call and no deadline.
func (w *writer) write(p []byte, held int) error { return w.writeUntil(p, held, time.Time{}) }

// writeFrame is write for a part of an answer, all of which the client must take within the timeout: the worker waits.
func (w *writer) writeFrame(p []byte, held int) error {
	return w.writeUntil(p, held, time.Now().Add(w.timeout))
}

func (w *writer) writeUntil(p []byte, held int, until time.Time) error {
	if !w.memory.take(len(p), held) {
		return errMemory
	}
	defer w.memory.give(len(p))
	w.until = until
	defer func() { w.until = time.Time{} }()
	return w.writeAll(p)
}

func (w *writer) writeAll(p []byte) error {
	n, err := w.socket.writeNow(p)
	w.total += int64(n)
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
		w.total += int64(n)
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
func (w *writer) nextLook(until time.Time) time.Time {
	look := time.Now().Add(w.timeout / looks)
	if !until.IsZero() && until.Before(look) {
		return until
	}
	return look
}
