package tcp

// decode reads a reply and does what it asks for beside its word.
func (c *connection) decode(context []byte) (reply, error) {
	r, o, err := decodeReply(context, c.uuid)
	if o.next != nil && (r == replyWrite || r == replyContinue) {
		var f framing
		if f, err = o.next.framing(c.packets.most, c.packets.longest); err != nil {
			return replyUnknown, noReply(err)
		}
		c.packets.use(f, o.next.Once)
	}
	if o.state != nil && !c.keep(*o.state) {
		c.endedBy(errMemory)
		return replyClose, nil
	}
	if o.tags != nil {
		_, _ = c.open.tag(c.uuid, func([]string) []string { return o.tags }) // which were checked
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

func (c *connection) write(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	c.linger = lingerTime
	c.packets.release() // not to be held while the client is waited for
	held := c.packets.held() + c.packets.beside
	if c.more != nil {
		return c.answers.writeFrame(body, held)
	}
	err := c.answers.write(body, held)
	c.packets.answered = err == nil
	return err
}

// stream writes the frames that follow the first. What that one said counts for all, but the last may close. Frames that
// nobody wants end the answer.
func (c *connection) stream(st state, write bool) state {
	for write {
		a, last, err := c.more.next(c.aborted)
		switch {
		case err != nil:
			return c.unanswered(replying, err)
		case c.isAborted():
			return c.end(c.askedWhy(), nil)
		}
		if err := c.write(a.body); err != nil {
			return c.endedBy(err)
		}
		if last {
			if r, _, _ := decodeReply(a.context, c.uuid); r == replyWriteClose {
				st = c.end(reasonWorker, nil)
			}
			break
		}
	}
	c.release()
	c.endStream()
	return st
}

// endStream returns when the worker that streamed is free.
func (c *connection) endStream() {
	if c.more != nil {
		c.more.end()
		c.more = nil
	}
}
