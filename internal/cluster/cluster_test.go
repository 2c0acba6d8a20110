package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// bus is an engine in memory.
type bus struct {
	mu    sync.Mutex
	nodes map[string][]*busNode // by subject
	stuck chan struct{}         // if not nil: publish waits until it is closed
	heard []outgoing            // what was published
	limit int                   // of a message
}

// busNode is one node's part of a bus.
type busNode struct {
	bus *bus
	to  receiver
}

func (n *busNode) start() error { go n.to.up("bus"); return nil }

func (n *busNode) publish(batch []outgoing) {
	n.bus.mu.Lock()
	stuck := n.bus.stuck
	n.bus.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	for _, m := range batch {
		n.bus.mu.Lock()
		n.bus.heard = append(n.bus.heard, outgoing{subject: m.subject, message: slices.Clone(m.whole()), call: m.call})
		nodes := slices.Clone(n.bus.nodes[m.subject])
		n.bus.mu.Unlock()
		for _, node := range nodes {
			node.to.received(slices.Clone(m.whole()))
		}
		if len(nodes) == 0 && m.call != 0 {
			n.to.nobody(m.call)
		}
	}
}

func (n *busNode) subscribe(subjects []string) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	for _, s := range subjects {
		n.bus.nodes[s] = append(n.bus.nodes[s], n)
	}
}

func (n *busNode) unsubscribe(subjects []string) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	for _, s := range subjects {
		n.bus.nodes[s] = slices.DeleteFunc(n.bus.nodes[s], func(other *busNode) bool { return other == n })
	}
}

func (n *busNode) settle(context.Context) {}
func (n *busNode) maxMessage() int {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	return n.bus.limit
}

func (n *busNode) close() {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	for s := range n.bus.nodes {
		n.bus.nodes[s] = slices.DeleteFunc(n.bus.nodes[s], func(other *busNode) bool { return other == n })
	}
}

func newBus() *bus { return &bus{nodes: make(map[string][]*busNode), limit: 1000} }

// join starts a node that answers with what it is asked, unless serve is given.
func (b *bus) join(t *testing.T, name string, timeout time.Duration, serve func([]byte, func([]byte))) (*Cluster, *logtest.Log) {
	t.Helper()
	log, logs := logtest.New(slog.LevelInfo)
	if serve == nil {
		serve = func(request []byte, answer func([]byte)) { answer(request) }
	}
	config := &settings.Cluster{Name: "test", Node: name, Timeout: &timeout, Redis: &settings.Redis{Addrs: []string{"127.0.0.1:1"}}}
	c := New(Options{
		Config: config, Log: log, Serve: serve, Took: func(time.Duration) {},
		Describe: func() Info { return Info{Address: name} },
	})
	c.engine.close()
	c.engine = &busNode{b, c}
	require.NoError(t, c.Start())
	t.Cleanup(c.Stop)
	require.Eventually(t, c.IsConnected, patience, time.Millisecond)
	return c, logs
}

// know waits until each of the nodes knows the others.
func know(t *testing.T, nodes ...*Cluster) {
	t.Helper()
	for _, c := range nodes {
		require.Eventually(t, func() bool { return len(c.Members()) == len(nodes)-1 }, patience, time.Millisecond)
	}
}

