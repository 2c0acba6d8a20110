package framing

import (
	"encoding/json"
	"math"
	"slices"
)

// Length is a field that announces the length of its packet, as Netty's LengthFieldBasedFrameDecoder has it. It has a fixed
// number of bytes (Bytes, or ASCII), or is a varint, or is a number of digits that a byte ends (Until).
type Length struct {
	// Bytes is the size of the field: 1, 2, 3, 4 or 8 where it is binary.
	Bytes int `mapstructure:"bytes"`
	// Encoding is "binary" (the default), "ascii" (decimal digits), "hex" (hexadecimal digits) or "bcd" (two decimal digits in
	// each byte).
	Encoding string `mapstructure:"encoding"`
	// Endian is the order of a binary field's bytes: "big" (the default) or "little".
	Endian string `mapstructure:"endian"`
	// Mask has the bits of a binary field that are the length; the others are flags. nil: all are.
	Mask *uint64 `mapstructure:"mask"`
	// ASCII is the size of a field of decimal digits; DigitsUntil beside Until.
	ASCII Digits `mapstructure:"ascii"`
	// Until is the byte that ends a field of digits, and belongs to it.
	Until string `mapstructure:"until"`
	// UntilHex is Until in hexadecimal digits.
	UntilHex string `mapstructure:"until_hex" json:"until_hex"`
	// Varint is a field whose bytes hold seven bits each, the lowest first, as protobuf and MQTT have it (LEB128).
	Varint bool `mapstructure:"varint"`
	// Offset counts the bytes before the field.
	Offset int `mapstructure:"offset"`
	// Adjust is added to the field's value to have the number of bytes that follow the field.
	Adjust int `mapstructure:"adjust"`
	// Strip counts the leading bytes that are not handed over.
	Strip int `mapstructure:"strip"`
}

// Digits is a number of decimal digits, or true for as many as there are. The configuration library decodes true as 1.
type Digits int

// DigitsUntil is the Digits of a field that Length.Until ends.
const DigitsUntil Digits = -1 << 20

// UnmarshalJSON reads a number, or true.
func (d *Digits) UnmarshalJSON(b []byte) error {
	if string(b) == "true" {
		*d = DigitsUntil
		return nil
	}
	return json.Unmarshal(b, (*int)(d))
}

const (
	encodingBinary = "binary"
	encodingASCII  = "ascii"
	encodingHex    = "hex"
	encodingBCD    = "bcd"
)

