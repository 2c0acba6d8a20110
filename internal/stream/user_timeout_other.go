//go:build !linux

package stream

import (
	"net"
	"time"
)

// SetUserTimeout does nothing: what the system has taken of an answer has no limit but the system's.
func SetUserTimeout(*net.TCPConn, time.Duration) {}

// ExplainTimeout returns err.
func ExplainTimeout(_ net.Conn, err error) error { return err }

// IsDead reports false: this system does not tell.
func IsDead(net.Conn) bool { return false }
