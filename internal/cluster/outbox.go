package cluster

import (
	"sync"
	"time"
)

const (
	maxBacklog = 8 << 20 // bytes of messages that wait for the engine
	maxBatch   = 256     // messages
	// overhead is what a message that waits takes in memory besides its bytes.
	overhead = 128
)

// outgoing is a message on its way to the engine.
type outgoing struct {
	subject  string
	message  []byte
	call     uint64    // 0: nobody waits
	deadline time.Time // nobody waits any more: it is not sent; zero: none
}

// outbox holds what waits for the engine. Nobody who puts something into it waits.
type outbox struct {
	mu     sync.Mutex
	queue  []outgoing
	bytes  int // of queue and of what is being published
	closed bool
	wake   chan struct{} // of one: something waits
}

// put returns false where too much waits.
func (o *outbox) put(m outgoing) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.bytes+len(m.message)+overhead > maxBacklog {
		return false
	}
	o.bytes += len(m.message) + overhead
	o.queue = append(o.queue, m)
	o.signal()
	return true
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

// take returns the next messages.
func (o *outbox) take() []outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(o.queue), maxBatch)
	batch := o.queue[:n:n]
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue = nil
	}
	return batch
}

func (o *outbox) sent(batch []outgoing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range batch {
		o.bytes -= len(batch[i].message) + overhead
		batch[i] = outgoing{} // which the queue's array would keep
	}
}

// send hands everything to the engine: subscriptions, then messages. It ends with Stop.
func (c *Cluster) send() {
	defer c.running.Done()
	for stopped := false; !stopped; {
		select {
		case <-c.outbox.wake:
		case <-c.ctx.Done():
			stopped = true
		}
		c.applyTags()
		for batch := c.outbox.take(); len(batch) > 0; batch = c.outbox.take() {
			c.publish(batch)
			c.outbox.sent(batch)
			c.applyTags()
		}
	}
}

// publish hands over those messages that somebody still waits for.
func (c *Cluster) publish(batch []outgoing) {
	due := make([]outgoing, 0, len(batch))
	for _, m := range batch {
		if !m.deadline.IsZero() && time.Now().After(m.deadline) {
			c.failed(m.call)
			continue
		}
		due = append(due, m)
	}
	if len(due) == 0 {
		return
	}
	c.counters.Out.Add(int64(len(due)))
	c.engine.publish(due)
}
