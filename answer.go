package tcp

import "fmt"

// decode reads a reply and does what it asks for beside its word.
func (c *connection) decode(context []byte) (reply, error) {
	r, o, err := decodeReply(context, c.uuid)
	if o.next != nil && (r == replyWrite || r == replyContinue) {
		var f framing
		if f, err = o.next.framing(c.packets.most, c.packets.longest); err != nil {
			return replyUnknown, fmt.Errorf("the worker answered with an object that is no reply: %w", err)
		}
		c.packets.use(f, o.next.Once)
	}
	if o.state != nil && !c.keep(*o.state) {
		c.endedBy(errMemory)
		return replyClose, nil
	}
	return r, err
}

// keep hands a state to later events; false: memory is used up.
func (c *connection) keep(state string) bool {
	with := c.contexts.keep(state)
	more := with.kept() - c.packets.beside
	if more > 0 && !c.packets.memory.take(more, c.packets.held()+c.packets.beside) {
		return false
	}
	if more < 0 {
		c.packets.memory.give(-more)
	}
	c.contexts, c.packets.beside = with, with.kept()
	return true
}
