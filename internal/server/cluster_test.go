package server

import (
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/cluster"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// inCluster returns a plugin whose engine is never reached.
func inCluster(t testing.TB) *plugin {
	s := servers("a")
	s.Cluster = &settings.Cluster{Redis: &settings.Redis{Addrs: []string{"127.0.0.1:1"}}}
	require.Empty(t, s.Check())
	p := &plugin{}
	Init(&p.Server, Options{Config: &s, Log: logtest.Discard(), Workers: 1})
	t.Cleanup(p.leaveCluster)
	return p
}

// open adds a connection that nobody serves.
func (p *plugin) open(t testing.TB) *connection {
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	c := p.newListener("a", p.options.Config.Servers["a"], nil).newConnection(server)
	c.writer.TakeTurn()
	require.True(t, p.registry.add(c))
	return c
}

func TestUUIDsSayWhereAConnectionIs(t *testing.T) {
	p := inCluster(t)
	seen := make(map[string]bool)
	for range 1000 {
		id := p.newUUID()
		require.False(t, seen[id])
		seen[id] = true
		parsed := uuid.MustParse(id)
		require.EqualValues(t, 8, parsed.Version())
		require.Equal(t, uuid.RFC4122, parsed.Variant())
		require.Equal(t, p.cluster.Node().String(), strings.ReplaceAll(id, "-", "")[:12])
		_, other := p.otherNode(id)
		require.False(t, other)
	}
	node, other := p.otherNode("01020304-0506-8000-8000-000000000000")
	require.True(t, other)
	require.Equal(t, cluster.NodeID{1, 2, 3, 4, 5, 6}, node)
	_, other = p.otherNode(stranger)
	require.False(t, other, "version 4 is of no node")

	alone, _, _ := withConnections(t, 0)
	require.EqualValues(t, 4, uuid.MustParse(alone.newUUID()).Version())
	require.Nil(t, alone.cluster)
	require.Nil(t, alone.registry.watcher)
	_, other = alone.otherNode("01020304-0506-8000-8000-000000000000")
	require.False(t, other)
}

type tagLog struct{ lines []string }

func (l *tagLog) HasTag(tag string)   { l.lines = append(l.lines, "+"+tag) }
func (l *tagLog) HasNoTag(tag string) { l.lines = append(l.lines, "-"+tag) }

func TestRegistryTellsItsWatcher(t *testing.T) {
	p, a, _ := withConnections(t, 2)
	log := &tagLog{}
	p.registry.watcher = log
	set := func(c *connection, tags ...string) []string {
		log.lines = nil
		_, err := p.registry.tag(c.uuid, func([]string) []string { return tags })
		require.NoError(t, err)
		return log.lines
	}
	require.Equal(t, []string{"+x", "+y"}, set(a[0], "x", "y"))
	require.Empty(t, set(a[0], "x", "y"), "the same again")
	require.Empty(t, set(a[1], "x"), "it is in use already")
	require.Equal(t, []string{"-y", "+z"}, set(a[0], "z"))
	log.lines = nil
	p.registry.remove(a[1].uuid)
	require.Equal(t, []string{"-x"}, log.lines)
}

// answerOf is what the plugin answers another node.
func (p *plugin) answerOf(t testing.TB, request []byte) (answer nodeAnswer, refused bool) {
	t.Helper()
	got := make(chan []byte, 1)
	p.serveNode(request, func(b []byte) { got <- b })
	b := receive(t, got)
	if b != nil {
		require.NoError(t, json.Unmarshal(b, &answer))
	}
	return answer, b == nil
}

func TestStatsOfNodesAddUp(t *testing.T) {
	here := Stats{Servers: map[string]int{"a": 1}, Traffic: map[string]Traffic{"a": {Packets: 1, Exchanges: []uint64{1, 0}}}}
	sum := here.clone()
	more := Traffic{Packets: 2, Received: 3, Sent: 4, Exchanges: []uint64{1, 2}}
	sum.add(Stats{Servers: map[string]int{"a": 1, "b": 2}, Traffic: map[string]Traffic{"a": more, "b": more}})
	sum.add(Stats{}) // of an older version
	require.Equal(t, map[string]int{"a": 2, "b": 2}, sum.Servers)
	require.Equal(t, map[string]Traffic{"a": {Packets: 3, Received: 3, Sent: 4, Exchanges: []uint64{2, 2}}, "b": more}, sum.Traffic)
	require.Equal(t, Traffic{Packets: 1, Exchanges: []uint64{1, 0}}, here.Traffic["a"], "this node's part is its own")
	require.Equal(t, map[string]int{"a": 1}, here.Servers)

	sum = Stats{}
	for range 2 {
		sum.add(Stats{
			Connections: 1, Tags: 2, ExchangesWaiting: 3, BufferedBytes: 4, MemoryLimit: 5, Pushes: PushCounts{Accepted: 6, Gone: 7, Full: 8},
		})
	}
	require.Equal(t, Stats{
		Connections: 2, Tags: 4, ExchangesWaiting: 6, BufferedBytes: 8, MemoryLimit: 10, Pushes: PushCounts{Accepted: 12, Gone: 14, Full: 16},
	}, sum)
}

func TestServeNode(t *testing.T) {
	p := inCluster(t)
	c := p.open(t)
	ask := func(r nodeRequest, body string) nodeAnswer {
		t.Helper()
		answer, refused := p.answerOf(t, append(r.encode(), body...))
		require.False(t, refused)
		return answer
	}
	require.Equal(t, stream.PushAccepted, ask(nodeRequest{Op: opWrite, UUID: c.uuid}, "hello").Result)
	require.Equal(t, stream.PushGone, ask(nodeRequest{Op: opWrite, UUID: stranger}, "hello").Result)
	require.Equal(t, stream.PushGone, ask(nodeRequest{Op: opWrite, UUID: "nonsense"}, "hello").Result)
	require.Equal(t, stream.PushAccepted, ask(nodeRequest{Op: opTag, UUID: c.uuid, Add: []string{"room"}}, "").Result)
	require.Equal(t, "tcp: tag: add[0]: has 0 bytes; want 1 to 128", ask(nodeRequest{Op: opTag, UUID: c.uuid, Add: []string{""}}, "").Error)
	require.Equal(t, &PushCounts{Accepted: 1}, ask(nodeRequest{Op: opBroadcast, Tag: "room"}, "x").Counts)
	require.Contains(t, ask(nodeRequest{Op: opBroadcast}, "x").Error, "missing")
	require.Equal(t, 1, ask(nodeRequest{Op: opStats}, "").Stats.Connections)
	require.Len(t, ask(nodeRequest{Op: opConnections, Query: &nodeQuery{Limit: 1}}, "").Page.Connections, 1)
	require.Len(t, ask(nodeRequest{Op: opConnections, Query: &nodeQuery{}}, "").Page.Connections, 1)
	require.Contains(t, ask(nodeRequest{Op: opConnections, Query: &nodeQuery{Limit: -1}}, "").Error, "limit: is -1")
	require.Contains(t, ask(nodeRequest{Op: opConnections, Query: &nodeQuery{After: "x"}}, "").Error, "after")
	newer, isRefused := p.answerOf(t, wire.AppendHead(nil, []byte(`{"op":"connections","query":{"limit":1,"more":1},"more":1}`)))
	require.False(t, isRefused, "a newer node may send more keys")
	require.Len(t, newer.Page.Connections, 1)
	require.Equal(t, stream.PushAccepted, ask(nodeRequest{Op: opClose, UUID: c.uuid}, "").Result)
	require.True(t, c.isAborted())

	for _, wrong := range [][]byte{nil, {}, {5}, {1, '{'}, []byte("\x02{}"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01{}"),
		nodeRequest{Op: "other"}.encode(), nodeRequest{Op: opConnections}.encode()} {
		_, refused := p.answerOf(t, wrong)
		require.True(t, refused, "%q", wrong)
	}
	for range maxSlowRequests {
		p.slowRequests <- struct{}{}
	}
	_, refused := p.answerOf(t, nodeRequest{Op: opStats}.encode())
	require.True(t, refused, "too many at once")
}

// Tags of other nodes are those of their last request, however many wait for the engine to know them.
func TestManyTagsOfOtherNodes(t *testing.T) {
	p := inCluster(t)
	c := p.open(t)
	for range maxSlowRequests {
		p.slowRequests <- struct{}{}
	}
	tag := func(i int, answer func([]byte)) {
		r := nodeRequest{Op: opTag, UUID: c.uuid, Add: []string{fmt.Sprint(i)}, Remove: []string{fmt.Sprint(i - 1)}}
		p.serveNode(r.encode(), answer)
		require.Equal(t, []string{fmt.Sprint(i)}, p.registry.tagsOf(c), "before the next request")
	}
	answers := make(chan []byte, 100)
	for i := range cap(answers) {
		tag(i, func(b []byte) { answers <- b })
	}
	for range cap(answers) {
		require.Equal(t, nodeAnswer{Result: stream.PushAccepted}.encode(), receive(t, answers))
	}
	for range maxSettling {
		p.settling <- struct{}{}
	}
	tag(cap(answers), func(b []byte) { answers <- b })
	require.Equal(t, nodeAnswer{Result: stream.PushAccepted}.encode(), receive(t, answers), "without waiting for the engine")
}

// A push that waits for its client holds its body, not what stands before it: memory_limit knows the body alone.
func TestShortBodyHoldsNoRequest(t *testing.T) {
	p := inCluster(t)
	c := p.open(t)
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = c.uuid
	}
	for _, test := range []struct {
		request nodeRequest
		want    nodeAnswer
	}{
		{nodeRequest{Op: opBroadcast, UUIDs: ids}, nodeAnswer{Counts: &PushCounts{Accepted: 1}}},
		{nodeRequest{Op: opWrite, UUID: c.uuid}, nodeAnswer{Result: stream.PushAccepted}},
	} {
		encoded := append(test.request.encode(), "hello"...)
		request := new([100_000]byte)
		freed := make(chan struct{}) // closed when nothing holds it any more
		runtime.SetFinalizer(request, func(*[100_000]byte) { close(freed) })
		answer, refused := p.answerOf(t, request[:copy(request[:], encoded)])
		require.False(t, refused)
		require.Equal(t, test.want, answer)
		requireEventually(t, func() bool {
			runtime.GC()
			select {
			case <-freed:
				return true
			default:
				return false
			}
		})
	}
	runtime.KeepAlive(c)
}

func TestPagesFitIntoAMessage(t *testing.T) {
	p := inCluster(t)
	tags := make([]string, 32)
	for i := range tags {
		tags[i] = fmt.Sprintf("%03d%s", i, strings.Repeat("\x01", 125)) // six times as long in JSON
	}
	for range 500 {
		c := p.open(t)
		_, err := p.registry.tag(c.uuid, func([]string) []string { return tags })
		require.NoError(t, err)
	}
	var a nodeAnswer
	b := p.encodePage(ConnectionQuery{Limit: 1000})
	require.LessOrEqual(t, len(b), p.cluster.MaxRequest())
	require.NoError(t, json.Unmarshal(b, &a))
	require.NotEmpty(t, a.Page.Next)
	require.Equal(t, a.Page.Next, a.Page.Connections[len(a.Page.Connections)-1].UUID)
}

// The engine's limit is named, to the byte.
func TestBodiesTooLargeForAnotherNode(t *testing.T) {
	p := inCluster(t)
	const there = "01020304-0506-8000-8000-000000000000"
	limit := p.cluster.MaxRequest() - maxRequestHead
	all := Selector{Server: "a"}
	for name, call := range map[string]func(body []byte) error{
		"write":     func(body []byte) error { _, err := p.Write(there, body, false); return err },
		"broadcast": func(body []byte) error { _, err := p.Broadcast(all, body); return err },
	} {
		require.NoError(t, call(make([]byte, limit)))
		require.EqualError(t, call(make([]byte, limit+1)), fmt.Sprintf(
			"tcp: %s: body: has %d bytes; want %d at most to another node: what connects the nodes takes no more", name, limit+1, limit))
	}
	result, err := p.Write(p.newUUID(), make([]byte, limit+1), false)
	require.NoError(t, err)
	require.Equal(t, stream.PushGone, result, "it goes nowhere")
	_, err = p.Broadcast(Selector{Server: "a", Local: true}, make([]byte, limit+1))
	require.NoError(t, err)
	_, err = p.Tag(there, nil, []string{strings.Repeat("x", p.cluster.MaxRequest())})
	require.ErrorContains(t, err, "tcp: tag: the request has ")
	_, err = p.Broadcast(Selector{Tag: strings.Repeat("x", 10_000)}, make([]byte, limit))
	require.ErrorContains(t, err, "tcp: broadcast: body")
}

func TestUptimeNeedsNoCommonClock(t *testing.T) {
	heard := time.Now().Add(-5 * time.Second)
	require.InDelta(t, 105, nodeOf("x", cluster.Info{Uptime: 100}, heard).Uptime, 1)
}

func TestBroadcastIsSplitByNode(t *testing.T) {
	p := inCluster(t)
	own := p.newUUID()
	var ids []string
	for i := range 30_000 {
		ids = append(ids, fmt.Sprintf("00000000-0001-8000-8000-%012d", i))
	}
	ids = append(ids, own, stranger, "00000000-0002-8000-8000-000000000000", ids[0])
	here, there, err := p.split(Selector{UUIDs: ids, Server: "a"}, nodeRequest{Op: opBroadcast}, p.maxUUIDs(nil, nil))
	require.NoError(t, err)
	require.Equal(t, Selector{UUIDs: []string{own, stranger}, Server: "a"}, here)
	asked := make(map[string]int)
	for _, q := range there {
		r, body, err := decodeRequest(append(q.Request, "body"...))
		require.NoError(t, err)
		require.Equal(t, "body", string(body))
		require.Len(t, r.UUIDs, q.Connections)
		require.True(t, slices.IsSorted(r.UUIDs))
		require.LessOrEqual(t, len(q.Request), p.cluster.MaxRequest())
		asked[q.Node.String()] += q.Connections
	}
	require.Equal(t, map[string]int{"000000000001": 30_000, "000000000002": 1}, asked)
	for _, room := range []int{0, 1, 100, 10_000} {
		body := make([]byte, p.cluster.MaxRequest()-maxRequestHead-room)
		require.NoError(t, p.checkSize(opBroadcast, nil, body))
		_, there, err = p.split(Selector{UUIDs: ids[:1000]}, nodeRequest{Op: opBroadcast}, p.maxUUIDs(nil, body))
		require.NoError(t, err)
		require.Less(t, len(there), 1000/20, "the largest body goes with some uuids, too")
		for _, q := range there {
			require.LessOrEqual(t, len(q.Request)+len(body), p.cluster.MaxRequest())
		}
	}
	// Whatever the head: the largest body for it goes with one uuid at least.
	for size := range 1200 {
		request := nodeRequest{Op: opBroadcast, Server: strings.Repeat("x", size)}
		head := request.encode()
		body := make([]byte, p.cluster.MaxRequest()-roomFor(head))
		_, there, err = p.split(Selector{UUIDs: ids[:30]}, request, p.maxUUIDs(head, body))
		require.NoError(t, err)
		for _, q := range there {
			require.LessOrEqual(t, len(q.Request)+len(body), p.cluster.MaxRequest(), size)
		}
	}
	_, _, err = p.split(Selector{UUIDs: []string{"7"}}, nodeRequest{}, 1)
	require.ErrorContains(t, err, "uuids[0]")
}

func BenchmarkNewUUID(b *testing.B) {
	alone := &Server{}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_ = alone.newUUID()
		}
	})
	b.Run("without this", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_ = uuid.NewString()
		}
	})
	p := inCluster(b)
	b.Run("cluster", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_ = p.newUUID()
		}
	})
}
