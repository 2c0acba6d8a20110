//go:build go1.25

package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rrtcp/tcp/internal/framing/framingtest"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

// observe follows the connection where more than one thing is right: how many packets are in a batch, when exactly a
// client that takes nothing is closed, and so when lingering is over.
func (m *model) observe(w seen, c *connection) {
	now := time.Now()
	if m.phase == inExchange && len(w.offered) == len(m.offered) && len(m.offered) > 1 {
		m.takesMore(w.offered[len(w.offered)-1])
	}
	if m.phase == atLingering && c.conn.(*streamtest.Conn).Closes() > 0 && now.Sub(m.entered) >= m.linger-m.early {
		m.phase = isGone
	}
	if m.phase == atWriting && m.script.timed && m.streaming.on && now.Sub(m.entered) >= modelWrite {
		m.stopped(wire.ReasonSlow, now) // a frame must be out by then
	}
	if quiet := now.Sub(m.progress); m.phase == atWriting && m.script.timed && quiet >= modelWrite {
		m.early = modelWrite/4 + modelTick
		if quiet > modelWrite*5/4 || len(w.closes) > 0 {
			m.stopped(wire.ReasonSlow, now)
		}
	}
}

// takesMore adopts that more was handed over at once than had to be, if it might be.
func (m *model) takesMore(e event) {
	mine := m.offered[len(m.offered)-1]
	theirs := "DATA " + stated(e.context["state"]) + e.body
	more, ok := strings.CutPrefix(theirs, mine)
	if !ok || e.context["eof"] == true || !strings.HasPrefix(m.stream, more) {
		return
	}
	fits := m.cutBy.Framing == "raw"
	if m.cutBy.Batch {
		packets, tail, left, bad := framingtest.Cut(m.cutBy, more, modelLongest)
		fits = left == 0 && !bad && !tail && strings.Join(packets, "") == more && len(e.body) <= m.script.batch
	}
	if fits {
		m.offered[len(m.offered)-1] = theirs
		m.stream = m.stream[len(more):]
	}
}

// stopped is a limit that ends a write. Where a stop waits for it, the stop is what counts.
func (m *model) stopped(why wire.Reason, now time.Time) {
	if m.aborted {
		m.ends(m.asked, now)
		return
	}
	m.linger = 0
	m.ends(why, now)
}

// compare looks at everything that can be seen from outside.
func (m *model) compare(w seen, memory *stream.Memory, server *streamtest.Conn) error {
	var offered []string
	for _, e := range w.offered {
		name := fmt.Sprint(e.context["event"]) + " " + stated(e.context["state"])
		if e.context["eof"] == true {
			name += "eof "
		}
		offered = append(offered, name+e.body)
	}
	used := memory.Used()
	if m.hog {
		used -= memory.Limit()
	}
	closes := 0
	if m.phase == isGone && m.connected {
		closes = 1
	}
	switch out := server.Buffered() + m.got; {
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
	case m.phase == atReading && m.stream == "" && used > waitingSize+stateBytes:
		return fmt.Errorf("%d bytes of memory held while it waits", used)
	case m.phase == isGone && used != 0:
		return fmt.Errorf("%d bytes of memory not given back", used)
	case (m.phase == isGone) != (server.Closes() == 1):
		return fmt.Errorf("closed %d times; the model is in phase %d", server.Closes(), m.phase)
	}
	return nil
}

// after looks at what is left when all is over.
func (m *model) after(w seen, logs *logtest.Log, gone, closes int, history []string) error {
	var err error
	lines := logs.Saying("connection ended")
	switch {
	case closes != 1:
		err = fmt.Errorf("closed %d times", closes)
	case gone != 1:
		err = fmt.Errorf("gone was called at another time than once, after the close and before CLOSE: %d", gone)
	case len(lines) != 1 || lines[0].Attrs["reason"] != m.why.String():
		err = fmt.Errorf("log lines: %v; want one with the reason %q", lines, m.why)
	case len(w.closes) > 0 != m.connected:
		err = fmt.Errorf("%d CLOSE events; connected: %t", len(w.closes), m.connected)
	default:
		return nil
	}
	return fmt.Errorf("%w\nafter %s", err, strings.Join(history, "\n      "))
}
