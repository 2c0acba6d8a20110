package framing

import (
	"bufio"
	"bytes"
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

// newDelimiters is newDelimiter with several delimiters: the one that begins first ends the packet. None may be a prefix of
// another.
func newDelimiters(delimiters [][]byte, strip bool) Framing {
	if len(delimiters) == 1 {
		return newDelimiter(delimiters[0], strip)
	}
	var isFirst [256]bool // the first bytes of all delimiters
	maxSize := 0
	for _, d := range delimiters {
		isFirst[d[0]] = true
		maxSize = max(maxSize, len(d))
	}
	return Framing{
		Overlap: maxSize - 1,
		Split: func(data []byte, atEOF bool) (int, []byte, error) {
			for i, b := range data {
				if !isFirst[b] {
					continue
				}
				n, undecided := matchPrefix(data[i:], delimiters)
				switch {
				case n > 0 && strip:
					return i + n, data[:i], nil
				case n > 0:
					return i + n, data[:i+n], nil
				case undecided && !atEOF:
					return 0, nil, nil
				}
			}
			return tail(data, atEOF)
		},
	}
}

// matchPrefix returns the length of the delimiter that data begins with; undecided reports that data ends within one.
func matchPrefix(data []byte, delimiters [][]byte) (n int, undecided bool) {
	for _, d := range delimiters {
		if bytes.HasPrefix(data, d) {
			return len(d), false
		}
		undecided = undecided || bytes.HasPrefix(d, data)
	}
	return 0, undecided
}

// tail returns the bytes behind the last delimiter as a packet at the end of file.
func tail(data []byte, atEOF bool) (int, []byte, error) {
	if atEOF && len(data) > 0 {
		return len(data), data, bufio.ErrFinalToken
	}
	return 0, nil, nil
}
