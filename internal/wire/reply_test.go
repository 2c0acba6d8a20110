package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func x(n int) string { return strings.Repeat("x", n) }

func TestDecodeReplyMistakes(t *testing.T) {
	manyTags := ""
	for i := range MaxTags {
		manyTags += fmt.Sprintf(`,"%d"`, i)
	}
	for context, want := range map[string]string{
		``:                                  `answered ""; want WRITE, CONTINUE, WRITECLOSE or CLOSE`,
		`"WRITE"`:                           `want WRITE`,
		`[{"reply":"WRITE"}]`:               `want WRITE`,
		`{`:                                 `unexpected EOF`,
		`{}`:                                `reply: is ""; want WRITE`,
		`{"reply":"write"}`:                 `reply: is "write"; want WRITE`,
		`{"reply":null}`:                    `reply: is ""`,
		`{"reply":1}`:                       `reply: a number can't be read`,
		`{"reply":"WRITE"`:                  `unexpected EOF`,
		`{"reply":"WRITE"}}`:                `more comes behind it`,
		`{"reply":"WRITE"}{}`:               `more comes behind it`,
		`{"reply":"WRITE","ttl":1}`:         `unknown field "ttl"`,
		`{"reply":"WRITE","state":1}`:       `state: a number can't be read`,
		`{"reply":"WRITE","tags":"a"}`:      `tags: a string can't be read`,
		`{"reply":"WRITE","tags":[1]}`:      `tags: a number can't be read`,
		`{"reply":"WRITE","tags":["a",""]}`: `tags[1]: has 0 bytes; want 1 to 128`,
		`{"reply":"WRITE","tags":["` + x(MaxTagSize+1) + `"]}`: `tags[0]: has 129 bytes; want 1 to 128`,
		`{"reply":"WRITE","tags":["a"` + manyTags + `]}`:       `tags: are 33; want 32 at most`,
		`{"reply":"WRITE","state":{}}`:                         `state: a object can't be read`,
		`{"reply":"WRITE","uuid":["u"]}`:                       `no reply: uuid: a array can't be read`,
		`{"reply":"WRITE","uuid":null}`:                        `uuid: is "", but this event's is "u"`,
		`{"reply":"WRITE","uuid":""}`:                          `uuid: is "", but this event's is "u"`,
		`{"reply":"WRITE","uuid":"v"}`:                         `uuid: is "v", but this event's is "u"; the worker answered another one`,
		`{"reply":"WRITE","state":"` + "\xff" + `"}`:           `is not UTF-8`,
		`{"reply":"WRITE","state":"\ud83d"}`:                   `has \ud8…, half of a pair, which is no UTF-8`,
		`{"reply":"WRITE","tags":["\\\\\uDCFF"]}`:              `has \uDC…, half of a pair`,
		`{"reply":"WRITE","tags":["\ud83d\ud83d\ude00"]}`:      `has \ud8…, half of a pair`,
		`{"reply":"WRITE","state":"` + x(maxState+1) + `"}`:    `state: has 65537 bytes; want 65536 at most`,
		x(1 << 16):                     `want WRITE`,
		`{"reply":"` + x(1<<16) + `"}`: `; want WRITE`,
		`{"reply":"WRITE","uuid":"` + x(1<<16) + `"}`: `, but this event's is "u"`,
		`{"reply":"WRITE","` + x(1<<16) + `":1}`:      `unknown field "xxx`,
	} {
		reply, options, err := DecodeReply([]byte(context), "u")
		require.Equal(t, ReplyUnknown, reply)
		require.Equal(t, Options{}, options)
		require.ErrorContains(t, err, want, context[:min(80, len(context))])
		require.Less(t, len(err.Error()), 1000, "however much was sent")
	}
}

