package stream

import (
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SetUserTimeout makes the system end the connection when the client does not acknowledge for d what the system has taken of an
// answer (TCP_USER_TIMEOUT of tcp(7)); it measures from the last progress.
func SetUserTimeout(conn *net.TCPConn, d time.Duration) {
	control(conn, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(d.Milliseconds(), math.MaxInt32)))
	})
}

// ExplainTimeout returns err, or an ErrWriteTimeout where SetUserTimeout is the cause. Keepalive ends a connection with the same error,
// but then all that was sent has arrived.
func ExplainTimeout(conn net.Conn, err error) error {
	c, ok := conn.(*net.TCPConn)
	if !ok || !errors.Is(err, syscall.ETIMEDOUT) {
		return err
	}
	unacknowledged := 0
	control(c, func(fd int) { unacknowledged = unsent(fd) })
	if unacknowledged == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", ErrWriteTimeout, err)
}

// IsDead reports whether the system has ended the connection. A read gets the end of file then, too, where a write has got the error.
func IsDead(conn net.Conn) bool {
	const tcpClose = 7 // TCP_CLOSE of linux/tcp_states.h
	c, ok := conn.(*net.TCPConn)
	dead := false
	if ok {
		control(c, func(fd int) {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			dead = err == nil && info.State == tcpClose
		})
	}
	return dead
}

func control(conn *net.TCPConn, f func(fd int)) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
