package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncodeBulk(t *testing.T) {
	context, body := EncodeBulk([][]byte{[]byte(`{"event":"CONNECTED"}`), []byte(`{"event":"DATA"}`)}, [][]byte{nil, []byte("a\r\n")})
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

	replies, err = DecodeBulk([]byte(`{"replies":[{"reply":"WRITE","state":"`+"\xff"+`"},"WRITE"],"sizes":[0,0]}`), nil)
	require.NoError(t, err, "what one reply has is no mistake of the others")
	_, _, err = DecodeReply(replies[0].Context, "u")
	require.ErrorContains(t, err, "is not UTF-8")
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
		`{"replies":["WRITE"],"sizes":[` + strconv.Itoa(math.MaxInt) + `]}`: `sizes of more than the 2 bytes`,
		`{"replies":["WRITE"],"sizes":[1]}`:                                 `sizes of 1 bytes, but the body has 2`,
		`{"replies":["WRITE"],"sizes":[2]}{}`:                               `more comes behind it`,
		`{"replies":["WRITE"],"sizes":[2],"uuid":"u"}`:                      `unknown field "uuid"`,
	} {
		_, err := DecodeBulk([]byte(context), []byte("ab"))
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 1000, "however much was sent")
	}
}

// What is read without the decoder is what the kits write, and nothing that the decoder reads differently.
func TestPlainReplies(t *testing.T) {
	kit, _ := bulkAnswer(3)
	for context, want := range map[string]bool{
		string(kit): true,
		`{"replies":["CONTINUE",{"reply":"WRITE","uuid":"b"}],"sizes":[0,3]}`: true, // as docs/worker-protocol.md has it
		`{"replies":[],"sizes":[]}`:                                          false,
		`{"replies":["WRITE",],"sizes":[1]}`:                                 false,
		`{"replies":["WRITE" "WRITE"],"sizes":[1,1]}`:                        false,
		`{"replies":["WRITE"x],"sizes":[1]}`:                                 false,
		`{"replies":["W\u0052ITE"],"sizes":[1]}`:                             false,
		`{"replies":["WRITE],"sizes":[1]}`:                                   false,
		`{"replies":[WRITE],"sizes":[1]}`:                                    false,
		`{"replies":[{"reply":"WRITE","uuid":"b"],"sizes":[1]}`:              false,
		`{"replies":[{"reply":"WRITE","uuid":"b","state":"s"}],"sizes":[1]}`: false,
		`{"replies":[{"reply":"WRITE","uuid":"\xff"}],"sizes":[1]}`:          false,
		`{"replies":["WRITE"],"sizes":[01]}`:                                 false,
		`{"replies":["WRITE"],"sizes":[1],"sizes":[2]}`:                      false,
		`{"replies":["WRITE"],"sizes":[1]`:                                   false,
		`{"replies":["WRITE"],"sizes":[1]} `:                                 false,
		`{"replies":["WRITE"]}`:                                              false,
	} {
		plain, isPlain := plainReplies([]byte(context))
		require.Equal(t, want, isPlain, context)
		if isPlain {
			all, err := decodeReplies([]byte(context))
			require.NoError(t, err)
			require.Equal(t, all, plain)
		}
	}
}

// Whatever a worker answers, each byte of the body goes to one event, in order.
func FuzzDecodeBulk(f *testing.F) {
	f.Add(`{"replies":["WRITE",{"reply":"CLOSE"}],"sizes":[1,2]}`, "abc")
	f.Add(`{"replies":["WRITE",{"reply":"WRITE","uuid":"u"}],"sizes":[1,2]}`, "abc")
	f.Add(`{"replies":[],"sizes":[]}`, "")
	f.Add(`{"replies":["\u0057"],"sizes":[-1]}`, "x")
	f.Fuzz(func(t *testing.T, context, body string) {
		if plain, isPlain := plainReplies([]byte(context)); isPlain {
			all, err := decodeReplies([]byte(context))
			require.NoError(t, err)
			require.Equal(t, all, plain)
		}
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

// bulkAnswer is an answer of the PHP kit to n events.
func bulkAnswer(n int) (context, body []byte) {
	var replies, sizes []string
	for i := range n {
		replies = append(replies, fmt.Sprintf(`{"reply":"WRITE","uuid":"01234567-89ab-cdef-0123-%012d"}`, i))
		sizes = append(sizes, "64")
	}
	return []byte(`{"replies":[` + strings.Join(replies, ",") + `],"sizes":[` + strings.Join(sizes, ",") + `]}`),
		bytes.Repeat([]byte("x"), 64*n)
}

func BenchmarkDecodeBulk(b *testing.B) {
	context, body := bulkAnswer(16)
	b.ReportAllocs()
	for range b.N {
		_, _ = DecodeBulk(context, body)
	}
}

func BenchmarkEncodeBulk(b *testing.B) {
	context, body := []byte(`{"remote_addr":"127.0.0.1:50000","server":"echo","uuid":"01234567-89ab-cdef-0123-456789abcdef","event":"DATA"}`), make([]byte, 4<<10)
	var contexts, bodies [][]byte
	for range 16 {
		contexts, bodies = append(contexts, context), append(bodies, body)
	}
	b.ReportAllocs()
	for range b.N {
		_, _ = EncodeBulk(contexts, bodies)
	}
}
