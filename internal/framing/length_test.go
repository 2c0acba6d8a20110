package framing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

func TestHostileLengths(t *testing.T) {
	type length = framing.Length
	for name, c := range map[string]struct {
		length  length
		arrives string
		want    error // nil: the rest is waited for
	}{
		"as long as allowed":                {length{Bytes: 4}, "\x00\x00\x03\xe4", nil},
		"one more":                          {length{Bytes: 4}, "\x00\x00\x03\xe5", framing.ErrTooLong},
		"one more, little endian":           {length{Bytes: 4, Endian: "little"}, "\xe5\x03\x00\x00", framing.ErrTooLong},
		"one more, in digits":               {length{ASCII: 4}, "0997", framing.ErrTooLong},
		"one more, as a varint":             {length{Varint: true}, "\xe7\x07", framing.ErrTooLong},
		"one more, adjusted":                {length{Bytes: 2, Adjust: 1}, "\x03\xe6", framing.ErrTooLong},
		"2^31":                              {length{Bytes: 4}, "\x80\x00\x00\x00", framing.ErrTooLong},
		"2^32-1":                            {length{Bytes: 4}, "\xff\xff\xff\xff", framing.ErrTooLong},
		"2^63-1":                            {length{Bytes: 8}, "\x7f\xff\xff\xff\xff\xff\xff\xff", framing.ErrLength},
		"2^63":                              {length{Bytes: 8}, "\x80\x00\x00\x00\x00\x00\x00\x00", framing.ErrLength},
		"2^64-1":                            {length{Bytes: 8, Adjust: 8}, "\xff\xff\xff\xff\xff\xff\xff\xff", framing.ErrLength},
		"18 nines":                          {length{ASCII: 18}, strings.Repeat("9", 18), framing.ErrTooLong},
		"zero, adjusted below the field":    {length{Bytes: 2, Adjust: -1}, "\x00\x00", framing.ErrLength},
		"one less than its own header":      {length{Bytes: 2, Adjust: -2}, "\x00\x01", framing.ErrLength},
		"less than what is stripped":        {length{Bytes: 2, Strip: 4}, "\x00\x01", framing.ErrLength},
		"no digit":                          {length{ASCII: 4}, "1x", framing.ErrLength},
		"a sign":                            {length{ASCII: 4}, "-001", framing.ErrLength},
		"a blank":                           {length{ASCII: 4}, " 001", framing.ErrLength},
		"an endless varint":                 {length{Varint: true}, strings.Repeat("\x80", 10), framing.ErrLength},
		"a varint of ten bytes, over 2^64":  {length{Varint: true}, strings.Repeat("\xff", 9) + "\x02", framing.ErrLength},
		"a varint of ten bytes, below 2^64": {length{Varint: true}, strings.Repeat("\xff", 9) + "\x01", framing.ErrLength},
		"an MQTT length as long as allowed": {length{Varint: true, Offset: 1}, "\x30\xe5\x07", nil},
	} {
		for _, maxPacketSize := range []int{1000, 0} {
			if maxPacketSize == 0 && errors.Is(c.want, framing.ErrTooLong) {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d", name, maxPacketSize), func(t *testing.T) {
				p := framing.Packets{Framing: "length", Length: &c.length}
				require.Empty(t, p.Init("x", maxPacketSize))
				n, packet, err := p.New(1<<20, maxPacketSize).Split([]byte(c.arrives), false)
				require.Zero(t, n)
				require.Nil(t, packet)
				require.Equal(t, c.want, err, "before the packet has arrived")
			})
		}
	}
}

func TestLengthZero(t *testing.T) {
	p := framing.Packets{Framing: "length", Length: &framing.Length{Bytes: 2}}
	require.Empty(t, p.Init("x", 1000))
	n, packet, err := p.New(1<<20, 1000).Split([]byte("\x00\x00x"), false)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, "\x00\x00", string(packet))
}
