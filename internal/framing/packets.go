package framing

import "time"

// Packets are the settings that choose a Framing: keys of a server in the configuration, and of "next" in a reply.
type Packets struct {
	// Protocol fills in what is not set with the settings of a protocol; see Protocols.
	Protocol string `mapstructure:"protocol"`
	// Framing is what ends a packet: "delimiter" (the default), "length", "fixed", "raw", or "rules" (the default where there
	// are Rules).
	Framing string `mapstructure:"framing"`
	// Delimiter ends a packet and belongs to it; "\r\n" by default.
	Delimiter string `mapstructure:"delimiter"`
	// DelimiterHex is Delimiter in hexadecimal digits, two for each byte.
	DelimiterHex string `mapstructure:"delimiter_hex" json:"delimiter_hex"`
	// Delimiters are several in place of one: the one that begins first ends the packet, of those that begin there the longest.
	Delimiters []string `mapstructure:"delimiters"`
	// DelimitersHex are Delimiters in hexadecimal digits.
	DelimitersHex []string `mapstructure:"delimiters_hex" json:"delimiters_hex"`
	// DelimiterWait is how long one of Delimiters, here or in Rules, that may still become a longer one waits for more bytes; 20 ms by default.
	DelimiterWait *time.Duration `mapstructure:"delimiter_wait" json:"-"`
	// Strip leaves the delimiter out of what is handed over.
	Strip bool `mapstructure:"strip"`
	// SkipEmpty hands over no packet that is a delimiter and nothing else.
	SkipEmpty bool `mapstructure:"skip_empty" json:"skip_empty"`
	// Length says where a packet announces its length; framing length.
	Length *Length `mapstructure:"length"`
	// PacketSize is the length of every packet in bytes; framing fixed.
	PacketSize int `mapstructure:"packet_size" json:"packet_size"`
	// Rules are framings by the first bytes of a packet, the first that fits; framing rules.
	Rules []Rule `mapstructure:"rules"`
	// Batch hands over all complete packets that have arrived as one, as many as fit in read_buf_size.
	Batch bool `mapstructure:"batch"`

	set []string // by MarkSet
}

const (
	framingDelimiter = "delimiter"
	framingLength    = "length"
	framingFixed     = "fixed"
	framingRaw       = "raw"
	framingRules     = "rules"

	framings = `"delimiter", "length", "fixed" or "raw"` // for errors

	defaultDelimiter     = "\r\n"
	defaultDelimiterWait = 20 * time.Millisecond
)

// New returns the Framing that p describes, which Init has checked. readSize is read_buf_size in bytes, maxPacketSize is
// max_packet_size in bytes, 0 where there is none.
func (p *Packets) New(readSize, maxPacketSize int) (f Framing) {
	switch p.Framing {
	case framingLength:
		f = newLength(p.Length.field(), maxPacketSize)
	case framingFixed:
		f = newFixed(p.PacketSize)
	case framingRaw:
		if maxPacketSize > 0 {
			readSize = min(readSize, maxPacketSize)
		}
		return newRaw(readSize)
	case framingRules:
		f = p.newRules(readSize, maxPacketSize)
	default:
		f = newDelimiters(p.delimiters(), p.Strip, p.delimiterWait())
		if p.SkipEmpty {
			f.IsEmpty = isOneOf(p.delimiters())
		}
	}
	if p.Batch {
		f.Batch = readSize
	}
	return f
}

// delimiters returns the delimiters that are set.
func (p *Packets) delimiters() [][]byte {
	if p.hasList() {
		return allBytesOf(p.Delimiters, p.DelimitersHex)
	}
	return [][]byte{BytesOf(p.Delimiter, p.DelimiterHex)}
}

// hasList reports whether there is a list of delimiters, which may be empty.
func (p *Packets) hasList() bool { return p.Delimiters != nil || p.DelimitersHex != nil }

func (p *Packets) delimiterWait() time.Duration {
	if p.DelimiterWait == nil {
		return defaultDelimiterWait
	}
	return *p.DelimiterWait
}