func TestAsk(t *testing.T) {
	b := newBus()
	one, logs := b.join(t, "one", patience, nil)
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	require.Equal(t, "two", one.Members()[0].Info.Address)
	ask := func(c *Cluster, q Question) Answer { return c.Ask(nil, q)[0] }
	require.Equal(t, Answer{Node: two.Node(), Body: []byte("hello")}, ask(one, Question{Node: two.Node(), Request: []byte("hello")}))
	require.Equal(t, "hello you", string(one.Ask([]byte(" you"), Question{Node: two.Node(), Request: []byte("hello")})[0].Body))
	require.Positive(t, two.counters.In.Load())
	require.Zero(t, two.counters.Failed.Load())
	require.Nil(t, one.Ask(nil))

	tagged := Question{Node: two.Node(), Tag: "room", Request: []byte("x")}
	require.Equal(t, ErrGone, ask(one, tagged).Err, "it does not have the tag")
	two.HasTag("room")
	two.SettleTags()
	require.NoError(t, ask(one, tagged).Err)
	require.Equal(t, 3, two.Subscriptions())
	two.HasNoTag("room")
	two.SettleTags()
	require.Equal(t, ErrGone, ask(one, tagged).Err)
	require.Equal(t, 2, two.Subscriptions())

	one.mu.Lock()
	one.connected = time.Now().Add(-settleTime)
	one.mu.Unlock()
	require.Equal(t, ErrGone, ask(one, Question{Node: NodeID{7}}).Err)
	two.Stop()
	require.Equal(t, ErrGone, ask(one, Question{Node: two.Node()}).Err, "it has said so")
	require.Len(t, logs.Saying("a node is there"), 1)
	require.Eventually(t, func() bool { return len(logs.Saying("a node has left")) == 1 }, patience, time.Millisecond)
	require.Equal(t, ErrUnreachable, ask(two, Question{Node: one.Node()}).Err)
}

// A node that was heard may only have lost the engine.
func TestNobodyIsUnreachableAtFirst(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	one.mu.Lock()
	one.connected = time.Now().Add(patience)
	one.mu.Unlock()
	require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: NodeID{7}})[0].Err, "this node has just found the engine")
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	two.engine.close()
	one.mu.Lock()
	one.connected = time.Now().Add(-settleTime)
	one.mu.Unlock()
	for range 2 {
		require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: two.Node()})[0].Err)
	}
	one.members.all[two.Node()].Heard = time.Now().Add(-forgetAfter - time.Second)
	require.Equal(t, []NodeID{two.Node()}, one.members.forget())
	require.Equal(t, ErrGone, one.Ask(nil, Question{Node: two.Node()})[0].Err)
}

// A node that may be away may have the tag.
func TestTagsOfNodesThatMayBeAway(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	node := NodeID{7}
	ask := func() error { return one.Ask(nil, Question{Node: node, Tag: "room"})[0].Err }
	one.members.put(node, hello{})
	require.Equal(t, ErrGone, ask())
	one.members.mu.Lock()
	one.members.all[node].Heard = time.Now().Add(-absentAfter)
	one.members.mu.Unlock()
	require.Equal(t, ErrUnreachable, ask())
	one.members.heard(node)
	require.Equal(t, ErrGone, ask())
	one.down(errors.New("the engine is lost"))
	one.up("bus")
	require.Equal(t, ErrUnreachable, ask(), "it may still have to find the engine")
	one.members.heard(node)
	require.Equal(t, ErrGone, ask())
	one.members.leave(node, "")
	require.Equal(t, ErrGone, ask())
	require.Equal(t, ErrGone, one.Ask(nil, Question{Node: NodeID{8}, Tag: "room"})[0].Err, "it is no node any more")
}

// However many messages wait, and go on to come: tags are subscribed between two batches.
func TestTagsDoNotWaitForMessages(t *testing.T) {
	b := newBus()
	stuck := make(chan struct{})
	b.stuck = stuck
	served := make(chan struct{}, 1)
	one, _ := b.join(t, "one", patience, func([]byte, func([]byte)) { served <- struct{}{} })
	require.Eventually(t, func() bool { return one.counters.Out.Load() > 0 }, patience, time.Millisecond, "the engine is stuck with hello")
	for range maxBatch {
		one.outbox.put(outgoing{subject: "nobody"})
	}
	one.HasTag("room")
	one.outbox.put(outgoing{
		subject: tagSubject(hashOf("room"), one.node), message: (&Cluster{node: NodeID{9}}).message(kindAsk, 1, nil),
	})
	close(stuck)
	select {
	case <-served:
	case <-time.After(patience):
		require.Fail(t, "the node is not subscribed")
	}
}

