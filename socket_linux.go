package tcp

import (
	"syscall"
	"unsafe"
)

// briefly is how many bytes at most are moved by a system call that the scheduler is not told of.
const briefly = 16 << 10

// tryRead is read(2) of a descriptor that never blocks.
func tryRead(fd uintptr, p []byte) (int, syscall.Errno) { return try(syscall.SYS_READ, fd, p) }

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd uintptr, p []byte) (int, syscall.Errno) { return try(syscall.SYS_WRITE, fd, p) }

// try makes a call that is over soon without telling the scheduler. That costs, and more so where the client runs on the
// same core: the system goes over to it in the middle of a write, and the scheduler would start another thread meanwhile.
func try(number, fd uintptr, p []byte) (n int, errno syscall.Errno) {
	var done uintptr
	if len(p) <= briefly {
		done, _, errno = syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	} else {
		done, _, errno = syscall.Syscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	}
	if errno != 0 {
		return 0, errno
	}
	return int(done), 0
}
