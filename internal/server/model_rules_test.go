//go:build go1.25

package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/framing/framingtest"
	"github.com/rrtcp/tcp/internal/wire"
)

func (m *model) replied(s step, now time.Time) {
	if m.aborted {
		m.ends(m.asked, now)
		return
	}
	if s.more.stray || !slices.Contains([]string{"WRITE", "WRITECLOSE", "CLOSE", "CONTINUE"}, s.text) {
		m.ends(wire.ReasonReply, now)
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
		m.ends(m.workerEnds(), now)
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
	if body > 0 && !m.broken {
		m.linger = maxLinger
	}
	if m.hog && body > guaranteedSize && !m.broken {
		m.stopped(wire.ReasonMemory, now)
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
	if m.asked == wire.ReasonNone {
		m.asked = wire.ReasonShutdown
	}
	if m.phase == atReading {
		m.linger = min(m.linger, idleLinger)
		m.ends(m.asked, now)
	}
}

func (m *model) isAborted(why wire.Reason, now time.Time) {
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
func (m *model) ends(why wire.Reason, now time.Time) {
	if m.why == wire.ReasonNone {
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

// workerEnds is why a connection ends that a worker closes: the client may have been gone first.
func (m *model) workerEnds() wire.Reason {
	if m.broken {
		return cmp.Or(m.asked, wire.ReasonReset)
	}
	return wire.ReasonWorker
}

func (m *model) writes(now time.Time) {
	if m.broken { // what is to be written is dropped, with the rest of a stream
		m.pending, m.streaming.on = 0, false
	}
	if m.pending > 0 && (m.reset || m.close) {
		if m.asked != wire.ReasonNone || m.streaming.close {
			m.ends(cmp.Or(m.asked, wire.ReasonReset), now)
			return
		}
		m.broken, m.linger, m.pending, m.streaming.on = true, 0, 0, false
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
	if m.streaming.close && m.why == wire.ReasonNone {
		m.why = m.workerEnds()
	}
	m.streaming.on = false
	switch {
	case m.why != wire.ReasonNone:
		m.ends(m.why, now)
	case m.asked != wire.ReasonNone:
		m.ends(m.asked, now)
	default:
		m.phase, m.entered, m.begun = atReading, now, time.Time{}
		m.reads(now)
	}
}

// reads finds the next packet by the rule in other words.
func (m *model) reads(now time.Time) {
	rule := m.rule
	if rule.Framing == "raw" { // one byte, and maybe more, see observe
		rule = framing.Packets{Framing: "fixed", PacketSize: 1}
	}
	n, packet, bad := framingtest.First(rule, m.stream, modelLongest)
	switch {
	case m.broken && (bad || n == 0):
		m.ends(wire.ReasonReset, now)
	case bad:
		m.linger = 0
		m.ends(wire.ReasonTooLong, now)
	case n > 0:
		m.offers(n, packet, false)
	case m.reset && !m.tail:
		m.ends(wire.ReasonReset, now)
	case (m.eof || m.close) && m.stream != "" && m.rule.Framing == "delimiter":
		m.offers(len(m.stream), m.stream, true)
	case m.eof || m.close:
		m.cutOff = len(m.stream)
		m.ends(wire.ReasonEOF, now)
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
		m.ends(wire.ReasonSlow, now)
	case unfinished == 0 && now.Sub(m.entered) > modelIdle:
		m.linger = 0
		m.ends(wire.ReasonIdle, now)
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
