package cluster

import (
	"context"
	"sync"
)

// tags are those of this node's connections. The goroutine of the outbox subscribes to them.
type tags struct {
	mu         sync.Mutex
	count      map[uint64]int // by hash: two tags may have one
	subscribed map[uint64]struct{}
	changed    map[uint64]struct{} // nil: none. A map keeps the room of what was in it once, and a loop walks all of that
	waiting    []chan struct{}     // closed when what has changed is subscribed
}

// HasTag tells that a connection of this node has a tag that none had; HasNoTag that none has it any more. Neither waits.
func (c *Cluster) HasTag(tag string) { c.changeTag(tag, 1) }

// HasNoTag is told when no connection of this node has the tag any more.
func (c *Cluster) HasNoTag(tag string) { c.changeTag(tag, -1) }

func (c *Cluster) changeTag(tag string, by int) {
	t, hash := &c.tags, hashOf(tag)
	t.mu.Lock()
	if t.count == nil {
		t.count, t.subscribed = make(map[uint64]int), make(map[uint64]struct{})
	}
	if t.changed == nil {
		t.changed = make(map[uint64]struct{})
	}
	if t.count[hash] += by; t.count[hash] == 0 {
		delete(t.count, hash)
	}
	t.changed[hash] = struct{}{}
	t.mu.Unlock()
	c.outbox.signal()
}

// SettleTags waits until broadcasts of other nodes reach the tags of this one as they are now, for the timeout at most.
func (c *Cluster) SettleTags() {
	if !c.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	applied := make(chan struct{})
	c.tags.mu.Lock()
	c.tags.waiting = append(c.tags.waiting, applied)
	c.tags.mu.Unlock()
	c.outbox.signal()
	select {
	case <-applied:
		c.engine.settle(ctx)
	case <-ctx.Done():
	}
}

// Subscriptions returns how many subjects this node is subscribed to.
func (c *Cluster) Subscriptions() int {
	c.tags.mu.Lock()
	defer c.tags.mu.Unlock()
	return len(c.tags.subscribed) + 2
}

// applyTags subscribes to the tags that came, and unsubscribes from those that went.
func (c *Cluster) applyTags() {
	t := &c.tags
	t.mu.Lock()
	waiting := t.waiting
	t.waiting = nil
	var came, went []string
	for hash := range t.changed {
		_, subscribed := t.subscribed[hash]
		wanted := t.count[hash] > 0
		switch {
		case wanted && !subscribed:
			t.subscribed[hash] = struct{}{}
			came = append(came, tagSubject(hash, c.node))
		case !wanted && subscribed:
			delete(t.subscribed, hash)
			went = append(went, tagSubject(hash, c.node))
		}
	}
	t.changed = nil
	t.mu.Unlock()

	if len(came) > 0 {
		c.engine.subscribe(came)
	}
	if len(went) > 0 {
		c.engine.unsubscribe(went)
	}
	for _, applied := range waiting {
		close(applied)
	}
}
