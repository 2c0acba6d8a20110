package framing

// Packets are the settings that choose a Framing: keys of a server in the configuration, and of "next" in a reply.
type Packets struct {
	// Framing is what ends a packet: "delimiter" (the default), "length", "fixed" or "raw".
	Framing string `mapstructure:"framing"`
	// Delimiter ends a packet and belongs to it; "\r\n" by default.
	Delimiter string `mapstructure:"delimiter"`
	// Delimiters are several in place of one: the one that begins first ends the packet.
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

	defaultDelimiter = "\r\n"
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
	default:
		f = newDelimiters(p.delimiters(), p.Strip)
	}
	if p.Batch {
		f.Batch = readSize
	}
	return f
}

// delimiters returns Delimiters, or Delimiter where they are not set.
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
