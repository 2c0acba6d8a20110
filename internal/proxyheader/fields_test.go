package proxyheader

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProxyTellsMore(t *testing.T) {
	v2 := func(fields string) string { return headerV2(0x21, 0x11, addresses4+fields) }
	const to, tls12 = `{"destination":"192.0.2.2:25"`, "\x21\x00\x07TLSv1.2"
	for name, c := range map[string]struct{ header, want string }{
		"version 1":                  {"PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", `{"destination":"[2001:db8::2]:25"}`},
		"version 1, families differ": {"PROXY TCP6 2001:db8::1 127.0.0.1 1234 8083\r\n", `{"destination":"127.0.0.1:8083"}`},
		"LOCAL":                      {headerV2(0x20, 0x11, addresses4+"\x02\x00\x01a"), ""},
		"no fields":                  {v2(""), to + "}"},
		"a server name":              {v2("\x02\x00\x05a.b.c"), to + `,"authority":"a.b.c"}`},
		"padding":                    {v2("\x04\x00\x02xx\x02\x00\x01a\x04\x00\x00"), to + `,"authority":"a"}`},
		"a protocol":                 {v2("\x01\x00\x02h2"), to + `,"alpn":"h2"}`},
		"an id":                      {v2("\x05\x00\x02id"), to + `,"unique_id":"id"}`},
		"an id of bytes":             {v2("\x05\x00\x02\xff\x00"), to + `,"unique_id":"ff00"}`},
		"a namespace":                {v2("\x30\x00\x02ns"), to + `,"netns":"ns"}`},
		"TLS":                        {v2("\x20\x00\x0f\x01\x00\x00\x00\x01" + tls12), to + `,"tls":{"version":"TLSv1.2","verified":false}}`},
		"TLS, a cipher":              {v2("\x20\x00\x0a\x01\x00\x00\x00\x01\x23\x00\x02AB"), to + `,"tls":{"cipher":"AB","verified":false}}`},
		"a certificate":              {v2("\x20\x00\x0b\x03\x00\x00\x00\x00\x22\x00\x03dev"), to + `,"tls":{"client_cn":"dev","verified":true}}`},
		"in the session":             {v2("\x20\x00\x0b\x05\x00\x00\x00\x00\x22\x00\x03dev"), to + `,"tls":{"client_cn":"dev","verified":true}}`},
		"one that is bad":            {v2("\x20\x00\x0b\x03\x00\x00\x00\x13\x22\x00\x03dev"), to + `,"tls":{"client_cn":"dev","verified":false}}`},
		"none, verified":             {v2("\x20\x00\x05\x01\x00\x00\x00\x00"), to + `,"tls":{"verified":false}}`},
		"no TLS":                     {v2("\x20\x00\x05\x00\x00\x00\x00\x00"), to + "}"},
		"TLS, cut off":               {v2("\x20\x00\x04\x01\x00\x00\x00"), to + "}"},
		"TLS, fields cut":            {v2("\x20\x00\x12\x01\x00\x00\x00\x01" + tls12 + "\x22\x00\x09"), to + `,"tls":{"verified":false}}`},
		"AWS":                        {v2("\xea\x00\x05\x01vpce"), to + `,"aws_vpce_id":"vpce"}`},
		"AWS, another type":          {v2("\xea\x00\x05\x02vpce"), to + "}"},
		"AWS, empty":                 {v2("\xea\x00\x00"), to + "}"},
		"Azure":                      {v2("\xee\x00\x05\x01\x01\x02\x00\x00"), to + `,"azure_link_id":513}`},
		"Azure, short":               {v2("\xee\x00\x04\x01\x01\x02\x00"), to + "}"},
		"Azure, another type":        {v2("\xee\x00\x05\x02\x01\x02\x00\x00"), to + "}"},
		"Google, short":              {v2("\xe0\x00\x07\x00\x00\x00\x00\x00\x01\x02"), to + "}"},
		"Google":                     {v2("\xe0\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02"), to + `,"gcp_psc_id":258}`},
		"of others":                  {v2("\xf0\x00\x01x\xe1\x00\x00"), to + "}"},
		"cut off":                    {v2("\x02\x00\x05a.b.c\x02\x00\x09x"), to + "}"},
		"cut off early":              {v2("\x02\x00\x05a.b.c\x02\x00"), to + "}"},
		"not UTF-8":                  {v2("\x02\x00\x01\xff"), to + `,"authority":"\ufffd"}`},
		"IPv6": {headerV2(0x21, 0x21, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 28)+"\x30\x39\x00\x19"+"\x02\x00\x01a"),
			`{"destination":"[::]:25","authority":"a"}`},
		"unix": {headerV2(0x21, 0x31, "/a"+strings.Repeat("\x00", 106)+"/b"+strings.Repeat("\x00", 106)+"\x02\x00\x01a"),
			`{"destination":"/b","authority":"a"}`},
		"unix, to no name": {headerV2(0x21, 0x31, "/a"+strings.Repeat("\x00", 214)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(c.header))
			require.NoError(t, err)
			info := strings.ReplaceAll(string(got.Info.JSON()), "\ufffd", `\ufffd`) // Go 1.27 writes it as it is
			require.Equal(t, c.want, info)
		})
	}
}
