//go:build unix

package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReusePort reports whether the system has SO_REUSEPORT.
const canReusePort = true

// reusePort is a Control of net.ListenConfig.
func reusePort(_, _ string, raw syscall.RawConn) (err error) {
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(controlErr, err)
}

// kernelSocket reads without a buffer to wait in: it asks for one only to look whether bytes have arrived. It writes
// without a deadline what the system takes at once.
type kernelSocket struct {
	raw                 syscall.RawConn
	tryRead, tryWriting func(fd uintptr) bool // method values, made once
	receive             func(fd uintptr, p []byte) (int, error)
	byRecord            bool // receive may leave room and something to receive

	// One call of read at a time sets and reads these.
	r    *reader
	wait bool
	err  error

	// One call of writeNow at a time sets and reads these.
	out      []byte
	written  int
	writeErr error
}

// newSocket picks the way to read and write conn.
func newSocket(conn net.Conn) socket {
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s := &kernelSocket{raw: raw, receive: receive}
			s.tryRead, s.tryWriting = s.readSome, s.writeSome
			return s
		}
	}
	return portableSocket{conn}
}

func (s *kernelSocket) first() int { return firstBuffer }

func (s *kernelSocket) read(r *reader, wait bool) error {
	s.r, s.wait, s.err = r, wait, nil
	if err := s.raw.Read(s.tryRead); err != nil {
		return err // a deadline, or closed
	}
	return s.err
}

// readSome reads what has arrived; false asks to be called again when more has. For a batch it goes on until the batch
// is full or nothing more is there.
func (s *kernelSocket) readSome(fd uintptr) (done bool) {
	for some := false; ; some = true {
		more, err := s.readOnce(fd)
		switch {
		case isEmpty(err):
			s.r.shrink()
			return some || !s.wait
		case some && errors.Is(err, errMemory):
			return true // a batch need not be larger
		case err != nil:
			s.err = err
			return true
		case !more || s.r.unfinished() >= s.r.framing.batch:
			return true
		}
	}
}

// readOnce reports whether there may be more to read.
func (s *kernelSocket) readOnce(fd uintptr) (more bool, err error) {
	if s.r.takesTurns() {
		s.r.turns.take(func() { more, err = s.readAny(fd) })
		return more, err
	}
	return s.readAny(fd)
}

func (s *kernelSocket) readAny(fd uintptr) (more bool, err error) {
	room, err := s.r.room()
	if err != nil {
		return false, err
	}
	n, err := s.receive(fd, room)
	s.r.arrived(n)
	return s.byRecord || n == len(room), err
}

// receive reads without waiting.
func receive(fd uintptr, p []byte) (int, error) {
	n, errno := tryRead(fd, p)
	switch {
	case errno == syscall.EINTR:
		return receive(fd, p)
	case errno == syscall.EAGAIN:
		return 0, errno // with every packet: to wrap it would allocate
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// isEmpty reports whether an error of receive says that nothing has arrived.
func isEmpty(err error) bool {
	errno, ok := err.(syscall.Errno)
	return ok && errno == syscall.EAGAIN
}

// through is the socket of a connection whose TLS s is: it still waits for what TLS has not seen.
func through(plain socket, s *secureSocket) socket {
	k, ok := plain.(*kernelSocket)
	if !ok {
		return portableSocket{s}
	}
	fd := uintptr(0) // while there is a call of receive
	s.below.read = func(p []byte) (int, error) {
		return receive(fd, p) // EAGAIN as it is: the one error that TLS survives
	}
	k.receive, k.byRecord = func(now uintptr, p []byte) (int, error) {
		fd = now
		return s.Read(p)
	}, true
	return k
}

func (s *kernelSocket) writeNow(p []byte) (int, error) {
	s.out, s.written, s.writeErr = p, 0, nil
	err := s.raw.Write(s.tryWriting)
	s.out = nil
	if err == nil {
		err = s.writeErr
	}
	return s.written, err
}

// writeSome never asks to be called again.
func (s *kernelSocket) writeSome(fd uintptr) (done bool) {
	n, errno := tryWrite(fd, s.out)
	switch {
	case errno == syscall.EINTR:
		return s.writeSome(fd)
	case errno == 0:
		s.written = n
	case errno != syscall.EAGAIN:
		s.writeErr = os.NewSyscallError("write", errno)
	}
	return true
}

// mapMemory returns memory from the system; from the heap where the system gives none.
func mapMemory(size int) []byte {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size)
	}
	return b
}

// unmapMemory gives it back. Memory of the heap's is unknown to the system: that is an error, and the collector's turn.
func unmapMemory(b []byte) { _ = syscall.Munmap(b) }
