package framing

import (
	"encoding/binary"
	"math"
)

// lengthField describes the field in which a packet announces its length, as Netty's LengthFieldBasedFrameDecoder does.
type lengthField struct {
	offset int   // bytes before the field
	adjust int64 // added to the field's value to get the number of bytes that follow the field
	strip  int   // leading bytes that are not handed over
	// read decodes the field at the beginning of data; size is the field's size in bytes, 0 where data does not hold all of
	// the field yet.
	read func(data []byte) (value uint64, size int, err error)
}

// maxHeader bounds offset, adjust and strip, whatever their sign, so that sums of them can't overflow.
const maxHeader = 1 << 30

// newLength returns the framing of packets that announce their length, of at most maxPacketSize bytes; 0: no limit. Too long
// a packet is an error as soon as its length field has arrived.
func newLength(f lengthField, maxPacketSize int) Framing {
	return Framing{Overlap: Everything, Split: func(data []byte, _ bool) (int, []byte, error) {
		n, err := f.packetSize(data)
		switch {
		case err != nil:
			return 0, nil, err
		case maxPacketSize > 0 && n > int64(maxPacketSize), n > math.MaxInt:
			return 0, nil, ErrTooLong
		case n == 0 || n > int64(len(data)):
			return 0, nil, nil
		}
		return int(n), data[f.strip:n], nil
	}}
}

// packetSize returns the size in bytes of the packet that data begins with; 0 where it is not known yet.
func (f *lengthField) packetSize(data []byte) (int64, error) {
	if len(data) <= f.offset {
		return 0, nil
	}
	value, size, err := f.read(data[f.offset:])
	if err != nil || size == 0 {
		return 0, err
	}
	if value > math.MaxInt64-4*maxHeader { // so that the sum below can't overflow
		return 0, ErrLength
	}
	head := int64(f.offset + size)
	n := head + int64(value) + f.adjust
	if n < head || n < int64(f.strip) {
		return 0, ErrLength
	}
	return n, nil
}

// binaryLength reads an unsigned number of 1, 2, 3, 4 or 8 bytes.
func binaryLength(size int, littleEndian bool) func([]byte) (uint64, int, error) {
	return func(data []byte) (uint64, int, error) {
		if len(data) < size {
			return 0, 0, nil
		}
		var padded [8]byte
		if littleEndian {
			copy(padded[:], data[:size])
			return binary.LittleEndian.Uint64(padded[:]), size, nil
		}
		copy(padded[8-size:], data[:size])
		return binary.BigEndian.Uint64(padded[:]), size, nil
	}
}

// asciiLength reads a number of the given count of decimal digits, at most maxDigits.
func asciiLength(digits int) func([]byte) (uint64, int, error) {
	return func(data []byte) (value uint64, size int, err error) {
		for _, b := range data[:min(digits, len(data))] {
			if b < '0' || b > '9' {
				return 0, 0, ErrLength
			}
			value = 10*value + uint64(b-'0')
		}
		if len(data) < digits {
			return 0, 0, nil
		}
		return value, digits, nil
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
