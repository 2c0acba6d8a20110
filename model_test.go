//go:build go1.25

package tcp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"
)

// The whole connection against a model of it: a random script of what client, worker, clock and host do is played in a
// bubble of time; after each step, when nothing moves any more, everything that can be seen from outside must be as the
// model has it.

// step is one line of a script. It does nothing where it makes no sense.
type step struct {
	do     string
	text   string // sent by the client; the reply's word
	size   int    // of the reply's body; bytes that the client reads; 0: all there are
	why    reason
	pause  time.Duration
	worker bool // the event reached a worker
	more   extras
}

// extras are what a reply says beside its word.
type extras struct {
	stream bool // it is the first frame
	last   bool // it is the last one
	next   int  // of modelFramings; 0: as before
	once   bool
	state  string // "-": none any more
	stray  bool   // it names another connection
}

// modelFramings are those that a script begins with or comes to. Raw is apart: how much comes at once is not said.
var modelFramings = []Packets{
	{Framing: framingDelimiter, Delimiter: "\r\n"},
	{Framing: framingDelimiter, Delimiters: []string{"\r\n", "b", "cc"}, Strip: true},
	{Framing: framingFixed, PacketSize: 4},
	{Framing: framingLength, Length: &Length{ASCII: 1, Strip: 1}},
	{Framing: framingLength, Length: &Length{Bytes: 1, Adjust: -'a'}},
	{Framing: framingRaw},
}

// context is the reply as the worker sends it.
func (s step) context() []byte {
	if s.more.next == 0 && s.more.state == "" && !s.more.stray {
		return []byte(s.text)
	}
	object := map[string]any{"reply": s.text}
	if s.more.next > 0 {
		p := modelFramings[s.more.next]
		n := m{"framing": p.Framing, "strip": p.Strip, "once": s.more.once}
		if p.Delimiters != nil {
			n["delimiters"] = p.Delimiters
		}
		if p.Length != nil {
			n["length"] = p.Length
		}
		if p.PacketSize > 0 {
			n["packet_size"] = p.PacketSize
		}
		object["next"] = n
	}
	if s.more.state != "" {
		object["state"] = strings.TrimSuffix(s.more.state, "-")
	}
	if s.more.stray {
		object["uuid"] = "somebody else's"
	}
	b, _ := json.Marshal(object)
	return b
}

func (s step) String() string {
	return fmt.Sprintf("%s %q %d %q %s %t %+v", s.do, s.text, s.size, s.why, s.pause, s.worker, s.more)
}

// What a modelled connection is limited to. No sum of pauses meets a timeout exactly.
const (
	stateBytes   = 64 // of the states in scripts, as they are kept
	modelLongest = 24
	modelIdle    = 10*time.Second + 500*time.Millisecond + 1
	modelPacket  = 5*time.Second + 500*time.Millisecond + 2
	modelWrite   = 4*time.Second + 4
	modelTick    = 50 * time.Millisecond
	modelRoom    = 8 // bytes of an answer that wait for the client outside of the connection
)

// Both have more than once what is to come more often; rapid prefers what stands first.
var (
	ordinarySteps = []string{
		"reply", "send", "read", "reply", "send", "read", "reply", "send", "read", "pause", "send", "end", "take", "reply", "read",
		"send", "pause",
	}
	ordinaryReplies = []string{
		"WRITE", "CONTINUE", "WRITE", "CONTINUE", "WRITE", "CONTINUE", "WRITE", "CONTINUE", "WRITE", "CONTINUE", "last", "WRITE",
		"CONTINUE", "WRITE", "CONTINUE", "WRITE", "CONTINUE",
	}
)

