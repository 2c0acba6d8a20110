//go:build unix

package stream

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawSocket reads and writes the descriptor of a connection. It waits for bytes without a buffer: the Reader's is taken for
// each attempt to read and given back where nothing has arrived. A write needs no deadline for what the system takes at once.
type rawSocket struct {
	raw syscall.RawConn
	// read reads without waiting; EAGAIN says that nothing has arrived.
	read func(p []byte) (int, error)
	// isTLS says that read returns one record at a time: it may leave a part of p unused although there is more.
	isTLS bool

	// Method values, made once: one for each call would be allocated.
	onReadable, onWritable func(fd uintptr) bool
	onControl              func(fd uintptr)
	readOnce               func()

	// State of one call of fill; the goroutine that reads owns it.
	reader  *Reader
	fd      uintptr // valid within a callback of raw
	more    bool    // the last read may have left something
	readErr error   // of the last read
	fillErr error   // of the whole call

	// State of one call of writeNow. The Writer whose turn it is owns it; with TLS, the goroutine that holds the lock of
	// tls.Conn for output.
	out      []byte
	written  int
	writeErr error
}

// NewSocket returns the Socket of conn.
func NewSocket(conn net.Conn) Socket {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return portableSocket{conn, conn}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return portableSocket{conn, conn}
	}
	s := &rawSocket{raw: raw}
	s.read, s.readOnce = s.readDescriptor, s.readIntoSpace
	s.onReadable, s.onWritable, s.onControl = s.tryFill, s.tryWrite, s.tryFillOnce
	return s
}

func (s *rawSocket) firstSize() int { return firstSize }

func (s *rawSocket) isUnfinished() bool { return false }

// fill without wait takes RawConn.Control, which heeds no deadline: one that has expired during an exchange must not hide
// what arrived meanwhile.
func (s *rawSocket) fill(r *Reader, wait bool) (err error) {
	s.reader, s.fillErr = r, nil
	if wait {
		err = s.raw.Read(s.onReadable)
	} else {
		err = s.raw.Control(s.onControl)
	}
	if err == nil {
		err = s.fillErr
	}
	return err
}

func (s *rawSocket) tryFillOnce(fd uintptr) { s.tryFill(fd) }

// tryFill reads what has arrived: once, or until a batch is full or nothing is left. It reports false where nothing has
// arrived; raw.Read then waits and calls it again.
func (s *rawSocket) tryFill(fd uintptr) (done bool) {
	s.fd = fd
	for some := false; ; some = true {
		s.readLimited()
		switch {
		case errors.Is(s.readErr, unix.EAGAIN):
			if !some {
				s.reader.shrink()
			}
			return some
		case some && errors.Is(s.readErr, ErrMemory):
			return true // hand over the batch as it is
		case errors.Is(s.readErr, errChanged):
			return true
		case s.readErr != nil:
			s.fillErr = s.readErr
			return true
		case !s.more || s.reader.Unfinished() >= s.reader.rule().Batch:
			return true
		}
	}
}

// readLimited calls readOnce, under the ReadLimiter where the packet is large. TLS may answer the client meanwhile, and wait for it: there
// readRecords takes the ReadLimiter.
func (s *rawSocket) readLimited() {
	if s.isLimited() && !s.isTLS {
		s.reader.Limiter.Do(s.readOnce)
	} else {
		s.readOnce()
	}
}

func (s *rawSocket) isLimited() bool { return s.reader.isLarge() && s.reader.Limiter != nil }

// readRecords is readDescriptor for TLS.
func (s *rawSocket) readRecords(p []byte) (n int, err error) {
	if !s.isLimited() {
		return s.readDescriptor(p)
	}
	s.reader.Limiter.Do(func() { n, err = s.readDescriptor(p) })
	return n, err
}

// readIntoSpace reads once and sets readErr and more.
func (s *rawSocket) readIntoSpace() {
	space, err := s.reader.space()
	if err != nil {
		s.readErr = err
		return
	}
	n, err := s.read(space)
	s.reader.arrived(n)
	s.more, s.readErr = s.isTLS || n == len(space), err
}

// readDescriptor is read(2) of a descriptor that does not block.
func (s *rawSocket) readDescriptor(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s.fd), p)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EAGAIN):
			return 0, unix.EAGAIN // unwrapped: tls.Conn takes a temporary net.Error for one that passes
		case !errors.Is(err, unix.EINTR):
			return 0, os.NewSyscallError("read", err)
		}
	}
}

func (s *rawSocket) waitGone() error {
	var gone error
	err := s.raw.Read(func(fd uintptr) bool {
		gone = brokenBy(int(fd))
		return gone != nil // what is nil waits for the next change
	})
	return cmp.Or(err, gone)
}

// brokenBy returns what has broken a connection, or io.EOF where both sides are closed; nil: neither is so.
func brokenBy(fd int) error {
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 {
		return os.NewSyscallError("read", syscall.Errno(e))
	}
	look := []unix.PollFd{{Fd: int32(fd)}}
	if n, _ := unix.Poll(look, 0); n > 0 && runtime.GOOS == "linux" { // others tell a half-closed one in the same way
		return io.EOF
	}
	return nil
}

func (s *rawSocket) writeNow(p []byte) (int, error) {
	s.out, s.written, s.writeErr = p, 0, nil
	err := s.raw.Write(s.onWritable)
	s.out = nil
	if err == nil {
		err = s.writeErr
	}
	return s.written, err
}

// tryWrite writes what the system takes at once. It always reports true, so that raw.Write does not wait.
func (s *rawSocket) tryWrite(fd uintptr) (done bool) {
	for {
		n, err := unix.Write(int(fd), s.out)
		switch {
		case err == nil:
			s.written = n
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			s.writeErr = os.NewSyscallError("write", err)
		}
		return true
	}
}

// untaken asks the system.
func (s *rawSocket) untaken() (n int) {
	_ = s.raw.Control(func(fd uintptr) { n = unsent(int(fd)) })
	return n
}

// overTLS makes s read through t, which reads the descriptor in turn: s still waits without a buffer, and for what TLS has
// not seen. What t writes is written by this rawSocket below it.
func (s *rawSocket) overTLS(t *SecureSocket) Socket {
	t.below.tryRead = s.readRecords
	s.read, s.isTLS = t.Read, true
	return s
}

// mapMemory returns memory from the system; from the heap where the system gives none.
func mapMemory(size int) []byte {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size)
	}
	return b
}

// unmapMemory returns memory to the system. Munmap refuses memory of the heap, which the garbage collector reclaims.
func unmapMemory(b []byte) { _ = unix.Munmap(b) }
