package tcp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// framing cuts a byte stream into packets.
type framing struct {
	// split is pure: the same bytes give the same packet, whatever the calls before it were. A packet begins where its
	// data begins. It may be empty, but not nil.
	split bufio.SplitFunc
	// overlap tells the reader how many of the bytes in which split found no end must be shown to it again when more
	// have arrived: a large packet is scanned once, not once for every segment. With everything, split sees a packet
	// from its first byte.
	overlap int
	// batch is how many bytes of finished packets are handed over together, at most; 0: one packet at a time.
	batch int
	// finished is how many bytes of data, which begins with a packet, are finished packets: what split would find one by
	// one. nil: nothing is faster than split.
	finished func(data []byte) int
}

const everything = math.MaxInt

var errLength = errors.New("the packet announces a length that can't be")

// splitDelimiter ends a packet with the delimiter, which belongs to it unless it is stripped. Delimiters do not overlap:
// the search for the next one begins behind the last. What is left at the end of file is a packet without a delimiter.
func splitDelimiter(delimiter []byte, strip bool) framing {
	kept := len(delimiter)
	if strip {
		kept = 0
	}
	f := framing{
		overlap: len(delimiter) - 1,
		split: func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.Index(data, delimiter); i >= 0 {
				return i + len(delimiter), data[:i+kept], nil
			}
			return rest(data, atEOF)
		},
	}
	if !overlapsItself(delimiter) {
		f.finished = func(data []byte) int {
			if i := bytes.LastIndex(data, delimiter); i >= 0 {
				return i + len(delimiter)
			}
			return 0
		}
	}
	return f
}

// overlapsItself reports whether a delimiter could begin within another one.
func overlapsItself(delimiter []byte) bool {
	for i := 1; i < len(delimiter); i++ {
		if bytes.HasPrefix(delimiter, delimiter[i:]) {
			return true
		}
	}
	return false
}

// splitDelimiters is splitDelimiter with several: the one that begins first counts. None begins with another.
func splitDelimiters(delimiters [][]byte, strip bool) framing {
	if len(delimiters) == 1 {
		return splitDelimiter(delimiters[0], strip)
	}
	var begins [256]bool
	longest := 0
	for _, d := range delimiters {
		begins[d[0]] = true
		longest = max(longest, len(d))
	}
	return framing{
		overlap: longest - 1,
		split: func(data []byte, atEOF bool) (int, []byte, error) {
			for i, b := range data {
				if !begins[b] {
					continue
				}
				n, undecided := matched(data[i:], delimiters)
				switch {
				case n > 0 && strip:
					return i + n, data[:i], nil
				case n > 0:
					return i + n, data[:i+n], nil
				case undecided && !atEOF:
					return 0, nil, nil
				}
			}
			return rest(data, atEOF)
		},
	}
}

// matched is the length of the delimiter that data begins with; undecided: it may begin with one when more has arrived.
func matched(data []byte, delimiters [][]byte) (n int, undecided bool) {
	for _, d := range delimiters {
		if bytes.HasPrefix(data, d) {
			return len(d), false
		}
		undecided = undecided || bytes.HasPrefix(d, data)
	}
	return 0, undecided
}

// rest is what the end of file leaves without a delimiter.
func rest(data []byte, atEOF bool) (int, []byte, error) {
	if atEOF && len(data) > 0 {
		return len(data), data, bufio.ErrFinalToken
	}
	return 0, nil, nil
}

// splitFixed ends a packet after so many bytes.
func splitFixed(size int) framing {
	return framing{overlap: everything, split: func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < size {
			return 0, nil, nil
		}
		return size, data[:size], nil
	}}
}

// splitRaw makes a packet of whatever has arrived, so many bytes of it at most.
func splitRaw(most int) framing {
	return framing{overlap: everything, batch: most, split: func(data []byte, _ bool) (int, []byte, error) {
		n := min(len(data), most)
		return n, data[:n], nil
	}}
}

// lengthField says where a packet announces its length, and how. Netty's LengthFieldBasedFrameDecoder has the same.
type lengthField struct {
	offset int   // bytes before the field
	adjust int64 // added to its value: what follows the field is so long
	strip  int   // leading bytes that are not handed over
	// read takes the value from data, which begins with the field; size is the field's, 0 where data does not hold it yet.
	read func(data []byte) (value uint64, size int, err error)
}

// splitLength ends a packet where it says, which must be within longest bytes, if that is not 0.
func splitLength(f lengthField, longest int) framing {
	return framing{overlap: everything, split: func(data []byte, _ bool) (int, []byte, error) {
		n, err := f.packet(data)
		switch {
		case err != nil:
			return 0, nil, err
		case longest > 0 && n > int64(longest), n > math.MaxInt:
			return 0, nil, errTooLong
		case n == 0 || n > int64(len(data)):
			return 0, nil, nil
		}
		return int(n), data[f.strip:n], nil
	}}
}

// packet is the length of the packet that data begins with, in bytes; 0 where it is not known yet. There is no more in
// it than data has to say: nothing is allocated by it.
func (f *lengthField) packet(data []byte) (int64, error) {
	if len(data) <= f.offset {
		return 0, nil
	}
	value, size, err := f.read(data[f.offset:])
	if err != nil || size == 0 {
		return 0, err
	}
	const most = math.MaxInt64 - 4*mostHeader // what is added can't overflow
	head := int64(f.offset + size)
	if value > most {
		return 0, errLength
	}
	n := head + int64(value) + f.adjust
	if n < head || n < int64(f.strip) {
		return 0, errLength
	}
	return n, nil
}

// mostHeader bounds offset, adjust and strip, whatever their sign.
const mostHeader = 1 << 30

// binaryLength reads an unsigned number of 1, 2, 3, 4 or 8 bytes.
func binaryLength(size int, little bool) func([]byte) (uint64, int, error) {
	return func(data []byte) (uint64, int, error) {
		if len(data) < size {
			return 0, 0, nil
		}
		var padded [8]byte
		if little {
			copy(padded[:], data[:size])
			return binary.LittleEndian.Uint64(padded[:]), size, nil
		}
		copy(padded[8-size:], data[:size])
		return binary.BigEndian.Uint64(padded[:]), size, nil
	}
}

// asciiLength reads a number of so many decimal digits, 18 at most.
func asciiLength(digits int) func([]byte) (uint64, int, error) {
	return func(data []byte) (value uint64, size int, err error) {
		for _, b := range data[:min(digits, len(data))] {
			if b < '0' || b > '9' {
				return 0, 0, errLength
			}
			value = 10*value + uint64(b-'0')
		}
		if len(data) < digits {
			return 0, 0, nil
		}
		return value, digits, nil
	}
}

// varintLength reads a LEB128 number, as protobuf and MQTT have it: seven bits in each byte, the lowest first; the eighth
// says that another follows.
func varintLength(data []byte) (uint64, int, error) {
	value, n := binary.Uvarint(data)
	if n < 0 || n == 0 && len(data) >= binary.MaxVarintLen64 {
		return 0, 0, errLength
	}
	return value, n, nil
}
