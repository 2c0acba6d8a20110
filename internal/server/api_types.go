package server

import (
	"sync/atomic"

	"github.com/rrtcp/tcp/internal/stream"
)

// PushResult is what became of a push: accepted, gone or full.
type PushResult = stream.PushResult

// Selector selects connections: those that meet all conditions that are set. UUIDs that are empty but not nil select none.
type Selector struct {
	Server string
	UUIDs  []string
	Tag    string
}

// PushCounts says what became of the pushes of a broadcast, or of all since the start.
type PushCounts struct {
	Accepted int `json:"accepted" msgpack:"accepted"`
	Gone     int `json:"gone" msgpack:"gone"`
	Full     int `json:"full" msgpack:"full"`
}

// ConnectionQuery asks for a page of the open connections.
type ConnectionQuery struct {
	Server string `json:"server" msgpack:"server"` // empty: of any
	Tag    string `json:"tag" msgpack:"tag"`       // empty: with any or none
	After  string `json:"after" msgpack:"after"`   // the uuid that the page begins behind; empty: the first page
	Limit  int    `json:"limit" msgpack:"limit"`   // 1 to 1000; 0: 100
}

// ConnectionPage holds connections in the order of their uuids.
type ConnectionPage struct {
	Connections []Connection `json:"connections" msgpack:"connections"`
	Next        string       `json:"next" msgpack:"next"` // After of the next page; empty: there is none
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
	return PushCounts{int(n.accepted.Load()), int(n.gone.Load()), int(n.full.Load())}
}