// A node that finds the engine again is subscribed to one tag after the other: whom it answers by one may look for another one.
func TestNodesThatSubscribeAreNotThereYet(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	node := NodeID{7}
	one.members.put(node, hello{})
	answer := func(tag string) {
		one.members.mu.Lock()
		one.members.all[node].Heard = time.Now().Add(-absentAfter)
		one.members.mu.Unlock()
		a := one.calls.open(node, tag)
		one.received((&Cluster{node: node}).message(kindAnswer, a.id, nil))
	}
	ask := func() error { return one.Ask(nil, Question{Node: node, Tag: "room"})[0].Err }
	answer("hall")
	require.Equal(t, ErrUnreachable, ask())
	answer("")
	require.Equal(t, ErrGone, ask(), "its own subject comes last")
}

// Who is new is told of a node when it is subscribed to everything.
func TestNodesThatSubscribeSayNothingYet(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	one.down(errors.New("the engine is lost"))
	saidAll := func(last string) {
		one.outbox.put(outgoing{subject: last})
		require.Eventually(t, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.ContainsFunc(b.heard, func(m outgoing) bool { return m.subject == last })
		}, patience, time.Millisecond)
	}
	saidAll("before")
	two, _ := b.join(t, "two", patience, nil)
	require.Eventually(t, func() bool { return len(one.Members()) == 1 }, patience, time.Millisecond)
	saidAll("behind")
	require.Empty(t, two.Members())
	one.up("bus")
	know(t, one, two)
}

// A node that the engine does not see may be at another part of it: its answer is waited for, if it was heard a moment ago.
func TestUnseenNodesMayAnswer(t *testing.T) {
	one, _ := newBus().join(t, "one", patience, nil)
	node := NodeID{7}
	one.members.put(node, hello{})
	for _, tag := range []string{"", "room"} {
		a := one.calls.open(node, tag)
		one.unseen(a.id)
		one.received((&Cluster{node: node}).message(kindAnswer, a.id, []byte("hello")))
		require.Equal(t, "hello", string(a.body))

		a = one.calls.open(node, tag)
		one.members.mu.Lock()
		one.members.all[node].Heard = time.Now().Add(-absentAfter)
		one.members.mu.Unlock()
		one.unseen(a.id)
		require.Equal(t, ErrUnreachable, a.err)
		one.members.heard(node)
	}
	one.members.leave(node, "")
	a := one.calls.open(node, "room")
	one.unseen(a.id)
	require.Equal(t, ErrGone, a.err)
}

func TestTimeout(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", 50*time.Millisecond, nil)
	two, _ := b.join(t, "two", patience, func([]byte, func([]byte)) {})
	refuses, _ := b.join(t, "three", patience, func(_ []byte, answer func([]byte)) { answer(nil) })
	know(t, one, two, refuses)
	for _, a := range one.Ask(nil, Question{Node: two.Node()}, Question{Node: refuses.Node()}, Question{Node: two.Node()}) {
		require.Equal(t, ErrUnreachable, a.Err)
	}
	require.Empty(t, one.calls.all)
}

// A node that hangs is forgotten, but still subscribed: one call waits for it now and then.
func TestNotAllCallsWaitForANodeThatHangs(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", 50*time.Millisecond, nil)
	var heard atomic.Int32
	hangs := NodeID{9}
	(&busNode{b, &ear{onReceived: func() { heard.Add(1) }}}).subscribe([]string{nodeSubject(hangs)})
	ask := func(node NodeID) *call { return one.ask(nil, []Question{{Node: node}}, time.Now().Add(patience))[0] }
	waits := func(a *call) bool {
		select {
		case <-a.done:
			return false
		default:
			return true
		}
	}

	require.True(t, waits(ask(hangs)))
	one.calls.failAll()
	require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: hangs})[0].Err)
	a := ask(hangs)
	require.False(t, waits(a))
	require.Equal(t, ErrUnreachable, a.err)
	require.Eventually(t, func() bool { return heard.Load() == 3 }, patience, time.Millisecond, "it is asked in any case")

	for _, long := range []time.Duration{silentAfter, 2 * silentAfter} {
		one.members.hangs[hangs] = time.Now().Add(-long)
		require.True(t, waits(ask(hangs)))
	}
	one.members.noAnswer(NodeID{8})
	require.Len(t, one.members.hangs, 1)
	one.members.noAnswer(hangs)
	one.members.put(hangs, hello{})
	require.True(t, waits(ask(hangs)), "it is there")
}

