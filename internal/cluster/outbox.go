package cluster

import (
	"slices"
	"sync"
	"time"
)

const (
	maxBacklog = 8 << 20 // bytes
	// A batch has maxBatch messages at most, and ends with that which makes it longer than maxBatchBytes.
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	// maxRequest leaves room beside it for what else waits.
	maxRequest = maxBacklog / 2
	// overhead is what a message that waits takes in memory besides its bytes.
	overhead = 128
)

// outgoing is a message on its way to the engine.
type outgoing struct {
	subject  string
	message  []byte    // but for body
	body     []byte    // the end of the message, which several may share
	call     uint64    // 0: nobody waits
	deadline time.Time // nobody waits any more: it is not sent; zero: none
	size     int       // what it counts for in a backlog
}

// whole is the message with its body.
func (m outgoing) whole() []byte {
	if len(m.body) == 0 {
		return m.message
	}
	return slices.Concat(m.message, m.body)
}

// backlog holds messages that wait, maxBacklog bytes of them. Nobody who puts something into it waits.
type backlog struct {
	mu     sync.Mutex
	queue  []outgoing
	bytes  int // of queue and of what was taken
	closed bool
	wake   chan struct{} // of one: something waits
}

func newBacklog() backlog { return backlog{wake: make(chan struct{}, 1)} }

// put returns false where too much waits.
func (b *backlog) put(m outgoing) bool { return b.putAll([]outgoing{m}) == 1 }

// putAll takes the first of some messages that share their body, and returns how many. The body counts once, for the last of them.
func (b *backlog) putAll(messages []outgoing) (taken int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0
	}
	for _, m := range messages {
		m.size = len(m.message) + overhead
		if b.bytes+m.size+len(m.body) > maxBacklog {
			break
		}
		b.bytes += m.size
		b.queue = append(b.queue, m)
		taken++
	}
	if taken > 0 {
		last := &b.queue[len(b.queue)-1]
		last.size += len(last.body)
		b.bytes += len(last.body)
		b.signal()
	}
	return taken
}

func (b *backlog) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close puts the last message behind whatever waits.
func (b *backlog) close(last outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.queue = append(b.queue, last)
}

// take returns the next messages. done comes when they are dealt with.
func (b *backlog) take() []outgoing {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size := 0, 0
	for ; n < min(len(b.queue), maxBatch) && size <= maxBatchBytes; n++ {
		size += len(b.queue[n].message) + len(b.queue[n].body)
	}
	batch := b.queue[:n:n]
	if b.queue = b.queue[n:]; len(b.queue) == 0 {
		b.queue = nil
	}
	return batch
}

func (b *backlog) done(batch []outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		b.bytes -= batch[i].size
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
			c.outbox.done(batch)
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
