package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	// maxQuoted is how much an error quotes of an argument, in bytes: it may have megabytes.
	maxQuoted = 64
)

// Close closes the connection with that uuid at once; its worker is told the reason rpc. A uuid that is not open is no
// error, a string that is no uuid is one, and so is a node that can't be reached.
func (s *Server) Close(id string) error {
	id, err := canonicalUUID(id)
	if err != nil {
		return fmt.Errorf("tcp: close %w", err)
	}
	if node, ok := s.otherNode(id); ok {
		return s.closeAt(node, id)
	}
	s.closeHere(id)
	return nil
}

func (s *Server) closeHere(id string) {
	if c := s.registry.get(id); c != nil {
		c.abort(wire.ReasonRPC)
	}
}

// Write sends body to the client of the connection with that uuid: behind what it is being sent and what was accepted
// before, at once otherwise, whatever the connection waits for. With last the connection ends politely behind it, reason
// rpc. It does not wait, but for another node that has the connection. A string that is no uuid is an error.
func (s *Server) Write(id string, body []byte, last bool) (PushResult, error) {
	return s.write(id, body, last, false)
}

// write is Write; local: no other node is asked.
func (s *Server) write(id string, body []byte, last, local bool) (PushResult, error) {
	id, err := parseUUID("uuid", id)
	if err != nil {
		return "", fmt.Errorf("tcp: write: %w", err)
	}
	body = bytes.Clone(body)
	if node, ok := s.otherNode(id); ok && !local {
		return s.writeAt(node, id, body, last)
	}
	return s.writeHere(id, body, last), nil
}

// writeHere keeps body.
func (s *Server) writeHere(id string, body []byte, last bool) PushResult {
	result := stream.PushGone
	if c := s.registry.get(id); c != nil {
		result = c.writer.Push(body, last)
	}
	s.pushes.add(result)
	return result
}

// Broadcast sends body to all connections that to selects; Gone counts UUIDs that are not open. A selector without any
// condition is an error, not everybody.
func (s *Server) Broadcast(to Selector, body []byte) (n PushCounts, err error) {
	body = bytes.Clone(body)
	if s.cluster != nil && !to.Local {
		return s.broadcastToNodes(to, body)
	}
	return s.broadcastHere(to, body)
}

// broadcastHere keeps body.
func (s *Server) broadcastHere(to Selector, body []byte) (n PushCounts, err error) {
	found, gone, err := s.selectConnections(to)
	if err != nil {
		return n, fmt.Errorf("tcp: broadcast: %w", err)
	}
	n.Gone = gone
	for _, c := range found {
		*n.of(c.writer.Push(body, false))++
	}
	s.pushes.addAll(n)
	return n, nil
}

func (s *Server) selectConnections(to Selector) (found []*connection, gone int, err error) {
	if to.Server == "" && to.Tag == "" && to.UUIDs == nil {
		return nil, 0, errors.New("server, uuids and tag are missing; want one at least")
	}
	if err := cmp.Or(s.checkServer(to.Server), wire.CheckTagText("tag", to.Tag)); err != nil {
		return nil, 0, err
	}
	if to.UUIDs == nil {
		return s.registry.find(to.Server, to.Tag), 0, nil
	}
	ids := make([]string, len(to.UUIDs))
	for i, id := range to.UUIDs {
		if ids[i], err = parseUUID(fmt.Sprintf("uuids[%d]", i), id); err != nil {
			return nil, 0, err
		}
	}
	slices.Sort(ids)
	found, gone = s.registry.findAmong(slices.Compact(ids), to.Server, to.Tag)
	return found, gone, nil
}

// Tag removes tags from the connection with that uuid and then adds some: names of the caller's own to find it by, for a user
// or a room. It can have 32, of 128 bytes of UTF-8 each. The result is accepted or gone.
func (s *Server) Tag(id string, add, remove []string) (PushResult, error) {
	return s.tag(id, add, remove, false)
}

// tag is Tag; local: no other node is asked.
func (s *Server) tag(id string, add, remove []string, local bool) (PushResult, error) {
	id, err := parseUUID("uuid", id)
	if err == nil {
		err = cmp.Or(wire.CheckTags("add", add), wire.CheckTagTexts("remove", remove))
	}
	if err != nil {
		return "", fmt.Errorf("tcp: tag: %w", err)
	}
	if node, ok := s.otherNode(id); ok && !local {
		return s.tagAt(node, id, add, remove)
	}
	result, err := s.tagHere(id, add, remove)
	if s.cluster != nil && result == stream.PushAccepted && len(add) > 0 {
		s.cluster.SettleTags()
	}
	return result, err
}