var (
	pieceGen = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "\r\n", "b", "\r", "\n", "cc\r\n", "x\r\ny", "0123456789", "0", "3abc", "d",
		}), 1, 4).Draw(t, "bytes"), "")
	})
	extrasGen = rapid.Custom(func(t *rapid.T) extras {
		return extras{
			stream: rapid.Bool().Draw(t, "stream"), last: rapid.IntRange(0, 2).Draw(t, "last") == 2,
			next: rapid.IntRange(0, len(modelFramings)-1).Draw(t, "next"), once: rapid.Bool().Draw(t, "once"),
			state: rapid.SampledFrom([]string{"", "one", "two", "-"}).Draw(t, "state"),
			stray: rapid.IntRange(0, 20).Draw(t, "stray") == 20,
		}
	})
	stepGen = rapid.Custom(func(t *rapid.T) step {
		s := step{do: rapid.SampledFrom(ordinarySteps).Draw(t, "do")}
		if s.do == "end" {
			s.do = rapid.SampledFrom([]string{"shut", "close", "reset", "fail", "panic", "abort", "drain", "hog"}).Draw(t, "end")
		}
		switch s.do {
		case "send":
			s.text = pieceGen.Draw(t, "piece")
		case "reply":
			s.text = rapid.SampledFrom(ordinaryReplies).Draw(t, "word")
			if s.text == "last" {
				s.text = rapid.SampledFrom([]string{"WRITECLOSE", "CLOSE", "write"}).Draw(t, "last")
			}
			s.size = rapid.SampledFrom([]int{0, 1, 5, modelRoom, modelRoom + 1, 30, 2, 3, 4, 2 * guaranteed}).Draw(t, "size")
			if rapid.IntRange(0, 2).Draw(t, "more") == 2 {
				s.more = extrasGen.Draw(t, "extras")
			}
		case "read":
			s.size = rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "size")
		case "fail":
			s.worker = rapid.Bool().Draw(t, "reached")
			s.why = rapid.SampledFrom([]reason{reasonError, reasonOverload, reasonShutdown, reasonReply}).Draw(t, "why")
		case "abort":
			s.why = rapid.SampledFrom([]reason{reasonRPC, reasonShutdown}).Draw(t, "why")
		case "pause":
			s.pause = rapid.SampledFrom([]time.Duration{
				modelTick, 600 * time.Millisecond, time.Second, 3 * time.Second, 6 * time.Second, 11 * time.Second,
			}).Draw(t, "pause")
		}
		return s
	})
	scriptGen = rapid.Custom(func(t *rapid.T) playedScript {
		return playedScript{
			batch:   rapid.SampledFrom([]int{0, 0, 10, 100}).Draw(t, "batch"),
			framing: rapid.SampledFrom([]int{0, 0, 1, 2, 3, 4, 5}).Draw(t, "framing"),
			most:    rapid.SampledFrom([]int{1 << 20, 1, 3}).Draw(t, "most"),
			timed:   rapid.Bool().Draw(t, "timed"),
			steps:   slices.Concat(rapid.SliceOfN(rapid.SliceOfN(stepGen, 0, 20), 0, 20).Draw(t, "steps")...),
		}
	})
)

type playedScript struct {
	batch, most int
	framing     int // of modelFramings
	timed       bool
	steps       []step
}

// rule is what the server's configuration says.
func (s playedScript) rule() Packets {
	p := modelFramings[s.framing]
	p.Batch = s.batch > 0 && p.Framing != framingRaw && !p.Strip && (p.Length == nil || p.Length.Strip == 0)
	return p
}

// modelWorkers hands every event to the test: first that it is offered, then what comes of it.
type modelWorkers struct {
	taken  chan struct{} // receives once for each event that a worker takes
	answer chan func() (answer, error)
	frames chan func() (answer, bool, error)

	mu   sync.Mutex
	seen seen
}

// seen is what workers have seen of a connection.
type seen struct {
	offered, closes []scriptedEvent
	inFlight        int
	twice           bool // two were in flight
	streaming       bool
}

func (w *modelWorkers) look() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

func (w *modelWorkers) note(change func(*seen)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.seen)
}

func (w *modelWorkers) exchange(_ *call, cancel <-chan struct{}, context, body []byte) (answer, error) {
	w.note(func(s *seen) {
		s.inFlight++
		s.twice = s.twice || s.inFlight > 1 || len(s.closes) > 0
		s.offered = append(s.offered, decodeEvent(context, body))
	})
	streams := false
	defer func() {
		if !streams {
			w.note(func(s *seen) { s.inFlight-- })
		}
	}()
	select {
	case <-w.taken:
	case <-cancel:
		return answer{}, &failure{err: errCanceled}
	}
	a, err := (<-w.answer)()
	if streams = a.more != nil; streams {
		w.note(func(s *seen) { s.streaming = true })
	}
	return a, err
}

