package dispatch

import (
	"os"
	"time"
)

// startDescriptors is how many descriptors a start needs at once: both ends of three pipes, one more pipe of package os and the pidfd.
const startDescriptors = 10

// awaitDescriptors waits until there are enough descriptors for a start, for timeout at most. The pool's library keeps the pipes of a
// start that fails between two of them, and a goroutine that reads from one, for good.
func (s *Starts) awaitDescriptors() {
	for begun := time.Now(); !areFree(startDescriptors) && time.Since(begun) < s.Timeout; {
		select {
		case <-s.useless.Done():
			return
		case <-time.After(watchInterval):
		}
	}
}

// areFree reports whether so many descriptors can be opened.
func areFree(n int) bool {
	for range n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return false
		}
		defer func() { _ = f.Close() }()
	}
	return true
}
