package tcp

import (
	"fmt"
	"slices"
	"strings"
)

// Packets says how what a client sends is cut into packets: keys of a server, and of next in a reply.
type Packets struct {
	// Framing is what ends a packet: "delimiter" (the default), "length", "fixed" or "raw".
	Framing string `mapstructure:"framing"`
	// Delimiter ends a packet and belongs to it; "\r\n" by default.
	Delimiter string `mapstructure:"delimiter"`
	// Delimiters are several in place of one: that which begins first ends the packet.
	Delimiters []string `mapstructure:"delimiters"`
	// Strip leaves the delimiter out of what is handed over.
	Strip bool `mapstructure:"strip"`
	// Length says where a packet announces its length; framing length.
	Length *Length `mapstructure:"length"`
	// PacketSize is the length of every packet in bytes; framing fixed.
	PacketSize int `mapstructure:"packet_size" json:"packet_size"`
	// Batch hands over all complete packets that have arrived as one, as many as fit in read_buf_size.
	Batch bool `mapstructure:"batch"`
}

// Length is a field that announces the length of its packet, as Netty's LengthFieldBasedFrameDecoder has it. It is
// binary, decimal or a varint: one of Bytes, ASCII and Varint is set.
type Length struct {
	// Bytes is the size of a binary field: 1, 2, 3, 4 or 8.
	Bytes int `mapstructure:"bytes"`
	// Endian is the order of its bytes: "big" (the default) or "little".
	Endian string `mapstructure:"endian"`
	// ASCII is the size of a field of decimal digits.
	ASCII int `mapstructure:"ascii"`
	// Varint is a field whose bytes hold seven bits each, the lowest first, as protobuf and MQTT have it (LEB128).
	Varint bool `mapstructure:"varint"`
	// Offset counts the bytes before the field.
	Offset int `mapstructure:"offset"`
	// Adjust is added to the field's value to have the number of bytes that follow the field.
	Adjust int `mapstructure:"adjust"`
	// Strip counts the leading bytes that are not handed over.
	Strip int `mapstructure:"strip"`
}

const (
	framingDelimiter = "delimiter"
	framingLength    = "length"
	framingFixed     = "fixed"
	framingRaw       = "raw"

	mostDigits = 18 // of a decimal length: more might not fit into 64 bits
)

// init fills in the defaults and checks everything; longest is max_packet_size in bytes, 0 where there is none. Each
// error begins with the key that it is about.
func (p *Packets) init(key string, longest int) (errs []error) {
	if p.Framing == "" {
		p.Framing = framingDelimiter
	}
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %s", key, name, fmt.Sprintf(format, args...)))
	}
	switch p.Framing {
	case framingDelimiter:
		p.initDelimiters(fail)
	case framingLength:
		p.Length.check(fail, longest)
	case framingFixed:
		checkPacketSize(fail, p.PacketSize, longest)
	case framingRaw:
	default:
		fail("framing", `unknown framing %q; want "delimiter", "length", "fixed" or "raw"`, p.Framing)
		return errs
	}

	p.checkForeign(fail)
	switch {
	case p.Batch && p.Framing == framingRaw:
		fail("batch", "raw packets are whatever has arrived, all of it already; leave it out")
	case p.Batch && (p.Strip || p.Length != nil && p.Length.Strip > 0):
		fail("batch", "without what strip takes away nobody could tell the packets apart; leave one of them out")
	}
	return errs
}

type failer func(name, format string, args ...any)

// checkForeign finds keys of another framing than the one that is set.
func (p *Packets) checkForeign(fail failer) {
	for _, foreign := range []struct {
		isSet         bool
		name, framing string
	}{
		{p.Delimiter != "", "delimiter", framingDelimiter},
		{p.Delimiters != nil, "delimiters", framingDelimiter},
		{p.Strip, "strip", framingDelimiter},
		{p.Length != nil, "length", framingLength},
		{p.PacketSize != 0, "packet_size", framingFixed},
	} {
		if foreign.isSet && foreign.framing != p.Framing {
			fail(foreign.name, "belongs to framing %q, and this is %q; leave it out or set framing: %s",
				foreign.framing, p.Framing, foreign.framing)
		}
	}
}