// Who may publish can name any call, but answers none that another node was asked.
func TestAnswersOfOtherNodesAreGarbage(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	two, _ := b.join(t, "two", patience, func(_ []byte, reply func([]byte)) {
		go func() {
			close(asked)
			<-answer
			reply([]byte("two"))
		}()
	})
	know(t, one, two)
	answered := make(chan Answer)
	go func() { answered <- one.Ask(nil, Question{Node: two.Node()})[0] }()
	<-asked
	one.calls.mu.Lock()
	id := one.calls.last
	one.calls.mu.Unlock()
	before := one.counters.Refused.Load()
	for _, k := range []kind{kindAnswer, kindRefused} {
		one.received((&Cluster{node: NodeID{9}}).message(k, id, []byte("nine")))
	}
	require.Equal(t, before+2, one.counters.Refused.Load())
	close(answer)
	require.Equal(t, Answer{Node: two.Node(), Body: []byte("two")}, <-answered)
}

// What a node hears of itself, as from a topic of all, is nothing new.
func TestOwnMessagesAreIgnored(t *testing.T) {
	one, logs := newBus().join(t, "one", patience, func([]byte, func([]byte)) { t.Error("it asks itself") })
	body, err := json.Marshal(hello{one.Describe(), one.instance})
	require.NoError(t, err)
	one.received(one.message(kindHello, 0, body))
	require.Empty(t, logs.Saying("same tcp.cluster.node"))
	require.Empty(t, one.Members())
	for _, k := range []kind{kindAsk, kindBye, kindAnswer, 99} {
		one.received(one.message(k, 0, nil))
	}
	require.Zero(t, one.counters.Refused.Load())
}

// A node that is not there is no failure of the cluster.
func TestFailedCountsUnreachableNodes(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	one.received(two.message(kindBye, 0, nil))
	one.members.mu.Lock()
	one.members.all[two.node].Heard = time.Now().Add(patience) // a moment that is long enough
	one.members.mu.Unlock()
	require.ErrorIs(t, one.Ask(nil, Question{Node: two.Node()})[0].Err, ErrGone)
	require.Zero(t, one.counters.Failed.Load())
	one.mu.Lock()
	one.connected = time.Now().Add(patience)
	one.mu.Unlock()
	require.ErrorIs(t, one.Ask(nil, Question{Node: NodeID{7}})[0].Err, ErrUnreachable, "this node has just found the engine")
	require.Eventually(t, func() bool { return one.counters.Failed.Load() == 1 }, patience, time.Millisecond) // counted behind the answer
}

func TestLeavingEndsCalls(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	asked := make(chan struct{})
	two, _ := b.join(t, "two", patience, func([]byte, func([]byte)) { close(asked) })
	answers := make(chan func([]byte), 1)
	three, _ := b.join(t, "three", patience, func(_ []byte, answer func([]byte)) { answers <- answer })
	know(t, one, two, three)
	other := make(chan Answer)
	go func() { other <- one.Ask(nil, Question{Node: three.Node()})[0] }()
	answer := <-answers
	go func() {
		<-asked
		two.Stop()
	}()
	require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: two.Node()})[0].Err, "before the timeout")
	answer([]byte("three"))
	require.Equal(t, Answer{Node: three.Node(), Body: []byte("three")}, <-other)
}