func (w *modelWorkers) next(cancel <-chan struct{}) (answer, bool, error) {
	select {
	case f := <-w.frames:
		return f()
	case <-cancel:
		return answer{}, false, &failure{reached: true, err: errCanceled}
	}
}

// end frees the worker of a stream: only then is its exchange over.
func (w *modelWorkers) end() {
	w.note(func(s *seen) {
		s.twice = s.twice || !s.streaming
		s.streaming = false
		s.inFlight--
	})
}

func (w *modelWorkers) handOverClose(_ *call, context []byte) {
	w.note(func(s *seen) {
		s.twice = s.twice || s.inFlight > 0
		s.closes = append(s.closes, decodeEvent(context, nil))
	})
}

// phases of the model, finer than the states of the connection.
const (
	inExchange = iota
	atReading
	atWriting
	atStreaming // the next frame is waited for
	atLingering
	isGone
)

// model is what a connection should be.
type model struct {
	script playedScript
	rule   Packets // in force
	once   bool    // for one packet
	state  string

	streaming struct{ on, last, close bool } // of the answer; last: of the frame that is written
	cutOff    int                            // bytes that the end of file left

	phase     int
	taken     bool // the event has a worker
	connected bool
	why       reason
	asked     reason
	aborted   bool
	hog       bool

	stream            string  // sent by the client, not handed over
	eof, reset, close bool    // of the client
	tail              bool    // the end of file was met
	cutBy             Packets // of the last packet
	offered           []string
	pending           int // bytes of the answer that are not out yet
	out               int // bytes that are out
	got               int // bytes that the client has read
	linger            time.Duration
	early             time.Duration // how much before now lingering may have begun

	entered  time.Time // the phase began
	begun    time.Time // the unfinished packet was there
	progress time.Time // the client last took something
}

// run plays a script and says what was not as the model has it.
func (s playedScript) run(t *testing.T) (err error) {
	synctest.Test(t, func(*testing.T) { err = s.inBubble() })
	return err
}

func (s playedScript) inBubble() error {
	server, client := memoryPair(modelRoom)
	core, logs := observer.New(zap.DebugLevel)
	w := &modelWorkers{
		taken: make(chan struct{}), answer: make(chan func() (answer, error)), frames: make(chan func() (answer, bool, error)),
	}
	l := testListener(w, zap.New(core))
	rule := s.rule()
	if errs := rule.init("x", modelLongest); len(errs) > 0 {
		return errors.Join(errs...)
	}
	l.most, l.framing = s.most, rule.framing(max(s.most, s.batch), modelLongest)
	if rule.Batch {
		l.framing.batch = s.batch
	}
	l.limits = limits{packet: modelLongest}
	if s.timed {
		l.limits.idle, l.limits.packetTime, l.limits.write = modelIdle, modelPacket, modelWrite
	}
	c := l.newConnection(server)
	gone := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func() { gone += 1 + 10*len(w.look().closes) + 100*(1-int(server.closes.Load())) })
	}()
	synctest.Wait()

	m := &model{script: s, rule: rule, phase: inExchange, connected: true, offered: []string{"CONNECTED "}}
	var history []string
	check := func() error {
		if err := m.compare(w.look(), l.memory, server); err != nil {
			return fmt.Errorf("%w\nafter %s", err, strings.Join(history, "\n      "))
		}
		return nil
	}
	act := func(step step) error {
		if m.allows(step) {
			history = append(history, step.String())
			m.play(step, w, c, l.memory, client)
			synctest.Wait()
			m.observe(w.look(), c)
		}
		return check()
	}
	for _, step := range s.steps {
		if err := act(step); err != nil {
			m.giveUp(c, w, client)
			<-ended
			return err
		}
	}
	// Whatever the script left open ends now.
	for _, step := range []step{{do: "close"}, {do: "take"}, {do: "reply", text: "WRITECLOSE", more: extras{last: true}}, {do: "pause", pause: 2 * lingerTime}} {
		if err := act(step); err != nil {
			m.giveUp(c, w, client)
			<-ended
			return err
		}
	}
	m.giveUp(c, w, client)
	<-ended
	return errors.Join(check(), m.after(w.look(), logs, gone, int(server.closes.Load()), history))
}