func (p *Packets) initDelimiters(fail failer) {
	switch {
	case p.Delimiter != "" && p.Delimiters != nil:
		fail("delimiters", "stands beside delimiter; want one of the two")
		return
	case p.Delimiters == nil && p.Delimiter == "":
		p.Delimiter = defaultDelimiter
		return
	case p.Delimiters != nil && len(p.Delimiters) == 0:
		fail("delimiters", `is empty; want a list of them, such as ["\r\n", "\n"]`)
	}
	for i, a := range p.Delimiters {
		if a == "" {
			fail("delimiters", `holds an empty one; want the bytes that end a packet, such as "\n"`)
			return
		}
		for _, b := range p.Delimiters[:i] {
			if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
				fail("delimiters", "%q and %q begin alike, so the longer one is never met; leave it out", b, a)
			}
		}
	}
}

func checkPacketSize(fail failer, size, longest int) {
	switch {
	case size <= 0:
		fail("packet_size", "is %d; framing fixed wants the length of every packet in bytes, such as 128", size)
	case longest > 0 && size > longest:
		fail("packet_size", "%d is over max_packet_size, %d bytes; want no more than that", size, longest)
	}
}

func (l *Length) check(fail failer, longest int) {
	if l == nil {
		fail("length", "is missing; framing length wants length: {bytes: 2}, or ascii: 4, or varint: true in it")
		return
	}
	size := l.checkField(fail)
	for _, n := range []struct {
		name        string
		value, from int
	}{{"offset", l.Offset, 0}, {"adjust", l.Adjust, -mostHeader}, {"strip", l.Strip, 0}} {
		if n.value < n.from || n.value > mostHeader {
			fail("length."+n.name, "%d is out of range; want a number of bytes from %d to %d", n.value, n.from, mostHeader)
			return
		}
	}
	if longest > 0 && l.Offset+size > longest {
		fail("length.offset", "the field ends after %d bytes, max_packet_size is %d; no packet would pass", l.Offset+size, longest)
	}
}

// checkField returns the least size of the field.
func (l *Length) checkField(fail failer) int {
	kinds := 0
	for _, isSet := range []bool{l.Bytes != 0, l.ASCII != 0, l.Varint} {
		if isSet {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		fail("length.bytes", "is missing; want the size of the field, such as bytes: 2, or ascii: 4, or varint: true")
	case kinds > 1:
		fail("length", "has %d kinds of field; want one of bytes: 2, ascii: 4 and varint: true", kinds)
	case !slices.Contains([]int{0, 1, 2, 3, 4, 8}, l.Bytes):
		fail("length.bytes", "%d is no size of a binary number; want 1, 2, 3, 4 or 8", l.Bytes)
	case l.ASCII < 0 || l.ASCII > mostDigits:
		fail("length.ascii", "%d is no number of digits; want one from 1 to %d", l.ASCII, mostDigits)
	}
	switch {
	case l.Endian != "" && l.Endian != "big" && l.Endian != "little":
		fail("length.endian", `unknown order of bytes %q; want "big" or "little"`, l.Endian)
	case l.Endian != "" && l.Bytes == 0:
		fail("length.endian", "belongs to a field of bytes; leave it out")
	}
	return max(1, l.Bytes, l.ASCII)
}

// delimiters are all that end a packet.
func (p *Packets) delimiters() [][]byte {
	if p.Delimiters == nil {
		return [][]byte{[]byte(p.Delimiter)}
	}
	var all [][]byte
	for _, d := range p.Delimiters {
		all = append(all, []byte(d))
	}
	return all
}

// framing is what a checked p asks for; most are the bytes of read_buf_size, longest those of max_packet_size.
func (p *Packets) framing(most, longest int) (f framing) {
	switch p.Framing {
	case framingLength:
		f = splitLength(p.Length.field(), longest)
	case framingFixed:
		f = splitFixed(p.PacketSize)
	case framingRaw:
		if longest > 0 {
			most = min(most, longest)
		}
		return splitRaw(most)
	default:
		f = splitDelimiters(p.delimiters(), p.Strip)
	}
	if p.Batch {
		f.batch = most
	}
	return f
}

func (l *Length) field() lengthField {
	f := lengthField{offset: l.Offset, adjust: int64(l.Adjust), strip: l.Strip}
	switch {
	case l.Varint:
		f.read = varintLength
	case l.ASCII > 0:
		f.read = asciiLength(l.ASCII)
	default:
		f.read = binaryLength(l.Bytes, l.Endian == "little")
	}
	return f
}
