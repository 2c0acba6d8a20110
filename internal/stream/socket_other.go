//go:build !unix

package stream

import "net"

// NewSocket returns the Socket of conn.
func NewSocket(conn net.Conn) Socket { return portableSocket{conn, conn} }

func mapMemory(size int) []byte { return make([]byte, size) }

func unmapMemory([]byte) {}
