package tcp

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const stranger = "7f4df7c5-1f0e-4a2e-9a1e-6a4d5b3c2b1a" // a uuid that nobody has

// withConnections is a plugin with so many connections of each of the servers a and b, whose pushes are not written.
func withConnections(t testing.TB, each int) (p *Plugin, a, b []*connection) {
	p = &Plugin{cfg: &Config{Servers: map[string]*Server{"a": {}, "b": {}}}, queue: new(queue), memory: new(memory)}
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	for _, name := range []string{"a", "b"} {
		l := testListener(nil, zap.NewNop())
		l.server, l.memory = name, p.memory
		for range each {
			c := l.newConnection(server)
			c.answers.outbound.taken = true // by an answer that takes long
			require.True(t, p.live.add(c))
			if name == "a" {
				a = append(a, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return p, a, b
}

func (c *connection) queued() (bodies []string) {
	for _, p := range c.answers.outbound.queue {
		bodies = append(bodies, string(p.body))
	}
	return bodies
}

func TestABroadcastGoesToThoseThatFitAllOfItsSelectors(t *testing.T) {
	p, a, b := withConnections(t, 2)
	for _, c := range []*connection{a[0], b[0]} {
		result, err := p.Tag(c.uuid, []string{"room"}, nil)
		require.NoError(t, err)
		require.Equal(t, PushAccepted, result)
	}
	all := []*connection{a[0], a[1], b[0], b[1]}
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
		"all three":                      {Selector{UUIDs: []string{a[0].uuid, b[0].uuid, a[1].uuid}, Tag: "room", Server: "a"}, []*connection{a[0]}, 0},
	} {
		n, err := p.Broadcast(test.to, []byte(name))
		require.NoError(t, err, name)
		require.Equal(t, PushCounts{Accepted: len(test.want), Gone: test.gone}, n, name)
		for _, c := range all {
			require.Equal(t, slices.Contains(test.want, c), slices.Contains(c.queued(), name), name)
		}
	}
}

func TestABroadcastCountsWhatBecomesOfEach(t *testing.T) {
	p, a, _ := withConnections(t, 4)
	a[0].answers.outbound.limit = 3
	a[1].answers.outbound.limit = 3
	a[2].abort(reasonRPC)
	n, err := p.Broadcast(Selector{Server: "a"}, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, PushCounts{Accepted: 1, Full: 2, Gone: 1}, n)
	result, err := p.Write(a[3].uuid, []byte("x"), true)
	require.NoError(t, err)
	require.Equal(t, PushAccepted, result)
	for id, want := range map[string]PushResult{a[0].uuid: PushFull, a[2].uuid: PushGone, a[3].uuid: PushGone, stranger: PushGone} {
		result, err := p.Write(id, []byte("long"), false)
		require.NoError(t, err)
		require.Equal(t, want, result)
	}
	require.Equal(t, PushCounts{Accepted: 2, Full: 3, Gone: 4}, p.Stats().Pushes)
}

func TestTheCallerMayUseItsBodyAgain(t *testing.T) {
	p, a, _ := withConnections(t, 1)
	body := []byte("hello")
	_, err := p.Write(a[0].uuid, body, false)
	require.NoError(t, err)
	_, err = p.Broadcast(Selector{Server: "a"}, body)
	require.NoError(t, err)
	copy(body, "XXXXX")
	require.Equal(t, []string{"hello", "hello"}, a[0].queued())
}

func TestMistakesInWhatIsAskedOfConnectionsAreNamed(t *testing.T) {
	p, a, _ := withConnections(t, 1)
	errOf := func(_ any, err error) error { return err }
	long := strings.Repeat("x", mostTag+1)
	for want, err := range map[string]error{
		`tcp: write: uuid: "7": want the uuid of a connection`:                 errOf(p.Write("7", nil, false)),
		`tcp: broadcast: server, uuids and tag are missing; want one at least`: errOf(p.Broadcast(Selector{}, nil)),
		`tcp: broadcast: server: there is no "c"; want one of a, b`:            errOf(p.Broadcast(Selector{Server: "c"}, nil)),
		`tcp: broadcast: uuids[1]: "x": want the uuid of a connection`:         errOf(p.Broadcast(Selector{UUIDs: []string{stranger, "x"}}, nil)),
		`tcp: tag: uuid: "": want the uuid`:                                    errOf(p.Tag("", nil, nil)),
		`tcp: tag: add[1]: has 0 bytes; want 1 to 128`:                         errOf(p.Tag(a[0].uuid, []string{"a", ""}, nil)),
		`tcp: tag: add[0]: has 129 bytes; want 1 to 128`:                       errOf(p.Tag(a[0].uuid, []string{long}, nil)),
		`tcp: connections: limit: is 1001; want 1 to 1000, or 0 for 100`:       errOf(p.Connections(ConnectionQuery{Limit: 1001})),
		`tcp: connections: limit: is -1; want`:                                 errOf(p.Connections(ConnectionQuery{Limit: -1})),
		`tcp: connections: after: "x": want the uuid of a connection`:          errOf(p.Connections(ConnectionQuery{After: "x"})),
		`tcp: connections: server: there is no "c"; want one of a, b`:          errOf(p.Connections(ConnectionQuery{Server: "c"})),
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestTagsAreAddedAndRemovedAndBounded(t *testing.T) {
	p, a, b := withConnections(t, 1)
	tag := func(id string, add, remove []string, want ...string) {
		t.Helper()
		result, err := p.Tag(id, add, remove)
		require.NoError(t, err)
		require.Equal(t, PushAccepted, result)
		require.Equal(t, append([]string{}, want...), p.live.tagsOf(p.live.get(id)))
	}
	tag(a[0].uuid, []string{"b", "a", "b"}, nil, "a", "b")
	tag(a[0].uuid, []string{"a"}, []string{"a", "b", "never"}, "a")
	tag(b[0].uuid, []string{"a", strings.Repeat("x", mostTag)}, nil, "a", strings.Repeat("x", mostTag))
	require.Len(t, p.live.tagged["a"], 2)

	var many []string
	for i := range mostTags {
		many = append(many, fmt.Sprintf("t%02d", i))
	}
	_, err := p.Tag(a[0].uuid, many, nil)
	require.ErrorContains(t, err, "tcp: tag: tags: the connection would have 33; want 32 at most")
	tag(a[0].uuid, nil, nil, "a") // nothing has changed
	tag(a[0].uuid, many, []string{"a"}, many...)
	require.Equal(t, mostTags+2, p.Stats().Tags)

	result, err := p.Tag(stranger, many, nil)
	require.NoError(t, err)
	require.Equal(t, PushGone, result)
	p.live.remove(a[0].uuid)
	require.Equal(t, 2, p.Stats().Tags, "a connection takes its tags along")
	tag(b[0].uuid, nil, []string{"a", strings.Repeat("x", mostTag)})
	require.Empty(t, p.live.tagged)
}

func TestPagesHoldEveryConnectionOnceInOrder(t *testing.T) {
	p, a, _ := withConnections(t, 130)
	var ids []string
	for _, c := range p.live.all() {
		ids = append(ids, c.uuid)
	}
	slices.Sort(ids)
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
	require.WithinDuration(t, a[3].begun, connected, time.Millisecond)
	page, err = p.Connections(ConnectionQuery{Tag: "x", Server: "b"})
	require.NoError(t, err)
	require.NotNil(t, page.Connections, "an empty list in JSON, not null")
	require.Empty(t, page.Connections)

	s := p.Stats()
	require.Equal(t, 260, s.Connections)
	require.Equal(t, map[string]int{"a": 130, "b": 130}, s.Servers)
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
