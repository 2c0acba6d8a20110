package cluster

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// Question is a request to one node.
type Question struct {
	Node    NodeID
	Tag     string // if not empty: the node gets it only if it has subscribed to this tag, else ErrGone
	Request []byte // its beginning; the body that all questions share stands behind it
	// Connections is for the caller: how many the request is about.
	Connections int
}

// Answer is what came of a Question.
type Answer struct {
	Node NodeID
	Body []byte
	Err  error // ErrGone, ErrUnreachable or ErrFull
}

// Ask asks several nodes at once, and waits for their answers, for the timeout at most. The answers are in the order of the
// questions.
func (c *Cluster) Ask(body []byte, questions ...Question) []Answer {
	if len(questions) == 0 {
		return nil
	}
	begin := time.Now()
	asked := c.ask(body, questions, begin.Add(c.timeout))
	answers := make([]Answer, len(questions))
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	for i, a := range asked {
		select {
		case <-a.done:
		case <-timer.C:
			var silent []NodeID
			for _, late := range asked[i:] {
				if c.calls.finish(late.id, nil, ErrUnreachable) {
					c.counters.Failed.Add(1)
					silent = append(silent, late.node)
				}
			}
			c.members.noAnswer(silent...)
			<-a.done
		}
		answers[i] = Answer{a.node, a.body, a.err}
	}
	c.Took(time.Since(begin))
	return answers
}

// ask sends the questions. Calls that come back are done at once where that can't be.
func (c *Cluster) ask(body []byte, questions []Question, deadline time.Time) []*call {
	asked := make([]*call, len(questions))
	var sent []*call
	var messages []outgoing // of sent
	for i, q := range questions {
		subject := nodeSubject(q.Node)
		if q.Tag != "" {
			subject = tagSubject(hashOf(q.Tag), q.Node)
		}
		a := c.calls.open(q.Node, q.Tag)
		asked[i] = a
		if c.members.isLeaving(q.Node) { // it may still be subscribed, but answers no more
			c.finish(a.id, nil, ErrGone)
			continue
		}
		sent = append(sent, a)
		messages = append(messages, outgoing{subject: subject, message: c.message(kindAsk, a.id, q.Request), body: body, call: a.id, deadline: deadline})
	}
	isConnected, taken := c.IsConnected(), 0
	if isConnected {
		taken = c.outbox.putAll(messages)
	}
	for i, a := range sent {
		switch {
		case !isConnected:
			c.finish(a.id, nil, ErrUnreachable)
		case i >= taken:
			c.finish(a.id, nil, ErrFull)
		case c.members.isSilent(a.node): // it gets the request if it is there after all
			c.finish(a.id, nil, ErrUnreachable)
		}
	}
	return asked
}

// finish ends a call, if it is still open.
func (c *Cluster) finish(id uint64, body []byte, err error) {
	if c.calls.finish(id, body, err) && err != nil && !errors.Is(err, ErrGone) {
		c.counters.Failed.Add(1)
	}
}

// nobody ends a call to a node that is not there, or does not have the tag.
func (c *Cluster) nobody(id uint64) {
	node, tag, ok := c.calls.find(id)
	isMember, isThere := c.members.find(node, c.lostAt())
	switch {
	case !ok:
	case tag == "":
		c.absent(id, node)
	case isMember && !isThere:
		c.finish(id, nil, ErrUnreachable)
	default:
		c.finish(id, nil, ErrGone)
	}
}

// unseen ends a call to a node that is not there, as far as this one knows. Any other answers.
func (c *Cluster) unseen(id uint64) {
	node, _, ok := c.calls.find(id)
	if _, isThere := c.members.find(node, c.lostAt()); ok && !isThere {
		c.absent(id, node)
	}
}

// absent ends a call to a node that is not there. One that was heard a moment ago may only have lost the engine, as may all of them
// when this one has just found it again: they are no reason to say that its connections are closed.
func (c *Cluster) absent(id uint64, node NodeID) {
	err := ErrGone
	isMember, hasLeft := c.members.nobodyAt(node)
	if isMember || !hasLeft && c.connectedFor() < settleTime {
		err = ErrUnreachable
	}
	c.finish(id, nil, err)
}

func (c *Cluster) failed(id uint64) { c.finish(id, nil, ErrUnreachable) }

// call is a question that waits for its answer.
type call struct {
	id   uint64
	node NodeID
	tag  string
	done chan struct{} // closed when the fields below are set
	body []byte
	err  error
}

// calls are those that wait. Their numbers begin anywhere: an answer may be for the start before of a node with this name, or for another
// node that has it by mistake.
type calls struct {
	mu   sync.Mutex
	last uint64
	all  map[uint64]*call
}

func newCalls() calls {
	var b [8]byte
	mustRead(b[:])
	return calls{last: binary.BigEndian.Uint64(b[:])}
}

func (c *calls) open(node NodeID, tag string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[uint64]*call)
	}
	if c.last++; c.last == 0 { // which is no call
		c.last++
	}
	a := &call{id: c.last, node: node, tag: tag, done: make(chan struct{})}
	c.all[a.id] = a
	return a
}

func (c *calls) find(id uint64) (node NodeID, tag string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.all[id]; a != nil {
		return a.node, a.tag, true
	}
	return node, "", false
}

// finish reports whether the call was open.
func (c *calls) finish(id uint64, body []byte, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.all[id]
	if a == nil {
		return false
	}
	delete(c.all, id)
	a.body, a.err = body, err
	close(a.done)
	return true
}

// failAll ends all calls: the engine is lost, and what was published may be, too.
func (c *calls) failAll() { c.fail(func(*call) bool { return true }) }

// failNode ends the calls to a node that has left.
func (c *calls) failNode(node NodeID) { c.fail(func(a *call) bool { return a.node == node }) }

func (c *calls) fail(which func(*call) bool) {
	c.mu.Lock()
	var failed []*call
	for _, a := range c.all {
		if which(a) {
			failed = append(failed, a)
		}
	}
	c.mu.Unlock()
	for _, a := range failed {
		c.finish(a.id, nil, ErrUnreachable)
	}
}
