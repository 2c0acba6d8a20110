package wire

// State is what a connection waits for.
//
//	state     waits for                      leaves it
//	Opening   a worker's reply to CONNECTED  the reply
//	Reading   the next packet                a packet → Replying; end of file, reset, shutdown → Closing
//	Replying  a worker's reply to DATA       the reply
//	Securing  a TLS handshake, then a        the reply; a handshake that fails → Closing (handshake)
//	          worker's reply to SECURED
//	Closing   any answer to CLOSE            the answer, whatever it is; then the connection is gone
//
//	reply               in Opening, Replying or Securing        in Closing
//	WRITE               body to the client → Reading            ignored
//	CONTINUE            → Reading                               ignored
//	with "tls": true    the same, but → Securing, once
//	WRITECLOSE          body to the client → Closing (worker)   ignored
//	CLOSE               → Closing (worker)                      ignored
//	anything else       → Closing (reply)                       ignored
//	worker, pool error  → Closing (error, overload, shutdown)   ignored
//
// A PROXY header and a TLS handshake come before Opening. If one fails, the connection ends (handshake) without an event.
// Where a server disables CONNECTED, its connections begin in Reading. With connected_on first_byte, a client that sends nothing
// has no events. With half_close keep, Reading goes on behind the end of file, until something else ends it.
//
// In any state tcp.Close, a limit, or the end of the grace period closes the socket at once, and a reply that comes later is
// discarded. The packet that the end of file left without a delimiter is a DATA like any other; after its reply comes
// Closing (eof). The socket is closed before CLOSE is handed over.
type State uint8

// The states of a connection, in order, and Securing, which may come between.
const (
	Opening State = iota
	Reading
	Replying
	Closing
	Securing
)

var stateNames = [...]string{
	Opening: "opening", Reading: "reading", Replying: "replying", Closing: "closing", Securing: "securing",
}

// String returns the state in lower case, as tcp.Connections shows it.
func (s State) String() string { return stateNames[s] }

// Event is the event whose reply s waits for: Connected in Opening, Secured in Securing, Data in the others.
func (s State) Event() Event {
	switch s {
	case Opening:
		return Connected
	case Securing:
		return Secured
	default:
		return Data
	}
}

// Effect is what a connection does before it enters its next state.
type Effect struct {
	Write bool   // send the body of the answer to the client
	End   Reason // why the connection ends; ReasonNone where it goes on
}

// Next is the table above: the state after a reply, and what to do on the way.
func (s State) Next(r Reply) (State, Effect) {
	if s == Closing {
		return Closing, Effect{}
	}
	switch r {
	case ReplyWrite:
		return Reading, Effect{Write: true}
	case ReplyContinue:
		return Reading, Effect{}
	case ReplyWriteClose:
		return Closing, Effect{Write: true, End: ReasonWorker}
	case ReplyClose:
		return Closing, Effect{End: ReasonWorker}
	default:
		return Closing, Effect{End: ReasonReply}
	}
}
