package server

import (
	"sync/atomic"

	"github.com/rrtcp/tcp/internal/stream"
)

// PushResult is what became of a push: accepted, gone, full or unreachable.
type PushResult = stream.PushResult

// PushUnreachable says that the node which has the connection, or what connects the nodes, did not answer in time: the push may
// have been done or not.
const PushUnreachable PushResult = "unreachable"

// Selector selects connections: those that meet all conditions that are set. UUIDs that are empty but not nil select none.
type Selector struct {
	Server string
	UUIDs  []string
	Tag    string
	Local  bool // no connections of other nodes
}

// PushCounts says what became of the pushes of a broadcast, or of all since the start.
type PushCounts struct {
	Accepted int `json:"accepted" msgpack:"accepted"`
	Gone     int `json:"gone" msgpack:"gone"`
	Full     int `json:"full" msgpack:"full"`

	// In a cluster: how many nodes have pushed, this one among them, and how many could not be reached.
	Nodes       int `json:"nodes,omitempty" msgpack:"nodes,omitempty"`
	Unreachable int `json:"unreachable,omitempty" msgpack:"unreachable,omitempty"`
}

// ConnectionQuery asks for a page of the open connections.
type ConnectionQuery struct {
	Server string `json:"server" msgpack:"server"` // empty: of any
	Tag    string `json:"tag" msgpack:"tag"`       // empty: with any or none
	After  string `json:"after" msgpack:"after"`   // the uuid that the page begins behind; empty: the first page
	Limit  int    `json:"limit" msgpack:"limit"`   // 1 to 1000; 0: 100
	Local  bool   `json:"local" msgpack:"local"`   // of this node alone
}

// UnmarshalJSON refuses keys that it does not know.
func (q *ConnectionQuery) UnmarshalJSON(b []byte) error {
	return decodeArgument("connections", b, (*nodeQuery)(q))
}

// ConnectionPage holds connections in the order of their uuids.
type ConnectionPage struct {
	Connections []Connection `json:"connections" msgpack:"connections"`
	Next        string       `json:"next" msgpack:"next"` // After of the next page; empty: there is none
	// Unreachable counts the nodes whose connections are missing in this page.
	Unreachable int `json:"unreachable,omitempty" msgpack:"unreachable,omitempty"`
}

// Connection describes an open connection.
type Connection struct {
	UUID         string   `json:"uuid" msgpack:"uuid"`
	Server       string   `json:"server" msgpack:"server"`
	RemoteAddr   string   `json:"remote_addr" msgpack:"remote_addr"`
	ConnectedAt  string   `json:"connected_at" msgpack:"connected_at"` // RFC 3339, UTC
	Bytes        int64    `json:"bytes" msgpack:"bytes"`               // received
	BytesWritten int64    `json:"bytes_written" msgpack:"bytes_written"`
	Packets      int64    `json:"packets" msgpack:"packets"` // handed to workers
	Tags         []string `json:"tags" msgpack:"tags"`
	State        string   `json:"state" msgpack:"state"` // opening, reading, replying, securing or closing
}

// Stats sums up all connections.
type Stats struct {
	Connections      int            `json:"connections" msgpack:"connections"` // open
	Servers          map[string]int `json:"servers" msgpack:"servers"`         // of each server
	Tags             int            `json:"tags" msgpack:"tags"`               // in use
	ExchangesWaiting int            `json:"exchanges_waiting" msgpack:"exchanges_waiting"`
	BufferedBytes    int64          `json:"buffered_bytes" msgpack:"buffered_bytes"`
	MemoryLimit      int64          `json:"memory_limit" msgpack:"memory_limit"` // 0: none
	Pushes           PushCounts     `json:"pushes" msgpack:"pushes"`             // since the start
	Version          string         `json:"version" msgpack:"version"`           // of the plugin

	Traffic        map[string]Traffic `json:"traffic" msgpack:"traffic"`                 // of each server
	ExchangeBounds []float64          `json:"exchange_bounds" msgpack:"exchange_bounds"` // of Traffic.Exchanges, in seconds

	// In a cluster: the parts of the sum by node, and how many nodes are missing in it.
	Nodes       map[string]Stats `json:"nodes,omitempty" msgpack:"nodes,omitempty"`
	Unreachable int              `json:"unreachable,omitempty" msgpack:"unreachable,omitempty"`
}

// Traffic counts what a server has done since the start.
type Traffic struct {
	Packets  int64 `json:"packets" msgpack:"packets"`   // handed to workers
	Received int64 `json:"received" msgpack:"received"` // bytes
	Sent     int64 `json:"sent" msgpack:"sent"`         // bytes
	// Exchanges counts packets by how long a worker had them: up to each of Stats.ExchangeBounds, and at the end longer.
	Exchanges []uint64 `json:"exchanges" msgpack:"exchanges"`
}

// NodeList has the nodes of a cluster in the order of their ids, and so of the uuids of their connections. Without a cluster it is
// this one alone.
type NodeList struct {
	Nodes []Node `json:"nodes" msgpack:"nodes"`
	// Connected says that this node reaches what connects it with the others.
	Connected bool `json:"connected" msgpack:"connected"`
}

// Node is what a node has told of itself, at most a second before LastHeard.
type Node struct {
	Node        string `json:"node" msgpack:"node"`       // its id: the first 12 digits of the uuids of its connections
	Self        bool   `json:"self" msgpack:"self"`       // it is the one that was asked
	Version     string `json:"version" msgpack:"version"` // of the plugin
	Host        string `json:"host" msgpack:"host"`
	Address     string `json:"address" msgpack:"address"` // where its servers listen
	Connections int    `json:"connections" msgpack:"connections"`
	Uptime      int64  `json:"uptime" msgpack:"uptime"`         // seconds
	LastHeard   string `json:"last_heard" msgpack:"last_heard"` // RFC 3339, UTC
}

// add adds the pushes of more, not its nodes.
func (n *PushCounts) add(more PushCounts) {
	n.Accepted += more.Accepted
	n.Gone += more.Gone
	n.Full += more.Full
}

func (n *PushCounts) of(r PushResult) *int {
	switch r {
	case stream.PushAccepted:
		return &n.Accepted
	case stream.PushFull:
		return &n.Full
	default:
		return &n.Gone
	}
}

// pushCounters are PushCounts that any goroutine may change.
type pushCounters struct{ accepted, gone, full atomic.Int64 }

func (n *pushCounters) add(r PushResult) {
	var one PushCounts
	*one.of(r)++
	n.addAll(one)
}

func (n *pushCounters) addAll(more PushCounts) {
	n.accepted.Add(int64(more.Accepted))
	n.gone.Add(int64(more.Gone))
	n.full.Add(int64(more.Full))
}

func (n *pushCounters) load() (accepted, gone, full int64) {
	return n.accepted.Load(), n.gone.Load(), n.full.Load()
}

func (n *pushCounters) counts() PushCounts {
	accepted, gone, full := n.load()
	return PushCounts{Accepted: int(accepted), Gone: int(gone), Full: int(full)}
}
