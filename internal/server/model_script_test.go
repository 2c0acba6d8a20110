//go:build go1.25

package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/wire"
)

// A connection is compared with a model of it. A random script of what client, workers, clock and host do is played in a bubble
// of testing/synctest. After each step, when nothing moves any more, everything that is visible from outside must be as the
// model has it.

// step is one line of a script. It does nothing where it makes no sense.
type step struct {
	do     string
	text   string // sent by the client; the reply's word
	size   int    // of the reply's body; bytes that the client reads; 0: all there are
	why    wire.Reason
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
var modelFramings = []framing.Packets{
	{Framing: "delimiter", Delimiter: "\r\n"},
	{Framing: "delimiter", Delimiters: []string{"\r\n", "b", "cc"}, Strip: true},
	{Framing: "fixed", PacketSize: 4},
	{Framing: "length", Length: &framing.Length{ASCII: 1, Strip: 1}},
	{Framing: "length", Length: &framing.Length{Bytes: 1, Adjust: -'a'}},
	{Framing: "raw"},
}

// context is the reply as the worker sends it.
func (s step) context() []byte {
	if s.more.next == 0 && s.more.state == "" && !s.more.stray {
		return []byte(s.text)
	}
	object := map[string]any{"reply": s.text}
	if s.more.next > 0 {
		p := modelFramings[s.more.next]
		n := map[string]any{"framing": p.Framing, "strip": p.Strip, "once": s.more.once}
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

// guaranteedSize is what memory_limit refuses to no connection, see stream.Memory.
const guaranteedSize = 8 << 10

// waitingSize is what a connection in memory may hold while it waits: it needs a buffer for that, as a socket does not.
const waitingSize = 512

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
			s.size = rapid.SampledFrom([]int{0, 1, 5, modelRoom, modelRoom + 1, 30, 2, 3, 4, 2 * guaranteedSize}).Draw(t, "size")
			if rapid.IntRange(0, 2).Draw(t, "more") == 2 {
				s.more = extrasGen.Draw(t, "extras")
			}
		case "read":
			s.size = rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "size")
		case "fail":
			s.worker = rapid.Bool().Draw(t, "reached")
			s.why = rapid.SampledFrom([]wire.Reason{wire.ReasonError, wire.ReasonOverload, wire.ReasonShutdown, wire.ReasonReply}).Draw(t, "why")
		case "abort":
			s.why = rapid.SampledFrom([]wire.Reason{wire.ReasonRPC, wire.ReasonShutdown}).Draw(t, "why")
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
func (s playedScript) rule() framing.Packets {
	p := modelFramings[s.framing]
	p.Batch = s.batch > 0 && p.Framing != "raw" && !p.Strip && (p.Length == nil || p.Length.Strip == 0)
	return p
}
