package framing_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

func TestDecodeNextRefusesMistakes(t *testing.T) {
	for raw, want := range map[string]string{
		`null`:                       `next: is null; want an object`,
		`"raw"`:                      `next: a string can't be read; docs/worker.md has what can`,
		`[]`:                         `next: a array can't be read`,
		`{"farming":"raw"}`:          `unknown field "farming"`,
		`{"length":{"byte":2}}`:      `unknown field "byte"`,
		`{"length":{"bytes":"2"}}`:   `next.length.bytes: a string can't be read; docs/worker.md has what can`,
		`{"length":{"ascii":"4"}}`:   `next.length.ascii: a string can't be read`,
		`{"length":{"ascii":false}}`: `next.length.ascii: a bool can't be read`,
		`{"framing":"length","length":{"ascii":true}}`:        `next.length.ascii: is true; want the number of digits`,
		`{"framing":"length","length":{"bytes":2,"mask":-1}}`: `next.length.mask: a number -1 can't be read`,
		`{"framing":1}`:                                    `next.framing: a number can't be read`,
		`{"packet_size":"3"}`:                              `next.packet_size: a string can't be read`,
		`{"once":1}`:                                       `next.once: a number can't be read`,
		`{"framing":"lines"}`:                              `next.framing: unknown framing "lines"`,
		`{"framing":"length"}`:                             `next.length: is missing`,
		`{"framing":"fixed"}`:                              `next.packet_size: is 0`,
		`{"delimiter":""}`:                                 `next.delimiter: is empty; want the bytes that end a packet`,
		`{"once":true,"batch":true}`:                       `next.batch: stands beside once`,
		`{"framing":"raw","delimiter":"x"}`:                `next.delimiter: belongs to framing "delimiter"`,
		`{"delimiter":"\u00ff"}`:                           `next.delimiter: "\u00ff" is the bytes c3bf: a text holds characters, not bytes; for the bytes ff write delimiter_hex: "ff"`,
		`{"delimiter_hex":""}`:                             `next.delimiter_hex: is empty`,
		`{"delimiter_hex":"7"}`:                            `next.delimiter_hex: "7" can't be read; want two hexadecimal digits`,
		`{"delimiter_hex":126}`:                            `next.delimiter_hex: a number can't be read`,
		`{"delimiter":"a","delimiter_hex":"7e"}`:           `next.delimiter_hex: stands beside delimiter; want one of the two`,
		`{"rules":[]}`:                                     `next.rules: is missing`,
		`{"rules":[{"starts":1}]}`:                         `next.rules.starts: a number can't be read`,
		`{"rules":[{},{}]}`:                                `next.rules.0.starts: is missing, so the rules behind it are never met`,
		`{"rules":[{"starts":"x","delimiter":""}]}`:        `next.rules.0.delimiter: is empty; want the bytes that end a packet`,
		`{"rules":[{"starts":"x"},{"delimiter_hex":""}]}`:  `next.rules.1.delimiter_hex: is empty; want the bytes`,
		`{"rules":[{"rules":[]}]}`:                         `unknown field "rules"`,
		`{"delimiters":["a","b","a"]}`:                     `next.delimiters: holds "a" twice`,
		`{"delimiters":["a","ab"],"delimiter_wait":20}`:    `next.delimiter_wait: a number can't be read`,
		`{"delimiters":["a","ab"],"delimiter_wait":"20"}`:  `next.delimiter_wait: "20" can't be read; want a duration with its unit`,
		`{"delimiters":["a","ab"],"delimiter_wait":"-1s"}`: `next.delimiter_wait: -1s is negative`,
		`{"framing":"fixed","packet_size":2147483647}`:     `next.packet_size: 2147483647 is over max_packet_size`,
		`{"packet_size":1` + strings.Repeat("0", 99) + `}`: `next.packet_size: a number 1000`,
	} {
		f, once, err := framing.DecodeNext([]byte(raw), 100, 1000)
		require.Error(t, err, raw)
		require.True(t, strings.HasPrefix(err.Error(), want), "%s: %v, want %s", raw, err, want)
		require.False(t, once)
		require.Nil(t, f.Split)
	}
}

