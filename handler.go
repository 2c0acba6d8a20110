package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// workers answers events. The error of an exchange without an answer is a *failure.
type workers interface {
	exchange(c *call, cancel <-chan struct{}, context, body []byte) (answer, error)
	handOverClose(c *call, context []byte)
}

var _ workers = (*exchanger)(nil)

// connection lives once, from hello to goodbye. One goroutine runs serve and owns everything that is not marked as
// shared; it alone closes conn.
type connection struct {
	uuid     string
	server   string
	conn     net.Conn // the socket itself, below TLS
	remote   net.Addr // the client, which a PROXY header may name
	packets  reader
	answers  writer
	contexts contexts
	workers  workers
	call     *call
	log      *zap.Logger
	stats    *serverStats
	tracer   trace.Tracer // nil: nobody traces
	spans    *spans       // of tracer
	access   bool         // the log has a line for each connection's end
	loud     *loudness    // of errors

	greet   func(*connection) error // what comes before CONNECTED: PROXY header, TLS handshake; nil: nothing
	refusal refusal                 // what it ends with, if that fails
	counted bool                    // for max_connections_per_ip
	secure  *secureSocket           // nil: no TLS

	why       reason  // why it ended
	err       error   // what ended it, where something did
	more      frames  // of the answer that is being written; nil: that was all
	connected bool    // a worker may know of it: CLOSE is owed
	omits     omitted // events that workers do not get
	begun     time.Time
	cutOff    int           // bytes of a packet that the end of file left unfinished
	linger    time.Duration // how long to close politely; 0 until something was written
	hard      bool          // a limit ended it: what is still to be written is dropped

	open *registry // where others find it
	tags []string  // guarded by its lock

	// shared: others read these
	doing atomic.Uint32 // the state
	count atomic.Int64  // packets handed over

	// shared: drain and abort set these from other goroutines
	asked    atomic.Uint32 // why somebody wants it to end, a reason; with hardBit at once
	greeting atomic.Bool   // greet is not over: no reply can be owed
	aborted  chan struct{} // closed by abort
}

// hardBit in asked says that not even the reply that is owed goes out.
const hardBit = 1 << 8

// serve runs the connection until it is over. gone is called when its socket is closed, before CLOSE is handed over.
func (c *connection) serve(gone func()) {
	var room [waitingRoom]byte
	keepRoom(room[:])
	defer c.recovered()
	defer c.finish(gone)
	c.live()
}

func (c *connection) live() {
	defer c.recovered()
	if c.greet != nil && !c.greeted() {
		return
	}
	c.connected = true
	c.spans = newSpans(c.tracer, c.server, c.uuid, c.remote)
	st := reading
	if !c.omits.connected {
		st = c.exchange(opening, c.contexts.connected(addrOf(c.conn.LocalAddr())), nil)
	}
	if st != reading {
		return
	}
	err := c.packets.socket.attend(func() (done bool) {
		for st == reading {
			c.doing.Store(uint32(reading))
			packet, tail, err := c.packets.next()
			switch {
			case err != nil || c.isAborted(): // which ends the stream too, but what is left is no packet
				c.stoppedReading(err)
				return true
			case packet == nil:
				return false
			}
			context := c.contexts.data
			if tail {
				context = c.contexts.tail()
			}
			st = c.exchange(replying, context, packet)
		}
		return true
	})
	if err != nil {
		c.stoppedReading(c.packets.waited(err))
	}
}

// greeted reports whether there is a client to speak of. If not, no worker hears of the connection.
func (c *connection) greeted() bool {
	err := c.greet(c)
	c.greet = nil
	c.setReadDeadline(time.Time{})
	c.setWriteDeadline(time.Time{})
	c.greeting.Store(false)
	if asked := c.askedWhy(); asked != reasonNone {
		c.end(asked, nil)
	} else if err != nil {
		c.stats.refused[c.refusal].Add(1)
		c.end(reasonHandshake, err)
	}
	return c.why == reasonNone
}

// exchange hands one event over and does what the reply says.
func (c *connection) exchange(st state, context, body []byte) state {
	c.call.kind = st.event()
	c.doing.Store(uint32(st))
	if st == replying {
		c.count.Add(1)
		c.stats.packets.Add(1)
	}
	span, before := c.spans.exchange(c.call.kind, len(body)), c.answers.total.Load()
	defer func() { span.end(c.answers.total.Load()-before, c.why, c.err) }()
	a, err := c.workers.exchange(c.call, c.aborted, context, body)
	c.more = a.more
	switch {
	case err != nil:
		return c.unanswered(st, err)
	case c.isAborted():
		return c.end(c.askedWhy(), nil)
	}

	r, err := c.decode(a.context)
	st, effect := st.next(r)
	if effect.end == reasonReply {
		c.stats.fail(failureReply)
	}
	if effect.write {
		if err := c.write(a.body); err != nil {
			return c.endedBy(err)
		}
	}
	if c.more == nil {
		c.release()
	}
	if c.more != nil && (st == reading || effect.write) { // else it ends with the connection
		st = c.stream(st, effect.write)
	}
	if effect.end != reasonNone { // an answer that did not get out has said why
		c.end(effect.end, err)
	}
	if st == reading && c.askedWhy() != reasonNone { // the reply that was owed is out
		return c.end(c.askedWhy(), nil)
	}
	return st
}

