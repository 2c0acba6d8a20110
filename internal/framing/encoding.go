package framing

import "encoding/binary"

// The encodings of a length field. Each function reads the field at the beginning of data; size is its size in bytes, 0 where
// data does not hold all of it yet. What can't be a length is refused as soon as it has arrived.

// binaryLength reads an unsigned number of 1, 2, 3, 4 or 8 bytes, of which the bits in mask count.
func binaryLength(size int, littleEndian bool, mask uint64) func([]byte) (uint64, int, error) {
	return func(data []byte) (uint64, int, error) {
		if len(data) < size {
			return 0, 0, nil
		}
		var padded [8]byte
		if littleEndian {
			copy(padded[:], data[:size])
			return binary.LittleEndian.Uint64(padded[:]) & mask, size, nil
		}
		copy(padded[8-size:], data[:size])
		return binary.BigEndian.Uint64(padded[:]) & mask, size, nil
	}
}

// digitsLength reads a number of so many digits, which must fit into 64 bits.
func digitsLength(digits int, base uint64) func([]byte) (uint64, int, error) {
	return func(data []byte) (value uint64, size int, err error) {
		for _, b := range data[:min(digits, len(data))] {
			d := digit(b)
			if d >= base {
				return 0, 0, ErrLength
			}
			value = base*value + d
		}
		if len(data) < digits {
			return 0, 0, nil
		}
		return value, digits, nil
	}
}

// maxDigitsUntil bounds a number that a byte ends: with more digits it would be no length that anybody sends.
const maxDigitsUntil = 10

// digitsUntil reads a number of 1 to maxDigitsUntil digits up to the byte until, which belongs to the field.
func digitsUntil(until byte, base uint64) func([]byte) (uint64, int, error) {
	return func(data []byte) (value uint64, size int, err error) {
		for i, b := range data[:min(maxDigitsUntil+1, len(data))] {
			if b == until && i > 0 {
				return value, i + 1, nil
			}
			d := digit(b)
			if d >= base || i == maxDigitsUntil {
				return 0, 0, ErrLength
			}
			value = base*value + d
		}
		return 0, 0, nil
	}
}

// digit returns the value of a hexadecimal digit; 16 for any other byte.
func digit(b byte) uint64 {
	switch {
	case '0' <= b && b <= '9':
		return uint64(b - '0')
	case 'a' <= b && b <= 'f':
		return uint64(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return uint64(b-'A') + 10
	}
	return 16
}

// bcdLength reads a number of size bytes, each of which holds two decimal digits (binary-coded decimal).
func bcdLength(size int) func([]byte) (uint64, int, error) {
	return func(data []byte) (value uint64, _ int, err error) {
		for _, b := range data[:min(size, len(data))] {
			high, low := uint64(b>>4), uint64(b&0xf)
			if high > 9 || low > 9 {
				return 0, 0, ErrLength
			}
			value = 100*value + 10*high + low
		}
		if len(data) < size {
			return 0, 0, nil
		}
		return value, size, nil
	}
}

// varintLength reads an LEB128 number as protobuf and MQTT encode it: seven bits in each byte, the lowest first; the eighth
// bit says that another byte follows.
func varintLength(data []byte) (uint64, int, error) {
	value, n := binary.Uvarint(data)
	if n < 0 || n == 0 && len(data) >= binary.MaxVarintLen64 {
		return 0, 0, ErrLength
	}
	return value, n, nil
}