// giveUp ends the connection whatever it does.
func (m *model) giveUp(c *connection, w *modelWorkers, client *memoryConn) {
	if m.phase == isGone {
		return
	}
	c.abort(reasonShutdown)
	client.Close()
	synctest.Wait()
	for w.look().inFlight > 0 {
		select {
		case w.taken <- struct{}{}:
		case w.answer <- func() (answer, error) { return answer{context: []byte("CLOSE")}, nil }:
		}
		synctest.Wait()
	}
}

// allows reports whether a step makes sense.
func (m *model) allows(s step) bool {
	switch s.do {
	case "send":
		return !m.eof && !m.reset && !m.close && m.phase != isGone
	case "shut", "reset", "close":
		return !m.close && !m.reset && (s.do != "shut" || !m.eof)
	case "read":
		return !m.close && !m.reset && m.out > m.got
	case "take":
		return m.phase == inExchange && !m.taken
	case "reply", "fail":
		return m.phase == inExchange || m.phase == atStreaming
	case "panic":
		return m.phase == inExchange
	case "abort", "drain":
		return m.phase != isGone
	case "hog":
		return !m.hog
	default:
		return true
	}
}

// play does a step, in the model and to the connection.
func (m *model) play(s step, w *modelWorkers, c *connection, memory *memory, client *memoryConn) {
	now := time.Now()
	switch s.do {
	case "send":
		io.WriteString(client, s.text)
		m.stream += s.text
		m.settle(now)
	case "shut":
		client.CloseWrite()
		m.eof = true
		m.settle(now)
	case "reset":
		client.reset()
		m.reset = true
		m.settle(now)
	case "close":
		client.Close()
		m.close = true
		m.settle(now)
	case "read":
		m.clientReads(s, now, client)
	case "take":
		m.taken = true
		w.taken <- struct{}{}
	case "reply":
		a := answer{context: s.context(), body: bytes.Repeat([]byte("A"), s.size)}
		if m.phase == atStreaming {
			w.frames <- func() (answer, bool, error) { return a, s.more.last, nil }
			m.framed(s, now)
			return
		}
		if s.more.stream {
			a.more = w
		}
		m.take(w)
		w.answer <- func() (answer, error) { return a, nil }
		m.replied(s, now)
	case "fail":
		f := &failure{why: s.why, reached: s.worker, err: errors.New("of a test")}
		if m.phase == atStreaming {
			w.frames <- func() (answer, bool, error) { return answer{}, false, f }
			m.ends(s.why, now)
			return
		}
		m.take(w)
		w.answer <- func() (answer, error) { return answer{}, f }
		m.failed(s, now)
	case "panic":
		m.take(w)
		w.answer <- func() (answer, error) { panic("of a test") }
		m.ends(reasonError, now)
	case "abort":
		c.abort(s.why)
		m.isAborted(s.why, now)
	case "drain":
		c.drain(reasonShutdown)
		m.drained(now)
	case "hog":
		m.hog = true
		memory.used.Add(defaultMemoryLimit)
	case "pause":
		for left := s.pause; left > 0; left -= modelTick {
			time.Sleep(modelTick)
			synctest.Wait()
			m.settle(time.Now())
			m.observe(w.look(), c)
		}
	}
}

func (m *model) take(w *modelWorkers) {
	if !m.taken {
		m.taken = true
		w.taken <- struct{}{}
	}
}

func (m *model) clientReads(s step, now time.Time, client *memoryConn) {
	for left := s.size; (s.size == 0 || left > 0) && m.out > m.got; left-- {
		client.Read(make([]byte, 1))
		synctest.Wait()
		m.got++
		if m.pending > 0 && m.phase == atWriting {
			m.progress = now
			m.pending--
			m.out++
		}
	}
	m.settle(now)
}