// What was published may be lost with the engine: nobody waits for the timeout, nor when this node stops.
func TestLossEndsCalls(t *testing.T) {
	for name, end := range map[string]func(*Cluster){
		"the engine is lost": func(c *Cluster) { c.down(errors.New("of a test")) },
		"the node stops":     (*Cluster).Stop,
	} {
		b := newBus()
		one, _ := b.join(t, "one", patience, nil)
		asked := make(chan struct{})
		two, _ := b.join(t, "two", patience, func([]byte, func([]byte)) { close(asked) })
		know(t, one, two)
		go func() {
			<-asked
			end(one)
		}()
		begin := time.Now()
		require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: two.Node()})[0].Err, name)
		require.Less(t, time.Since(begin), patience, name)
		require.Equal(t, ErrUnreachable, one.Ask(nil, Question{Node: two.Node()})[0].Err, name)
	}
}

func TestTroubleIsLoggedRarely(t *testing.T) {
	one, logs := newBus().join(t, "one", patience, nil)
	for range 3 {
		one.trouble(errors.New("of a test"))
		one.unusable(errors.New("of a test"))
		one.down(errors.New("of a test"))
	}
	require.Len(t, logs.Saying("the engine refuses something"), 1)
	require.Len(t, logs.Saying("a renewed certificate can't be used"), 1)
	require.Len(t, logs.Saying("the engine can't be reached"), 1)
	one.mu.Lock()
	one.troubled["cluster: the engine refuses something"] = time.Now().Add(-2 * troubleInterval)
	one.mu.Unlock()
	one.trouble(errors.New("of a test"))
	require.Len(t, logs.Saying("the engine refuses something"), 2)
}

// Tags come and go for years.
func TestTagsLeaveNothingBehind(t *testing.T) {
	one, _ := newBus().join(t, "one", patience, nil)
	for _, tag := range []string{"a", "b", "c"} {
		one.HasTag(tag)
		one.SettleTags()
		one.HasNoTag(tag)
		one.SettleTags()
	}
	for range 100 { // some of them before anything is subscribed
		one.HasTag("d")
		one.HasNoTag("d")
	}
	one.SettleTags()
	one.tags.mu.Lock()
	defer one.tags.mu.Unlock()
	require.Empty(t, one.tags.count)
	require.Empty(t, one.tags.subscribed)
	require.Nil(t, one.tags.changed, "not even the room of very many that have changed at once")
}

func TestMembersComeBack(t *testing.T) {
	var m members
	node := NodeID{1}
	heard := func(ago time.Duration) { m.all[node].Heard = time.Now().Add(-ago) }
	isNew, ok := m.put(node, hello{Instance: "first"})
	require.True(t, isNew && ok)
	heard(-patience)
	require.False(t, m.isSilent(node))
	m.nobodyAt(node)
	require.True(t, m.isSilent(node), "it was not subscribed when it was asked last")
	m.heard(node)
	heard(-patience)
	require.False(t, m.isSilent(node))
	heard(silentAfter)
	require.True(t, m.isSilent(node))

	require.True(t, m.leave(node, ""))
	require.False(t, m.isSilent(node), "it has left")
	heard(-patience)
	require.True(t, m.isLeaving(node))
	heard(leavingFor)
	require.False(t, m.isLeaving(node), "its name may be that of a new node")
	isNew, ok = m.put(node, hello{Instance: "first"})
	require.True(t, !isNew && ok, "sent before it left")
	isNew, ok = m.put(node, hello{Instance: "second"})
	require.True(t, isNew && ok)

	heard(-patience)
	require.Empty(t, m.forget())
	heard(forgetAfter + time.Second)
	require.Equal(t, []NodeID{node}, m.forget())
	m.put(node, hello{Instance: "third"})
	m.leave(node, "")
	heard(forgetAfter + time.Second)
	require.Empty(t, m.forget(), "it is not lost")
	require.Empty(t, m.all)
}

