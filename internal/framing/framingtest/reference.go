// Package framingtest is for tests of what cuts streams into packets: a second implementation of all framings but raw, which
// sees the whole stream at once, and generators of settings and streams.
package framingtest

import (
	"encoding/hex"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/rrtcp/tcp/internal/framing"
)

// Cut cuts a whole stream by p, which is checked, into packets of at most maxPacketSize bytes; 0: no limit. isTail reports
// that the end of the stream ended the last one, left is the number of bytes behind it, and isBad reports that these can't
// begin a packet.
func Cut(p framing.Packets, stream string, maxPacketSize int) (packets []string, isTail bool, left int, isBad bool) {
	for stream != "" {
		q, fits := chosen(p, stream)
		if fits != whole {
			isTooLong := maxPacketSize > 0 && len(stream) > maxPacketSize
			return packets, false, len(stream), fits == never || isTooLong
		}
		n, packet, isBad := First(q, stream, maxPacketSize)
		switch {
		case isBad:
			return packets, false, len(stream), true
		case n == 0 && isDelimited(q):
			return append(packets, stream), true, 0, false
		case n == 0:
			return packets, false, len(stream), false
		}
		if !q.SkipEmpty || !slices.Contains(delimitersOf(q), stream[:n]) {
			packets = append(packets, packet)
		}
		stream = stream[n:]
	}
	return packets, false, 0, false
}

// CutTooLong is Cut for a reader that drops packets of more than maxPacketSize bytes, or truncates them. It returns how many there
// were. The end of the stream ends a tail that is not too long.
func CutTooLong(p framing.Packets, stream string, maxPacketSize int, truncate bool) (packets []string, tooLong int, isBad bool) {
	for stream != "" {
		q, fits := chosen(p, stream)
		if fits != whole {
			return packets, tooLong, fits == never || len(stream) > maxPacketSize
		}
		n, packet, isBad := First(q, stream, 0)
		head, size := 0, n
		switch {
		case isBad:
			return packets, tooLong, true
		case n == 0 && q.Framing == "length":
			if announced, _ := announced(q.Length, stream); announced != nil && announced.Cmp(big.NewInt(int64(maxPacketSize))) > 0 {
				size = maxPacketSize + 1
			} else if len(stream) > maxPacketSize {
				return packets, tooLong, true // nobody could tell where it ends
			}
		case n == 0 && isDelimited(q):
			size, packet = len(stream), stream
		}
		if q.Length != nil {
			head = min(q.Length.Strip, maxPacketSize)
		}
		switch {
		case size > maxPacketSize && (!truncate || len(stream) >= maxPacketSize):
			tooLong++
			if truncate {
				packets = append(packets, stream[head:maxPacketSize])
			}
		case size > 0 && size <= maxPacketSize && (n == 0 || !q.SkipEmpty || !slices.Contains(delimitersOf(q), stream[:n])):
			packets = append(packets, packet)
		}
		if n == 0 {
			break
		}
		stream = stream[n:]
	}
	return packets, tooLong, false
}

// How the first bytes of a stream fit rules.
const (
	never = iota // none
	half         // one, if more came
	whole
)

// chosen returns the settings of the first packet of stream.
func chosen(p framing.Packets, stream string) (q framing.Packets, fits int) {
	if p.Framing != "rules" {
		return p, whole
	}
	for _, r := range p.Rules {
		switch {
		case strings.HasPrefix(stream, string(r.First())):
			return r.Packets(), whole
		case strings.HasPrefix(string(r.First()), stream):
			fits = half
		}
	}
	return q, fits
}

func isDelimited(p framing.Packets) bool { return p.Framing == "delimiter" }

// First returns the first packet of stream, and how many bytes it takes; 0 if it is not complete.
func First(p framing.Packets, stream string, maxPacketSize int) (n int, packet string, isBad bool) {
	isTooLong := maxPacketSize > 0 && len(stream) > maxPacketSize
	switch p.Framing {
	case "fixed":
		if n = p.PacketSize; n > len(stream) {
			return 0, "", isTooLong
		}
		return n, stream[:n], false
	case "length":
		size, isKnown := announced(p.Length, stream)
		switch {
		case !isKnown:
			return 0, "", isTooLong
		case size == nil, maxPacketSize > 0 && size.Cmp(big.NewInt(int64(maxPacketSize))) > 0:
			return 0, "", true
		case size.Cmp(big.NewInt(int64(len(stream)))) > 0:
			return 0, "", false
		}
		n = int(size.Int64())
		return n, stream[p.Length.Strip:n], false
	default:
		n, end := delimited(p, stream)
		if n == 0 {
			return 0, "", isTooLong
		}
		return n, stream[:end], maxPacketSize > 0 && n > maxPacketSize
	}
}

