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
