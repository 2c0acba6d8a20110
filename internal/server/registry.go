package server

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rrtcp/tcp/internal/wire"
)

// registry holds the connections whose socket is open, by uuid and by tag, and waits for the goroutines of all.
type registry struct {
	mu          sync.Mutex
	connections map[string]*connection
	tagged      map[string]map[*connection]struct{} // by tag; none of them is empty
	watcher     tagWatcher                          // nil: none
	draining    bool
	goroutines  sync.WaitGroup
}

// add tracks c, for whose goroutine done must be called when it ends; false: draining, no connection is added.
func (r *registry) add(c *connection) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return false
	}
	if r.connections == nil {
		r.connections = make(map[string]*connection)
	}
	r.connections[c.uuid] = c
	r.goroutines.Add(1)
	return true
}

// remove forgets a connection whose socket is closed; its goroutine may go on.
func (r *registry) remove(uuid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.connections[uuid]; c != nil {
		delete(r.connections, uuid)
		r.setTags(c, nil)
	}
}

func (r *registry) done() { r.goroutines.Done() }

// get returns nil for a uuid that is not open.
func (r *registry) get(uuid string) *connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections[uuid]
}

// tag replaces the tags of a connection by what change makes of them. false: it is not open. An error changes nothing.
func (r *registry) tag(uuid string, change func(old []string) []string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.connections[uuid]
	if c == nil {
		return false, nil
	}
	tags := wire.DistinctTags(change(slices.Clone(c.tags)))
	if len(tags) > wire.MaxTags {
		return true, fmt.Errorf("tags: the connection would have %d; want %d at most", len(tags), wire.MaxTags)
	}
	r.setTags(c, tags)
	return true, nil
}

// tagWatcher is told which tags come into use and go out of it. It does not wait.
type tagWatcher interface {
	HasTag(tag string)
	HasNoTag(tag string)
}

// setTags changes c.tags and the index. r.mu is held.
func (r *registry) setTags(c *connection, tags []string) {
	if r.watcher != nil {
		defer r.tellWatcher(c.tags, tags)
	}
	for _, tag := range c.tags {
		delete(r.tagged[tag], c)
		if len(r.tagged[tag]) == 0 {
			delete(r.tagged, tag)
		}
	}
	c.tags = tags
	for _, tag := range tags {
		if r.tagged[tag] == nil {
			if r.tagged == nil {
				r.tagged = make(map[string]map[*connection]struct{})
			}
			r.tagged[tag] = make(map[*connection]struct{})
		}
		r.tagged[tag][c] = struct{}{}
	}
}

// tellWatcher is called when a connection has the tags now, no longer before. r.mu is held.
func (r *registry) tellWatcher(before, now []string) {
	for _, tag := range before {
		if len(r.tagged[tag]) == 0 {
			r.watcher.HasNoTag(tag)
		}
	}
	for _, tag := range now {
		if len(r.tagged[tag]) == 1 && !slices.Contains(before, tag) {
			r.watcher.HasTag(tag)
		}
	}
}

// count returns how many connections are open, those among them whose preamble is under way.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.connections)
}

// tagCount returns how many tags are in use.
func (r *registry) tagCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tagged)
}

// tagsOf returns a copy; it is never nil.
func (r *registry) tagsOf(c *connection) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, c.tags...)
}

// find returns the connections of that server and with that tag; an empty name is any. A connection whose PROXY header or
// handshake is under way is not found.
func (r *registry) find(server, tag string) (found []*connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tag != "" {
		for c := range r.tagged[tag] {
			if c.isVisible(server) {
				found = append(found, c)
			}
		}
		return found
	}
	for _, c := range r.connections {
		if c.isVisible(server) {
			found = append(found, c)
		}
	}
	return found
}

// findAmong is find among some uuids; gone counts those that are not open. There may be millions: nobody waits for all of them.
func (r *registry) findAmong(uuids []string, server, tag string) (found []*connection, gone int) {
	for _, uuid := range uuids {
		switch c, isOpen := r.match(uuid, server, tag); {
		case !isOpen:
			gone++
		case c != nil:
			found = append(found, c)
		}
	}
	return found, gone
}

// match returns the connection with that uuid if find would find it.
func (r *registry) match(uuid, server, tag string) (c *connection, isOpen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, isOpen = r.connections[uuid]
	if !isOpen || !c.isVisible(server) || tag != "" && !slices.Contains(c.tags, tag) {
		return nil, isOpen
	}
	return c, true
}

// drain lets every connection end as soon as no reply is owed to it. No connection is added any more.
func (r *registry) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	for _, c := range r.all() {
		c.drain(wire.ReasonShutdown)
	}
}

// abort ends every connection at once.
func (r *registry) abort() {
	for _, c := range r.all() {
		c.abort(wire.ReasonShutdown)
	}
}

// wait returns when every connection's goroutine has ended. drain comes first.
func (r *registry) wait() { r.goroutines.Wait() }

func (r *registry) all() []*connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*connection, 0, len(r.connections))
	for _, c := range r.connections {
		all = append(all, c)
	}
	return all
}
