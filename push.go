package tcp

import (
	"errors"
	"sync"
	"time"
)

// PushResult says what became of a push.
type PushResult string

// What becomes of a push. None of these says that the client has it.
const (
	// PushAccepted: it goes out behind what was accepted before it, whole or the connection ends.
	PushAccepted PushResult = "accepted"
	// PushGone: no such connection is open, or it is about to end.
	PushGone PushResult = "gone"
	// PushFull: push_queue bytes wait for the client already, or memory_limit is used up.
	PushFull PushResult = "full"
)

// push is what somebody else than the worker of an exchange sends to a client.
type push struct {
	body []byte // nobody changes it; other connections may have it too
	last bool   // the connection ends behind it
}

// pushCost is what a push that waits takes in memory besides its body, in bytes.
const pushCost = 64

func (p push) cost() int { return len(p.body) + pushCost }

// outbound orders what is written to a client. Answers, by the connection's goroutine, and pushes, which wait here for a
// goroutine that exists while there are any, take the turn for a whole answer or a whole push, first come first served.
type outbound struct {
	limit int  // bytes of the pushes that wait; 0: none
	held  bool // the connection's goroutine has the turn; others do not look at it

	mu     sync.Mutex    // guards what follows; not held while something is written
	taken  bool          // somebody has the turn
	closed bool          // nothing is accepted any more
	pushed bool          // there were pushes
	queue  []push        // what waits, but for the one that is being written
	bytes  int           // of all bodies that wait, and of that one
	answer chan struct{} // closed when the answer that waits has the turn; nil: none waits
	before int           // so many of the queue come before that answer
	err    error         // what made a push fail
}

// errHungUp is the end of an answer that comes after a push which closes the connection.
var errHungUp = errors.New("a push has closed the connection")

// hold waits for the turn; release gives it back.
func (o *outbound) hold() error {
	if o.held {
		return nil
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return errHungUp
	}
	o.takeLocked()
	return nil
}

// takeLocked is hold in every case. It unlocks o.mu.
func (o *outbound) takeLocked() {
	o.held = true
	if !o.taken {
		o.taken = true
		o.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	o.answer, o.before = turn, len(o.queue)
	o.mu.Unlock()
	<-turn // the goroutine that has it ends soon: what it writes has a deadline, and abort ends that too
}

// release reports whether pushes wait: they have the turn then, and want a goroutine.
func (o *outbound) release() bool {
	if !o.held {
		return false
	}
	o.held = false
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = len(o.queue) > 0
	return o.taken
}

// next is the push whose turn it is; false: the turn is an answer's, or nobody's.
func (o *outbound) next() (push, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.answer != nil && o.before == 0:
		close(o.answer)
		o.answer = nil
		return push{}, false
	case len(o.queue) == 0:
		o.taken, o.queue = false, nil
		return push{}, false
	}
	p := o.queue[0]
	o.queue[0] = push{}
	o.queue = o.queue[1:]
	if o.answer != nil {
		o.before--
	}
	return p, true
}

// push puts p on the queue of the connection. It does not wait. Any goroutine may call it.
func (c *connection) push(p push) PushResult {
	o, memory := &c.answers.outbound, c.answers.memory
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed, c.isAborted(), c.greeting.Load():
		return PushGone
	case len(p.body) == 0 && !p.last:
		return PushAccepted
	case o.limit > 0 && o.bytes+len(p.body) > o.limit, !memory.take(p.cost(), o.bytes):
		return PushFull
	}

	if p.last {
		c.drain(reasonRPC) // before anybody can see that it is the last
	}
	o.closed, o.pushed = p.last, true
	o.bytes += len(p.body)
	o.queue = append(o.queue, p)
	if !o.taken {
		o.taken = true
		go c.writePushes() // ends when nothing waits, or with abort; settle waits for it
	}
	return PushAccepted
}

// writePushes has the turn until nothing waits or an answer does.
func (c *connection) writePushes() {
	for {
		p, ok := c.answers.outbound.next()
		if !ok {
			return
		}
		c.writePush(p)
	}
}

// writePush drops p where the connection is cut off.
func (c *connection) writePush(p push) {
	defer c.recoveredPush()
	defer c.written(p)
	if c.isAborted() {
		return
	}
	err := c.answers.writeAll(p.body, false)
	switch {
	case err != nil:
		c.pushFailed(err)
	case p.last:
		c.hangUp()
	}
}

// hangUp tells the client that nothing more comes, though the connection's goroutine may still wait for a worker.
func (c *connection) hangUp() {
	if c.secure != nil {
		c.secure.sayGoodbye(false)
	}
	c.closeWrite()
}

func (c *connection) written(p push) {
	o := &c.answers.outbound
	o.mu.Lock()
	o.bytes -= len(p.body)
	o.mu.Unlock()
	c.answers.memory.give(p.cost())
}

// pushFailed ends the connection: a push is written whole or it was the last thing written.
func (c *connection) pushFailed(err error) {
	if c.isAborted() { // which is why it failed
		return
	}
	o := &c.answers.outbound
	o.mu.Lock()
	o.err = err
	o.mu.Unlock()
	c.forgetUnsent(err)
	c.abort(reasonOf(err))
}

func (c *connection) recoveredPush() {
	if p := recover(); p != nil {
		c.logPanic(p)
		c.abort(reasonError)
	}
}

// release lets pushes that came during an answer go out behind it.
func (c *connection) release() {
	if c.answers.outbound.release() {
		go c.writePushes() // as above
	}
}

// settle lets out what was pushed, before the socket is closed. Nothing is accepted any more. What waits is dropped where
// a limit closes hard, and behind an answer that was cut off.
func (c *connection) settle() {
	pending, pushed := c.shutPushes(c.hard || c.answers.outbound.held)
	if !pushed {
		return
	}
	switch {
	case pending && c.hard:
		c.abort(c.why)
	case pending && c.why == reasonShutdown:
		defer time.AfterFunc(lingerTime, func() { c.abort(reasonShutdown) }).Stop()
	}

	o := &c.answers.outbound
	c.release()
	o.mu.Lock()
	o.takeLocked()
	if c.err == nil {
		c.err = o.err
	}
	switch {
	case c.hard:
	case pending || c.why != reasonShutdown:
		c.linger = lingerTime
	default:
		c.linger = max(c.linger, idleLinger)
	}
}

// shutPushes reports whether some still wait or are being written, and whether there were any.
func (c *connection) shutPushes(drop bool) (pending, pushed bool) {
	o := &c.answers.outbound
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if drop {
		for _, p := range o.queue {
			o.bytes -= len(p.body)
			c.answers.memory.give(p.cost())
		}
		o.queue = nil
	}
	return len(o.queue) > 0 || o.taken && !o.held, o.pushed
}
