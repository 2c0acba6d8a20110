package server

import (
	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// decode reads a reply and applies its options.
func (c *connection) decode(context []byte) (wire.Reply, error) {
	reply, options, err := wire.DecodeReply(context, c.uuid)
	if options.Next != nil {
		next, once, nextErr := framing.DecodeNext(options.Next, c.settings.ReadSize, c.settings.MaxPacketSize)
		switch goesOn := reply == wire.ReplyWrite || reply == wire.ReplyContinue; {
		case goesOn && nextErr != nil:
			return wire.ReplyUnknown, wire.NotReply(nextErr)
		case goesOn:
			c.reader.Use(next, once)
		}
	}
	if options.TLS && (reply == wire.ReplyWrite || reply == wire.ReplyContinue) {
		if err := c.mayStartTLS(); err != nil {
			return wire.ReplyUnknown, wire.NotReply(err)
		}
		c.startsTLS.Store(true)
	}
	if options.State != nil && !c.setState(*options.State) {
		c.endedBy(stream.ErrMemory)
		return wire.ReplyClose, nil
	}
	if options.Tags != nil {
		_, _ = c.registry.tag(c.uuid, func([]string) []string { return options.Tags }) // DecodeReply has checked them
	}
	return reply, err
}

// setState makes later events carry a state; false: memory_limit is used up.
func (c *connection) setState(state string) bool {
	contexts := c.contexts.WithState(state)
	more := contexts.StateSize() - c.reader.Extra()
	if more > 0 && !c.memory.Take(more, c.reader.Held()+c.reader.Extra()) {
		return false
	}
	if more < 0 {
		c.memory.Give(-more)
	}
	c.contexts = contexts
	c.reader.SetExtra(contexts.StateSize())
	return true
}

// write sends the body of an answer, or of a frame of one, to the client. What a client that is gone can't take is dropped: what
// it has sent before is handed over all the same.
func (c *connection) write(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if c.unwritable == nil {
		if err := c.send(body); err == nil || !c.isGone(err) {
			return err
		}
	}
	c.stats.Dropped.Add(int64(len(body)))
	return nil
}

// isGone reports whether err, of a write, says that the client is gone, and notes it.
func (c *connection) isGone(err error) bool {
	err = stream.ExplainTimeout(c.conn, err)
	if reasonOf(err) != wire.ReasonReset || c.isAborted() {
		return false
	}
	c.unwritable, c.linger = err, 0
	c.reader.StopWaiting(err, c.boundRead)
	return true
}

// flush waits until the client has taken what was buffered of a streamed answer. The worker is free meanwhile.
func (c *connection) flush() error {
	if !c.writer.IsBuffering() {
		return nil
	}
	if !c.isAborted() && !c.hard { // else the socket is closed first
		c.endFrames()
	}
	dropped, err := c.writer.Flush()
	if err == nil || c.unwritable == nil && !c.isGone(err) {
		return err
	}
	c.stats.Dropped.Add(int64(dropped))
	return nil
}

func (c *connection) send(body []byte) error {
	c.linger = maxLinger
	c.reader.Release() // a buffer is not to be held while the client is waited for
	held := c.reader.Held() + c.reader.Extra()
	if c.more != nil {
		return c.writer.WriteFrame(body, held)
	}
	return c.writer.Write(body, held)
}

// writeFrames writes the frames that follow the first. The reply of the first counts for all, but the last one may close.
// Where nothing is to be written, the answer is ended.
func (c *connection) writeFrames(state wire.State, write bool) wire.State {
	for write && c.unwritable == nil {
		frame, last, err := c.more.Next(c.aborted)
		switch {
		case err != nil:
			return c.unanswered(wire.Replying, err)
		case c.isAborted():
			return c.end(c.interruption(), nil)
		}
		err = c.write(frame.Body)
		if last && err == nil {
			err = c.flush()
		}
		if err != nil {
			return c.endedBy(err)
		}
		if last {
			if reply, _, _ := wire.DecodeReply(frame.Context, c.uuid); reply == wire.ReplyWriteClose {
				state = c.closedByWorker()
			}
			break
		}
	}
	c.writer.Release()
	c.endFrames()
	return state
}

// closedByWorker ends the connection as the worker asks; the client may have been gone first.
func (c *connection) closedByWorker() wire.State {
	if c.unwritable != nil {
		return c.endedBy(c.unwritable)
	}
	return c.end(wire.ReasonWorker, nil)
}

// endFrames returns when the worker of a streamed answer is free.
func (c *connection) endFrames() {
	if c.more != nil {
		c.more.End()
		c.more = nil
	}
}