// tagHere does not wait until other nodes find the connection. The caller has checked what is added. There may be millions to remove:
// they are sorted before anybody waits.
func (s *Server) tagHere(id string, add, remove []string) (PushResult, error) {
	add, remove = wire.DistinctTags(add), wire.DistinctTags(remove)
	open, err := s.registry.tag(id, func(old []string) []string {
		isRemoved := func(tag string) bool {
			_, found := slices.BinarySearch(remove, tag)
			return found
		}
		return append(slices.DeleteFunc(old, isRemoved), add...)
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("tcp: tag: %w", err)
	case !open:
		return stream.PushGone, nil
	}
	return stream.PushAccepted, nil
}

// Connections lists the open connections, a page at a time.
func (s *Server) Connections(q ConnectionQuery) (page ConnectionPage, err error) {
	if q.Limit == 0 {
		q.Limit = defaultPageSize
	}
	err = cmp.Or(s.checkServer(q.Server), wire.CheckTagText("tag", q.Tag))
	if err == nil && q.After != "" {
		q.After, err = parseUUID("after", q.After)
	}
	if err == nil && (q.Limit < 1 || q.Limit > maxPageSize) {
		err = fmt.Errorf("limit: is %d; want 1 to %d, or 0 for %d", q.Limit, maxPageSize, defaultPageSize)
	}
	if err != nil {
		return page, fmt.Errorf("tcp: connections: %w", err)
	}

	if s.cluster != nil && !q.Local {
		return s.connectionsOfNodes(q)
	}
	return s.connectionsHere(q), nil
}

func (s *Server) connectionsHere(q ConnectionQuery) (page ConnectionPage) {
	found := slices.DeleteFunc(s.registry.find(q.Server, q.Tag), func(c *connection) bool { return c.uuid <= q.After })
	slices.SortFunc(found, func(a, b *connection) int { return strings.Compare(a.uuid, b.uuid) })
	if len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = found[q.Limit-1].uuid
	}
	page.Connections = make([]Connection, len(found))
	for i, c := range found {
		page.Connections[i] = c.describe(s.registry.tagsOf(c))
	}
	return page
}

// Stats counts, after Init. In a cluster it is the sum of all nodes.
func (s *Server) Stats() Stats {
	if s.cluster != nil {
		return s.statsOfNodes()
	}
	return s.LocalStats()
}

// LocalStats is Stats of this node alone.
func (s *Server) LocalStats() Stats {
	stats := Stats{
		Servers: make(map[string]int), Traffic: make(map[string]Traffic), ExchangeBounds: telemetry.HistogramBounds(),
		ExchangesWaiting: s.queue.Waiting(),
		BufferedBytes:    s.memory.Used(), MemoryLimit: s.memory.Limit(), Pushes: s.pushes.counts(), Version: Version,
	}
	for _, name := range s.options.Config.Names() {
		stats.Servers[name] = 0
		n := s.counters.Of(name)
		stats.Traffic[name] = Traffic{
			Packets: n.Packets.Load(), Received: n.Received.Load(), Sent: n.Sent.Load(), Exchanges: n.Exchanges(wire.Data).Counts(),
		}
	}
	for _, c := range s.registry.find("", "") {
		stats.Connections++
		stats.Servers[c.server]++
	}
	stats.Tags = s.registry.tagCount()
	return stats
}

// parseUUID is canonicalUUID for an argument that errors call key.
func parseUUID(key, id string) (string, error) {
	id, err := canonicalUUID(id)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return id, nil
}

// canonicalUUID returns the uuid id, which may have any form that package uuid knows: capital letters, urn:uuid:, braces, no
// hyphens.
func canonicalUUID(id string) (string, error) {
	if err := uuid.Validate(id); err != nil {
		return "", fmt.Errorf("%q: want the uuid of a connection: %w", id[:min(len(id), maxQuoted)], err)
	}
	return uuid.MustParse(id).String(), nil
}

// checkServer returns an error where no such server is configured. The empty name is any.
func (s *Server) checkServer(name string) error {
	if name == "" || s.options.Config.Servers[name] != nil {
		return nil
	}
	return fmt.Errorf("server: there is no %q; want one of %s", name[:min(len(name), maxQuoted)], strings.Join(s.options.Config.Names(), ", "))
}
