package tcp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The life of a connection.
//
// Before it, where a server has them, come a PROXY header and a TLS handshake: if one fails the connection ends
// (handshake) and no worker hears of it.
//
//	state     waits for                      leaves it
//	opening   a worker's reply to CONNECTED  the reply
//	reading   the next packet                a packet → replying; end of file, reset, shutdown → closing
//	replying  a worker's reply to DATA       the reply
//	closing   any answer to CLOSE            the answer, whatever it is; then the connection is gone
//
//	reply               in opening or replying                  in closing
//	WRITE               body to the client → reading            ignored
//	CONTINUE            → reading                               ignored
//	WRITECLOSE          body to the client → closing (worker)   ignored
//	CLOSE               → closing (worker)                      ignored
//	anything else       → closing (reply)                       ignored
//	worker, pool error  → closing (error, overload, shutdown)   ignored
//
// A server whose workers do not want CONNECTED begins in reading; CLOSE is owed all the same, unless they do not want that.
//
// In any state tcp.Close, a limit or the end of the grace period closes the socket at once and a reply that comes
// later is discarded. The packet that the end of file left without its delimiter is a DATA like any other; after its
// reply comes closing (eof). The socket is closed before CLOSE is handed over.
type state uint8

const (
	opening state = iota
	reading
	replying
	closing
)

var stateNames = [...]string{opening: "opening", reading: "reading", replying: "replying", closing: "closing"}

func (s state) String() string { return stateNames[s] }

// event names, as they stand in an event's context.
const (
	eventConnected = "CONNECTED"
	eventData      = "DATA"
	// eventClose ends a connection's events in dialectReleased, eventClosed in dialectDocumented.
	eventClose  = "CLOSE"
	eventClosed = "CLOSED"
)

// eventKind counts the events.
type eventKind uint8

const (
	kindConnected eventKind = iota
	kindData
	kindClose
)

// kindNames are those of dialectReleased.
var kindNames = [...]string{kindConnected: eventConnected, kindData: eventData, kindClose: eventClose}

// event is what a connection whose state is s has handed over.
func (s state) event() eventKind {
	if s == opening {
		return kindConnected
	}
	return kindData
}

// omitted are the events that the workers of a server do not want.
type omitted struct{ connected, close bool }

// omits is what is left out where workers get these events; nil are all. DATA is never left out.
func omits(names []string) (o omitted, err error) {
	if names == nil {
		return o, nil
	}
	o = omitted{connected: true, close: true}
	for _, name := range names {
		switch name {
		case eventConnected:
			o.connected = false
		case eventClose, eventClosed:
			o.close = false
		case eventData:
		default:
			return o, fmt.Errorf("unknown event %q; want a list of %s, %s and %s", name, eventConnected, eventData, eventClose)
		}
	}
	return o, nil
}

// The two dialects of the wire: what every released RoadRunner and PHP client says, and what the documents say.
const (
	dialectReleased   = "released"
	dialectDocumented = "documented"
)

// reply is what a worker's answer asks for.
type reply uint8

const (
	replyUnknown reply = iota
	replyWrite
	replyContinue
	replyWriteClose
	replyClose
)

// word reads one of the four words. What is none is replyUnknown.
func word(context []byte) reply {
	switch string(context) {
	case "WRITE":
		return replyWrite
	case "CONTINUE":
		return replyContinue
	case "WRITECLOSE":
		return replyWriteClose
	case "CLOSE":
		return replyClose
	default:
		return replyUnknown
	}
}

// effect is what the connection does before it is in its next state.
type effect struct {
	write bool   // the answer's body goes to the client
	end   reason // why the connection ends; reasonNone where it goes on
}

// next is the table above: what a reply does to a connection in the state s.
func (s state) next(r reply) (state, effect) {
	if s == closing {
		return closing, effect{}
	}

	switch r {
	case replyWrite:
		return reading, effect{write: true}
	case replyContinue:
		return reading, effect{}
	case replyWriteClose:
		return closing, effect{write: true, end: reasonWorker}
	case replyClose:
		return closing, effect{end: reasonWorker}
	default:
		return closing, effect{end: reasonReply}
	}
}

// reason says why a connection ended. Log level and the key `reason` of CLOSE come from it.
type reason uint8

