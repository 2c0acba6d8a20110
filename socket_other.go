//go:build !unix

package tcp

import (
	"net"
	"syscall"
)

// canReusePort reports whether the system has SO_REUSEPORT.
const canReusePort = false

func reusePort(string, string, syscall.RawConn) error { return nil }

// newSocket picks the way to read and write conn.
func newSocket(conn net.Conn) socket { return portableSocket{conn} }

// through is the socket of a connection whose TLS s is.
func through(_ socket, s *secureSocket) socket { return portableSocket{s} }

func mapMemory(size int) []byte { return make([]byte, size) }

func unmapMemory([]byte) {}
