package tcp

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
)

// What is asked of the open connections from outside, over RPC or by another plugin. The field names are those of RPC.

// Selector chooses connections: those that fit all that is set. UUIDs that are empty but not nil fit none.
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

// ConnectionPage holds connections by their uuids, in order.
type ConnectionPage struct {
	Connections []Connection `json:"connections" msgpack:"connections"`
	Next        string       `json:"next" msgpack:"next"` // After of the next page; empty: there is none
}

// Connection is what is known of an open connection.
type Connection struct {
	UUID         string   `json:"uuid" msgpack:"uuid"`
	Server       string   `json:"server" msgpack:"server"`
	RemoteAddr   string   `json:"remote_addr" msgpack:"remote_addr"`
	ConnectedAt  string   `json:"connected_at" msgpack:"connected_at"` // RFC 3339, UTC
	Bytes        int64    `json:"bytes" msgpack:"bytes"`               // received
	BytesWritten int64    `json:"bytes_written" msgpack:"bytes_written"`
	Packets      int64    `json:"packets" msgpack:"packets"` // handed to workers
	Tags         []string `json:"tags" msgpack:"tags"`
	State        string   `json:"state" msgpack:"state"` // opening, reading, replying or closing
}

// Stats is what all connections come to.
type Stats struct {
	Connections      int            `json:"connections" msgpack:"connections"` // open
	Servers          map[string]int `json:"servers" msgpack:"servers"`         // of each server
	Tags             int            `json:"tags" msgpack:"tags"`               // in use
	ExchangesWaiting int            `json:"exchanges_waiting" msgpack:"exchanges_waiting"`
	BufferedBytes    int64          `json:"buffered_bytes" msgpack:"buffered_bytes"`
	MemoryLimit      int64          `json:"memory_limit" msgpack:"memory_limit"` // 0: none
	Pushes           PushCounts     `json:"pushes" msgpack:"pushes"`             // since the start
}

const (
	defaultPage = 100
	mostPage    = 1000
)

// Write sends body to the client of the connection with that uuid: behind what it is being sent and what was accepted
// before, at once otherwise, whatever the connection waits for. With last the connection ends politely behind it, reason
// rpc. It does not wait. A string that is no uuid is an error.
func (p *Plugin) Write(id string, body []byte, last bool) (PushResult, error) {
	id, err := parseUUID("uuid", id)
	if err != nil {
		return "", fmt.Errorf("tcp: write: %w", err)
	}
	result := PushGone
	if c := p.live.get(id); c != nil {
		result = c.push(push{body: bytes.Clone(body), last: last})
	}
	p.pushes.add(result)
	return result, nil
}

// Broadcast sends body to all connections that to chooses; gone are UUIDs that are not open. A selector that chooses by
// nothing is an error, not everybody.
func (p *Plugin) Broadcast(to Selector, body []byte) (n PushCounts, err error) {
	found, gone, err := p.choose(to)
	if err != nil {
		return n, fmt.Errorf("tcp: broadcast: %w", err)
	}
	n.Gone = gone
	body = bytes.Clone(body)
	for _, c := range found {
		*n.of(c.push(push{body: body}))++
	}
	p.pushes.addAll(n)
	return n, nil
}

func (p *Plugin) choose(to Selector) (found []*connection, gone int, err error) {
	if to.Server == "" && to.Tag == "" && to.UUIDs == nil {
		return nil, 0, stderrors.New("server, uuids and tag are missing; want one at least")
	}
	if err := p.knows(to.Server); err != nil {
		return nil, 0, err
	}
	if to.UUIDs == nil {
		return p.live.those(to.Server, to.Tag), 0, nil
	}
	ids := make([]string, len(to.UUIDs))
	for i, id := range to.UUIDs {
		if ids[i], err = parseUUID(fmt.Sprintf("uuids[%d]", i), id); err != nil {
			return nil, 0, err
		}
	}
	slices.Sort(ids)
	found, gone = p.live.among(slices.Compact(ids), to.Server, to.Tag)
	return found, gone, nil
}

