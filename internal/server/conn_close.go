package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// Bounds of the polite close.
const (
	maxLinger      = time.Second
	maxLingerBytes = 64 << 10
	lingerBuffer   = 4 << 10
	// idleLinger is for a client that is idle when RoadRunner stops: it has most likely got its answer.
	idleLinger = maxLinger / 10
)

// finish is the end of every connection, from the last line to the first: socket closed, untracked, its worker free, CLOSE
// handed over, logged. Each step is made although another one panics.
func (c *connection) finish(gone func()) {
	defer c.logEnd()
	defer c.releaseMemory()
	defer c.handOverClose()
	defer c.endFrames()
	defer gone()
	defer c.conn.Close()
	c.state.Store(uint32(wire.Closing))
	c.reader.Discard()
	if err := c.flush(); err != nil {
		c.endedBy(err)
	}
	isCutOff := c.writer.HasTurn() || c.unwritable != nil
	c.flushPushes()
	if !isCutOff {
		c.sayGoodbye()
	}
	c.closePolitely()
}

// sayGoodbye writes what goodbye has for the reason. A close at once could destroy it on its way: it is followed by one that waits.
func (c *connection) sayGoodbye() {
	words := c.settings.Goodbye[c.reason]
	if len(words) == 0 || !c.talks || c.isAborted() || c.writer.PushErr() != nil || c.writer.WriteLast(words) != nil {
		return
	}
	c.linger = max(c.linger, idleLinger)
	if c.reason != wire.ReasonShutdown {
		c.linger = maxLinger
	}
}

func (c *connection) releaseMemory() {
	c.setState("")
	c.releaseAgreed()
	if c.secure != nil {
		c.secure.Release()
	}
}

func (c *connection) handOverClose() {
	if !c.connected || c.settings.Disabled.Close {
		return
	}
	span := c.spans.Exchange(wire.Close, 0)
	defer func() { span.End(0, c.reason, nil) }()
	c.workers.HandOverClose(&c.call, c.contexts.Closed(wire.Ending{
		Reason: c.reason, BytesRead: c.reader.Total(), BytesWritten: c.writer.Total(), Unfinished: c.unfinished,
		Discarded: c.reader.Discarded(), Duration: time.Since(c.opened),
	}))
}

func (c *connection) logEnd() {
	c.spans.End(c.packets.Load(), c.reader.Total(), c.writer.Total(), c.reason, c.err)
	ctx, level := context.Background(), c.endLevel()
	if !c.log.Enabled(ctx, level) { // attributes cost memory
		return
	}
	attrs := c.attrs(slog.String("reason", c.reason.String()), slog.Int64("packets", c.packets.Load()),
		slog.Int64("bytes_read", c.reader.Total()), slog.Int64("bytes_written", c.writer.Total()),
		slog.Duration("duration", time.Since(c.opened)))
	if c.err != nil {
		attrs = append(attrs, slog.Any("error", c.err))
	}
	c.log.LogAttrs(ctx, level, "connection ended", attrs...)
}

// endLevel is error for faults of workers and of the plugin, and info for clients that are turned away, so many a second. What
// clients do otherwise is for the access log.
func (c *connection) endLevel() slog.Level {
	level := slog.LevelDebug
	switch {
	case c.reason.IsFault() && c.faults.Allows():
		level = slog.LevelError
	case c.reason == wire.ReasonHandshake && c.handshakes.Allows():
		level = slog.LevelInfo
	}
	if c.accessLog {
		level = max(level, slog.LevelInfo)
	}
	return level
}

// closePolitely shuts down the writing side, if something was written, and waits for the client to close its side: a close
// with unread input makes the kernel send a reset, which destroys an answer that is on its way.
func (c *connection) closePolitely() {
	if c.secure != nil && !c.isAborted() {
		c.secure.CloseNotify(c.linger < maxLinger)
	}
	if c.linger > 0 && !c.isAborted() && !c.isInputRead() && c.closeWrite() {
		c.discardInput()
	}
}

// isInputRead reports whether the client sends nothing more. The end of a TLS session is not the end of its input.
func (c *connection) isInputRead() bool { return c.secure == nil && c.reader.EOF() }

// closeWrite shuts down the writing side of the socket. The caller has the turn of the writer.
func (c *connection) closeWrite() bool {
	s, ok := c.conn.(interface{ CloseWrite() error })
	return ok && s.CloseWrite() == nil
}

// discardInput reads what the client still sends, until it closes its side or a bound is reached.
func (c *connection) discardInput() {
	until := time.Now().Add(c.linger)
	buffer := stream.NewBuffer(lingerBuffer)
	defer buffer.Free()
	for left := maxLingerBytes; left > 0 && time.Now().Before(until); {
		_ = c.conn.SetReadDeadline(until)
		if c.isAborted() {
			return
		}
		n, err := c.conn.Read(buffer.Bytes)
		left -= n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // drain may have set a deadline
			return
		}
	}
}