const (
	reasonNone      reason = iota
	reasonEOF              // the client closed its side
	reasonReset            // the client, or the way to it, broke the connection
	reasonWorker           // a worker answered CLOSE or WRITECLOSE
	reasonReply            // a worker answered something that is no reply
	reasonError            // a worker failed, or the plugin itself
	reasonRPC              // tcp.Close
	reasonIdle             // no packet began in time
	reasonSlow             // a packet was not finished, or an answer not taken, in time
	reasonTooLong          // the packet was longer than allowed
	reasonMemory           // all connections together held too much
	reasonOverload         // no worker was free in time
	reasonShutdown         // RoadRunner is stopping
	reasonHandshake        // no PROXY header or TLS handshake came about: no worker has heard of it
)

var reasonNames = [...]string{
	reasonNone:      "",
	reasonEOF:       "eof",
	reasonReset:     "reset",
	reasonWorker:    "worker",
	reasonReply:     "reply",
	reasonError:     "error",
	reasonRPC:       "rpc",
	reasonIdle:      "idle",
	reasonSlow:      "slow",
	reasonTooLong:   "too_long",
	reasonMemory:    "memory",
	reasonOverload:  "overload",
	reasonShutdown:  "shutdown",
	reasonHandshake: "handshake",
}

func (r reason) String() string { return reasonNames[r] }

// contexts makes the contexts of one connection's events: a JSON object each, with the keys remote_addr, server, uuid
// and event, state where there is one, and more for some of them. The part that all share is encoded once.
type contexts struct {
	head  []byte // `{"remote_addr":"…","server":"…","uuid":"…","event":"`
	data  []byte // the whole context of a DATA, sent unchanged for every packet
	state []byte // `,"state":"…"`, or nothing
	close string
	tls   string // `,"tls":{…}` of CONNECTED, where there is TLS
}

func newContexts(remoteAddr, server, uuid, dialect string) contexts {
	c := contexts{close: eventClose}
	if dialect == dialectDocumented {
		c.close = eventClosed
	}

	c.head = append(c.head, `{"remote_addr":`...)
	c.head = append(c.head, quote(remoteAddr)...)
	c.head = append(c.head, `,"server":`...)
	c.head = append(c.head, quote(server)...)
	c.head = append(c.head, `,"uuid":`...)
	c.head = append(c.head, quote(uuid)...)
	c.head = append(c.head, `,"event":"`...)
	n := len(c.head)
	c.data = c.event(eventData, "")
	c.head = c.data[:n:n]
	return c
}

// keep is c with another state; an empty one is none.
func (c contexts) keep(state string) contexts {
	c.state = nil
	if state != "" {
		c.state = append([]byte(`,"state":`), quote(state)...)
	}
	c.data = c.event(eventData, "")
	return c
}

// kept is how many bytes the state takes, wherever it stands.
func (c *contexts) kept() int { return 2 * len(c.state) }

func (c *contexts) connected(localAddr string) []byte {
	return c.event(eventConnected, `,"local_addr":`+string(quote(localAddr))+c.tls)
}

// tail is the context of a DATA whose packet ended with the end of file, not with its delimiter.
func (c *contexts) tail() []byte { return c.event(eventData, `,"eof":true`) }

// ending is how a connection ended.
type ending struct {
	why           reason
	read, written int64 // bytes
	unfinished    int   // bytes of a packet that the end of file cut off
	lived         time.Duration
}

// closed is the context of the last event.
func (c *contexts) closed(e ending) []byte {
	more := `,"reason":"` + e.why.String() + `","bytes_read":` + strconv.FormatInt(e.read, 10) +
		`,"bytes_written":` + strconv.FormatInt(e.written, 10) +
		`,"seconds":` + strconv.FormatFloat(e.lived.Seconds(), 'f', 3, 64)
	if e.unfinished > 0 {
		more += `,"unfinished":` + strconv.Itoa(e.unfinished)
	}
	return c.event(c.close, more)
}

func (c *contexts) event(name, more string) []byte {
	b := make([]byte, 0, len(c.head)+len(name)+len(c.state)+len(more)+2)
	b = append(b, c.head...)
	b = append(b, name...)
	b = append(b, '"')
	b = append(b, c.state...)
	b = append(b, more...)
	return append(b, '}')
}

// quote is s as a JSON string, with bytes that are no UTF-8 replaced.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string can't fail
	return b
}