// sizes are the sizes in bytes of fields of each encoding: a value must fit into 64 bits.
var sizes = map[string][]int{
	encodingBinary: {1, 2, 3, 4, 8},
	encodingASCII:  upTo(18),
	encodingHex:    upTo(16),
	encodingBCD:    upTo(9),
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// encoding returns how a field of a fixed size is encoded.
func (l *Length) encoding() string {
	switch {
	case l.Encoding != "":
		return l.Encoding
	case l.ASCII != 0:
		return encodingASCII
	}
	return encodingBinary
}

// size returns the size of the field in bytes, the least where that differs from packet to packet.
func (l *Length) size() int {
	switch {
	case l.Varint:
		return 1
	case l.isUntil():
		return 2
	}
	return max(1, l.Bytes, int(l.ASCII))
}

func (l *Length) field() lengthField {
	f := lengthField{offset: l.Offset, adjust: int64(l.Adjust), strip: l.Strip}
	base := uint64(10)
	if l.Encoding == encodingHex {
		base = 16
	}
	switch {
	case l.Varint:
		f.read = varintLength
	case l.isUntil():
		f.read = digitsUntil(l.until()[0], base)
	case l.encoding() == encodingBCD:
		f.read = bcdLength(l.size())
	case l.encoding() == encodingBinary:
		f.read = binaryLength(l.size(), l.Endian == "little", l.mask())
	default:
		f.read = digitsLength(l.size(), base)
	}
	return f
}

// until returns the byte that ends a field of digits; nothing where none does.
func (l *Length) until() []byte { return BytesOf(l.Until, l.UntilHex) }

// isUntil reports whether a byte is to end the field.
func (l *Length) isUntil() bool { return l.Until != "" || l.UntilHex != "" }

func (l *Length) mask() uint64 {
	if l.Mask == nil {
		return math.MaxUint64
	}
	return *l.Mask
}

func (l *Length) check(fail Failer, maxPacketSize int) {
	if l == nil {
		fail("length", "is missing; framing length wants length: {bytes: 2}, or ascii: 4, or varint: true in it")
		return
	}
	l.checkField(fail)
	for _, n := range []struct {
		name        string
		value, from int
	}{{"offset", l.Offset, 0}, {"adjust", l.Adjust, -maxHeader}, {"strip", l.Strip, 0}} {
		if n.value < n.from || n.value > maxHeader {
			fail("length."+n.name, "%d is out of range; want a number of bytes from %d to %d", n.value, n.from, maxHeader)
			return
		}
	}
	if end := l.Offset + l.size(); maxPacketSize > 0 && end > maxPacketSize {
		fail("length.offset", "the field ends after %d bytes, max_packet_size is %d; no packet would pass", end, maxPacketSize)
	}
}

func (l *Length) checkField(fail Failer) {
	kinds := 0
	for _, isSet := range []bool{l.Bytes != 0, l.ASCII != 0 || l.isUntil(), l.Varint} {
		if isSet {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		fail("length.bytes", "is missing; want the size of the field, such as bytes: 2, or ascii: 4, or varint: true")
	case kinds > 1:
		fail("length", "has %d kinds of field; want one of bytes: 2, ascii: 4 and varint: true", kinds)
	case l.isUntil():
		l.checkUntil(fail)
	default:
		l.checkSize(fail)
	}
	l.checkEncoding(fail)
}

// checkSize checks a field of a fixed size.
func (l *Length) checkSize(fail Failer) {
	all := sizes[l.encoding()]
	switch {
	case l.ASCII == DigitsUntil:
		fail("length.ascii", "is true; want the number of digits, such as 4, or beside it the byte that ends them, such as until: \" \"")
	case l.ASCII < 0 || int(l.ASCII) > len(sizes[encodingASCII]):
		fail("length.ascii", "%d is no number of digits; want one from 1 to %d", l.ASCII, len(sizes[encodingASCII]))
	case l.Bytes == 0 || all == nil || slices.Contains(all, l.Bytes):
	case l.encoding() == encodingBinary:
		fail("length.bytes", "%d is no size of a binary number; want 1, 2, 3, 4 or 8", l.Bytes)
	default:
		fail("length.bytes", "%d is no size of a number in %s; want 1 to %d", l.Bytes, l.Encoding, len(all))
	}
}

// checkUntil checks a field of digits that a byte ends.
func (l *Length) checkUntil(fail Failer) {
	CheckBytes(fail, "length.until", l.Until, l.UntilHex)
	until, name := l.until(), orHex("length.until", l.UntilHex != "")
	switch {
	case l.Encoding != "" && l.Encoding != encodingASCII && l.Encoding != encodingHex:
		fail(name, "ends digits; leave it out, or want encoding: ascii or hex")
	case l.ASCII != 0 && l.ASCII != 1 && l.ASCII != DigitsUntil:
		fail("length.ascii", "is %d, but until ends the digits, however many; write ascii: true", l.ASCII)
	case len(until) == 0: // reported
	case len(until) > 1 && !hasLatin1(l.Until): // which is reported
		fail(name, "has %d bytes; want the one that ends the digits, such as \" \", or in hexadecimal digits \"20\"", len(until))
	case digit(until[0]) < 16:
		fail(name, "%q is a digit itself; want the byte that ends the digits, such as \" \", or in hexadecimal digits \"20\"", until)
	}
}

// checkEncoding checks how the bytes of the field are read.
func (l *Length) checkEncoding(fail Failer) {
	isBinary := l.Bytes != 0 && l.encoding() == encodingBinary
	switch {
	case l.Encoding == "":
	case sizes[l.Encoding] == nil:
		fail("length.encoding", `unknown encoding %q; want "binary", "ascii", "hex" or "bcd"`, l.Encoding)
	case l.Varint || l.ASCII != 0 && l.Encoding != encodingASCII:
		fail("length.encoding", "belongs to a field of bytes; leave it out")
	}
	switch {
	case l.Endian != "" && l.Endian != "big" && l.Endian != "little":
		fail("length.endian", `unknown order of bytes %q; want "big" or "little"`, l.Endian)
	case l.Endian != "" && !isBinary:
		fail("length.endian", "belongs to a field of bytes; leave it out")
	}
	switch {
	case l.Mask == nil:
	case !isBinary:
		fail("length.mask", "belongs to a binary field of bytes; leave it out")
	case *l.Mask == 0 || l.Bytes < 8 && *l.Mask >= 1<<(8*max(0, l.Bytes)):
		fail("length.mask", "%#x has no bit of the length, or more bits than the field; want those that are the length, such as %#x",
			*l.Mask, uint64(1)<<(8*min(max(1, l.Bytes), 8)-1)-1)
	}
}
