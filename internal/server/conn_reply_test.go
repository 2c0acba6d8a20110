package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestUnknownReplyIsLogged(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	for context, want := range map[string]string{
		``:                                `answered ""; want WRITE, CONTINUE, WRITECLOSE or CLOSE`,
		`{"reply":"WRITE"}{}`:             `more comes behind it`,
		`{"reply":"WRITE","ttl":1}`:       `unknown field "ttl"`,
		`{"reply":"WRITE","uuid":1}`:      `uuid: a number can't be read`,
		`{"reply":"CONTINUE","uuid":"v"}`: `uuid: is "v", but this event's is "u"; the worker answered another one`,

		`{"reply":"WRITE","next":"raw"}`:                                        `next: a string can't be read`,
		`{"reply":"WRITE","next":{"farming":"raw"}}`:                            `unknown field "farming"`,
		`{"reply":"WRITE","next":{"length":{"bytes":"2"}}}`:                     `next.length.bytes: a string can't be read`,
		`{"reply":"WRITE","next":{"once":1}}`:                                   `next.once: a number can't be read`,
		`{"reply":"WRITE","next":{"framing":"lines"}}`:                          `next.framing: unknown framing "lines"`,
		`{"reply":"WRITE","next":{"framing":"length"}}`:                         `next.length: is missing`,
		`{"reply":"CONTINUE","next":{"framing":"fixed"}}`:                       `next.packet_size: is 0`,
		`{"reply":"WRITE","next":{"delimiter":""}}`:                             `next.delimiter: is empty`,
		`{"reply":"WRITE","next":{"once":true,"batch":true}}`:                   `next.batch: stands beside once`,
		`{"reply":"WRITE","next":{"framing":"raw","delimiter":"x"}}`:            `next.delimiter: belongs to framing "delimiter"`,
		`{"reply":"WRITE","next":{"delimiters":["a","a"]}}`:                     `next.delimiters: holds "a" twice`,
		`{"reply":"WRITE","next":{"framing":"fixed","packet_size":9999999999}}`: `next.packet_size: 9999999999 is over max_packet_size`,

		long: `want WRITE`,
		`{"reply":"WRITE","next":{"packet_size":1` + strings.Repeat("0", 1<<16) + `}}`: `next.packet_size: a number 1000`,
		`{"reply":"WRITE","next":{"framing":"` + long + `"}}`:                          `next.framing: unknown framing "xxx`,
		`{"reply":"WRITE","next":{"` + long + `":1}}`:                                  `unknown field "xxx`,
	} {
		server, client := net.Pipe()
		l := testListener(answers(reply(context, "never")))
		logs := l.observe(slog.LevelError)
		c := l.newConnection(server)
		c.uuid = "u"
		got := make(chan int)
		go func() {
			n, _ := client.Read(make([]byte, 1))
			got <- n
		}()
		c.serve(func() {})
		require.Zero(t, receive(t, got), "nothing is written")
		require.Equal(t, wire.ReasonReply, c.reason, "%.80s", context)
		require.EqualValues(t, 1, l.stats.Failures(telemetry.FailureReply))
		require.Equal(t, 1, logs.Len())
		logged := logs.All()[0].Attrs["error"]
		require.Contains(t, logged, want, "%.80s", context)
		require.Less(t, len(logged.(string)), 1000, "whatever the size of what was sent")
	}
}

func TestStateCountsAsMemory(t *testing.T) {
	state := strings.Repeat("\x01", 30_000) // six times as large in JSON
	context, err := json.Marshal(map[string]string{"reply": "CONTINUE", "state": state})
	require.NoError(t, err)
	for limit, want := range map[int64]wire.Reason{1 << 20: wire.ReasonEOF, 400_000: wire.ReasonMemory} {
		server, client := net.Pipe()
		w := &measured{answer: dispatch.Answer{Context: context}, memory: stream.NewMemory(limit)}
		l := testListener(w)
		l.memory = w.memory
		client.Close()
		c := l.newConnection(server)
		c.serve(func() {})
		require.Equal(t, want, c.reason)
		require.Zero(t, l.memory.Used())
		if want == wire.ReasonEOF {
			require.Equal(t, state, decodeEvent(w.closed, nil).context["state"])
			require.GreaterOrEqual(t, w.used, int64(len(w.closed)), "it counts until CLOSE is handed over")
		}
	}
}

