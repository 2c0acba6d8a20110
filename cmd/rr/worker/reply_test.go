package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReplyIsAWordOrAnObjectThatNamesItsEvent(t *testing.T) {
	state, none := `{"a":1}`, ""
	for want, reply := range map[string]Reply{
		`WRITE`: {Context: Write},
		`{"reply":"CONTINUE","state":"{\"a\":1}","uuid":"u"}`:     {Context: Continue, State: &state},
		`{"reply":"WRITE","state":"","uuid":"u"}`:                 {Context: Write, State: &none},
		`{"reply":"WRITE","tags":["a"],"uuid":"u"}`:               {Context: Write, Tags: []string{"a"}},
		`{"reply":"WRITE","tags":[],"uuid":"u"}`:                  {Context: Write, Tags: []string{}},
		`{"reply":"WRITE","tls":true,"uuid":"u"}`:                 {Context: Write, TLS: true},
		`{"reply":"WRITE","next":{"protocol":"mqtt"},"uuid":"u"}`: {Context: Write, Next: &Framing{Protocol: "mqtt"}},
		`{"reply":"WRITE","next":{"framing":"length","length":{"bytes":2,"strip":2},"once":true},"uuid":"u"}`: {
			Context: Write, Next: &Framing{Framing: "length", Length: &Length{Bytes: 2, Strip: 2}, Once: true},
		},
	} {
		got, err := reply.context("u")
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestTextThatIsNotUTF8IsAnError(t *testing.T) {
	state := "\xff"
	for want, reply := range map[string]Reply{
		`worker: reply: state: "\xff" is not UTF-8; want text, such as base64`: {State: &state},
		`tags: "a\xff" is not UTF-8; want text`:                                {Tags: []string{"a", "a\xff"}},
		`next.delimiter: "\xff" is not UTF-8; want delimiter_hex`:              {Next: &Framing{Delimiter: "\xff"}},
		`next.delimiters: "\xff" is not UTF-8; want delimiters_hex`:            {Next: &Framing{Delimiters: []string{"\n", "\xff"}}},
		`next.length.until: "\xff" is not UTF-8; want until_hex`:               {Next: &Framing{Length: &Length{Until: "\xff"}}},
		`next.rules.1.starts: "\xff" is not UTF-8; want starts_hex`:            {Next: &Framing{Rules: []Rule{{Starts: "<"}, {Starts: "\xff"}}}},
		`next.rules.0.delimiter: "\xff" is not UTF-8; want delimiter_hex`:      {Next: &Framing{Rules: []Rule{{Delimiter: "\xff"}}}},
	} {
		reply.Context = Write
		_, err := reply.context("u")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, new(BulkReplies).Add(Event{UUID: "u"}, reply), want)
	}
	_, err := (&Reply{Context: Write, Tags: []string{"\uFFFD"}}).context("u")
	require.NoError(t, err)
}
