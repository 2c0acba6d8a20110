package tcp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// briefly is how many bytes at most are moved by a system call that the scheduler is not told of.
const briefly = 16 << 10

// announceRest asks for what is left to read to be told with what is received. TCP has that since Linux 4.18; a socket that
// has not takes a read more for each packet.
func announceRest(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_INQ, 1) }

// restMessage is the control message that comes with what is read: struct cmsghdr and an int, as cmsg(3) has them.
type restMessage struct {
	head  syscall.Cmsghdr
	bytes int32 // that are left; 1 before the end of the stream
	_     int32
}

// tryRead is recvmsg(2) of a descriptor that never blocks. drained reports that nothing is left to read, nor the end of the
// stream; false says nothing.
func tryRead(fd uintptr, p []byte) (n int, drained bool, errno syscall.Errno) {
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
