package cluster

import (
	"log/slog"
	"time"
)

// received does what a message says. What is none of ours is counted and ignored.
func (c *Cluster) received(message []byte) {
	h, body, ok := parse(message)
	switch {
	case !ok:
		c.counters.Refused.Add(1)
		return
	case h.kind != kindHello && h.from == c.node:
		return
	}
	c.counters.In.Add(1)
	if h.version != version && h.kind != kindRefused {
		c.refuse(h)
		return
	}
	switch h.kind {
	case kindHello:
		if !c.metNode(h.from, body) {
			c.counters.Refused.Add(1)
		}
	case kindBye:
		if c.members.leave(h.from, string(body)) {
			c.Log.Info("cluster: a node has left", slog.String("node", h.from.String()))
		}
		c.calls.failNode(h.from)
	case kindAsk:
		c.members.heard(h.from)
		c.Serve(body, func(answer []byte) { c.answer(h, answer) })
	case kindAnswer, kindRefused:
		c.answered(h, body)
	default:
		c.refuse(h)
	}
}

// refuse is for what another version of the plugin sends.
func (c *Cluster) refuse(h header) {
	c.counters.Refused.Add(1)
	c.unknown.Do(func() {
		c.Log.Warn("cluster: a node sends messages of another version, which are refused",
			slog.String("node", h.from.String()), slog.Int("version", int(h.version)), slog.Int("kind", int(h.kind)))
	})
	if h.kind == kindAsk {
		c.answer(h, nil)
	}
}

// answer sends the answer to a request; nil refuses it.
func (c *Cluster) answer(h header, body []byte) {
	k := kindAnswer
	if body == nil {
		k = kindRefused
	}
	if h.call == 0 {
		return
	}
	m := outgoing{subject: nodeSubject(h.from), message: c.message(k, h.call, nil), body: body, deadline: time.Now().Add(c.timeout)}
	if !c.outbox.put(m) {
		c.counters.Failed.Add(1)
	}
}

// answered ends a call. An answer of another node than the one that was asked is garbage; one that comes too late is not.
func (c *Cluster) answered(h header, body []byte) {
	node, tag, ok := c.calls.find(h.call)
	switch {
	case !ok:
		return
	case node != h.from:
		c.counters.Refused.Add(1)
		return
	case tag == "": // else it may not be subscribed to its other tags yet
		c.members.heard(node)
	}
	if h.kind == kindRefused {
		c.finish(h.call, nil, ErrUnreachable)
	} else {
		c.finish(h.call, body, nil)
	}
}
