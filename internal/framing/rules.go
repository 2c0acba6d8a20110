package framing

import (
	"bytes"
	"fmt"
	"slices"
)

// Rule is the framing of packets that begin with certain bytes. Its other settings are those of Packets.
type Rule struct {
	// Starts are the first bytes of the packets that the rule cuts; they belong to the packet. Only the last rule can do without.
	Starts        string   `mapstructure:"starts"`
	StartsHex     string   `mapstructure:"starts_hex" json:"starts_hex"` // in hexadecimal digits
	Framing       string   `mapstructure:"framing"`
	Delimiter     string   `mapstructure:"delimiter"`
	DelimiterHex  string   `mapstructure:"delimiter_hex" json:"delimiter_hex"`
	Delimiters    []string `mapstructure:"delimiters"`
	DelimitersHex []string `mapstructure:"delimiters_hex" json:"delimiters_hex"`
	Strip         bool     `mapstructure:"strip"`
	SkipEmpty     bool     `mapstructure:"skip_empty" json:"skip_empty"`
	Length        *Length  `mapstructure:"length"`
	PacketSize    int      `mapstructure:"packet_size" json:"packet_size"`
}

// Packets returns the settings of the rule without Starts. Packets.Init has filled in the defaults.
func (r *Rule) Packets() Packets {
	return Packets{
		Framing: r.Framing, Delimiter: r.Delimiter, DelimiterHex: r.DelimiterHex, Delimiters: r.Delimiters,
		DelimitersHex: r.DelimitersHex, Strip: r.Strip, SkipEmpty: r.SkipEmpty, Length: r.Length, PacketSize: r.PacketSize,
	}
}

// First returns the bytes that the packets of the rule begin with.
func (r *Rule) First() []byte { return BytesOf(r.Starts, r.StartsHex) }

// rule is a Rule that is ready for use.
type rule struct {
	starts  []byte
	framing Framing
}

// newRules returns the framing of packets that are cut by the first rule that fits their first bytes.
func newRules(rules []rule) Framing {
	f := Framing{
		Overlap: Everything,
		Split: func(data []byte, atEOF bool) (int, []byte, error) {
			f, err := choose(rules, data, atEOF)
			if f == nil {
				return 0, nil, err
			}
			return f.Split(data, atEOF)
		},
		Narrow: func(data []byte) *Framing {
			f, _ := choose(rules, data, false)
			return f
		},
	}
	if slices.ContainsFunc(rules, func(r rule) bool { return r.framing.IsEmpty != nil }) {
		f.IsEmpty = func(data []byte, n int) bool { // the first bytes of a rule may be more than its packet
			f, _ := choose(rules, data, true)
			return f.IsEmpty != nil && f.IsEmpty(data, n)
		}
	}
	return f
}

// choose returns the framing of the packet that data begins with; nil: more bytes decide.
func choose(rules []rule, data []byte, atEOF bool) (*Framing, error) {
	mayFit := false
	for i := range rules {
		switch starts := rules[i].starts; {
		case bytes.HasPrefix(data, starts):
			return &rules[i].framing, nil
		case bytes.HasPrefix(starts, data):
			if !atEOF {
				return nil, nil
			}
			mayFit = true
		}
	}
	if mayFit {
		return nil, nil
	}
	return nil, ErrNoRule
}

// newRules returns the framing that p.Rules describe.
func (p *Packets) newRules(readSize, maxPacketSize int) Framing {
	var rules []rule
	for _, r := range p.Rules {
		packets := r.Packets()
		packets.DelimiterWait, packets.Batch = p.DelimiterWait, p.Batch
		rules = append(rules, rule{r.First(), packets.New(readSize, maxPacketSize)})
	}
	return newRules(rules)
}

// initRules fills in the defaults of all rules and checks them. key is that of p.
func (p *Packets) initRules(key string, fail Failer, maxPacketSize int) (errs []error) {
	if len(p.Rules) == 0 {
		fail("rules", `is missing; framing rules wants a list, such as [{starts: "<", delimiter: "\n"}, {framing: fixed, packet_size: 32}]`)
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		name := fmt.Sprintf("rules.%d", i)
		if r.Framing == framingRules {
			fail(name+".framing", "is %q itself; want %s", r.Framing, framings)
			continue
		}
		p.checkStarts(fail, name, i)
		packets := r.Packets()
		errs = append(errs, packets.Init(key+"."+name, maxPacketSize)...)
		r.Framing, r.Delimiter = packets.Framing, packets.Delimiter
	}
	return errs
}

// checkStarts checks that rule i can be met.
func (p *Packets) checkStarts(fail Failer, name string, i int) {
	r := &p.Rules[i]
	CheckBytes(fail, name+".starts", r.Starts, r.StartsHex)
	starts := r.First()
	if len(starts) == 0 && i < len(p.Rules)-1 && r.StartsHex == "" {
		fail(name+".starts", "is missing, so the rules behind it are never met; want the first bytes of a packet, or the rule at the end")
		return
	}
	for j := range p.Rules[:i] {
		if before := p.Rules[j].First(); len(before) > 0 && bytes.HasPrefix(starts, before) {
			fail(orHex(name+".starts", r.StartsHex != ""), "%q is never met: rule %d takes what begins with %q; put the longer one first", starts, j, before)
			return
		}
	}
}

// strips reports whether any packet is handed over without some of its bytes.
func (p *Packets) strips() bool {
	for _, r := range p.Rules {
		if packets := r.Packets(); packets.strips() {
			return true
		}
	}
	return p.Strip || p.Length != nil && p.Length.Strip > 0
}
