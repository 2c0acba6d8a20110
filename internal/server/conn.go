package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// workers answers events. The error of an exchange is a *dispatch.Failure.
type workers interface {
	Exchange(c *dispatch.Call, cancel <-chan struct{}, context, body []byte) (dispatch.Answer, error)
	HandOverClose(c *dispatch.Call, context []byte)
}

var _ workers = (*dispatch.Dispatcher)(nil)

// connection is one client, from accept to CLOSE. One goroutine runs serve; it owns the socket, which it alone closes, and
// every field that is not marked otherwise.
type connection struct {
	*listener
	uuid       string
	conn       net.Conn // the socket itself, below TLS
	remote     net.Addr // the client, which a PROXY header may name
	reader     stream.Reader
	writer     stream.Writer
	secure     *stream.SecureSocket // nil: no TLS
	agreed     *wire.Beginning      // what the preamble has for CONNECTED, until then; nil: nothing
	agreedSize int                  // bytes of memory taken for agreed, until the event that has it is over
	contexts   wire.Contexts
	call       dispatch.Call
	spans      *telemetry.Spans // nil: not traced
	opened     time.Time

	err         error           // what ended it, where there is an error
	unwritable  error           // what a write of an answer failed with when the client was gone; nil: none has
	more        dispatch.Frames // of the answer that is being written; nil: it is complete
	reason      wire.Reason     // why it ended
	connected   bool            // a worker may know of it: CLOSE is owed
	isProxied   bool            // it begins with a PROXY header
	talks       bool            // the preamble is over: what is written is for the client
	countedByIP bool            // for max_connections_per_ip
	hard        bool            // a limit ended it: what is still to be written is dropped
	unfinished  int             // bytes of a packet that the end of file cut off
	linger      time.Duration   // how long a polite close may take; 0 until something was written
	tags        []string        // guarded by the registry's lock

	// Any goroutine reads these.
	state   atomic.Uint32 // a wire.State
	packets atomic.Int64  // handed over

	// drain and abort, which any goroutine may call, set these.
	interrupted atomic.Uint32 // why the connection is to end, a wire.Reason; with abortBit at once
	opening     atomic.Bool   // the preamble is not over: no reply can be owed
	startsTLS   atomic.Bool   // a reply asks for a handshake, which is not over
	aborted     chan struct{} // closed by abort
}

// abortBit in interrupted says that a reply which is owed does not go out either.
const abortBit = 1 << 8

func (l *listener) newConnection(conn net.Conn) *connection {
	c := &connection{
		listener: l, uuid: l.newUUID(), conn: conn, remote: conn.RemoteAddr(),
		call: dispatch.Call{CloseTimeout: l.settings.CloseTimeout, Stats: l.stats, Shares: true}, opened: time.Now(), aborted: make(chan struct{}),
	}
	c.isProxied = l.isProxied(c.remote)
	c.countedByIP = !c.isProxied
	c.contexts = l.newContexts(c.remote, c.uuid)
	c.opening.Store(c.hasPreamble() || l.settings.ConnectedOnFirstByte)
	socket := stream.NewSocket(conn)
	var written *stream.Activity
	if l.settings.IdleOn == settings.IdleOnAny {
		written = new(stream.Activity)
	}
	c.reader = stream.Reader{ReaderConfig: stream.ReaderConfig{
		Socket: socket, Framing: l.settings.Framing, ReadSize: l.settings.ReadSize, MaxPacketSize: l.settings.MaxPacketSize,
		Memory: l.memory, Limiter: l.reads, IdleTimeout: l.settings.IdleTimeout, PacketTimeout: l.settings.PacketTimeout,
		OnTooLong: l.settings.OnTooLong, Received: &l.stats.Received, DiscardedTotal: &l.stats.Discarded,
		TruncatedTotal: &l.stats.Truncated, SetDeadline: c.setReadDeadline, Written: written,
	}}
	c.writer = stream.Writer{WriterConfig: stream.WriterConfig{
		Conn: conn, Socket: socket, Timeout: l.settings.WriteTimeout, Memory: l.memory, SetDeadline: c.setWriteDeadline,
		MinRate: l.settings.MinRate, PushQueue: l.settings.PushQueue, StreamBuffer: l.settings.StreamBuffer, Sent: &l.stats.Sent, Written: written, Owner: c,
	}}
	return c
}

// serve runs the connection until it is over. gone is called when its socket is closed, before CLOSE is handed over.
func (c *connection) serve(gone func()) {
	defer c.recoverPanic()
	defer c.finish(gone)
	c.run()
}

// run ends with a reason in c.reason.
func (c *connection) run() {
	defer c.recoverPanic()
	if c.hasPreamble() && !c.preamble() {
		return
	}
	c.talks = true
	if c.settings.ConnectedOnFirstByte && !c.awaitFirstByte() {
		return
	}
	for state := c.open(); state == wire.Reading; {
		c.state.Store(uint32(wire.Reading))
		packet, tail, err := c.reader.Next()
		if tail && c.isCutOff() {
			c.stoppedReading(io.EOF)
			return
		}
		if err != nil && c.pushEnds(err) {
			packet, tail, err = c.nextArrived()
		}
		if err != nil || c.isAborted() { // an abort ends the stream, too, but what is left is no packet
			c.stoppedReading(c.keepOpen(err))
			return
		}
		state = c.handOver(packet, tail)
	}
}

