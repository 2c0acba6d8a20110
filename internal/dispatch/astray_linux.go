package dispatch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hasWritten reports whether the standard output of a process is a pipe that holds something. It takes nothing out of it. Where
// the process is somebody else's that can't be said.
func hasWritten(pid int64) bool {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/1", pid), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	var s unix.Stat_t
	if unix.Fstat(fd, &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFIFO {
		return false // RoadRunner talks to its workers over sockets (server.relay)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return err == nil && n > 0
}