// The start before of a node may leave when the next one, with the same name, is there already.
func TestNodesLeaveForThemselves(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	before, _ := b.join(t, "same", patience, nil)
	before.Stop()
	b.mu.Lock()
	i := slices.IndexFunc(b.heard, func(m outgoing) bool { return kind(m.message[3]) == kindBye })
	bye := b.heard[i].message
	b.mu.Unlock()

	next, _ := b.join(t, "same", patience, nil)
	know(t, one, next)
	one.received(bye)
	require.Len(t, one.Members(), 1)
	next.Stop()
	require.Empty(t, one.Members())

	next, _ = b.join(t, "same", patience, nil)
	know(t, one, next)
	one.received(before.message(kindBye, 0, nil))
	require.Empty(t, one.Members(), "version 0.9.0 says no more")
}

// That a node leaves is told behind whatever waits for the engine.
func TestNodesLeaveWithAFullBacklog(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	stuck := make(chan struct{})
	b.mu.Lock()
	b.stuck = stuck
	b.mu.Unlock()
	for _, size := range []int{1 << 20, 0} {
		for one.outbox.put(outgoing{subject: "nobody", message: make([]byte, size)}) {
		}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		one.Stop()
	}()
	require.Eventually(t, func() bool {
		one.outbox.mu.Lock()
		defer one.outbox.mu.Unlock()
		return one.outbox.closed
	}, patience, time.Millisecond)
	b.mu.Lock()
	b.stuck = nil
	b.mu.Unlock()
	close(stuck)
	<-stopped
	require.Empty(t, two.Members())
}

// A node that has left is still subscribed for a moment, but answers no more.
func TestNodesThatHaveLeftAreNotAsked(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	two, _ := b.join(t, "two", patience, func([]byte, func([]byte)) { t.Error("it is asked") })
	three, _ := b.join(t, "three", patience, nil)
	know(t, one, two, three)
	one.received(two.message(kindBye, 0, nil))
	one.members.mu.Lock()
	one.members.all[two.node].Heard = time.Now().Add(patience) // a moment that is long enough
	one.members.mu.Unlock()
	answers := one.Ask(nil, Question{Node: two.node, Request: []byte("x")}, Question{Node: three.node, Request: []byte("y")})
	require.ErrorIs(t, answers[0].Err, ErrGone)
	require.NoError(t, answers[1].Err)
	require.Equal(t, "y", string(answers[1].Body))
}

func TestOtherVersionsAreRefused(t *testing.T) {
	b := newBus()
	one, logs := b.join(t, "one", patience, func([]byte, func([]byte)) { t.Error("it is served") })
	from := NodeID{9}
	for range 3 {
		m := (&Cluster{node: from}).message(kindAsk, 5, nil)
		m[2] = 2
		one.received(m)
	}
	require.EqualValues(t, 3, one.Counters().Refused.Load())
	require.Equal(t, 1, len(logs.Saying("another version")))
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.ContainsFunc(b.heard, func(m outgoing) bool {
			h, _, ok := parse(m.message)
			return ok && m.subject == nodeSubject(from) && h.kind == kindRefused && h.call == 5
		})
	}, patience, time.Millisecond)

	a := one.calls.open(from, "")
	m := (&Cluster{node: from}).message(kindRefused, a.id, nil)
	m[2] = 2
	one.received(m)
	require.Equal(t, ErrUnreachable, a.err, "another version's refusal is understood")
}

func TestTwinsAreReported(t *testing.T) {
	b := newBus()
	_, logs := b.join(t, "same", patience, nil)
	b.join(t, "same", patience, nil)
	require.Eventually(t, func() bool { return len(logs.Saying("same tcp.cluster.node")) == 1 }, patience, time.Millisecond)
}

