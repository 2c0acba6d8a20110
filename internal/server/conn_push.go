package server

import (
	"time"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

var _ stream.Owner = (*connection)(nil)

// flushPushes lets out the pushes that were accepted, before the socket is closed; later ones are refused. Those that wait are
// dropped where a limit closes hard, and behind an answer that was cut off.
func (c *connection) flushPushes() {
	pending, pushed := c.writer.ClosePushes(c.hard || c.writer.HasTurn())
	if !pushed {
		return
	}
	switch {
	case pending && c.hard:
		c.abort(c.reason)
	case pending && c.reason == wire.ReasonShutdown:
		defer time.AfterFunc(maxLinger, func() { c.abort(wire.ReasonShutdown) }).Stop()
	}

	c.writer.Release()
	c.writer.TakeTurn()
	if c.err == nil {
		c.err = stream.ExplainTimeout(c.conn, c.writer.PushErr())
	}
	switch {
	case c.hard:
	case pending || c.reason != wire.ReasonShutdown:
		c.linger = maxLinger
	default:
		c.linger = max(c.linger, idleLinger)
	}
}

// IsAborted is for the writer.
func (c *connection) IsAborted() bool { return c.isAborted() }

// IsOpening reports whether the preamble is under way.
func (c *connection) IsOpening() bool { return c.opening.Load() }

// DrainForPush ends the connection behind a last push.
func (c *connection) DrainForPush() { c.drain(wire.ReasonRPC) }

// PushFailed ends the connection: a push is written whole, or nothing is written after it. Where the client is gone it ends
// behind the packets that have arrived.
func (c *connection) PushFailed(err error) {
	err = stream.ExplainTimeout(c.conn, err)
	why := reasonOf(err)
	if why == wire.ReasonReset {
		c.drain(why)
		return
	}
	c.dropUnsent(err)
	c.abort(why)
}

// FrameFailed ends the connection where the client has not taken a frame in time: its worker may be silent for long. That a client is
// gone, the next frame finds.
func (c *connection) FrameFailed(err error) {
	if err = stream.ExplainTimeout(c.conn, err); isUntaken(err) {
		c.dropUnsent(err)
		c.abort(reasonOf(err))
	}
}

// CloseWrite tells the client that nothing more comes. The connection's goroutine may be in an exchange.
func (c *connection) CloseWrite() {
	if c.secure != nil {
		c.secure.CloseNotify(false)
	}
	c.closeWrite()
}

// WritePanicked ends the connection.
func (c *connection) WritePanicked(p any) {
	c.logPanic(p)
	c.abort(wire.ReasonError)
}
