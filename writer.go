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

	total int64 // bytes written
}

// looks is how often within the timeout a client that is waited for is asked whether it has taken something.
const looks = 4

// write writes all of p, which counts as memory until then; held is what the connection holds besides. What the system
// takes at once costs one system call and no deadline.
func (w *writer) write(p []byte, held int) error {
	if !w.memory.take(len(p), held) {
		return errMemory
	}
	defer w.memory.give(len(p))

	n, err := w.socket.writeNow(p)
	w.total += int64(n)
	if err != nil || n == len(p) {
		return err
	}
	return w.writeOut(p[n:])
}

// writeOut waits for the client.
func (w *writer) writeOut(p []byte) error {
	defer w.setDeadline(time.Time{})
	for quiet := 0; len(p) > 0; quiet++ {
		if w.timeout > 0 {
			w.setDeadline(time.Now().Add(w.timeout / looks))
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
