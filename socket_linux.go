package tcp

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// briefly is how many bytes at most are moved by a system call that the scheduler is not told of.
const briefly = 16 << 10

// announceRest asks for what is left to read to be told with what is received, and reports whether it will be.
func announceRest(fd uintptr) bool {
	return tellsOfEnd() && unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_INQ, 1) == nil
}

// tellsOfEnd reports whether what is left to read includes the end of the stream. TCP_INQ exists since Linux 4.18, and does
// that since 5.1, says "tcp: do not report TCP_CM_INQ of 0 for closed connections".
var tellsOfEnd = sync.OnceValue(func() bool {
	var u unix.Utsname
	return unix.Uname(&u) == nil && isSince51(unix.ByteSliceToString(u.Release[:]))
})

func isSince51(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 1)
}

// restMessage is the control message that comes with what is read: struct cmsghdr and an int, as cmsg(3) has them.
type restMessage struct {
	head  syscall.Cmsghdr
	bytes int32 // that are left; 1 before the end of the stream
	_     int32
}

// tryRead is read(2) of a descriptor that never blocks.
func tryRead(fd uintptr, p []byte) (int, syscall.Errno) {
	return try(unix.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(p)), uintptr(len(p)), len(p))
}

// tryReadAll is recvmsg(2) of a TCP socket that never blocks and announces the rest. (With a unix socket's messages may
// come descriptors.) drained reports that nothing is left to read, nor the end of the stream.
func tryReadAll(fd uintptr, p []byte) (n int, drained bool, errno syscall.Errno) {
	var left restMessage
	at := syscall.Iovec{Base: unsafe.SliceData(p)}
	at.SetLen(len(p))
	msg := syscall.Msghdr{Iov: &at, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&left))}
	msg.SetControllen(int(unsafe.Sizeof(left)))
	n, errno = try(unix.SYS_RECVMSG, fd, unsafe.Pointer(&msg), 0, len(p))
	return n, errno == 0 && left.head.Type == unix.TCP_CM_INQ && left.head.Level == unix.SOL_TCP && left.bytes == 0, errno
}

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	return try(unix.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(p)), uintptr(len(p)), len(p))
}

// try makes a call that is over soon without telling the scheduler. That costs, and more so where the client runs on the
// same core: the system goes over to it in the middle of a write, and the scheduler would start another thread meanwhile.
// It moves at most size bytes.
func try(number, fd uintptr, what unsafe.Pointer, option uintptr, size int) (n int, errno syscall.Errno) {
	var done uintptr
	if size <= briefly {
		done, _, errno = syscall.RawSyscall(number, fd, uintptr(what), option)
	} else {
		done, _, errno = syscall.Syscall(number, fd, uintptr(what), option)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(done), 0
}