func (m *model) replied(s step, now time.Time) {
	if m.aborted {
		m.ends(m.asked, now)
		return
	}
	if s.more.stray || !slices.Contains([]string{"WRITE", "WRITECLOSE", "CLOSE", "CONTINUE"}, s.text) {
		m.ends(reasonReply, now)
		return
	}
	if s.more.state != "" {
		m.state = strings.TrimSuffix(s.more.state, "-")
	}
	if s.more.next > 0 && (s.text == "WRITE" || s.text == "CONTINUE") {
		m.rule, m.once = modelFramings[s.more.next], s.more.once
	}
	body := 0
	switch s.text {
	case "WRITE":
		body = s.size
	case "WRITECLOSE":
		body = s.size
	case "CLOSE":
		m.ends(reasonWorker, now)
		return
	}
	m.streaming.on, m.streaming.last = s.more.stream && s.text != "CONTINUE", false
	m.streaming.close = s.text == "WRITECLOSE"
	m.writesOut(body, now)
}

// framed is a frame after the first.
func (m *model) framed(s step, now time.Time) {
	m.streaming.last = s.more.last
	m.streaming.close = m.streaming.close || s.more.last && s.text == "WRITECLOSE" && !s.more.stray
	m.writesOut(s.size, now)
}

func (m *model) writesOut(body int, now time.Time) {
	if body > 0 {
		m.linger = lingerTime
	}
	if m.hog && body > guaranteed {
		m.stopped(reasonMemory, now)
		return
	}
	m.pending = body
	m.phase, m.progress = atWriting, now
	m.entered = now
	m.settle(now)
}

func (m *model) failed(s step, now time.Time) {
	if len(m.offered) == 1 {
		m.connected = s.worker
	}
	if m.aborted {
		m.ends(m.asked, now)
		return
	}
	m.ends(s.why, now)
}

func (m *model) drained(now time.Time) {
	if m.asked == reasonNone {
		m.asked = reasonShutdown
	}
	if m.phase == atReading {
		m.linger = min(m.linger, idleLinger)
		m.ends(m.asked, now)
	}
}

func (m *model) isAborted(why reason, now time.Time) {
	if m.aborted {
		return
	}
	m.asked, m.aborted = why, true
	switch m.phase {
	case inExchange:
		if !m.taken { // the wait for a worker is over
			if len(m.offered) == 1 {
				m.connected = false
			}
			m.ends(why, now)
		}
	case atLingering:
		m.phase = isGone
	default:
		m.ends(why, now)
	}
}

// ends is the end; the first reason stays.
func (m *model) ends(why reason, now time.Time) {
	if m.why == reasonNone {
		m.why = why
	}
	m.phase, m.entered = atLingering, now
	if m.linger == 0 || m.aborted {
		m.phase = isGone
	}
	m.settle(now)
}

// settle does what follows by itself.
func (m *model) settle(now time.Time) {
	switch m.phase {
	case atWriting:
		m.writes(now)
	case atReading:
		m.reads(now)
	case atLingering:
		if m.eof || m.reset || m.close || now.Sub(m.entered) >= m.linger {
			m.phase = isGone
		}
	}
}

func (m *model) writes(now time.Time) {
	if m.pending > 0 && (m.reset || m.close) {
		m.ends(cmp.Or(m.asked, reasonReset), now)
		return
	}
	some := min(m.pending, modelRoom-(m.out-m.got))
	m.pending -= some
	m.out += some
	if m.pending > 0 {
		return // see observe for write_timeout
	}
	if m.streaming.on && !m.streaming.last {
		m.phase = atStreaming
		return
	}
	if m.streaming.close && m.why == reasonNone {
		m.why = reasonWorker
	}
	m.streaming.on = false
	switch {
	case m.why != reasonNone:
		m.ends(m.why, now)
	case m.asked != reasonNone:
		m.ends(m.asked, now)
	default:
		m.phase, m.entered, m.begun = atReading, now, time.Time{}
		m.reads(now)
	}
}

// reads finds the next packet by the rule in other words.
func (m *model) reads(now time.Time) {
	rule := m.rule
	if rule.Framing == framingRaw { // one byte, and maybe more, see observe
		rule = Packets{Framing: framingFixed, PacketSize: 1}
	}
	n, packet, bad := firstByHand(rule, m.stream, modelLongest)
	switch {
	case bad:
		m.linger = 0
		m.ends(reasonTooLong, now)
	case n > 0:
		m.offers(n, packet, false)
	case m.reset && !m.tail:
		m.ends(reasonReset, now)
	case (m.eof || m.close) && m.stream != "" && m.rule.Framing == framingDelimiter:
		m.offers(len(m.stream), m.stream, true)
	case m.eof || m.close:
		m.cutOff = len(m.stream)
		m.ends(reasonEOF, now)
	default:
		m.waits(len(m.stream), now)
	}
}

