//go:build !unix

package tcp

import "net"

// newSource picks the way to read conn.
func newSource(conn net.Conn) source { return portableSource{conn} }
