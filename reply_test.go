package tcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestWhatIsNoReplySaysWhy(t *testing.T) {
	manyTags := ""
	for i := range mostTags {
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
		`{"reply":"WRITE","tags":["` + x(mostTag+1) + `"]}`:                     `tags[0]: has 129 bytes; want 1 to 128`,
		`{"reply":"WRITE","tags":["a"` + manyTags + `]}`:                        `tags: are 33; want 32 at most`,
		`{"reply":"WRITE","state":{}}`:                                          `state: a object can't be read`,
		`{"reply":"WRITE","uuid":["u"]}`:                                        `uuid: a array can't be read`,
		`{"reply":"WRITE","uuid":null}`:                                         `uuid: is "", but this event's is "u"`,
		`{"reply":"WRITE","uuid":""}`:                                           `uuid: is "", but this event's is "u"`,
		`{"reply":"WRITE","uuid":"v"}`:                                          `uuid: is "v", but this event's is "u"; the worker answered another one`,
		`{"reply":"WRITE","next":"raw"}`:                                        `next: a string can't be read`,
		`{"reply":"WRITE","state":"` + "\xff" + `"}`:                            `is not UTF-8`,
		`{"reply":"WRITE","state":"` + x(mostState+1) + `"}`:                    `state: has 65537 bytes; want 65536 at most`,
		`{"reply":"WRITE","next":{"farming":"raw"}}`:                            `unknown field "farming"`,
		`{"reply":"WRITE","next":{"length":{"bytes":"2"}}}`:                     `next.length.bytes: a string can't be read`,
		`{"reply":"WRITE","next":{"once":1}}`:                                   `next.once: a number can't be read`,
		`{"reply":"WRITE","next":{"framing":"lines"}}`:                          `next.framing: unknown framing "lines"`,
		`{"reply":"WRITE","next":{"framing":"length"}}`:                         `next.length: is missing`,
		`{"reply":"WRITE","next":{"framing":"fixed"}}`:                          `next.packet_size: is 0`,
		`{"reply":"WRITE","next":{"delimiter":""}}`:                             `next.delimiter: is empty`,
		`{"reply":"WRITE","next":{"once":true,"batch":true}}`:                   `next.batch: stands beside once`,
		`{"reply":"WRITE","next":{"framing":"raw","delimiter":"x"}}`:            `next.delimiter: belongs to framing "delimiter"`,
		`{"reply":"WRITE","next":{"delimiters":["a","ab"]}}`:                    `next.delimiters: "a" and "ab" begin alike`,
		`{"reply":"WRITE","next":{"framing":"fixed","packet_size":9999999999}}`: `next.packet_size: 9999999999 is over max_packet_size`,
		x(1 << 16):                     `want WRITE`,
		`{"reply":"` + x(1<<16) + `"}`: `; want WRITE`,
		`{"reply":"WRITE","uuid":"` + x(1<<16) + `"}`:                                  `, but this event's is "u"`,
		`{"reply":"WRITE","` + x(1<<16) + `":1}`:                                       `unknown field "xxx`,
		`{"reply":"WRITE","next":{"packet_size":1` + strings.Repeat("0", 1<<16) + `}}`: `next.packet_size: a number 1000`,
		`{"reply":"WRITE","next":{"framing":"` + x(1<<16) + `"}}`:                      `next.framing: unknown framing "xxx`,
	} {
		core, logs := observer.New(zapcore.ErrorLevel)
		server, client := net.Pipe()
		c := testListener(answers{context: []byte(context), body: []byte("never")}, zap.New(core)).newConnection(server)
		c.uuid = "u"
		got := make(chan int)
		go func() {
			n, _ := client.Read(make([]byte, 1))
			got <- n
		}()
		c.serve(func() {})
		require.Zero(t, <-got, "nothing is written")
		require.Equal(t, reasonReply, c.why, context)
		require.Equal(t, 1, logs.Len())
		said := logs.All()[0].ContextMap()["error"]
		require.Contains(t, said, want, context[:min(80, len(context))])
		require.Less(t, len(said.(string)), 1000, "however much was sent")
	}
}