func (m *model) waits(unfinished int, now time.Time) {
	if unfinished > 0 && m.begun.IsZero() {
		m.begun = now
	}
	switch {
	case !m.script.timed:
	case unfinished > 0 && now.Sub(m.begun) > modelPacket:
		m.linger = 0
		m.ends(reasonSlow, now)
	case unfinished == 0 && now.Sub(m.entered) > modelIdle:
		m.linger = 0
		m.ends(reasonIdle, now)
	}
}

func (m *model) offers(n int, packet string, tail bool) {
	name := "DATA " + stated(m.state)
	if tail {
		name += "eof "
	}
	m.offered = append(m.offered, name+packet)
	m.stream = m.stream[n:]
	m.phase, m.taken, m.tail = inExchange, false, tail
	m.cutBy = m.rule
	if m.once {
		m.rule, m.once = m.script.rule(), false
	}
}

// stated is how an event's state stands in its line.
func stated(state any) string {
	if state == nil || state == "" {
		return ""
	}
	return fmt.Sprintf("state=%s ", state)
}

// observe follows the connection where more than one thing is right: how many packets are in a batch, when exactly a
// client that takes nothing is closed, and so when lingering is over.
func (m *model) observe(w seen, c *connection) {
	now := time.Now()
	if m.phase == inExchange && len(w.offered) == len(m.offered) && len(m.offered) > 1 {
		m.takesMore(w.offered[len(w.offered)-1])
	}
	if m.phase == atLingering && c.conn.(*memoryConn).closes.Load() > 0 && now.Sub(m.entered) >= m.linger-m.early {
		m.phase = isGone
	}
	if m.phase == atWriting && m.script.timed && m.streaming.on && now.Sub(m.entered) >= modelWrite {
		m.stopped(reasonSlow, now) // a frame must be out by then
	}
	if quiet := now.Sub(m.progress); m.phase == atWriting && m.script.timed && quiet >= modelWrite {
		m.early = modelWrite/4 + modelTick
		if quiet > modelWrite*5/4 || len(w.closes) > 0 {
			m.stopped(reasonSlow, now)
		}
	}
}

// takesMore adopts that more was handed over at once than had to be, if it might be.
func (m *model) takesMore(e scriptedEvent) {
	mine := m.offered[len(m.offered)-1]
	theirs := "DATA " + stated(e.context["state"]) + e.body
	more, ok := strings.CutPrefix(theirs, mine)
	if !ok || e.context["eof"] == true || !strings.HasPrefix(m.stream, more) {
		return
	}
	fits := m.cutBy.Framing == framingRaw
	if m.cutBy.Batch {
		packets, tail, left, bad := byHand(m.cutBy, more, modelLongest)
		fits = left == 0 && !bad && !tail && strings.Join(packets, "") == more && len(e.body) <= m.script.batch
	}
	if fits {
		m.offered[len(m.offered)-1] = theirs
		m.stream = m.stream[len(more):]
	}
}

// stopped is a limit that ends a write. Where a stop waits for it, the stop is what counts.
func (m *model) stopped(why reason, now time.Time) {
	if m.aborted {
		m.ends(m.asked, now)
		return
	}
	m.linger = 0
	m.ends(why, now)
}

