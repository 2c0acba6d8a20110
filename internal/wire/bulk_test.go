package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBulkEncode(t *testing.T) {
	var b Bulk
	b.Add([]byte(`{"event":"CONNECTED"}`), nil)
	b.Add([]byte(`{"event":"DATA"}`), []byte("a\r\n"))
	context, body := b.Encode()
	require.Equal(t, `{"event":"BULK","events":[{"event":"CONNECTED"},{"event":"DATA"}],"sizes":[0,3]}`, string(context))
	require.Equal(t, "a\r\n", string(body))
}

func TestDecodeBulk(t *testing.T) {
	replies, err := DecodeBulk([]byte(` {"replies":["WRITE", {"reply":"CLOSE"}, "W\u0052ITE", 5, null],"sizes":[1,0,2,0,0]} `), []byte("abc"))
	require.NoError(t, err)
	var got []string
	for _, r := range replies {
		got = append(got, string(r.Context)+":"+string(r.Body))
	}
	require.Equal(t, []string{"WRITE:a", `{"reply":"CLOSE"}:`, "WRITE:bc", "5:", ":"}, got)
	require.Equal(t, 1, cap(replies[0].Body), "appending to one must not change the next")
}

func TestDecodeBulkMistakes(t *testing.T) {
	for context, want := range map[string]string{
		``:                                    `the worker answered a bulk with ""; want an object`,
		`WRITE`:                               `the worker answered a bulk with "WRITE"`,
		x(1 << 16):                            `the worker answered a bulk with "xxx`,
		`{"replies":["WRITE"]}`:               `1 replies and 0 sizes`,
		`{"replies":"WRITE","sizes":[1]}`:     `replies: a string can't be read`,
		`{"replies":["WRITE"],"sizes":["1"]}`: `sizes: a string can't be read`,
		`{"replies":["WRITE"],"sizes":[1.5]}`: `sizes: a number`,
		`{"replies":["WRITE"],"sizes":[9223372036854775807]}`: `sizes of more than the 2 bytes`,
		`{"replies":["WRITE"],"sizes":[1]}`:                   `sizes of 1 bytes, but the body has 2`,
		`{"replies":["WRITE"],"sizes":[2]}{}`:                 `more comes behind it`,
		`{"replies":["WRITE"],"sizes":[2],"uuid":"u"}`:        `unknown field "uuid"`,
	} {
		_, err := DecodeBulk([]byte(context), []byte("ab"))
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 1000, "however much was sent")
	}
}

// Whatever a worker answers, each byte of the body goes to one event, in order.
func FuzzDecodeBulk(f *testing.F) {
	f.Add(`{"replies":["WRITE",{"reply":"CLOSE"}],"sizes":[1,2]}`, "abc")
	f.Add(`{"replies":[],"sizes":[]}`, "")
	f.Add(`{"replies":["\u0057"],"sizes":[-1]}`, "x")
	f.Fuzz(func(t *testing.T, context, body string) {
		replies, err := DecodeBulk([]byte(context), []byte(body))
		if err != nil {
			return
		}
		var all [][]byte
		for _, r := range replies {
			all = append(all, r.Body)
		}
		if got := bytes.Join(all, nil); string(got) != body {
			t.Fatalf("%q of %q", got, body)
		}
		if !json.Valid([]byte(context)) {
			t.Fatal("no JSON")
		}
	})
}
