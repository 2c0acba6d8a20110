//go:build unix && !linux

package tcp

import "syscall"

// announceRest is for Linux.
func announceRest(uintptr) bool { return false }

func tryReadAll(uintptr, []byte) (int, bool, syscall.Errno) { return 0, false, syscall.ENOSYS }

// tryRead is read(2) of a descriptor that never blocks.
func tryRead(fd uintptr, p []byte) (int, syscall.Errno) { return try(syscall.Read, fd, p) }

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd uintptr, p []byte) (int, syscall.Errno) { return try(syscall.Write, fd, p) }

func try(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := call(int(fd), p)
	errno, _ := err.(syscall.Errno) // package syscall has no others here
	return max(0, n), errno
}
