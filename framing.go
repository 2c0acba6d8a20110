package tcp

import (
	"bufio"
	"bytes"
)

// framing cuts a byte stream into packets.
type framing struct {
	// split is pure: the same bytes give the same packet, whatever the calls before it were. A packet begins where its
	// data begins.
	split bufio.SplitFunc
	// overlap tells the reader how many of the bytes in which split found no end must be shown to it again when more
	// have arrived: a large packet is scanned once, not once for every segment.
	overlap int
}

// splitDelimiter ends a packet with the delimiter, which belongs to it. Delimiters do not overlap: the search for the
// next one begins behind the last. What is left at the end of file is a packet without a delimiter.
func splitDelimiter(delimiter []byte) framing {
	return framing{
		overlap: len(delimiter) - 1,
		split: func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.Index(data, delimiter); i >= 0 {
				n := i + len(delimiter)
				return n, data[:n], nil
			}
			if atEOF && len(data) > 0 {
				return len(data), data, nil
			}
			return 0, nil, nil
		},
	}
}
