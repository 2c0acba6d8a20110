//go:build go1.25

package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestConnectionMatchesModel(t *testing.T) {
	for range 10 { // times the scripts that rapid plays, a hundred
		rapid.Check(t, func(r *rapid.T) {
			if err := scriptGen.Draw(r, "script").run(t); err != nil {
				r.Fatal(err)
			}
		})
	}
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
	rule   framing.Packets // in force
	once   bool            // for one packet
	state  string

	streaming struct{ on, last, close bool } // of the answer; last: of the frame that is written
	cutOff    int                            // bytes that the end of file left

	phase     int
	taken     bool // the event has a worker
	connected bool
	why       wire.Reason
	asked     wire.Reason
	aborted   bool
	hog       bool

	stream            string          // sent by the client, not handed over
	eof, reset, close bool            // of the client
	broken            bool            // a write has failed since the client is gone
	tail              bool            // the end of file was met
	cutBy             framing.Packets // of the last packet
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
	server, client := streamtest.Pair(modelRoom)
	w := &modelWorkers{
		taken: make(chan struct{}), answer: make(chan func() (dispatch.Answer, error)), frames: make(chan func() (dispatch.Answer, bool, error)),
	}
	l := testListener(w)
	logs := l.observe(slog.LevelDebug)
	rule := s.rule()
	if errs := rule.Init("x", modelLongest); len(errs) > 0 {
		return errors.Join(errs...)
	}
	limits{packetSize: modelLongest}.apply(&l.settings)
	if s.timed {
		limits{idle: modelIdle, packet: modelPacket, write: modelWrite, packetSize: modelLongest}.apply(&l.settings)
	}
	l.settings.ReadSize, l.settings.Framing = s.most, rule.New(max(s.most, s.batch), modelLongest)
	if rule.Batch {
		l.settings.Framing.Batch = s.batch
	}
	c := l.newConnection(server)
	gone := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func() { gone += 1 + 10*len(w.look().closes) + 100*(1-server.Closes()) })
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
	for _, step := range []step{{do: "close"}, {do: "take"}, {do: "reply", text: "WRITECLOSE", more: extras{last: true}}, {do: "pause", pause: 2 * maxLinger}} {
		if err := act(step); err != nil {
			m.giveUp(c, w, client)
			<-ended
			return err
		}
	}
	m.giveUp(c, w, client)
	<-ended
	return errors.Join(check(), m.after(w.look(), logs, gone, server.Closes(), history))
}

// giveUp ends the connection whatever it does.
func (m *model) giveUp(c *connection, w *modelWorkers, client *streamtest.Conn) {
	if m.phase == isGone {
		return
	}
	c.abort(wire.ReasonShutdown)
	client.Close()
	synctest.Wait()
	for w.look().inFlight > 0 {
		select {
		case w.taken <- struct{}{}:
		case w.answer <- func() (dispatch.Answer, error) { return dispatch.Answer{Context: []byte("CLOSE")}, nil }:
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
func (m *model) play(s step, w *modelWorkers, c *connection, memory *stream.Memory, client *streamtest.Conn) {
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
		client.Reset()
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
		a := dispatch.Answer{Context: s.context(), Body: bytes.Repeat([]byte("A"), s.size)}
		if m.phase == atStreaming {
			w.frames <- func() (dispatch.Answer, bool, error) { return a, s.more.last, nil }
			m.framed(s, now)
			return
		}
		if s.more.stream {
			a.More = w
		}
		m.take(w)
		w.answer <- func() (dispatch.Answer, error) { return a, nil }
		m.replied(s, now)
	case "fail":
		f := &dispatch.Failure{Reason: s.why, Reached: s.worker, Err: errors.New("of a test")}
		if m.phase == atStreaming {
			w.frames <- func() (dispatch.Answer, bool, error) { return dispatch.Answer{}, false, f }
			m.ends(s.why, now)
			return
		}
		m.take(w)
		w.answer <- func() (dispatch.Answer, error) { return dispatch.Answer{}, f }
		m.failed(s, now)
	case "panic":
		m.take(w)
		w.answer <- func() (dispatch.Answer, error) { panic("of a test") }
		m.ends(wire.ReasonError, now)
	case "abort":
		c.abort(s.why)
		m.isAborted(s.why, now)
	case "drain":
		c.drain(wire.ReasonShutdown)
		m.drained(now)
	case "hog":
		m.hog = true
		memory.Give(-int(memory.Limit()))
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

func (m *model) clientReads(s step, now time.Time, client *streamtest.Conn) {
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