func delimitersOf(p framing.Packets) []string {
	if p.Delimiters == nil {
		return []string{p.Delimiter}
	}
	return p.Delimiters
}

func delimited(p framing.Packets, stream string) (n, end int) {
	for i := range len(stream) {
		longest := 0
		for _, d := range delimitersOf(p) {
			if strings.HasPrefix(stream[i:], d) {
				longest = max(longest, len(d))
			}
		}
		switch {
		case longest > 0 && p.Strip:
			return i + longest, i
		case longest > 0:
			return i + longest, i + longest
		}
	}
	return 0, 0
}

// announced returns the size of the packet that stream begins with; nil if it can't be one.
func announced(l *framing.Length, stream string) (size *big.Int, isKnown bool) {
	if len(stream) < l.Offset {
		return nil, false
	}
	value, n, isKnown := field(l, stream[l.Offset:])
	if !isKnown || value == nil || value.Cmp(big.NewInt(math.MaxInt64-4<<30)) > 0 {
		return nil, isKnown
	}
	header := big.NewInt(int64(l.Offset + n))
	size = new(big.Int).Add(header, value)
	size.Add(size, big.NewInt(int64(l.Adjust)))
	if size.Cmp(header) < 0 || size.Cmp(big.NewInt(int64(l.Strip))) < 0 {
		return nil, true
	}
	return size, true
}

// field decodes the length field that data begins with, of n bytes; its value is nil if it is malformed.
func field(l *framing.Length, data string) (value *big.Int, n int, isKnown bool) {
	base := 10
	if l.Encoding == "hex" {
		base = 16
	}
	switch size := max(l.Bytes, int(l.ASCII)); {
	case l.Varint:
		return varint(data)
	case l.Until != "":
		return until(data, l.Until, base)
	case l.Encoding == "bcd":
		value, n, isKnown = number(hex.EncodeToString([]byte(data[:min(size, len(data))])), 2*size, 10)
		return value, n / 2, isKnown
	case l.ASCII > 0, l.Encoding != "" && l.Encoding != "binary":
		return number(data, size, base)
	case len(data) < l.Bytes:
		return nil, 0, false
	}
	b := []byte(data[:l.Bytes])
	if l.Endian == "little" {
		slices.Reverse(b)
	}
	value = new(big.Int).SetBytes(b)
	if l.Mask != nil {
		value.And(value, new(big.Int).SetUint64(*l.Mask))
	}
	return value, len(b), true
}

func varint(data string) (value *big.Int, n int, isKnown bool) {
	value = new(big.Int)
	for n = range 10 {
		if n == len(data) {
			return nil, 0, false
		}
		low := big.NewInt(int64(data[n] & 0x7f))
		value.Add(value, low.Lsh(low, uint(7*n)))
		if data[n] < 0x80 {
			return value, n + 1, true
		}
	}
	return nil, 0, true
}

var isDigits = map[int]*regexp.Regexp{10: regexp.MustCompile(`^[0-9]*$`), 16: regexp.MustCompile(`^[0-9a-fA-F]*$`)} // by base

// number decodes size digits.
func number(data string, size, base int) (value *big.Int, n int, isKnown bool) {
	digits := data[:min(size, len(data))]
	if !isDigits[base].MatchString(digits) {
		return nil, 0, true
	}
	if len(digits) < size {
		return nil, 0, false
	}
	value, _ = new(big.Int).SetString(digits, base)
	return value, size, true
}

// until decodes 1 to 10 digits up to an end.
func until(data, end string, base int) (value *big.Int, n int, isKnown bool) {
	digits, _, isEnded := strings.Cut(data, end)
	switch {
	case len(digits) > 10, isEnded && digits == "":
		return nil, 0, true
	case !isEnded && len(digits) == 0:
		return nil, 0, false
	}
	value, _, _ = number(digits, len(digits), base)
	return value, len(digits) + len(end), isEnded || value == nil
}
