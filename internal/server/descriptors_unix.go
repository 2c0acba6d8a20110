//go:build unix

package server

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptorLimit returns how many descriptors the process may have; 0: it can't be told. Go has raised that to the hard limit.
func descriptorLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)) //nolint:unconvert // Cur is signed on some systems
}
