//go:build unix && !linux

package tcp

import "syscall"

// announceRest is for Linux.
func announceRest(uintptr) {}

// tryRead is read(2) of a descriptor that never blocks. What it has left behind it can't say.
func tryRead(fd uintptr, p []byte) (n int, drained bool, errno syscall.Errno) {
	n, errno = try(syscall.Read, fd, p)
	return n, false, errno
}

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd uintptr, p []byte) (int, syscall.Errno) { return try(syscall.Write, fd, p) }

func try(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := call(int(fd), p)
	errno, _ := err.(syscall.Errno) // package syscall has no others here
	return max(0, n), errno
}