func (c *connection) unanswered(st state, err error) state {
	f := failureOf(err)
	c.stats.fail(f.kind())
	if st == opening {
		c.connected = f.reached
	}
	if c.isAborted() {
		return c.end(c.askedWhy(), nil)
	}
	return c.end(f.why, err)
}

// end notes why the connection ends. What was noted first stays.
func (c *connection) end(why reason, err error) state {
	if c.why == reasonNone {
		c.why, c.err = why, err
	}
	return closing
}

// endedBy notes that a read or a write failed. Whoever made it fail on purpose said why, but a limit that was reached
// while RoadRunner waits for the end of an answer is the reason all the same.
func (c *connection) endedBy(err error) state {
	why, limit := reasonOf(err), false
	switch why {
	case reasonIdle, reasonSlow, reasonTooLong, reasonMemory:
		limit = true
	}
	wokenUp := c.isAborted() || errors.Is(err, errIdle) || errors.Is(err, errPacketTimeout) || !limit
	if asked := c.askedWhy(); asked != reasonNone && wokenUp {
		return c.end(asked, nil)
	}

	if limit {
		c.linger, c.hard = 0, true // limits close hard
	}
	c.forgetUnsent(err)
	return c.end(why, err)
}

// forgetUnsent is for what the client did not take in time: the system would go on offering the rest for minutes.
func (c *connection) forgetUnsent(err error) {
	if s, ok := c.conn.(interface{ SetLinger(int) error }); ok && errors.Is(err, errWriteTimeout) {
		_ = s.SetLinger(0)
	}
}

func (c *connection) stoppedReading(err error) {
	if c.isAborted() {
		c.end(c.askedWhy(), nil)
		return
	}
	if errors.Is(err, errCutOff) && c.packets.unfinished() == 0 {
		err = io.EOF // a packet may have lost its end, but nothing has
	}
	c.endedBy(err)
	if c.why == reasonEOF {
		c.cutOff = c.packets.unfinished()
	}
	if c.why == reasonShutdown {
		c.linger = min(c.linger, idleLinger)
	}
}

// reasonOf maps what reader and writer say to a reason.
func reasonOf(err error) reason {
	var broken net.Error
	switch {
	case errors.Is(err, io.EOF):
		return reasonEOF
	case errors.Is(err, errIdle):
		return reasonIdle
	case errors.Is(err, errPacketTimeout), errors.Is(err, errWriteTimeout):
		return reasonSlow
	case errors.Is(err, errTooLong), errors.Is(err, errLength):
		return reasonTooLong
	case errors.Is(err, errMemory):
		return reasonMemory
	case errors.Is(err, io.ErrClosedPipe), errors.As(err, &broken), errors.Is(err, errTLS), errors.Is(err, errCutOff):
		return reasonReset
	default:
		return reasonError
	}
}

func (c *connection) askedWhy() reason { return reason(c.asked.Load() &^ hardBit) }

func (c *connection) isAborted() bool { return c.asked.Load()&hardBit != 0 }

// drain lets the connection end as soon as no reply is owed. Any goroutine may call it.
func (c *connection) drain(why reason) {
	c.asked.CompareAndSwap(uint32(reasonNone), uint32(why))
	_ = c.conn.SetReadDeadline(past)
	if c.greeting.Load() {
		_ = c.conn.SetWriteDeadline(past)
	}
}

// abort ends the connection at once: its client is cut off, its wait for a worker is over, a reply that comes later is
// discarded. Any goroutine may call it, as often as it likes; the first reason counts.
func (c *connection) abort(why reason) {
	for {
		asked := c.asked.Load()
		if asked&hardBit != 0 {
			return
		}
		if c.asked.CompareAndSwap(asked, uint32(why)|hardBit) {
			break
		}
	}
	close(c.aborted)
	shutdown(c.conn)
}

var past = time.Unix(1, 0)

// setReadDeadline is for the goroutine that reads. A deadline in the past that drain or abort has set stays.
func (c *connection) setReadDeadline(t time.Time) {
	_ = c.conn.SetReadDeadline(t)
	if c.askedWhy() != reasonNone {
		_ = c.conn.SetReadDeadline(past)
	}
}

// setWriteDeadline is for the goroutine that writes. A deadline in the past that abort has set stays.
func (c *connection) setWriteDeadline(t time.Time) {
	_ = c.conn.SetWriteDeadline(t)
	if c.isAborted() {
		_ = c.conn.SetWriteDeadline(past)
	}
}

