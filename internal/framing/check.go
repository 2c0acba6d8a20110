package framing

import (
	"bytes"
	"fmt"
	"slices"
)

// Init fills in the defaults and checks all settings. key is the configuration key that holds p; maxPacketSize is
// max_packet_size in bytes, 0 where there is none. Each error begins with the full key of the setting that is wrong.
func (p *Packets) Init(key string, maxPacketSize int) (errs []error) {
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %s", key, name, fmt.Sprintf(format, args...)))
	}
	if p.Protocol != "" {
		p.expand(fail)
	}
	switch {
	case p.Framing == "" && p.Rules != nil:
		p.Framing = framingRules
	case p.Framing == "":
		p.Framing = framingDelimiter
	}
	switch p.Framing {
	case framingDelimiter:
		p.initDelimiters(fail)
	case framingLength:
		p.Length.check(fail, maxPacketSize)
	case framingFixed:
		checkPacketSize(fail, p.PacketSize, maxPacketSize)
	case framingRaw:
	case framingRules:
		errs = append(errs, p.initRules(key, fail, maxPacketSize)...)
	default:
		fail("framing", `unknown framing %q; want %s, or rules`, p.Framing, framings)
		return errs
	}

	p.checkForeign(fail)
	p.checkDelimiterWait(fail)
	p.checkBatch(fail)
	return errs
}

func (p *Packets) checkBatch(fail Failer) {
	switch {
	case p.Batch && p.Framing == framingRaw:
		fail("batch", "raw packets are whatever has arrived, all of it already; leave it out")
	case p.Batch && p.strips():
		fail("batch", "without what strip takes away nobody could tell the packets apart; leave one of them out")
	}
}

// Failer reports that the setting called name is wrong.
type Failer func(name, format string, args ...any)

// checkForeign finds settings that belong to another framing than the one that is set.
func (p *Packets) checkForeign(fail Failer) {
	for _, foreign := range []struct {
		isSet         bool
		name, framing string
	}{
		{p.Delimiter != "", "delimiter", framingDelimiter},
		{p.DelimiterHex != "", "delimiter_hex", framingDelimiter},
		{p.Delimiters != nil, "delimiters", framingDelimiter},
		{p.DelimitersHex != nil, "delimiters_hex", framingDelimiter},
		{p.DelimiterWait != nil && p.Framing != framingRules, "delimiter_wait", framingDelimiter},
		{p.Strip, "strip", framingDelimiter},
		{p.SkipEmpty, "skip_empty", framingDelimiter},
		{p.Length != nil, "length", framingLength},
		{p.PacketSize != 0, "packet_size", framingFixed},
		{p.Rules != nil, "rules", framingRules},
	} {
		if foreign.isSet && foreign.framing != p.Framing {
			fail(foreign.name, "belongs to framing %q, and this is %q; leave it out or set framing: %s",
				foreign.framing, p.Framing, foreign.framing)
		}
	}
}

func (p *Packets) initDelimiters(fail Failer) {
	isOne := p.Delimiter != "" || p.DelimiterHex != ""
	list := orHex("delimiters", p.DelimitersHex != nil)
	switch {
	case isOne && p.hasList():
		fail(list, "stands beside %s; want one of the two", orHex("delimiter", p.DelimiterHex != ""))
	case isOne:
		CheckBytes(fail, "delimiter", p.Delimiter, p.DelimiterHex)
	case !p.hasList():
		p.Delimiter = defaultDelimiter
	case p.Delimiters != nil && p.DelimitersHex != nil:
		fail("delimiters_hex", "stands beside delimiters; want one of the two, all of them in hexadecimal digits where one is")
	case len(p.delimiters()) == 0:
		fail(list, `is empty; want a list of them, such as ["\r\n", "\n"] or, in hexadecimal digits, ["0d0a", "0a"]`)
	default:
		p.checkList(fail, list)
	}
}

func (p *Packets) checkList(fail Failer, name string) {
	for _, d := range append(slices.Clone(p.Delimiters), p.DelimitersHex...) {
		if d == "" {
			fail(name, `holds an empty one; want the bytes that end a packet, such as "\n" or, in hexadecimal digits, "0a"`)
			return
		}
	}
	for _, d := range p.Delimiters {
		checkText(fail, "delimiters", d)
	}
	for _, d := range p.DelimitersHex {
		CheckBytes(fail, "delimiters", "", d)
	}
	all := p.delimiters()
	for i, d := range all {
		if len(d) > 0 && slices.ContainsFunc(all[:i], func(other []byte) bool { return bytes.Equal(d, other) }) {
			fail(name, "holds %q twice; leave one of them out", d)
		}
	}
}

func (p *Packets) checkDelimiterWait(fail Failer) {
	switch {
	case p.DelimiterWait == nil || p.Framing != framingDelimiter && p.Framing != framingRules:
	case *p.DelimiterWait < 0:
		fail("delimiter_wait", "%s is negative; want a duration such as \"20ms\", or 0 for none", *p.DelimiterWait)
	case !p.waits():
		fail("delimiter_wait", "is for delimiters of which one begins with another or has it inside, such as [\"\\r\\n\", \"\\r\"]; leave it out")
	}
}

// waits reports whether any delimiter may still become a longer one.
func (p *Packets) waits() bool {
	for _, r := range p.Rules {
		if packets := r.Packets(); packets.waits() {
			return true
		}
	}
	return mayWait(p.delimiters())
}

func checkPacketSize(fail Failer, size, maxPacketSize int) {
	switch {
	case size <= 0:
		fail("packet_size", "is %d; framing fixed wants the length of every packet in bytes, such as 128", size)
	case maxPacketSize > 0 && size > maxPacketSize:
		fail("packet_size", "%d is over max_packet_size, %d bytes; want no more than that", size, maxPacketSize)
	}
}
