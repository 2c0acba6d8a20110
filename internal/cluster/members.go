package cluster

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	helloInterval = time.Second
	// absentAfter is how long a node is not heard until it is no longer certain that it is there: two greetings are missing.
	absentAfter = 3 * helloInterval
	// silentAfter is how long a node is not heard until nobody waits for its answers any more; forgetAfter, until it is no node.
	silentAfter = 5 * time.Second
	forgetAfter = 30 * time.Second
	// leavingFor is how long after a node has said that it leaves it may still be subscribed.
	leavingFor = time.Second
	// maxMembers bounds the nodes that are known, maxHello what each tells of itself, in bytes: whoever may publish can name nodes.
	maxMembers = 1000
	maxHello   = 32 << 10
	// maxAddress bounds the addresses that a node tells of itself: JSON may make them six times as long.
	maxAddress = 4 << 10
	// settleTime is how long after a connection to the engine the other nodes may still have to find it again.
	settleTime = 5 * time.Second
)

// Info is what a node tells of itself.
type Info struct {
	Version     string `json:"version"`
	Host        string `json:"host"`
	Address     string `json:"address"`
	Connections int    `json:"connections"`
	Uptime      int64  `json:"uptime"` // seconds; not a time, which other nodes' clocks may not share
}

// Member is another node.
type Member struct {
	Node  NodeID
	Info  Info
	Heard time.Time
}

type hello struct {
	Info
	Instance string `json:"instance"`
}

// members are the other nodes that were heard.
type members struct {
	mu    sync.Mutex
	all   map[NodeID]*member
	hangs map[NodeID]time.Time // when one that is not known did not answer; within silentAfter, or a little longer
}

type member struct {
	Member
	instance string
	nobody   bool // it was not subscribed when it was asked last; false as soon as it is heard
	left     bool // it has said so: it is no member, but kept for forgetAfter
}

// Members returns the other nodes in the order of their ids.
func (c *Cluster) Members() []Member {
	m := &c.members
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Member, 0, len(m.all))
	for _, member := range m.all {
		if !member.left {
			list = append(list, member.Member)
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return slices.Compare(a.Node[:], b.Node[:]) })
	return list
}

// heard notes that a node is there.
func (m *members) heard(node NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[node]; known != nil && !known.left {
		known.Heard, known.nobody = time.Now(), false
	}
}

// put notes what a node says of itself. isNew: it was not known; ok is false where there are too many. What a node has sent before it
// left, but comes behind that, changes nothing.
func (m *members) put(node NodeID, h hello) (isNew, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = make(map[NodeID]*member)
	}
	known := m.all[node]
	switch {
	case known == nil && len(m.all) >= maxMembers:
		return false, false
	case known != nil && known.left && known.instance == h.Instance:
		return false, true
	}
	m.all[node] = &member{Member: Member{node, h.Info, time.Now()}, instance: h.Instance}
	return known == nil || known.left, true
}

// leave notes that a node has said that it leaves; false: it was not known, or it is another instance that is there. An empty one is any.
func (m *members) leave(node NodeID, instance string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[node]
	if known == nil || known.left || instance != "" && instance != known.instance {
		return false
	}
	known.left, known.Heard = true, time.Now()
	return true
}

// isLeaving reports whether the node has said a moment ago that it leaves. Later its name may be that of a new node.
func (m *members) isLeaving(node NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[node]
	return known != nil && known.left && time.Since(known.Heard) < leavingFor
}

// noAnswer notes that nodes did not answer within the timeout, nor the engine that they are not there. One that hangs may be forgotten, but
// not every call is to wait for it. What one call has asked, which may be very many, comes at once.
func (m *members) noAnswer(nodes ...NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hangs == nil {
		m.hangs = make(map[NodeID]time.Time)
	}
	maps.DeleteFunc(m.hangs, func(_ NodeID, at time.Time) bool { return time.Since(at) > silentAfter })
	for _, node := range nodes {
		m.hangs[node] = time.Now()
	}
}

// isSilent reports whether the node is known, but was not heard lately, or did not answer lately and is not known.
func (m *members) isSilent(node NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[node]
	if known == nil {
		return time.Since(m.hangs[node]) < silentAfter
	}
	return !known.left && (known.nobody || time.Since(known.Heard) > silentAfter)
}

// find reports whether the node is known and has not left, and whether it is certainly there: it was heard a moment ago, and since
// that time.
func (m *members) find(node NodeID, since time.Time) (isMember, isThere bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[node]
	isMember = known != nil && !known.left
	return isMember, isMember && time.Since(known.Heard) < absentAfter && known.Heard.After(since)
}

// nobodyAt notes that a node is not subscribed. It may come back if it is one and has not left.
func (m *members) nobodyAt(node NodeID) (isMember, hasLeft bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[node]
	if known == nil {
		return false, false
	}
	known.nobody = true
	return !known.left, known.left
}

// forget removes the nodes that were not heard for long, and returns those that had not left.
func (m *members) forget() (lost []NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for node, known := range m.all {
		if time.Since(known.Heard) <= forgetAfter {
			continue
		}
		delete(m.all, node)
		if !known.left {
			lost = append(lost, node)
		}
	}
	return lost
}

// sayHello tells the others that this node is there, until it stops, and forgets those that do not.
func (c *Cluster) sayHello() {
	defer c.running.Done()
	ticker := time.NewTicker(helloInterval)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		if c.IsConnected() { // whoever hears it knows that this node is subscribed
			c.hello(allSubject)
		}
		if c.connectedFor() < forgetAfter {
			continue // it is this node that hears nobody
		}
		for _, node := range c.members.forget() {
			c.Log.Warn("cluster: a node was not heard for long and is forgotten", slog.String("node", node.String()))
		}
	}
}

func (c *Cluster) hello(subject string) {
	info := c.Describe()
	if len(info.Address) > maxAddress {
		info.Address = info.Address[:maxAddress] + "…"
	}
	body, _ := json.Marshal(hello{info, c.instance}) // texts and numbers can't fail
	c.outbox.put(outgoing{subject: subject, message: c.message(kindHello, 0, body), deadline: time.Now().Add(c.timeout)})
}

// metNode is told what a node says of itself; false: it is garbage, or of too many.
func (c *Cluster) metNode(node NodeID, body []byte) bool {
	var h hello
	if len(body) > maxHello || json.Unmarshal(body, &h) != nil {
		return false
	}
	if node == c.node {
		if h.Instance != c.instance {
			c.twins.Do(func() {
				c.Log.Error("cluster: another node has the same tcp.cluster.node; give each its own", slog.String("address", h.Address))
			})
		}
		return true
	}
	isNew, ok := c.members.put(node, h)
	if isNew {
		c.Log.Info("cluster: a node is there", slog.String("node", node.String()), slog.String("address", h.Address))
		if c.IsConnected() { // else this node may not be subscribed to everything yet; it will tell all of them
			c.hello(nodeSubject(node))
		}
	}
	return ok
}