func TestDecodeNextFramings(t *testing.T) {
	for raw, want := range map[string]struct {
		n      int
		packet string
		once   bool
	}{
		`{}`:                                    {6, "ab;c\r\n", false},
		`{"once":true}`:                         {6, "ab;c\r\n", true},
		`{"delimiter":";"}`:                     {3, "ab;", false},
		`{"delimiters":["c",";"],"strip":true}`: {3, "ab", false},
		`{"rules":[{"starts":"x"},{"starts":"ab","framing":"fixed","packet_size":4}]}`: {4, "ab;c", false},
		`{"delimiter_hex":"3b"}`:                                           {3, "ab;", false},
		`{"delimiters_hex":["63 0d","3b63"]}`:                              {4, "ab;c", false},
		`{"rules":[{"starts_hex":"6162","delimiter_hex":"63"}]}`:           {4, "ab;c", false},
		`{"framing":"fixed","packet_size":5}`:                              {5, "ab;c\r", false},
		`{"framing":"raw","once":true}`:                                    {7, "ab;c\r\nd", true},
		`{"FRAMING":"length","length":{"bytes":1,"adjust":-95,"strip":1}}`: {3, "b;", false},
	} {
		f, once, err := framing.DecodeNext([]byte(raw), 100, 1000)
		require.NoError(t, err, raw)
		require.Equal(t, want.once, once, raw)
		n, packet, err := f.Split([]byte("ab;c\r\nd"), false)
		require.NoError(t, err, raw)
		require.Equal(t, want.n, n, raw)
		require.Equal(t, want.packet, string(packet), raw)
	}
	f, _, err := framing.DecodeNext([]byte(`{"delimiters":["a","ab"],"delimiter_wait":"3s","skip_empty":true}`), 100, 1000)
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, f.Wait)
	require.True(t, f.IsEmpty([]byte("abc"), 2))
	require.False(t, f.IsEmpty([]byte("xab"), 3))
	f, _, err = framing.DecodeNext([]byte(`{"rules":[{"delimiters":["a","ab"]}],"delimiter_wait":"3s"}`), 100, 1000)
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, f.Narrow([]byte("x")).Wait)
	f, _, err = framing.DecodeNext([]byte(`{"batch":true}`), 100, 1000)
	require.NoError(t, err)
	require.Equal(t, 100, f.Batch)
}

func FuzzDecodeNext(f *testing.F) {
	f.Add(`{"framing":"length","length":{"bytes":2,"offset":1}}`)
	f.Add(`{"delimiters":["a","b"],"once":true,"strip":true}`)
	f.Add(`{"protocol":"redis","once":true}`)
	f.Add(`{"protocol":"gt06","delimiter":"a"}`)
	f.Add(`{"framing":"fixed","packet_size":3,"batch":true}`)
	f.Add(`{"rules":[{"starts":".\r\n","framing":"fixed","packet_size":3},{"delimiter":"\r\n.\r\n"}],"once":true}`)
	f.Add(`{"delimiters_hex":["ff","0d 0a"],"strip":true}`)
	f.Add(`{"rules":[{"starts_hex":"7878","framing":"length","length":{"until_hex":"20"}},{"delimiter_hex":"7e"}]}`)
	f.Add(`{"delimiters":["a","ab","b"],"delimiter_wait":"20ms","skip_empty":true}`)
	f.Add(`{"framing":"length","length":{"ascii":true,"until":" "}}`)
	f.Add(`{"framing":"length","length":{"bytes":2,"encoding":"bcd"},"batch":true}`)
	f.Add(`{"framing":"length","length":{"bytes":4,"mask":2147483647}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		if !json.Valid([]byte(raw)) { // which wire has checked
			return
		}
		fr, _, err := framing.DecodeNext([]byte(raw), 100, 1000)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "next") || strings.HasPrefix(err.Error(), "unknown field"), "%v", err)
			return
		}
		for _, stream := range []string{"\x00\x05abc\r\n", raw} { // every Split moves on within what is there
			n, packet, _ := fr.Split([]byte(stream), false)
			require.LessOrEqual(t, len(packet), n)
			require.LessOrEqual(t, n, len(stream))
			require.True(t, n == 0 || packet != nil)
		}
	})
}
