package framing

import (
	"slices"
	"strings"
)

// protocols are the settings of protocols by name. Each cuts the packets of its public specification, from their first byte to their
// last; docs/protocols.md says where that is not all.
var protocols = map[string]Packets{
	// Text of lines.
	"nmea":   {Framing: framingDelimiter, Delimiters: []string{"\r\n", "\n"}, SkipEmpty: true},
	"smtp":   {Framing: framingDelimiter, Delimiter: "\r\n"}, // the mail itself by a reply's next
	"syslog": {Framing: framingRules, Rules: syslogRules()},
	"gelf":   {Framing: framingDelimiter, DelimiterHex: "00"},
	// A frame ends with NUL; ends of line between frames are heart-beats or padding.
	"stomp": {Framing: framingRules, Rules: []Rule{
		{Starts: "\n", Framing: framingDelimiter, Delimiter: "\n", SkipEmpty: true},
		{Starts: "\r\n", Framing: framingDelimiter, Delimiter: "\r\n", SkipEmpty: true},
		{Framing: framingDelimiter, DelimiterHex: "00"},
	}},
	// 0B, the message, 1C 0D; some leave the last byte out.
	"mllp":      {Framing: framingDelimiter, DelimitersHex: []string{"1c0d", "1c"}},
	"netstring": {Framing: framingLength, Length: &Length{ASCII: DigitsUntil, Until: ":", Adjust: 1}},
	// A command is several packets: *2, and $4 with its four bytes for each of its parts. All that have arrived come as one.
	"redis": {Framing: framingRules, Batch: true, Rules: []Rule{
		{Starts: "$", Framing: framingLength, Length: &Length{ASCII: DigitsUntil, Offset: 1, Until: "\r", Adjust: len("\n\r\n")}},
		{Framing: framingDelimiter, Delimiter: "\r\n"},
	}},
	// Lengths.
	"mqtt":    {Framing: framingLength, Length: &Length{Varint: true, Offset: 1}},
	"modbus":  {Framing: framingLength, Length: &Length{Bytes: 2, Offset: 4}},
	"smpp":    {Framing: framingLength, Length: &Length{Bytes: 4, Adjust: -4}}, // it counts itself
	"iso8583": {Framing: framingLength, Length: &Length{Bytes: 2, Strip: 2}},   // the commonest of its headers
	// GPS trackers.
	"gt06": {Framing: framingRules, Rules: []Rule{
		{StartsHex: "7878", Framing: framingLength, Length: &Length{Bytes: 1, Offset: 2, Adjust: 2}},
		{StartsHex: "7979", Framing: framingLength, Length: &Length{Bytes: 2, Offset: 2, Adjust: 2}},
	}},
	"h02": {Framing: framingRules, Rules: []Rule{
		{Starts: "$", Framing: framingFixed, PacketSize: 32},
		{Starts: "*", Framing: framingDelimiter, Delimiter: "#"},
		{Starts: "\r\n", Framing: framingDelimiter, Delimiter: "\r\n", SkipEmpty: true},
	}},
	// Frames between two marks, of which one may stand for both.
	"jt808": {Framing: framingDelimiter, DelimiterHex: "7e", SkipEmpty: true},
	// A ping; records: four zero bytes, the length, the data, a CRC of four bytes; the IMEI.
	"teltonika": {Framing: framingRules, Rules: []Rule{
		{StartsHex: "ff", Framing: framingFixed, PacketSize: 1},
		{StartsHex: "00000000", Framing: framingLength, Length: &Length{Bytes: 4, Offset: 4, Adjust: 4}},
		{Framing: framingLength, Length: &Length{Bytes: 2}},
	}},
}

// syslogRules are octet counting and lines, as a client likes: what begins with a digit, but 0, is a length (RFC 6587, 3.4.1), all else
// a line, be it without a priority or, behind a message, empty.
func syslogRules() []Rule {
	rules := []Rule{{Starts: "<", Framing: framingDelimiter, Delimiter: "\n"}}
	for digit := '1'; digit <= '9'; digit++ {
		rules = append(rules, Rule{Starts: string(digit), Framing: framingLength, Length: &Length{ASCII: DigitsUntil, Until: " "}})
	}
	return append(rules, Rule{Framing: framingDelimiter, Delimiters: []string{"\r\n", "\n"}, SkipEmpty: true})
}

// Protocols returns the names of all protocols, sorted.
func Protocols() (names []string) {
	for name := range protocols {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// MarkSet says which keys are set, so that false is not taken for a key that is not.
func (p *Packets) MarkSet(keys []string) { p.set = keys }

// expand fills in the settings of the protocol. What is set stays, and takes the place of all that the protocol has for the same
// purpose.
func (p *Packets) expand(fail Failer) {
	base, ok := protocols[p.Protocol]
	if !ok {
		fail("protocol", "unknown protocol %q; want one of %s, or none and framing", p.Protocol, strings.Join(Protocols(), ", "))
		return
	}
	switch {
	case p.Framing == "":
		p.Framing = base.Framing
	case p.Framing != base.Framing: // nothing of it fits
		return
	}
	if p.Delimiter == "" && p.DelimiterHex == "" && !p.hasList() {
		p.Delimiter, p.DelimiterHex, p.Delimiters, p.DelimitersHex = base.Delimiter, base.DelimiterHex, base.Delimiters, base.DelimitersHex
	}
	if p.Length == nil && base.Length != nil {
		length := *base.Length
		p.Length = &length
	}
	if p.Rules == nil {
		p.Rules = slices.Clone(base.Rules)
	}
	for _, b := range []struct {
		key   string
		value *bool
		base  bool
	}{{"strip", &p.Strip, base.Strip}, {"skip_empty", &p.SkipEmpty, base.SkipEmpty}, {"batch", &p.Batch, base.Batch}} {
		if b.base && !slices.Contains(p.set, b.key) {
			*b.value = true
		}
	}
}
