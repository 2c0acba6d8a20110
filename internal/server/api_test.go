package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

const stranger = "11111111-2222-4333-8444-555555555555"

// withConnections returns a plugin whose servers a and b have so many open connections each, that nobody serves: pushes stay
// in their queues.
func withConnections(t testing.TB, each int) (p *plugin, a, b []*connection) {
	s := servers("a", "b")
	config := &s
	require.Empty(t, config.Check())
	p = &plugin{}
	Init(&p.Server, Options{Config: config, Log: logtest.Discard(), Workers: 1, AllocateTimeout: time.Minute})
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	for _, name := range []string{"a", "b"} {
		l := p.newListener(name, p.options.Config.Servers[name], nil)
		for range each {
			c := l.newConnection(server)
			c.writer.TakeTurn() // as if an answer took long
			require.True(t, p.registry.add(c))
			if name == "a" {
				a = append(a, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return p, a, b
}

func (p *plugin) broadcast(t testing.TB, to Selector, body string) PushCounts {
	n, err := p.Broadcast(to, []byte(body))
	require.NoError(t, err)
	return n
}

func TestBroadcastSelectors(t *testing.T) {
	p, a, b := withConnections(t, 2)
	for _, c := range []*connection{a[0], b[0]} {
		result, err := p.Tag(c.uuid, []string{"room"}, nil)
		require.NoError(t, err)
		require.Equal(t, stream.PushAccepted, result)
	}
	for name, test := range map[string]struct {
		to   Selector
		want []*connection
		gone int
	}{
		"a server":                       {Selector{Server: "a"}, a, 0},
		"a tag":                          {Selector{Tag: "room"}, []*connection{a[0], b[0]}, 0},
		"a tag that nobody has":          {Selector{Tag: "Room"}, nil, 0},
		"a tag of a server":              {Selector{Tag: "room", Server: "b"}, []*connection{b[0]}, 0},
		"uuids":                          {Selector{UUIDs: []string{a[1].uuid, b[1].uuid}}, []*connection{a[1], b[1]}, 0},
		"a uuid twice, once in capitals": {Selector{UUIDs: []string{a[1].uuid, strings.ToUpper(a[1].uuid)}}, []*connection{a[1]}, 0},
		"uuids that are gone":            {Selector{UUIDs: []string{stranger, a[1].uuid, uuid.NewString()}}, []*connection{a[1]}, 2},
		"no uuids are nobody":            {Selector{UUIDs: []string{}}, nil, 0},
		"no uuids of a server too":       {Selector{UUIDs: []string{}, Server: "a"}, nil, 0},
		"uuids of a server":              {Selector{UUIDs: []string{a[0].uuid, b[0].uuid}, Server: "b"}, []*connection{b[0]}, 0},
		"uuids with a tag":               {Selector{UUIDs: []string{a[0].uuid, a[1].uuid}, Tag: "room"}, []*connection{a[0]}, 0},
		"all three": {
			Selector{UUIDs: []string{a[0].uuid, b[0].uuid, a[1].uuid}, Tag: "room", Server: "a"}, []*connection{a[0]}, 0,
		},
	} {
		require.Equal(t, PushCounts{Accepted: len(test.want), Gone: test.gone}, p.broadcast(t, test.to, name), name)
		found, _, err := p.selectConnections(test.to)
		require.NoError(t, err)
		require.ElementsMatch(t, test.want, found, name)
	}
}

func TestPushResults(t *testing.T) {
	p, a, _ := withConnections(t, 4)
	a[0].writer.PushQueue = 3
	a[1].writer.PushQueue = 3
	a[2].abort(wire.ReasonRPC)
	require.Equal(t, PushCounts{Accepted: 1, Full: 2, Gone: 1}, p.broadcast(t, Selector{Server: "a"}, "hello"))
	result, err := p.Write(a[3].uuid, []byte("x"), true)
	require.NoError(t, err)
	require.Equal(t, stream.PushAccepted, result)
	for id, want := range map[string]PushResult{
		a[0].uuid: stream.PushFull, a[2].uuid: stream.PushGone, a[3].uuid: stream.PushGone, stranger: stream.PushGone,
	} {
		result, err := p.Write(id, []byte("long"), false)
		require.NoError(t, err)
		require.Equal(t, want, result)
	}
	require.Equal(t, PushCounts{Accepted: 2, Full: 3, Gone: 4}, p.Stats().Pushes)
	accepted, gone, full := p.pushes.load()
	require.Equal(t, []int64{2, 4, 3}, []int64{accepted, gone, full})
}

// The caller may use its body again.
// heldStream is an answer of two frames, the second of which comes when held is closed.
type heldStream struct {
	held   chan struct{}
	frames int // that have come
}

func (s *heldStream) Next(<-chan struct{}) (*dispatch.Payload, error) {
	s.frames++
	switch s.frames {
	case 1:
		return &dispatch.Payload{Context: []byte("WRITE"), Body: []byte("first"), Flags: wire.FlagStream}, nil
	case 2:
		<-s.held
		return &dispatch.Payload{Context: []byte("WRITE")}, nil
	default:
		return nil, io.EOF
	}
}

func TestPushClonesBody(t *testing.T) {
	p := startPlugin(t, servers("a"))
	c := p.dial("a")
	c.requireEcho("hello")
	held := make(chan struct{})
	p.pool.Do(func(context.Context, *dispatch.Payload, chan struct{}) (dispatch.Results, error) {
		return &heldStream{held: held}, nil
	})
	_, err := io.WriteString(c, "stream\r\n")
	require.NoError(t, err)
	require.Equal(t, "first", readString(t, c.r, 5)) // pushes wait behind the rest

	body := []byte("hello")
	connection := p.registry.all()[0]
	_, err = p.Write(connection.uuid, body, false)
	require.NoError(t, err)
	_, err = p.Broadcast(Selector{Server: "a"}, body)
	require.NoError(t, err)
	copy(body, "XXXXX")
	p.pool.Do(echoWork)
	close(held)
	require.Equal(t, "hellohello", readString(t, c.r, 10))
	result, err := p.Write(connection.uuid, []byte("bye"), true)
	require.NoError(t, err)
	require.Equal(t, stream.PushAccepted, result)
	require.Equal(t, "bye", c.rest())
}

func TestAPIMistakesAreNamed(t *testing.T) {
	p, a, _ := withConnections(t, 1)
	errOf := func(_ any, err error) error { return err }
	long := strings.Repeat("x", wire.MaxTagSize+1)
	for want, err := range map[string]error{
		`tcp: close "7": want the uuid of a connection`:                        p.Close("7"),
		`tcp: write: uuid: "7": want the uuid of a connection`:                 errOf(p.Write("7", nil, false)),
		`tcp: broadcast: server, uuids and tag are missing; want one at least`: errOf(p.Broadcast(Selector{}, nil)),
		`tcp: broadcast: server: there is no "c"; want one of a, b`:            errOf(p.Broadcast(Selector{Server: "c"}, nil)),
		`tcp: broadcast: uuids[1]: "x": want the uuid of a connection`:         errOf(p.Broadcast(Selector{UUIDs: []string{stranger, "x"}}, nil)),
		`tcp: tag: uuid: "": want the uuid`:                                    errOf(p.Tag("", nil, nil)),
		`tcp: tag: add[1]: has 0 bytes; want 1 to 128`:                         errOf(p.Tag(a[0].uuid, []string{"a", ""}, nil)),
		`tcp: tag: add[0]: has 129 bytes; want 1 to 128`:                       errOf(p.Tag(a[0].uuid, []string{long}, nil)),
		`tcp: tag: add[0]: is not UTF-8`:                                       errOf(p.Tag(a[0].uuid, []string{"\xff"}, nil)),
		`tcp: tag: remove[1]: is not UTF-8`:                                    errOf(p.Tag(a[0].uuid, nil, []string{"a", "\xff"})),
		`tcp: broadcast: tag: is not UTF-8`:                                    errOf(p.Broadcast(Selector{Tag: "\xff"}, nil)),
		`tcp: connections: tag: is not UTF-8`:                                  errOf(p.Connections(ConnectionQuery{Tag: "\xff"})),
		`tcp: connections: limit: is 1001; want 1 to 1000, or 0 for 100`:       errOf(p.Connections(ConnectionQuery{Limit: 1001})),
		`tcp: connections: limit: is -1; want`:                                 errOf(p.Connections(ConnectionQuery{Limit: -1})),
		`tcp: connections: after: "x": want the uuid of a connection`:          errOf(p.Connections(ConnectionQuery{After: "x"})),
		`tcp: connections: server: there is no "c"; want one of a, b`:          errOf(p.Connections(ConnectionQuery{Server: "c"})),
	} {
		require.ErrorContains(t, err, want)
	}
}

// A caller with millions of uuids or tags holds up no other, nor any connection that opens or ends.
func TestMillionsHoldNobodyUp(t *testing.T) {
	p, a, _ := withConnections(t, 1)
	tags := make([]string, wire.MaxTags)
	for i := range tags {
		tags[i] = fmt.Sprintf("%0*d", wire.MaxTagSize, i)
	}
	_, err := p.Tag(a[0].uuid, tags, nil)
	require.NoError(t, err)
	many := func(text string) []string {
		texts := make([]string, 1_000_000)
		for i := range texts {
			texts[i] = text
		}
		return texts
	}
	other := many(strings.Repeat("x", wire.MaxTagSize))
	for what, call := range map[string]func(){
		"uuids":          func() { p.registry.findAmong(other, "", "") },
		"tags to remove": func() { _, _ = p.tagHere(a[0].uuid, nil, other) },
		"tags to add":    func() { _, _ = p.tagHere(a[0].uuid, other, nil) },
	} {
		requireEventually(t, func() bool { // where this goroutine has a processor, too
			const enough = 1000
			calls := callsDuring(call, func() { p.registry.count() })
			t.Log(what, calls)
			return calls >= enough
		})
	}
}

// callsDuring returns how often a call comes back while another one, which takes long, has not.
func callsDuring(long, call func()) (n int) {
	begun, ended := make(chan struct{}), make(chan struct{}) // closed when long begins and ends
	go func() {
		defer close(ended)
		close(begun)
		long()
	}()
	for <-begun; ; n++ {
		select {
		case <-ended:
			return n
		default:
			call()
		}
	}
}

func TestTag(t *testing.T) {
	p, a, b := withConnections(t, 1)
	tag := func(id string, add, remove []string, want ...string) {
		t.Helper()
		result, err := p.Tag(id, add, remove)
		require.NoError(t, err)
		require.Equal(t, stream.PushAccepted, result)
		require.Equal(t, append([]string{}, want...), p.registry.tagsOf(p.registry.get(id)))
	}
	long := strings.Repeat("x", wire.MaxTagSize)
	tag(a[0].uuid, []string{"b", "a", "b"}, nil, "a", "b")
	tag(a[0].uuid, []string{"a"}, []string{"a", "b", "never"}, "a")
	tag(b[0].uuid, []string{"a", long}, nil, "a", long)
	require.Len(t, p.registry.tagged["a"], 2)

	var many []string
	for i := range wire.MaxTags {
		many = append(many, fmt.Sprintf("t%02d", i))
	}
	_, err := p.Tag(a[0].uuid, many, nil)
	require.ErrorContains(t, err, "tcp: tag: tags: the connection would have 33; want 32 at most")
	tag(a[0].uuid, nil, nil, "a") // nothing has changed
	tag(a[0].uuid, many, []string{"a"}, many...)
	require.Equal(t, wire.MaxTags+2, p.Stats().Tags)

	result, err := p.Tag(stranger, many, nil)
	require.NoError(t, err)
	require.Equal(t, stream.PushGone, result)
	p.registry.remove(a[0].uuid)
	require.Equal(t, 2, p.Stats().Tags, "a connection takes its tags along")
	tag(b[0].uuid, nil, []string{"a", long})
	require.Empty(t, p.registry.tagged)
}

func TestConnectionPages(t *testing.T) {
	p, a, _ := withConnections(t, 130)
	ids := p.uuids()
	for limit, pages := range map[int]int{0: 3, 1: 260, 7: 38, 130: 2, 1000: 1} {
		var got []string
		for q := (ConnectionQuery{Limit: limit}); ; pages-- {
			page, err := p.Connections(q)
			require.NoError(t, err)
			for _, c := range page.Connections {
				got = append(got, c.UUID)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		require.Equal(t, 1, pages, limit)
		require.Equal(t, ids, got, limit)
	}

	_, err := p.Tag(a[3].uuid, []string{"x"}, nil)
	require.NoError(t, err)
	page, err := p.Connections(ConnectionQuery{Tag: "x", Server: "a"})
	require.NoError(t, err)
	require.Equal(t, []Connection{{
		UUID: a[3].uuid, Server: "a", RemoteAddr: "pipe", ConnectedAt: page.Connections[0].ConnectedAt, Tags: []string{"x"}, State: "opening",
	}}, page.Connections)
	connected, err := time.Parse(time.RFC3339, page.Connections[0].ConnectedAt)
	require.NoError(t, err)
	require.WithinDuration(t, a[3].opened, connected, time.Millisecond)
	page, err = p.Connections(ConnectionQuery{Tag: "x", Server: "b"})
	require.NoError(t, err)
	require.NotNil(t, page.Connections, "an empty list in JSON, not null")
	require.Empty(t, page.Connections)

	s := p.Stats()
	require.Equal(t, 260, s.Connections)
	require.Equal(t, map[string]int{"a": 130, "b": 130}, s.Servers)
}

// Connections whose preamble is under way are not found.
func TestOpeningConnectionsAreInvisible(t *testing.T) {
	p, a, _ := withConnections(t, 1)
	_, err := p.Tag(a[0].uuid, []string{"x"}, nil)
	require.NoError(t, err)
	a[0].opening.Store(true)
	for _, to := range []Selector{{Tag: "x"}, {Server: "a"}, {UUIDs: []string{a[0].uuid}}} {
		require.Zero(t, p.broadcast(t, to, "x"))
	}
}

func TestRPC(t *testing.T) {
	p := startPlugin(t, servers("a"))
	methods := NewRPC(&p.Server).(*rpc)
	c := p.dial("a")
	c.requireEcho("hello")
	id := p.uuids()[0]

	var result PushResult
	require.NoError(t, methods.Write(WriteRequest{UUID: id, Body: []byte("1")}, &result))
	require.Equal(t, stream.PushAccepted, result)
	require.NoError(t, methods.Tag(TagRequest{UUID: id, Add: []string{"x"}}, &result))
	require.Equal(t, stream.PushAccepted, result)
	var counts PushCounts
	require.NoError(t, methods.Broadcast(BroadcastRequest{Tag: "x", Body: []byte("2")}, &counts))
	require.Equal(t, PushCounts{Accepted: 1}, counts)
	require.Equal(t, "12", readString(t, c.r, 2))
	var page ConnectionPage
	require.NoError(t, methods.Connections(ConnectionQuery{Server: "a"}, &page))
	require.Len(t, page.Connections, 1)
	require.EqualValues(t, 1, page.Connections[0].Packets)
	var stats Stats
	requireEventually(t, func() bool { // the client has the bytes before they are counted
		stats = Stats{}
		require.NoError(t, methods.Stats(true, &stats))
		return stats.Traffic["a"].Sent == 9
	})
	require.Equal(t, 1, stats.Connections)
	require.Equal(t, p.options.Config.MemoryLimitBytes(), stats.MemoryLimit)
	traffic := stats.Traffic["a"]
	require.Len(t, traffic.Exchanges, len(stats.ExchangeBounds)+1)
	var exchanges uint64
	for _, n := range traffic.Exchanges {
		exchanges += n
	}
	require.EqualValues(t, 1, exchanges)
	require.Equal(t, Traffic{Packets: 1, Received: 7, Sent: 9, Exchanges: traffic.Exchanges}, traffic)

	closed := true
	require.Error(t, methods.Close("no uuid", &closed))
	require.False(t, closed)
	require.NoError(t, methods.Close(stranger, &closed), "as it has always been")
	require.True(t, closed)
	c.requireEcho("still open")
	require.NoError(t, methods.Close(strings.ToUpper(id), &closed))
	require.Empty(t, c.rest())
	requireEventually(t, func() bool { return !slices.Contains(p.uuids(), id) })
}

func BenchmarkBroadcast(b *testing.B) {
	for _, to := range []Selector{{Server: "a"}, {Tag: "few"}} {
		b.Run(fmt.Sprintf("%+v", to), func(b *testing.B) {
			p, a, _ := withConnections(b, 10_000)
			for _, c := range a[:10] {
				_, _ = p.Tag(c.uuid, []string{"few"}, nil)
			}
			b.ResetTimer()
			for range b.N {
				if _, err := p.Broadcast(to, []byte("hello")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