// awaitFirstByte reports whether the client has sent anything.
func (c *connection) awaitFirstByte() bool {
	err := c.reader.Wait()
	c.setWriteDeadline(time.Time{})
	c.opening.Store(false)
	if err != nil || c.interruption() != wire.ReasonNone { // a drain may have found it opening
		c.stoppedReading(err)
	}
	return c.reason == wire.ReasonNone
}

// open hands over CONNECTED.
func (c *connection) open() wire.State {
	defer c.releaseAgreed()
	c.connected = true
	c.spans = telemetry.NewSpans(c.tracer, c.server, c.uuid, clientAddress(c.remote))
	b := c.takeAgreed()
	if c.settings.Disabled.Connected {
		return wire.Reading
	}
	b.LocalAddr, b.StartTLS = clientAddress(c.conn.LocalAddr()), c.canStartTLS()
	return c.exchange(wire.Opening, c.contexts.Connected(b), nil)
}

// handOver hands over a packet.
func (c *connection) handOver(packet []byte, tail bool) wire.State {
	context := c.contexts.Data()
	switch {
	case tail:
		context = c.contexts.Tail()
	case c.reader.Truncated():
		context = c.contexts.Truncated()
	}
	return c.exchange(wire.Replying, context, packet)
}

// exchange hands one event over and does what the reply says.
func (c *connection) exchange(state wire.State, context, body []byte) wire.State {
	c.call.Event = state.Event()
	c.state.Store(uint32(state))
	if state == wire.Replying {
		c.packets.Add(1)
		c.stats.Packets.Add(1)
	}
	span, before := c.spans.Exchange(c.call.Event, len(body)), c.writer.Total()
	defer func() { span.End(c.writer.Total()-before, c.reason, c.err) }()
	answer, err := c.workers.Exchange(&c.call, c.aborted, context, body)
	c.more = answer.More
	switch {
	case err != nil:
		return c.unanswered(state, err)
	case c.isAborted():
		return c.end(c.interruption(), nil)
	}
	return c.obey(state, answer)
}

// obey does what the answer of a worker says.
func (c *connection) obey(state wire.State, answer dispatch.Answer) wire.State {
	reply, err := c.decode(answer.Context)
	state, effect := state.Next(reply)
	if effect.End == wire.ReasonReply {
		c.stats.Failed(telemetry.FailureReply)
	}
	if effect.Write {
		if err := c.write(answer.Body); err != nil {
			return c.endedBy(err)
		}
	}
	if c.more == nil && !c.startsTLS.Load() { // which no push may come before
		c.writer.Release()
	} else if c.more != nil && (state == wire.Reading || effect.Write) { // otherwise the stream ends with the connection
		state = c.writeFrames(state, effect.Write)
	}
	switch effect.End { // an answer that was not written has set the reason
	case wire.ReasonNone:
	case wire.ReasonWorker:
		c.closedByWorker()
	default:
		c.end(effect.End, err)
	}
	if state == wire.Reading && c.startsTLS.Load() {
		return c.startTLS()
	}
	if why := c.interruption(); state == wire.Reading && why != wire.ReasonNone && why != wire.ReasonReset {
		return c.end(why, nil) // the reply that was owed is out
	}
	return state
}

// nextArrived returns the next packet that has arrived, behind a push that has failed.
func (c *connection) nextArrived() (packet []byte, tail bool, err error) {
	c.reader.StopWaiting(c.writer.PushErr(), c.boundRead)
	return c.reader.Next()
}

// unanswered ends the connection after an exchange without a reply.
func (c *connection) unanswered(state wire.State, err error) wire.State {
	f := dispatch.FailureOf(err)
	c.stats.Failed(f.Kind())
	if state == wire.Opening {
		c.connected = f.Reached
	}
	if c.isAborted() {
		return c.end(c.interruption(), nil)
	}
	return c.end(f.Reason, err)
}

// describe may be called by any goroutine.
func (c *connection) describe(tags []string) Connection {
	return Connection{
		UUID: c.uuid, Server: c.server, RemoteAddr: clientAddress(c.remote), Tags: tags,
		ConnectedAt: c.opened.UTC().Format(timeFormat),
		Bytes:       c.reader.Total(), BytesWritten: c.writer.Total(), Packets: c.packets.Load(),
		State: wire.State(c.state.Load()).String(),
	}
}

// isVisible reports whether c is a connection of that server, or of any where it is empty, whose preamble is over.
func (c *connection) isVisible(server string) bool {
	return !c.opening.Load() && (server == "" || c.server == server)
}

// recoverPanic ends the connection, not the process, when its goroutine panics.
func (c *connection) recoverPanic() {
	if p := recover(); p != nil {
		c.end(wire.ReasonError, nil)
		c.logPanic(p)
	}
}

func (c *connection) logPanic(p any) {
	c.log.LogAttrs(context.Background(), slog.LevelError, "panic", c.attrs(slog.Any("error", p), slog.String("stack", string(debug.Stack())))...)
}

func (c *connection) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{
		slog.String("server", c.server), slog.String("uuid", c.uuid), slog.String("remote", clientAddress(c.remote)),
	}, more...)
}
