package stream

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
)

// h returns the bytes of hexadecimal digits.
func h(digits string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// counted returns a text behind its length in digits, as RFC 6587 has it.
func counted(text string) string { return fmt.Sprintf("%d %s", len(text), text) }

// Samples of public specifications and captures.
const (
	rfc3164 = "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8"                                              // RFC 3164, 5.4
	rfc5424 = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8\n" // RFC 5424, 6.5
	gelf    = `{"version":"1.1","host":"example.org","short_message":"A short message","level":1}` + "\x00"
	adt     = "\x0bMSH|^~\\&|ADT1|GOOD HEALTH HOSPITAL|GHH LAB, INC.|GOOD HEALTH HOSPITAL|198808181126|SECURITY|ADT^A01^ADT_A01|MSG00001|P|2.8||\r" +
		"EVN|A01|200708181123||\rPID|1||PATID1234^5^M11^ADT1^MR||EVERYMAN^ADAM^A^III||19610615|M\r"
	stompSend = "SEND\ndestination:/queue/a\ncontent-type:text/plain\n\nhello queue a\x00"
	gga       = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
	ais       = "!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C"
	h02Text   = "*HQ,410601660,V1,124552,A,0535.3129,N,00431.8211,E,000.20,000,131116,FFFFBFFF#"
)

// protocolSamples are what clients send, and the packets of it.
var protocolSamples = map[string][]struct{ sent, handedOver string }{
	"syslog": {
		{rfc3164 + "\n", rfc3164 + "\n"},
		{counted(rfc5424), counted(rfc5424)}, // a message with a line feed in it
		{counted(rfc3164), counted(rfc3164)},
		{"\n", ""}, {"\r\n", ""}, // some send an end of line behind the length's message, too
		{"Use the BFG!\n", "Use the BFG!\n"}, // RFC 3164, 5.4: without a priority
		{counted(rfc3164), counted(rfc3164)},
		{"Oct 11 22:14:15 mymachine su: failed\r\n", "Oct 11 22:14:15 mymachine su: failed\r\n"},
	},
	"gelf": {{gelf, gelf}, {gelf, gelf}},
	"mllp": {{adt + "\x1c\r", adt + "\x1c\r"}, {adt + "\x1c\r", adt + "\x1c\r"}},
	"netstring": {
		{"12:hello world!,", "12:hello world!,"}, {"0:,", "0:,"}, {"2:,:,", "2:,:,"},
	},
	"modbus": { // Modbus Messaging on TCP/IP Implementation Guide: read registers; an answer
		{h("0001 0000 0006 11 03 006B 0003"), h("0001 0000 0006 11 03 006B 0003")},
		{h("0001 0000 0009 11 03 06 AE41 5652 4340"), h("0001 0000 0009 11 03 06 AE41 5652 4340")},
	},
	"mqtt": { // CONNECT; PUBLISH, whose length takes two bytes, 321 as in the specification's example; PINGREQ
		{h("10 0d 0004 4d515454 04 02 003c 0001 61"), h("10 0d 0004 4d515454 04 02 003c 0001 61")},
		{h("30 c102 0003 612f62") + strings.Repeat("x", 321-5), h("30 c102 0003 612f62") + strings.Repeat("x", 321-5)},
		{h("c000"), h("c000")},
	},
	"smpp": { // bind_transmitter of the specification, version 3.4; enquire_link
		{
			h("0000002F 00000002 00000000 00000001 534D50503354455354 00 7365637265743038 00 5355424D495431 00 00 01 01 00"),
			h("0000002F 00000002 00000000 00000001 534D50503354455354 00 7365637265743038 00 5355424D495431 00 00 01 01 00"),
		},
		{h("00000010 00000015 00000000 00000002"), h("00000010 00000015 00000000 00000002")},
	},
	"iso8583": { // an echo test
		{h("0037") + "08008220000000000000" + "0400000000000000" + "0923103055000001301", "08008220000000000000" + "0400000000000000" + "0923103055000001301"},
		{h("0004") + "0810", "0810"},
	},
	"stomp": {
		{"CONNECT\naccept-version:1.2\nhost:stomp.github.org\n\n\x00", "CONNECT\naccept-version:1.2\nhost:stomp.github.org\n\n\x00"},
		{"\n", ""}, {"\r\n", ""}, {"\n\n", ""}, // heart-beats
		{stompSend, stompSend},
	},
	"gt06": { // captures
		{h("78780d010352887071911998000479d00d0a"), h("78780d010352887071911998000479d00d0a")},
		{h("7979 0006 94 00 0001 0d0a 0d0a"), h("7979 0006 94 00 0001 0d0a 0d0a")}, // a long one; the CRC looks like its end
		{h("78781f1210020e14061dcc0476fcd0003e3faf3e14b20000000000000000044ef6740d0a"), h("78781f1210020e14061dcc0476fcd0003e3faf3e14b20000000000000000044ef6740d0a")},
	},
	"h02": { // captures
		{h("2441060116601245431311165035313006004318210e000000fffffbffff0024"), h("2441060116601245431311165035313006004318210e000000fffffbffff0024")},
		{h02Text, h02Text}, {"\r\n", ""},
		{h("24430025645511183817091319355128000465632432000100ffe7fbffff0000"), h("24430025645511183817091319355128000465632432000100ffe7fbffff0000")},
	},
	"jt808": { // the specification's example of escapes: 30 7e 08 7d 55 between two marks; the next frame shares one of them
		{h("7e307d02087d01557e"), h("307d02087d01557e")},
		{h("0002000001234567890100109a7e"), h("0002000001234567890100109a7e")},
		{h("7e0002000001234567890100109a7e"), h("0002000001234567890100109a7e")},
	},
	"teltonika": { // the IMEI and the record of the wiki's first example of codec 8; a ping
		{h("000F333536333037303432343431303133"), h("000F333536333037303432343431303133")},
		{h("ff"), h("ff")},
		{
			h("000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F10000601A014E0000000000000000010000C7CF"),
			h("000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F10000601A014E0000000000000000010000C7CF"),
		},
		{h("ff"), h("ff")},
	},
	"nmea": {{gga + "\r\n", gga + "\r\n"}, {ais + "\n", ais + "\n"}, {"\r\n", ""}, {gga + "\r\n", gga + "\r\n"}},
	"redis": { // LLEN mylist of the documents; a string with an end of line in it; a command without an array
		{"*2\r\n", "*2\r\n"}, {"$4\r\nLLEN\r\n", "$4\r\nLLEN\r\n"}, {"$6\r\nmylist\r\n", "$6\r\nmylist\r\n"},
		{"$7\r\nhe\r\n$lo\r\n", "$7\r\nhe\r\n$lo\r\n"}, {"$0\r\n\r\n", "$0\r\n\r\n"}, {"PING\r\n", "PING\r\n"},
	},
	"smtp": {{"EHLO client.example.com\r\n", "EHLO client.example.com\r\n"}, {"QUIT\r\n", "QUIT\r\n"}},
}

// However the bytes are cut on the way, each protocol's packets are the same.
func TestProtocols(t *testing.T) {
	require.Len(t, protocolSamples, len(framing.Protocols()))
	for _, name := range framing.Protocols() {
		t.Run(name, func(t *testing.T) {
			var sent string
			var want []string
			for _, sample := range protocolSamples[name] {
				sent += sample.sent
				if sample.handedOver != "" {
					want = append(want, sample.handedOver)
				}
			}
			settings := framing.Packets{Protocol: name}
			require.Empty(t, settings.Init("x", 1<<20))
			batch := settings.Batch
			settings.Batch = false
			f := settings.New(1<<20, 1<<20)
			packets := func(f framing.Framing, sent ...[]byte) []string {
				config := lines(t, &pieces{left: sent, end: io.EOF})
				config.Framing = f
				got, tail, err := readAll(&Reader{ReaderConfig: config})
				require.ErrorIs(t, err, io.EOF)
				require.False(t, tail)
				return got
			}
			for size := 1; size <= len(sent); size++ {
				require.Equal(t, want, packets(f, framingtest.Pieces(sent, func() int { return size })...), "in pieces of %d", size)
			}
			for at := 1; at < len(sent); at++ {
				require.Equal(t, want, packets(f, []byte(sent[:at]), []byte(sent[at:])), "cut at %d", at)
			}
			settings.Batch = batch
			require.Equal(t, strings.Join(want, ""), strings.Join(packets(settings.New(1<<20, 1<<20), []byte(sent)), ""))
		})
	}
}

// A server of another protocol is not served by chance.
func TestProtocolsEndForeigners(t *testing.T) {
	for _, name := range []string{"gt06", "h02"} {
		settings := framing.Packets{Protocol: name}
		require.Empty(t, settings.Init("x", 1<<20))
		config := lines(t, &pieces{left: [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, end: io.EOF})
		config.Framing = settings.New(1<<20, 1<<20)
		_, _, err := (&Reader{ReaderConfig: config}).Next()
		require.ErrorIs(t, err, framing.ErrNoRule)
	}
	require.True(t, slices.IsSorted(framing.Protocols()))
}
