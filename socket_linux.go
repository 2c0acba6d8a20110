package tcp

import (
	"syscall"
	"unsafe"
)

// briefly is how many bytes at most are moved by a system call that the scheduler is not told of.
const briefly = 16 << 10

// tryRead is read(2) of a descriptor that never blocks.
func tryRead(fd int, p []byte) (int, error) { return try(syscall.SYS_READ, syscall.Read, fd, p) }

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd int, p []byte) (int, error) { return try(syscall.SYS_WRITE, syscall.Write, fd, p) }

// try makes a call that is over soon without telling the scheduler. That costs, and more so where the client runs on the
// same core: the system goes over to it in the middle of a write, and the scheduler would start another thread meanwhile.
func try(number uintptr, call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	if len(p) > briefly {
		return call(fd, p)
	}
	n, _, errno := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
