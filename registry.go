package tcp

import "sync"

// registry holds the live connections by uuid, those whose socket is open, and waits for the goroutines of all.
type registry struct {
	mu          sync.Mutex
	connections map[string]*connection
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
	delete(r.connections, uuid)
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