// setDeadlineIn is for greet, and of both; 0 is none. Drain and abort have set one in the past that stays.
func (c *connection) setDeadlineIn(d time.Duration) {
	t := time.Time{}
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = c.conn.SetDeadline(t)
	if c.askedWhy() != reasonNone {
		_ = c.conn.SetDeadline(past)
	}
}

// shutdown ends both directions of a socket that another goroutine uses, without closing it.
func shutdown(conn net.Conn) {
	_ = conn.SetDeadline(past)
	if s, ok := conn.(interface{ CloseRead() error }); ok {
		_ = s.CloseRead()
	}
	if s, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = s.CloseWrite()
	}
}

// finish is the end of every connection, from the last line to the first: socket closed, untracked, its worker free, CLOSE
// handed over, logged. None of these is left out when another one panics.
func (c *connection) finish(gone func()) {
	defer c.logEnd()
	defer c.keep("")
	defer c.handOverClose()
	defer c.endStream()
	defer gone()
	defer c.conn.Close()
	c.doing.Store(uint32(closing))
	c.packets.discard()
	c.settle()
	c.sayGoodbye()
}

func (c *connection) handOverClose() {
	if c.connected && !c.omits.close {
		span := c.spans.exchange(kindClose, 0)
		defer func() { span.end(0, c.why, nil) }()
		c.workers.handOverClose(c.call, c.contexts.closed(ending{
			why: c.why, read: c.packets.total.Load(), written: c.answers.total.Load(), unfinished: c.cutOff, lived: time.Since(c.begun),
		}))
	}
}

func (c *connection) logEnd() {
	c.spans.end(c.count.Load(), c.packets.total.Load(), c.answers.total.Load(), c.why, c.err)
	if entry := c.log.Check(c.endLevel(), "connection ended"); entry != nil {
		entry.Write(c.fields(zap.Stringer("reason", c.why), zap.Int64("packets", c.count.Load()),
			zap.Int64("bytes_read", c.packets.total.Load()), zap.Int64("bytes_written", c.answers.total.Load()),
			zap.Duration("duration", time.Since(c.begun)), zap.Error(c.err))...)
	}
}

func (c *connection) endLevel() zapcore.Level {
	level := c.why.level()
	if level == zapcore.ErrorLevel && !c.loud.allows() {
		level = zapcore.DebugLevel
	}
	if c.access {
		level = max(level, zapcore.InfoLevel)
	}
	return level
}

// recovered ends the connection, not the process, when its goroutine panics.
func (c *connection) recovered() {
	if p := recover(); p != nil {
		c.end(reasonError, nil)
		c.logPanic(p)
	}
}

func (c *connection) logPanic(p any) {
	c.log.Error("panic", c.fields(zap.Any("error", p), zap.ByteString("stack", debug.Stack()))...)
}

func (c *connection) fields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{
		zap.String("server", c.server), zap.String("uuid", c.uuid), zap.String("remote", addrOf(c.remote)),
	}, more...)
}

// level is how loud the end of a connection is logged: what the peer does is nobody's fault here.
func (r reason) level() zapcore.Level {
	switch r {
	case reasonReply, reasonError:
		return zapcore.ErrorLevel
	default:
		return zapcore.DebugLevel
	}
}

// The polite way to close takes this long and reads this much, at most.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
	// idleLinger is for a client that is idle when RoadRunner stops: it has most likely had its answer.
	idleLinger = lingerTime / 10
)

// sayGoodbye closes the socket the polite way, but for the close itself, if something was written: a plain close with
// unread input makes the kernel send a reset, which destroys the answer on its way.
func (c *connection) sayGoodbye() {
	if c.secure != nil && !c.isAborted() {
		c.secure.sayGoodbye(c.linger < lingerTime)
	}
	if c.linger > 0 && !c.isAborted() && !c.hasHungUp() && c.closeWrite() {
		c.discard()
	}
}

// hasHungUp reports whether the client sends nothing more, so that nothing unread can come. The end of a TLS session is not
// the end of what comes.
func (c *connection) hasHungUp() bool { return c.secure == nil && errors.Is(c.packets.over, io.EOF) }

// closeWrite is for who has the turn.
func (c *connection) closeWrite() bool {
	s, ok := c.conn.(interface{ CloseWrite() error })
	return ok && s.CloseWrite() == nil
}

// discard reads what the client still sends, until it closes its side too.
func (c *connection) discard() {
	until := time.Now().Add(c.linger)
	buffer := newBuffer(firstBuffer)
	defer buffer.free()
	for left := lingerBytes; left > 0 && time.Now().Before(until); {
		_ = c.conn.SetReadDeadline(until)
		if c.isAborted() {
			return
		}
		n, err := c.conn.Read(buffer.bytes)
		left -= n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // a deadline of drain's is not ours
			return
		}
	}
}
