//go:build unix && !linux

package stream

// unsent returns 0: what the system has taken counts as taken by the client.
func unsent(int) int { return 0 }
