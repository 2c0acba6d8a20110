package framing

import "math"

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
	size := func(data []byte) int64 {
		n, err := f.packetSize(data)
		if err != nil {
			return 0
		}
		return n
	}
	return Framing{Overlap: Everything, Head: f.strip, Size: size, Split: func(data []byte, _ bool) (int, []byte, error) {
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
