//go:build !linux

package server

import (
	"net"
	"time"
)

// setUserTimeout does nothing: what the system has taken of an answer has no limit but the system's.
func setUserTimeout(*net.TCPConn, time.Duration) {}

func explain(_ net.Conn, err error) error { return err }

func isDead(net.Conn) bool { return false }
