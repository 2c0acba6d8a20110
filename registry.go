package tcp

import (
	"fmt"
	"slices"
	"sync"
)

// registry holds the live connections by uuid, those whose socket is open, with an index of their tags, and waits for
// the goroutines of all.
type registry struct {
	mu          sync.Mutex
	connections map[string]*connection
	tagged      map[string]map[*connection]struct{} // by tag; none of them is empty
	draining    bool
	goroutines  sync.WaitGroup
}

// add tracks c, for whose goroutine done must be called when it ends; false: draining, nobody new is taken.
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

// hasFew reports whether so few connections are open that it does not matter what each of them holds.
func (r *registry) hasFew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.connections) < 128
}

func (r *registry) done() { r.goroutines.Done() }

// get returns nil for a uuid that is not open.
func (r *registry) get(uuid string) *connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections[uuid]
}

// mostTags bounds the tags of a connection, mostTag the bytes of each.
const (
	mostTags = 32
	mostTag  = 128
)

// tag changes the tags of a connection: change makes the new ones of the old ones. false: it is not open. An error
// changes nothing.
func (r *registry) tag(uuid string, change func(old []string) []string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.connections[uuid]
	if c == nil {
		return false, nil
	}
	tags := distinct(change(slices.Clone(c.tags)))
	if len(tags) > mostTags {
		return true, fmt.Errorf("tags: the connection would have %d; want %d at most", len(tags), mostTags)
	}
	r.setTags(c, tags)
	return true, nil
}

// distinct is a copy, sorted.
func distinct(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return slices.Clip(slices.Compact(tags))
}

// setTags is for who has the lock.
func (r *registry) setTags(c *connection, tags []string) {
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

func (r *registry) tagCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tagged)
}

// tagsOf is a copy.
func (r *registry) tagsOf(c *connection) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, c.tags...)
}

// fits reports whether c is open for others to see, of that server and with that tag; both may be empty, which is any.
func (c *connection) fits(server, tag string) bool {
	return !c.greeting.Load() && (server == "" || c.server == server) && (tag == "" || slices.Contains(c.tags, tag))
}

// those returns the connections that fit.
func (r *registry) those(server, tag string) (found []*connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tag != "" {
		for c := range r.tagged[tag] {
			if c.fits(server, "") {
				found = append(found, c)
			}
		}
		return found
	}
	for _, c := range r.connections {
		if c.fits(server, "") {
			found = append(found, c)
		}
	}
	return found
}

// among is those of some uuids; gone counts the uuids that are not open.
func (r *registry) among(uuids []string, server, tag string) (found []*connection, gone int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uuid := range uuids {
		c := r.connections[uuid]
		switch {
		case c == nil:
			gone++
		case c.fits(server, tag):
			found = append(found, c)
		}
	}
	return found, gone
}

// drain lets every connection end as soon as no reply is owed to it, and takes no new ones.
func (r *registry) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	for _, c := range r.all() {
		c.drain(reasonShutdown)
	}
}

// abort ends every connection at once.
func (r *registry) abort() {
	for _, c := range r.all() {
		c.abort(reasonShutdown)
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