// compare looks at everything that can be seen from outside.
func (m *model) compare(w seen, memory *memory, server *memoryConn) error {
	var offered []string
	for _, e := range w.offered {
		name := fmt.Sprint(e.context["event"]) + " " + stated(e.context["state"])
		if e.context["eof"] == true {
			name += "eof "
		}
		offered = append(offered, name+e.body)
	}
	used := memory.used.Load()
	if m.hog {
		used -= defaultMemoryLimit
	}
	closes := 0
	if m.phase == isGone && m.connected {
		closes = 1
	}
	switch out := server.out.length() + m.got; {
	case w.twice:
		return errors.New("two exchanges in flight")
	case !slices.Equal(m.offered, offered):
		return fmt.Errorf("events: %q; the model has %q", offered, m.offered)
	case len(w.closes) != closes:
		return fmt.Errorf("%d CLOSE events; the model has %d (reason %q, phase %d)", len(w.closes), closes, m.why, m.phase)
	case closes > 0 && w.closes[0].context["reason"] != m.why.String():
		return fmt.Errorf("reason %q; the model has %q", w.closes[0].context["reason"], m.why)
	case closes > 0 && stated(w.closes[0].context["state"]) != stated(m.state):
		return fmt.Errorf("state %v of CLOSE; the model has %q", w.closes[0].context["state"], m.state)
	case closes > 0 && m.cutOff > 0 && w.closes[0].context["unfinished"] != float64(m.cutOff):
		return fmt.Errorf("%v bytes unfinished; the model has %d", w.closes[0].context["unfinished"], m.cutOff)
	case out != m.out && !m.reset && !m.close:
		return fmt.Errorf("%d bytes went out; the model has %d", out, m.out)
	case m.phase == atReading && m.stream == "" && used > waitingBuffer+stateBytes:
		return fmt.Errorf("%d bytes of memory held while it waits", used)
	case m.phase == isGone && used != 0:
		return fmt.Errorf("%d bytes of memory not given back", used)
	case (m.phase == isGone) != (server.closes.Load() == 1):
		return fmt.Errorf("closed %d times; the model is in phase %d", int(server.closes.Load()), m.phase)
	}
	return nil
}

// after looks at what is left when all is over.
func (m *model) after(w seen, logs *observer.ObservedLogs, gone, closes int, history []string) error {
	var err error
	lines := logs.FilterMessage("connection ended")
	switch {
	case closes != 1:
		err = fmt.Errorf("closed %d times", closes)
	case gone != 1:
		err = fmt.Errorf("gone was called at another time than once, after the close and before CLOSE: %d", gone)
	case lines.Len() != 1 || lines.All()[0].ContextMap()["reason"] != m.why.String():
		err = fmt.Errorf("log lines: %v; want one with the reason %q", lines.All(), m.why)
	case len(w.closes) > 0 != m.connected:
		err = fmt.Errorf("%d CLOSE events; connected: %t", len(w.closes), m.connected)
	default:
		return nil
	}
	return fmt.Errorf("%w\nafter %s", err, strings.Join(history, "\n      "))
}

func TestAConnectionDoesWhatTheModelDoes(t *testing.T) {
	for range 10 { // times the scripts that rapid plays, a hundred
		rapid.Check(t, func(r *rapid.T) {
			if err := scriptGen.Draw(r, "script").run(t); err != nil {
				r.Fatal(err)
			}
		})
	}
}

// fault is what goes wrong with a connection: the n-th call of something, and how much each call moves.
type fault struct {
	call, kind string
	nth        int
	atMost     int // bytes
	hasHits    int
}

// faultyConn is a connection with a fault.
type faultyConn struct {
	*memoryConn
	fault *fault
	seen  map[string]int
}

var errFault = errors.New("of a test")

func (s *stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eof
}

// hit reports whether this is the call that goes wrong.
func (c *faultyConn) hit(call string) bool {
	c.seen[call]++
	return c.fault.call == call && c.seen[call] == c.fault.nth
}

func (c *faultyConn) fails() error {
	c.fault.hasHits++
	switch c.fault.kind {
	case "panic":
		if c.out.isClosed() { // not while it lingers
			return errFault
		}
		panic("of a test")
	case "timeout":
		return os.ErrDeadlineExceeded
	default:
		return errFault
	}
}

func (c *faultyConn) Read(p []byte) (int, error) {
	if c.hit("Read") {
		if c.fault.kind != "stall" {
			return 0, c.fails()
		}
		c.fault.hasHits++
		for { // nothing arrives any more
			if _, err := c.memoryConn.Read(p); err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
			c.in.set(func() { c.in.eof = false })
		}
	}
	return c.memoryConn.Read(p[:min(len(p), c.fault.atMost)])
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if c.hit("Write") {
		if c.fault.kind != "stall" {
			return 0, c.fails()
		}
		c.fault.hasHits++
		c.out.set(func() { c.out.room = 0 })
	}
	return c.memoryConn.Write(p[:min(len(p), c.fault.atMost)]) // short, and no error: nobody should, but some do
}

