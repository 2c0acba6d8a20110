package tcp

import "github.com/rrtcp/tcp/internal/wire"

// Names of events, as the key event of an event's context has them. A connection's events are CONNECTED, then DATA in order,
// then CLOSE, each answered before the next is sent. docs/worker.md has the other keys; the life of a connection as a table is
// in internal/wire/state.go.
const (
	EventConnected = wire.EventConnected
	EventData      = wire.EventData
	EventSecured   = wire.EventSecured // behind a reply with "tls": true, when the handshake is over
	EventClose     = wire.EventClose   // the last event where dialect is released, the default
	EventClosed    = wire.EventClosed  // the last event where dialect is documented
)

// Replies to an event: the whole context of the answer, or the key reply of a JSON object in its place. An answer to the last
// event is ignored.
const (
	ReplyWrite      = wire.WordWrite      // send the body to the client, then read on
	ReplyContinue   = wire.WordContinue   // read on
	ReplyWriteClose = wire.WordWriteClose // send the body to the client, then close
	ReplyClose      = wire.WordClose      // close
)
