package proxyheader

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// headerV2 is a header of version 2 with any command, family and addresses.
func headerV2(command, family byte, rest string) string {
	b := append([]byte{}, proxyproto.SIGV2...)
	b = append(b, command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(rest)))) + rest
}

// withChecksum adds a CRC32c, which wrong changes, to a header of version 2 whose rest ends with fields.
func withChecksum(rest, behind string, wrong byte) string {
	header := []byte(headerV2(0x21, 0x11, rest+"\x03\x00\x04\x00\x00\x00\x00"+behind))
	at := len(header) - len(behind) - 4
	sum := crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(header[at:], sum)
	header[at] ^= wrong
	return string(header)
}

const addresses4 = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x30\x39\x00\x19" // 192.0.2.1:12345 to 192.0.2.2:25

// headers are headers with the address of their client, or the error.
var headers = map[string]struct {
	header, client, err string // client is empty: the connection's own address
}{
	"version 1":                         {"PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n", "192.0.2.1:12345", ""},
	"version 1, IPv6":                   {"PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", "[2001:db8::1]:12345", ""},
	"version 1, UNKNOWN":                {"PROXY UNKNOWN\r\n", "", ""},
	"version 1, UNKNOWN, addresses":     {"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n", "", ""},
	"version 1, families differ":        {"PROXY TCP6 2001:db8::1 127.0.0.1 1234 8083\r\n", "[2001:db8::1]:1234", ""},
	"version 1, families differ, 4":     {"PROXY TCP4 192.0.2.1 2001:db8::2 1234 8083\r\n", "192.0.2.1:1234", ""},
	"version 1, an address with a zone": {"PROXY TCP6 fe80::1%lo 2001:db8::2 1234 8083\r\n", "", "an address is none"},
	"version 1, one port":               {"PROXY TCP4 192.0.2.1 192.0.2.2 12345\r\n", "", "want PROXY, TCP4 or TCP6"},
	"version 1, the other family":       {"PROXY TCP6 192.0.2.1 192.0.2.2 12345 25\r\n", "", "of another family"},
	"version 2":                         {headerV2(0x21, 0x11, addresses4), "192.0.2.1:12345", ""},
	"version 2 with more behind":        {headerV2(0x21, 0x11, addresses4+"\x04\x00\x01x"), "192.0.2.1:12345", ""},
	"version 2, very long":              {headerV2(0x21, 0x11, addresses4+"\x04\xff\x00"+strings.Repeat("x", 0xff00)), "192.0.2.1:12345", ""},
	"version 2, a checksum":             {withChecksum(addresses4, "", 0), "192.0.2.1:12345", ""},
	"version 2, one among others":       {withChecksum(addresses4+"\x04\x00\x01x", "\x05\x00\x02yz", 0), "192.0.2.1:12345", ""},
	"version 2, padding before it":      {withChecksum(addresses4+"\x04\x00\x05.....", "\x04\x00\x02..", 0), "192.0.2.1:12345", ""},
	"version 2, a wrong checksum":       {withChecksum(addresses4, "", 1), "", "its CRC32c is wrong"},
	"version 2, a wrong one inside":     {withChecksum(addresses4+"\x04\x00\x01x", "\x05\x00\x02yz", 1), "", "its CRC32c is wrong"},
	"version 2, a short checksum":       {headerV2(0x21, 0x11, addresses4+"\x03\x00\x02\x00\x00"), "", "its CRC32c is wrong"},
	"version 2, a wrong one, cut off":   {withChecksum(addresses4, "\x04", 1), "", "its CRC32c is wrong"},
	"version 2, a wrong one, too long":  {withChecksum(addresses4, "\x04\x00\x02x", 1), "", "its CRC32c is wrong"},
	"version 2, a right one, cut off":   {withChecksum(addresses4, "\x04", 0), "192.0.2.1:12345", ""},
	"version 2, half a checksum":        {headerV2(0x21, 0x11, addresses4+"\x03\x00\x04\x00"), "192.0.2.1:12345", ""},
	"version 2, IPv6": {
		headerV2(0x21, 0x21, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01"+strings.Repeat("\x00", 16)+"\x30\x39\x00\x19"),
		"[2001:db8::1]:12345", "",
	},
	"version 2, unix":              {headerV2(0x21, 0x31, "/run/a"+strings.Repeat("\x00", 210)), "/run/a", ""},
	"LOCAL":                        {headerV2(0x20, 0x00, ""), "", ""},
	"LOCAL with addresses":         {headerV2(0x20, 0x11, addresses4), "", ""},
	"LOCAL of an unknown family":   {headerV2(0x20, 0x99, "whatever"), "", ""},
	"nothing":                      {"", "", "does not begin with a PROXY header: EOF"},
	"a packet":                     {"EHLO example.org\r\n", "", "does not begin with a PROXY header"},
	"a short packet":               {"x\r\n", "", "does not begin with a PROXY header"},
	"half a header":                {"PROXY TCP4 192.0.2.1", "", "EOF"},
	"version 1 without an end":     {"PROXY TCP4 " + strings.Repeat("x", 200), "", "version 1 has 107 bytes at most"},
	"version 1, no addresses":      {"PROXY TCP4          \r\n", "", "can't be used"},
	"version 1, a name":            {"PROXY TCP4 localhost 192.0.2.2 12345 25\r\n", "", "an address is none"},
	"version 1, to a name":         {"PROXY TCP4 192.0.2.1 localhost 12345 25\r\n", "", "an address is none"},
	"version 1, the wrong family":  {"PROXY TCP4 2001:db8::1 2001:db8::2 12345 25\r\n", "", "can't be used"},
	"version 1, a port too far":    {"PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n", "", "a port is none"},
	"version 1, LF alone":          {"PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\n", "", "want PROXY, TCP4 or TCP6"},
	"UNKNOWN, LF alone":            {"PROXY UNKNOWN 192.0.2.1\n", "", "want PROXY, TCP4 or TCP6"},
	"version 1, UDP":               {"PROXY UDP4 192.0.2.1 192.0.2.2 12345 25\r\n", "", "can't be used"},
	"version 2, short":             {headerV2(0x21, 0x11, addresses4[1:]), "", "can't be used"},
	"version 2, UDP":               {headerV2(0x21, 0x12, addresses4), "", "its client is of no stream"},
	"version 2, unspecified":       {headerV2(0x21, 0x00, ""), "", ""},
	"version 2, unspecified, more": {headerV2(0x21, 0x00, addresses4), "", ""},
	"version 2, unknown command":   {headerV2(0x22, 0x11, addresses4), "", "can't be used"},
	"unspecified, unknown command": {headerV2(0x22, 0x00, ""), "", "can't be used"},
	"version 3":                    {headerV2(0x31, 0x11, addresses4), "", "can't be used"},
}

func TestHeaders(t *testing.T) {
	for name, test := range headers {
		for pieces, reading := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with its error": iotest.DataErrReader,
		} {
			t.Run(name+"/"+pieces, func(t *testing.T) {
				in, behind := reading(strings.NewReader(test.header)), "hello\r\n"
				if test.err == "" {
					in = reading(strings.NewReader(test.header + behind))
				}
				got, err := Read(in)
				client := got.Client
				if test.err != "" {
					require.ErrorContains(t, err, test.err)
					require.True(t, errors.Is(err, ErrNone) || errors.Is(err, ErrBad))
					return
				}
				require.NoError(t, err)
				if test.client == "" {
					require.Nil(t, client)
				} else {
					require.Equal(t, test.client, client.String())
				}
				rest, err := io.ReadAll(in)
				require.NoError(t, err)
				require.Equal(t, behind, string(rest), "no byte behind the header is read")
			})
		}
	}
}

func FuzzRead(f *testing.F) {
	const maxSize = 1 << 10 // TestHeaders has longer ones
	for _, test := range headers {
		if len(test.header) <= maxSize {
			f.Add([]byte(test.header))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxSize {
			return
		}
		in := bytes.NewReader(b)
		client, err := Read(in)
		if err != nil {
			require.Zero(t, client)
			return
		}
		require.True(t, client.Info == nil || client.Info.JSON() == nil || json.Valid(client.Info.JSON()))
		again, err := Read(iotest.OneByteReader(bytes.NewReader(b[:len(b)-in.Len()])))
		require.NoError(t, err)
		require.Equal(t, client, again, "what was read is the header")
	})
}
