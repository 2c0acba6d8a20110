package stream

import "golang.org/x/sys/unix"

// unsent returns how many bytes of a socket's output its peer has not acknowledged, or, of a unix socket, the memory that
// those take which it has not read.
func unsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