func TestDecodeReplyObject(t *testing.T) {
	reply, o, err := DecodeReply([]byte(` {"reply":"CONTINUE","next":{"framing":"raw"},"state":"s","tags":["a"],"uuid":"u"} `), "u")
	require.NoError(t, err)
	require.Equal(t, ReplyContinue, reply)
	require.Equal(t, "s", *o.State)
	require.Equal(t, `{"framing":"raw"}`, string(o.Next))
	require.Equal(t, []string{"a"}, o.Tags)
	_, o, err = DecodeReply([]byte(`{"reply":"WRITE","tags":["\ud83d\uDE00","\\ud83d","\ud7ff"]}`), "u")
	require.NoError(t, err)
	require.Equal(t, []string{"😀", `\ud83d`, "\ud7ff"}, o.Tags)

	for context, want := range map[string]Reply{
		`{"reply":"WRITE"}`: ReplyWrite, `{"reply":"WRITECLOSE","next":null,"state":null}`: ReplyWriteClose,
		`{"reply":"CLOSE","state":""}`: ReplyClose, `{"reply":"WRITE","state":"` + x(maxState) + `"}`: ReplyWrite,
	} {
		reply, o, err := DecodeReply([]byte(context), "u")
		require.NoError(t, err)
		require.Equal(t, want, reply)
		require.Nil(t, o.Next)
	}
}

func TestDecodeWordAllocations(t *testing.T) {
	const uuid = "5cf5b6c3-8f0f-4e29-8f1d-5ab8a7a55f7e"
	for _, text := range []string{"WRITECLOSE", `{"reply":"WRITECLOSE","uuid":"` + uuid + `"}`} {
		context := []byte(text)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if r, _, err := DecodeReply(context, uuid); r != ReplyWriteClose || err != nil {
				t.Fatal(r, err)
			}
		}), text)
	}
}

// Only a whole object with a word and this uuid is read without the decoder.
func TestWithoutUUID(t *testing.T) {
	require.Equal(t, "WRITE", string(withoutUUID([]byte(`{"reply":"WRITE","uuid":"u"}`), "u")))
	for _, context := range []string{
		``, `WRITE`, `{"reply":"WRITE","uuid":"v"}`, `{"reply":"WRITE","uuid":"uu"}`, `{"reply":"WRITE","uuid":"u"} `,
		`{"reply":"WRITE", "uuid":"u"}`, `{"reply":"WRITE","uuid":"u","tls":true}`, `{"reply":"}`, `","uuid":"u"}`, `{"reply":","uuid":"u"}`,
		`{"state":"WRITE","uuid":"u"}`, `{"reply":"WRITE","uuid":"u"]`,
	} {
		require.Equal(t, context, string(withoutUUID([]byte(context), "u")))
	}
	_, o, err := DecodeReply([]byte(`{"reply":"WRITE","tls":true,"uuid":"u"}`), "u")
	require.NoError(t, err)
	require.True(t, o.TLS, "more than the word is for the decoder")
}

func BenchmarkDecodeReply(b *testing.B) {
	const uuid = "5cf5b6c3-8f0f-4e29-8f1d-5ab8a7a55f7e"
	for name, text := range map[string]string{"as kits write it": `{"reply":"WRITE","uuid":"%s"}`, "with spaces": `{"reply": "WRITE", "uuid": "%s"}`} {
		context := []byte(fmt.Sprintf(text, uuid))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				_, _, _ = DecodeReply(context, uuid)
			}
		})
	}
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(`{"reply":"WRITE","next":{"framing":"length","length":{"bytes":2,"offset":1}},"state":"s","uuid":"u"}`)
	f.Add(`{"reply":"CONTINUE","tags":["a","b"],"tls":true}`)
	f.Add(`WRITE`)
	f.Add(`{"reply":"WRITE","uuid":"u"}`)
	f.Fuzz(func(t *testing.T, context string) {
		r, o, err := DecodeReply([]byte(context), "u")
		require.Equal(t, err != nil, r == ReplyUnknown)
		if err != nil || parseWord([]byte(context)) != ReplyUnknown {
			require.Equal(t, Options{}, o)
			return
		}
		require.True(t, json.Valid([]byte(context)) && utf8.ValidString(context))
	})
}