func (c *faultyConn) SetReadDeadline(t time.Time) error {
	if c.hit("SetReadDeadline") {
		return c.fails()
	}
	return c.memoryConn.SetReadDeadline(t)
}

func (c *faultyConn) SetWriteDeadline(t time.Time) error {
	if c.hit("SetWriteDeadline") {
		return c.fails()
	}
	return c.memoryConn.SetWriteDeadline(t)
}

func (c *faultyConn) CloseWrite() error {
	if c.hit("CloseWrite") {
		return c.fails()
	}
	return c.memoryConn.CloseWrite()
}

func (c *faultyConn) Close() error {
	err := c.memoryConn.Close()
	if c.hit("Close") {
		return c.fails()
	}
	return err
}

// echoing answers every event with its packet.
type echoing struct{ worked }

func (e *echoing) exchange(c *call, cancel <-chan struct{}, context, body []byte) (answer, error) {
	e.answers = []answer{{context: []byte("WRITE"), body: slices.Clone(body)}}
	return e.worked.exchange(c, cancel, context, body)
}

func TestAConnectionOnWhichAnyOneCallFailsEndsOnceAndLeavesNothingBehind(t *testing.T) {
	hits := 0
	for _, call := range []string{"Read", "Write", "SetReadDeadline", "SetWriteDeadline", "CloseWrite", "Close"} {
		for _, kind := range []string{"error", "timeout", "panic", "stall"} {
			if kind == "stall" && call != "Read" && call != "Write" || kind == "panic" && call != "Read" && call != "Write" {
				continue
			}
			for nth := 1; nth <= 12; nth++ {
				for _, atMost := range []int{1, 3, 1 << 20} {
					f := &fault{call: call, kind: kind, nth: nth, atMost: atMost}
					synctest.Test(t, func(t *testing.T) { playFault(t, f) })
					hits += f.hasHits
				}
			}
		}
	}
	require.Greater(t, hits, 200, "faults that were met")
}

func playFault(t *testing.T, f *fault) {
	const sent = "a\r\nbb\r\n0123456789\r\nrest"
	server, client := memoryPair(6)
	w := &echoing{}
	l := testListener(w, zap.NewNop())
	l.limits = limits{packet: modelLongest, idle: modelIdle, packetTime: modelPacket, write: modelWrite}
	c := l.newConnection(&faultyConn{server, f, make(map[string]int)})
	ended, got := make(chan int, 1), make(chan string, 1)
	go func() {
		gone := 0
		c.serve(func() { gone++ })
		ended <- gone
	}()
	go func() {
		for _, piece := range strings.SplitAfter(sent, "\n") {
			io.WriteString(client, piece)
			time.Sleep(second)
		}
		client.CloseWrite()
		b, _ := io.ReadAll(client)
		time.Sleep(second)
		client.Close()
		got <- string(b)
	}()
	time.Sleep(time.Minute) // a client that is stalled on is gone by then
	client.Close()
	synctest.Wait()
	require.Len(t, ended, 1, "%+v", f)
	require.Equal(t, 1, <-ended, "%+v", f)
	require.EqualValues(t, 1, server.closes.Load(), "%+v", f)
	require.Zero(t, l.memory.used.Load(), "%+v", f)
	require.Empty(t, c.packets.buffer, "%+v", f)

	require.NotEmpty(t, w.events)
	require.Equal(t, "CONNECTED ", w.events[0])
	packets, _ := cutByHand(sent, "\r\n")
	for i, event := range w.events[1:] {
		require.Equal(t, "DATA "+packets[i], event, "%+v", f)
	}
	answered := <-got
	require.True(t, strings.HasPrefix(sent, answered), "%+v: %q", f, answered)
	require.Contains(t, reasonNames[1:], w.reason, "%+v: one CLOSE", f)
	if f.hasHits == 0 {
		require.Equal(t, "eof", w.reason, "%+v", f)
		require.Equal(t, sent, answered, "%+v", f)
	}
}
