//go:build unix

package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socket reads a kernel socket without a buffer to wait in: it asks for one only to look whether bytes have arrived.
type socket struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) bool // method value, made once

	// One call of read at a time sets and reads these.
	r    *reader
	wait bool
	err  error
}

// newSource picks the way to read conn.
func newSource(conn net.Conn) source {
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s := &socket{raw: raw}
			s.attempt = s.readNow
			return s
		}
	}
	return portableSource{conn}
}

func (s *socket) first() int { return firstBuffer }

func (s *socket) read(r *reader, wait bool) error {
	s.r, s.wait, s.err = r, wait, nil
	if err := s.raw.Read(s.attempt); err != nil {
		return err // a deadline, or closed
	}
	return s.err
}

// readNow reads what has arrived; false asks to be called again when more has. For a batch it goes on until the batch
// is full or nothing more is there.
func (s *socket) readNow(fd uintptr) (done bool) {
	for some := false; ; some = true {
		room := s.r.room()
		n, err := ignoringEINTR(int(fd), room)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			s.r.release()
			return some || !s.wait
		case err != nil:
			s.err = os.NewSyscallError("read", err)
			return true
		case n == 0:
			s.err = io.EOF
			return true
		}

		s.r.arrived(n)
		if n < len(room) || s.r.unfinished() >= s.r.batch {
			return true
		}
	}
}

func ignoringEINTR(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
