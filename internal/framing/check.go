package framing

import (
	"fmt"
	"slices"
)

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
		p.checkDelimiterWait(fail)
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
		{p.DelimiterWait != nil, "delimiter_wait", framingDelimiter},
		{p.Strip, "strip", framingDelimiter},
		{p.SkipEmpty, "skip_empty", framingDelimiter},
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
	for i, d := range p.Delimiters {
		if d == "" {
			fail("delimiters", `holds an empty one; want the bytes that end a packet, such as "\n"`)
			return
		}
		if slices.Contains(p.Delimiters[:i], d) {
			fail("delimiters", "holds %q twice; leave one of them out", d)
		}
	}
}

func (p *Packets) checkDelimiterWait(fail failer) {
	switch {
	case p.DelimiterWait == nil || p.Framing != framingDelimiter:
	case *p.DelimiterWait < 0:
		fail("delimiter_wait", "%s is negative; want a duration such as \"20ms\", or 0 for none", *p.DelimiterWait)
	case !beginAlike(p.delimiters()):
		fail("delimiter_wait", "is for delimiters of which one begins with another, such as [\"\\r\\n\", \"\\r\"]; leave it out")
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