// measured are workers that look at the memory in use when CLOSE comes.
type measured struct {
	answer dispatch.Answer
	memory *stream.Memory
	used   int64
	closed []byte
}

func (m *measured) Exchange(*dispatch.Call, <-chan struct{}, []byte, []byte) (dispatch.Answer, error) {
	return m.answer, nil
}

func (m *measured) HandOverClose(_ *dispatch.Call, context []byte) {
	m.used, m.closed = m.memory.Used(), bytes.Clone(context)
}

func TestStateMemoryFollowsSize(t *testing.T) {
	server, _ := net.Pipe()
	c := testListener(nil).newConnection(server)
	for _, size := range []int{100, 5000, 10, 0} {
		require.True(t, c.setState(strings.Repeat("x", size)))
		require.EqualValues(t, c.contexts.StateSize(), c.memory.Used())
		require.Equal(t, size > 0, c.memory.Used() > 0)
	}
}

// What a connection holds already counts for its share, whatever it is.
func TestStateIsOverShareOfMemory(t *testing.T) {
	server, _ := net.Pipe()
	c := testListener(nil).newConnection(server)
	require.True(t, c.setState(strings.Repeat("x", 10_000)))
	size := c.memory.Used()
	c.memory = stream.NewMemory(3*size + size/2)
	require.True(t, c.memory.Take(int(size), 0))
	require.False(t, c.setState(strings.Repeat("x", 20_000)))
	require.Equal(t, size, c.memory.Used())
	require.Equal(t, int(size), c.contexts.StateSize(), "it has the state of before")
}

func TestAgreedIsOverShareOfMemory(t *testing.T) {
	server, _ := net.Pipe()
	c := testListener(nil).newConnection(server)
	require.NoError(t, c.agree(wire.Beginning{Proxy: make([]byte, 10_000)}))
	size := c.memory.Used()
	c.memory = stream.NewMemory(3*size + size/2)
	require.True(t, c.memory.Take(int(size), 0))
	require.ErrorIs(t, c.agree(wire.Beginning{Proxy: make([]byte, 10_000), TLS: make([]byte, 10_000)}), stream.ErrMemory)
	require.Equal(t, size, c.memory.Used())
}

func TestReplySetsTags(t *testing.T) {
	server, client := net.Pipe()
	w := newScript()
	l := testListener(w)
	c := l.newConnection(server)
	require.True(t, l.registry.add(c))
	go func() {
		defer l.registry.done()
		c.serve(func() { l.registry.remove(c.uuid) })
	}()
	for _, step := range []struct {
		context string
		want    []string
	}{
		{`{"reply":"CONTINUE","tags":["b","a","b"]}`, []string{"a", "b"}},
		{`CONTINUE`, []string{"a", "b"}},
		{`{"reply":"CONTINUE","tags":[]}`, []string{}},
	} {
		receive(t, w.events)
		w.replies(reply(step.context, ""))
		_, err := client.Write([]byte("x\r\n")) // returns when the reply has been obeyed
		require.NoError(t, err)
		require.Equal(t, step.want, l.registry.tagsOf(c))
	}
	receive(t, w.events)
	w.replies(reply("CLOSE", ""))
	receive(t, w.events)
	l.registry.wait()
	require.Zero(t, l.registry.tagCount())
}

// A panic of the workers ends one connection, with its stack in the log.
func TestPanicIsLoggedWithStack(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	l := testListener(panicking{})
	logs := l.observe(slog.LevelDebug)
	c := l.newConnection(server)
	c.serve(func() {})
	require.Equal(t, wire.ReasonError, c.reason)
	panics := logs.Saying("panic")
	require.Len(t, panics, 1)
	require.Equal(t, c.uuid, panics[0].Attrs["uuid"])
	require.Contains(t, panics[0].Attrs["stack"], "panicking.Exchange")
	require.Len(t, logs.Saying("connection ended"), 1)
}

type panicking struct{ answers }

func (panicking) Exchange(*dispatch.Call, <-chan struct{}, []byte, []byte) (dispatch.Answer, error) {
	panic("of a test")
}