// Tag gives the connection with that uuid tags and takes some away first: names of your own to find it by, for a user or
// a room. It can have 32, of 128 bytes each. The result is accepted or gone.
func (p *Plugin) Tag(id string, add, remove []string) (PushResult, error) {
	id, err := parseUUID("uuid", id)
	if err == nil {
		err = checkTags("add", add)
	}
	var open bool
	if err == nil {
		open, err = p.live.tag(id, func(old []string) []string {
			return append(slices.DeleteFunc(old, func(tag string) bool { return slices.Contains(remove, tag) }), add...)
		})
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("tcp: tag: %w", err)
	case !open:
		return PushGone, nil
	}
	return PushAccepted, nil
}

func checkTags(key string, tags []string) error {
	for i, tag := range tags {
		if tag == "" || len(tag) > mostTag {
			return fmt.Errorf("%s[%d]: has %d bytes; want 1 to %d", key, i, len(tag), mostTag)
		}
	}
	if distinct := distinct(tags); len(distinct) > mostTags {
		return fmt.Errorf("%s: are %d; want %d at most", key, len(distinct), mostTags)
	}
	return nil
}

// Connections lists the open connections, a page at a time.
func (p *Plugin) Connections(q ConnectionQuery) (page ConnectionPage, err error) {
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	err = p.knows(q.Server)
	if err == nil && q.After != "" {
		q.After, err = parseUUID("after", q.After)
	}
	if err == nil && (q.Limit < 1 || q.Limit > mostPage) {
		err = fmt.Errorf("limit: is %d; want 1 to %d, or 0 for %d", q.Limit, mostPage, defaultPage)
	}
	if err != nil {
		return page, fmt.Errorf("tcp: connections: %w", err)
	}

	found := slices.DeleteFunc(p.live.those(q.Server, q.Tag), func(c *connection) bool { return c.uuid <= q.After })
	slices.SortFunc(found, func(a, b *connection) int { return strings.Compare(a.uuid, b.uuid) })
	if len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = found[q.Limit-1].uuid
	}
	page.Connections = make([]Connection, len(found))
	for i, c := range found {
		page.Connections[i] = c.describe(p.live.tagsOf(c))
	}
	return page, nil
}

// describe may be called by any goroutine.
func (c *connection) describe(tags []string) Connection {
	return Connection{
		UUID: c.uuid, Server: c.server, RemoteAddr: addrOf(c.remote), Tags: tags,
		ConnectedAt: c.begun.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Bytes:       c.packets.total.Load(), BytesWritten: c.answers.total.Load(), Packets: c.count.Load(),
		State: state(c.doing.Load()).String(),
	}
}

// Stats counts, after Init.
func (p *Plugin) Stats() Stats {
	s := Stats{
		Servers: make(map[string]int), ExchangesWaiting: p.queue.waits(),
		BufferedBytes: p.memory.used.Load(), MemoryLimit: p.memory.limit, Pushes: p.pushes.counts(),
	}
	for name := range p.cfg.Servers {
		s.Servers[name] = 0
	}
	for _, c := range p.live.those("", "") {
		s.Connections++
		s.Servers[c.server]++
	}
	s.Tags = p.live.tagCount()
	return s
}

func parseUUID(key, id string) (string, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "", fmt.Errorf("%s: %q: want the uuid of a connection: %w", key, id, err)
	}
	return parsed.String(), nil
}

// knows reports whether a server is configured; no name is any.
func (p *Plugin) knows(server string) error {
	if server == "" || p.cfg.Servers[server] != nil {
		return nil
	}
	return fmt.Errorf("server: there is no %q; want one of %s", server, strings.Join(p.cfg.names(), ", "))
}

func (n *PushCounts) of(r PushResult) *int {
	switch r {
	case PushAccepted:
		return &n.Accepted
	case PushFull:
		return &n.Full
	default:
		return &n.Gone
	}
}

// pushCounts are PushCounts for many goroutines.
type pushCounts struct{ accepted, gone, full atomic.Int64 }

func (n *pushCounts) add(r PushResult) {
	var one PushCounts
	*one.of(r)++
	n.addAll(one)
}

func (n *pushCounts) addAll(more PushCounts) {
	n.accepted.Add(int64(more.Accepted))
	n.gone.Add(int64(more.Gone))
	n.full.Add(int64(more.Full))
}

func (n *pushCounts) counts() PushCounts {
	return PushCounts{int(n.accepted.Load()), int(n.gone.Load()), int(n.full.Load())}
}
