//go:build unix && !linux

package tcp

import "syscall"

// tryRead is read(2) of a descriptor that never blocks.
func tryRead(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

// tryWrite is write(2) to a descriptor that never blocks.
func tryWrite(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
