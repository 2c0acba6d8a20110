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
//
// A step of attend reads, exchanges and writes while the runtime keeps in mind what has arrived since. Read by read it would
// forget that, and each wait would have to begin with a read that finds nothing.
type kernelSocket struct {
	raw        syscall.RawConn
	tryWriting func(fd uintptr) bool // a method value, made once
	// receive reads without waiting. drained reports that it has left nothing behind, not even the end of the stream; it can
	// do so where the system tells.
	receive  func(fd uintptr, p []byte, tells bool) (n int, drained bool, err error)
	byRecord bool // receive may leave room and something to receive

	fd       uintptr // while stepping
	stepping bool    // there is a step: the socket is not closed before it ends
	drained  bool    // as the last receive says
	vain     int     // reads that it could have saved
	tells    bool    // the system tells what is left to read

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
			s.tryWriting = s.writeSome
			return s
		}
	}
	return portableSocket{conn}
}

func (s *kernelSocket) first() int { return firstBuffer }

func (s *kernelSocket) attend(step func() bool) error {
	defer func() { s.stepping = false }()
	return s.raw.Read(func(fd uintptr) bool {
		s.fd, s.stepping = fd, true
		return step()
	})
}

// read looks whether something has arrived, unless it is known that the wait will tell. For a batch it goes on until the
// batch is full or nothing more is there.
func (s *kernelSocket) read(r *reader, wait bool) error {
	if wait && r.answered && s.needsNoLook() {
		r.shrink()
		return nil
	}
	for some := false; ; some = true {
		more, err := s.readOnce(r)
		switch {
		case isEmpty(err):
			r.shrink()
			return nil
		case some && errors.Is(err, errMemory):
			return nil // a batch need not be larger
		case err != nil:
			return err
		case !more || r.unfinished() >= r.framing.batch:
			return nil
		}
	}
}

// needsNoLook reports whether nothing has come with what was received last, which was answered since: neither more, nor the
// end of the stream, nor a reset, with which there would have been no answer. What has come after it ends the wait at once.
func (s *kernelSocket) needsNoLook() bool {
	if s.drained {
		s.drained = false
		return true
	}
	if s.vain++; s.vain == brief && !s.byRecord {
		s.tells = announceRest(s.fd)
	}
	return false
}

// readOnce reports whether there may be more to read.
func (s *kernelSocket) readOnce(r *reader) (more bool, err error) {
	if r.takesTurns() {
		r.turns.take(func() { more, err = s.readAny(r) })
		return more, err
	}
	return s.readAny(r)
}

func (s *kernelSocket) readAny(r *reader) (more bool, err error) {
	room, err := r.room()
	if err != nil {
		return false, err
	}
	n, drained, err := s.receive(s.fd, room, s.tells)
	s.drained = drained
	r.arrived(n)
	return s.byRecord || n == len(room), err
}

// receive reads from the system.
func receive(fd uintptr, p []byte, tells bool) (n int, drained bool, err error) {
	var errno syscall.Errno
	if tells {
		n, drained, errno = tryReadAll(fd, p)
	} else {
		n, errno = tryRead(fd, p)
	}
	switch {
	case errno == syscall.EINTR:
		return receive(fd, p, tells)
	case errno == syscall.EAGAIN:
		return 0, false, errno // with every packet: to wrap it would allocate
	case errno != 0:
		return 0, false, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, false, io.EOF
	}
	return n, drained, nil
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
	s.below.read = func(p []byte) (int, error) {
		n, _, err := receive(k.fd, p, false) // EAGAIN as it is: the one error that TLS survives
		return n, err
	}
	k.receive, k.byRecord = func(_ uintptr, p []byte, _ bool) (int, bool, error) {
		n, err := s.Read(p)
		return n, false, err
	}, true
	return k
}

func (s *kernelSocket) writeNow(p []byte, inStep bool) (int, error) {
	if inStep && s.stepping {
		return sendSome(s.fd, p)
	}
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
	s.written, s.writeErr = sendSome(fd, s.out)
	return true
}

// sendSome writes what the system takes at once.
func sendSome(fd uintptr, p []byte) (int, error) {
	n, errno := tryWrite(fd, p)
	switch {
	case errno == syscall.EINTR:
		return sendSome(fd, p)
	case errno != 0 && errno != syscall.EAGAIN:
		return 0, os.NewSyscallError("write", errno)
	}
	return n, nil
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
