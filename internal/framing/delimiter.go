package framing

import (
	"bufio"
	"bytes"
	"slices"
	"time"
)

// newDelimiter returns the framing of packets that end with delimiter, which belongs to the packet unless strip is set.
// Delimiters do not overlap: the search for the next one begins behind the last. The bytes behind the last delimiter are a
// packet at the end of file.
func newDelimiter(delimiter []byte, strip bool) Framing {
	kept := len(delimiter)
	if strip {
		kept = 0
	}
	f := Framing{
		Overlap: len(delimiter) - 1,
		Split: func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.Index(data, delimiter); i >= 0 {
				return i + len(delimiter), data[:i+kept], nil
			}
			return tail(data, atEOF)
		},
	}
	// A search from the end finds another occurrence than one from the beginning where occurrences overlap.
	if !overlapsItself(delimiter) {
		f.Finished = func(data []byte) int {
			if i := bytes.LastIndex(data, delimiter); i >= 0 {
				return i + len(delimiter)
			}
			return 0
		}
	}
	return f
}

// overlapsItself reports whether a proper suffix of delimiter is a prefix of it.
func overlapsItself(delimiter []byte) bool {
	for i := 1; i < len(delimiter); i++ {
		if bytes.HasPrefix(delimiter, delimiter[i:]) {
			return true
		}
	}
	return false
}

// newDelimiters is newDelimiter with several delimiters: the one that begins first ends the packet, of those that begin there the
// longest. Where a longer one may still come, the one within it waits.
func newDelimiters(delimiters [][]byte, strip bool, wait time.Duration) Framing {
	if len(delimiters) == 1 {
		return newDelimiter(delimiters[0], strip)
	}
	var isFirst [256]bool // the first bytes of all delimiters
	for _, d := range delimiters {
		isFirst[d[0]] = true
	}
	longestFirst := slices.Clone(delimiters)
	slices.SortFunc(longestFirst, func(a, b []byte) int { return len(b) - len(a) })
	waits := wait > 0 && mayWait(delimiters)
	f := Framing{
		Overlap: len(longestFirst[0]) - 1,
		Split: func(data []byte, atEOF bool) (int, []byte, error) {
			for i, b := range data {
				if !isFirst[b] {
					continue
				}
				n, mayGrow := matchPrefix(data[i:], longestFirst)
				switch isDecided := !mayGrow || atEOF || !waits; {
				case n > 0 && isDecided && strip:
					return i + n, data[:i], nil
				case n > 0 && isDecided:
					return i + n, data[:i+n], nil
				case !isDecided:
					return 0, nil, nil
				}
			}
			return tail(data, atEOF)
		},
	}
	if waits {
		f.Wait = wait
	}
	return f
}

// mayWait reports whether one of the delimiters can be complete while another, which has begun no later, may still come: that one
// begins with it, or has it inside.
func mayWait(delimiters [][]byte) bool {
	for _, a := range delimiters {
		for _, b := range delimiters {
			if len(b) < len(a) && bytes.Contains(a[:len(a)-1], b) {
				return true
			}
		}
	}
	return false
}

// matchPrefix returns the length of the first delimiter that data begins with; mayGrow reports that data ends within one that
// comes before it.
func matchPrefix(data []byte, delimiters [][]byte) (n int, mayGrow bool) {
	for _, d := range delimiters {
		switch {
		case bytes.HasPrefix(data, d):
			return len(d), mayGrow
		case bytes.HasPrefix(d, data):
			mayGrow = true
		}
	}
	return 0, mayGrow
}

// isOneOf returns a function that reports whether a packet is one of the delimiters and nothing else.
func isOneOf(delimiters [][]byte) func([]byte, int) bool {
	return func(data []byte, n int) bool {
		return slices.ContainsFunc(delimiters, func(d []byte) bool { return bytes.Equal(data[:n], d) })
	}
}

// tail returns the bytes behind the last delimiter as a packet at the end of file.
func tail(data []byte, atEOF bool) (int, []byte, error) {
	if atEOF && len(data) > 0 {
		return len(data), data, bufio.ErrFinalToken
	}
	return 0, nil, nil
}