// An answer for another node with the same name, or for the start before of this one, is not taken for that of a call of this one.
func TestTwinsGetTheirOwnAnswers(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "same", patience, nil)
	twin, _ := b.join(t, "same", patience, nil)
	asked := make(chan func(), 2)
	two, _ := b.join(t, "two", patience, func(request []byte, answer func([]byte)) {
		asked <- func() { answer(request) }
	})
	know(t, one, two)
	know(t, twin, two)
	answers := make(chan [2]string)
	for _, c := range []*Cluster{one, twin} {
		go func() {
			a := c.Ask(nil, Question{Node: two.node, Request: []byte(c.instance)})[0]
			answers <- [...]string{c.instance, string(a.Body)}
		}()
	}
	first, second := <-asked, <-asked
	first()
	second()
	for range 2 {
		answer := <-answers
		require.Equal(t, answer[0], answer[1])
	}
}

func TestBacklogIsBounded(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", 300*time.Millisecond, nil)
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	b.mu.Lock()
	b.stuck = make(chan struct{})
	b.mu.Unlock()
	one.hello("nobody")
	require.Eventually(t, func() bool { // the engine is stuck with it
		one.outbox.mu.Lock()
		defer one.outbox.mu.Unlock()
		return len(one.outbox.queue) == 0
	}, patience, time.Millisecond)
	request := make([]byte, 1<<20)
	var asking sync.WaitGroup
	results := make(chan error, 32)
	for range cap(results) {
		asking.Add(1)
		go func() {
			defer asking.Done()
			results <- one.Ask(nil, Question{Node: two.Node(), Request: request})[0].Err
		}()
	}
	asking.Wait()
	close(results)
	full := 0
	for err := range results {
		if errors.Is(err, ErrFull) {
			full++
		} else {
			require.Equal(t, ErrUnreachable, err)
		}
	}
	require.GreaterOrEqual(t, full, cap(results)-maxBacklog/len(request)-1)
	one.outbox.mu.Lock()
	require.LessOrEqual(t, one.outbox.bytes, maxBacklog)
	one.outbox.mu.Unlock()

	b.mu.Lock()
	close(b.stuck)
	b.stuck, b.heard = nil, nil
	b.mu.Unlock()
	require.Eventually(t, func() bool {
		one.outbox.mu.Lock()
		defer one.outbox.mu.Unlock()
		return one.outbox.bytes == 0
	}, patience, time.Millisecond)
	require.Eventually(t, func() bool { // which has 300 ms
		return one.Ask(nil, Question{Node: two.Node()})[0].Err == nil
	}, patience, time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.heard {
		require.Less(t, len(m.message), len(request), "nobody waits for it any more")
	}
}

func TestBodyCountsOnce(t *testing.T) {
	b := newBacklog()
	body := make([]byte, maxRequest)
	messages := make([]outgoing, 1000)
	for i := range messages {
		messages[i] = outgoing{message: make([]byte, 100), body: body}
	}
	require.Equal(t, len(messages), b.putAll(messages), "a broadcast to many nodes")
	require.Equal(t, len(body)+len(messages)*(100+overhead), b.bytes)
	require.Zero(t, b.putAll([]outgoing{{body: body}}))
	taken := 0
	for batch := b.take(); len(batch) > 0; batch = b.take() {
		require.Len(t, batch, 1, "a batch is copied as a whole")
		require.GreaterOrEqual(t, b.bytes, len(body), "until the last one is done")
		b.done(batch)
		taken++
	}
	require.Equal(t, len(messages), taken)
	require.Zero(t, b.bytes)

	for i := range messages {
		messages[i].body = nil
		messages[i].message = body[:1<<20]
	}
	require.Equal(t, maxBacklog>>20-1, b.putAll(messages), "the first of them")
	require.Len(t, b.take(), 2)
}

func TestLargestRequest(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	two, _ := b.join(t, "two", patience, nil)
	know(t, one, two)
	require.Equal(t, 1000-headerSize, one.MaxRequest())
	b.mu.Lock()
	b.limit = 64 << 20
	b.mu.Unlock()
	require.Equal(t, maxRequest, one.MaxRequest(), "such that the backlog can hold it")
	body := make([]byte, maxRequest)
	require.NoError(t, one.Ask(body, Question{Node: two.Node()})[0].Err)
}

func TestMembersAreBounded(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	tell := func(node NodeID, h hello) {
		body, err := json.Marshal(h)
		require.NoError(t, err)
		one.received((&Cluster{node: node}).message(kindHello, 0, body))
	}
	tell(NodeID{1}, hello{Info{Address: strings.Repeat("x", maxHello)}, "large"})
	require.Empty(t, one.Members())
	for i := range maxMembers + 10 {
		tell(NodeID{1, byte(i >> 8), byte(i)}, hello{Instance: "x"})
	}
	require.Len(t, one.Members(), maxMembers)
	require.EqualValues(t, 11, one.Counters().Refused.Load())

	one.received((&Cluster{node: NodeID{1}}).message(kindBye, 0, nil))
	require.Len(t, one.Members(), maxMembers-1)
	tell(NodeID{1}, hello{Instance: "x"})
	require.Len(t, one.Members(), maxMembers-1, "it was sent before the node left")
	tell(NodeID{1}, hello{Instance: "y"})
	require.Len(t, one.Members(), maxMembers, "it has started again")
}

// A node may have thousands of servers, or paths of sockets that JSON makes six times as long.
func TestNodesWithManyAddresses(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", patience, nil)
	two, _ := b.join(t, strings.Repeat("\x01", 2*maxHello), patience, nil)
	know(t, one, two)
	require.Equal(t, two.Describe().Address[:maxAddress]+"…", one.Members()[0].Info.Address)
}

// Nobody waits for an old answer: a node that stops beside an engine that is stuck does not send it.
func TestAnswersExpire(t *testing.T) {
	b := newBus()
	one, _ := b.join(t, "one", time.Millisecond, nil)
	b.mu.Lock()
	b.stuck = make(chan struct{})
	b.mu.Unlock()
	one.hello("nobody")
	for range 1000 {
		one.received((&Cluster{node: NodeID{9}}).message(kindAsk, 5, nil))
	}
	time.Sleep(2 * time.Millisecond)
	b.mu.Lock()
	close(b.stuck)
	b.stuck = nil
	b.mu.Unlock()
	one.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	answers := slices.DeleteFunc(b.heard, func(m outgoing) bool { return m.subject != nodeSubject(NodeID{9}) })
	require.LessOrEqual(t, len(answers), maxBatch, "those that the engine was about to take")
}

func TestParse(t *testing.T) {
	c := &Cluster{node: newNodeID("a name")}
	require.Equal(t, newNodeID("a name"), c.node)
	require.NotEqual(t, newNodeID(""), newNodeID(""))
	m := c.message(kindAsk, 1<<63+7, []byte("body"))
	h, body, ok := parse(m)
	require.True(t, ok)
	require.Equal(t, header{version: version, kind: kindAsk, from: c.node, call: 1<<63 + 7}, h)
	require.Equal(t, "body", string(body))
	for n := range headerSize {
		_, _, ok = parse(m[:n])
		require.False(t, ok)
	}
	_, body, ok = parse(m[:headerSize])
	require.True(t, ok)
	require.Empty(t, body)
}

func FuzzReceived(f *testing.F) {
	c := &Cluster{node: NodeID{1}}
	body, _ := json.Marshal(hello{Info{Address: "x"}, "y"})
	for k := kindHello; k <= kindRefused+1; k++ {
		f.Add(c.message(k, 1, body))
	}
	f.Add([]byte("rr"))
	log, _ := logtest.New(slog.LevelError)
	f.Fuzz(func(_ *testing.T, message []byte) {
		c := &Cluster{Options: Options{
			Log: log, Describe: func() Info { return Info{} }, Serve: func(request []byte, answer func([]byte)) { answer(request) },
		}, node: NodeID{2}}
		c.outbox = newBacklog()
		c.received(message)
	})
}
