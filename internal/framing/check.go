package framing

import (
	"fmt"
	"slices"
	"strings"
)

const maxDigits = 18 // of a decimal length: more might not fit into 64 bits

// Init fills in the defaults and checks all settings. key is the configuration key that holds p; maxPacketSize is
// max_packet_size in bytes, 0 where there is none. Each error begins with the full key of the setting that is wrong.
func (p *Packets) Init(key string, maxPacketSize int) (errs []error) {
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
		p.Length.check(fail, maxPacketSize)
	case framingFixed:
		checkPacketSize(fail, p.PacketSize, maxPacketSize)
	case framingRaw:
	default:
		fail("framing", `unknown framing %q; want "delimiter", "length", "fixed" or "raw"`, p.Framing)
		return errs
	}

	p.checkForeign(fail)
	p.checkBatch(fail)
	return errs
}

func (p *Packets) checkBatch(fail failer) {
	switch {
	case p.Batch && p.Framing == framingRaw:
		fail("batch", "raw packets are whatever has arrived, all of it already; leave it out")
	case p.Batch && (p.Strip || p.Length != nil && p.Length.Strip > 0):
		fail("batch", "without what strip takes away nobody could tell the packets apart; leave one of them out")
	}
}

// failer reports that the setting called name is wrong.
type failer func(name, format string, args ...any)

// checkForeign finds settings that belong to another framing than the one that is set.
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

func checkPacketSize(fail failer, size, maxPacketSize int) {
	switch {
	case size <= 0:
		fail("packet_size", "is %d; framing fixed wants the length of every packet in bytes, such as 128", size)
	case maxPacketSize > 0 && size > maxPacketSize:
		fail("packet_size", "%d is over max_packet_size, %d bytes; want no more than that", size, maxPacketSize)
	}
}

func (l *Length) check(fail failer, maxPacketSize int) {
	if l == nil {
		fail("length", "is missing; framing length wants length: {bytes: 2}, or ascii: 4, or varint: true in it")
		return
	}
	size := l.checkField(fail)
	for _, n := range []struct {
		name        string
		value, from int
	}{{"offset", l.Offset, 0}, {"adjust", l.Adjust, -maxHeader}, {"strip", l.Strip, 0}} {
		if n.value < n.from || n.value > maxHeader {
			fail("length."+n.name, "%d is out of range; want a number of bytes from %d to %d", n.value, n.from, maxHeader)
			return
		}
	}
	if maxPacketSize > 0 && l.Offset+size > maxPacketSize {
		fail("length.offset", "the field ends after %d bytes, max_packet_size is %d; no packet would pass", l.Offset+size, maxPacketSize)
	}
}

// checkField returns the minimum size of the field in bytes.
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
	case l.ASCII < 0 || l.ASCII > maxDigits:
		fail("length.ascii", "%d is no number of digits; want one from 1 to %d", l.ASCII, maxDigits)
	}
	switch {
	case l.Endian != "" && l.Endian != "big" && l.Endian != "little":
		fail("length.endian", `unknown order of bytes %q; want "big" or "little"`, l.Endian)
	case l.Endian != "" && l.Bytes == 0:
		fail("length.endian", "belongs to a field of bytes; leave it out")
	}
	return max(1, l.Bytes, l.ASCII)
}
