//go:build unix

package settings

// canReusePort reports whether the system has SO_REUSEPORT.
const canReusePort = true