func TestAReplyObjectIsReadWhole(t *testing.T) {
	r, o, err := decodeReply([]byte(` {"reply":"CONTINUE","next":{"framing":"fixed","packet_size":3,"once":true},"state":"s","uuid":"u"} `), "u")
	require.NoError(t, err)
	require.Equal(t, replyContinue, r)
	require.Equal(t, "s", *o.state)
	require.Equal(t, &next{Packets: Packets{Framing: framingFixed, PacketSize: 3}, Once: true}, o.next)

	for context, want := range map[string]reply{
		`{"reply":"WRITE"}`: replyWrite, `{"reply":"WRITECLOSE","next":null,"state":null}`: replyWriteClose,
		`{"reply":"CLOSE","state":""}`: replyClose, `{"reply":"CONTINUE","next":{}}`: replyContinue,
		`{"reply":"WRITE","state":"` + x(mostState) + `"}`: replyWrite,
	} {
		r, _, err := decodeReply([]byte(context), "u")
		require.NoError(t, err)
		require.Equal(t, want, r)
	}
}

func TestABareWordAllocatesNothing(t *testing.T) {
	context := []byte("WRITECLOSE")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if r, _, err := decodeReply(context, "u"); r != replyWriteClose || err != nil {
			t.Fatal(r, err)
		}
	}))
}

func TestStateCountsAsMemoryAndIsGoneWithTheConnection(t *testing.T) {
	state := strings.Repeat("\x01", 30_000) // as JSON it is six times as large
	context, err := json.Marshal(map[string]string{"reply": "CONTINUE", "state": state})
	require.NoError(t, err)
	for limit, why := range map[int64]reason{1 << 20: reasonEOF, 400_000: reasonMemory} {
		server, client := net.Pipe()
		w := &measured{answer: answer{context: context}}
		l := testListener(w, zap.NewNop())
		l.memory.limit, w.memory = limit, l.memory
		client.Close()
		c := l.newConnection(server)
		c.serve(func() {})
		require.Equal(t, why, c.why)
		require.Zero(t, l.memory.used.Load())
		if why == reasonEOF {
			require.Equal(t, state, decodeEvent(w.closed, nil).context["state"])
			require.GreaterOrEqual(t, w.used, int64(len(w.closed)), "it counts until CLOSE is handed over")
		}
	}
}

// measured looks at the memory when CLOSE comes.
type measured struct {
	answer answer
	memory *memory
	used   int64
	closed []byte
}

func (m *measured) exchange(*call, <-chan struct{}, []byte, []byte) (answer, error) {
	return m.answer, nil
}
func (m *measured) handOverClose(_ *call, context []byte) {
	m.used, m.closed = m.memory.used.Load(), bytes.Clone(context)
}

func FuzzReply(f *testing.F) {
	f.Add(`{"reply":"WRITE","next":{"framing":"length","length":{"bytes":2,"offset":1}},"state":"s","uuid":"u"}`)
	f.Add(`{"reply":"CONTINUE","next":{"delimiters":["a","b"],"once":true,"strip":true}}`)
	f.Add(`WRITE`)
	f.Fuzz(func(t *testing.T, context string) {
		r, o, err := decodeReply([]byte(context), "u")
		require.Equal(t, err != nil, r == replyUnknown)
		if err != nil {
			require.Equal(t, options{}, o)
			return
		}
		if context[0] != '{' && strings.TrimLeft(context, " \t\r\n")[0] != '{' {
			require.Equal(t, options{}, o)
			return
		}
		require.True(t, json.Valid([]byte(context)) && utf8.ValidString(context))
		if o.next == nil {
			return
		}
		fr, err := o.next.framing(100, 1000)
		if err != nil {
			require.Contains(t, err.Error(), "next.")
			return
		}
		for _, stream := range []string{"\x00\x05abc\r\n", context} { // whatever the rule, it moves on within what is there
			n, packet, _ := fr.split([]byte(stream), false)
			require.LessOrEqual(t, len(packet), n)
			require.LessOrEqual(t, n, len(stream))
			require.True(t, n == 0 || packet != nil)
		}
	})
}
