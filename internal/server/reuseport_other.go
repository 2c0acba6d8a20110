//go:build !unix

package server

import "syscall"

// reusePort does nothing: settings refuse reuse_port on these systems.
func reusePort(string, string, syscall.RawConn) error { return nil }
