package wire

// Reason is why a connection ended. The log level, the metric label and the key "reason" of CLOSE come from it.
type Reason uint8

// The reasons, as docs/troubleshooting.md explains them.
const (
	ReasonNone      Reason = iota
	ReasonEOF              // the client closed its side
	ReasonReset            // the client or the network broke the connection
	ReasonWorker           // a worker answered CLOSE or WRITECLOSE
	ReasonReply            // a worker's answer was not a reply
	ReasonError            // a worker failed, or the plugin itself
	ReasonRPC              // tcp.Close
	ReasonIdle             // no packet began within idle_timeout
	ReasonSlow             // packet_timeout, write_timeout or min_rate ended it
	ReasonTooLong          // a packet was longer than max_packet_size
	ReasonMemory           // memory_limit was used up
	ReasonOverload         // no worker was free in time
	ReasonShutdown         // RoadRunner is stopping
	ReasonHandshake        // the PROXY header or the TLS handshake failed; no worker was told, unless one had asked for it
	ReasonFraming          // a packet began as none of the rules says

	NumReasons = iota
)

var reasonNames = [NumReasons]string{
	ReasonNone:      "",
	ReasonEOF:       "eof",
	ReasonReset:     "reset",
	ReasonWorker:    "worker",
	ReasonReply:     "reply",
	ReasonError:     "error",
	ReasonRPC:       "rpc",
	ReasonIdle:      "idle",
	ReasonSlow:      "slow",
	ReasonTooLong:   "too_long",
	ReasonMemory:    "memory",
	ReasonOverload:  "overload",
	ReasonShutdown:  "shutdown",
	ReasonHandshake: "handshake",
	ReasonFraming:   "framing",
}

// String returns the reason as it is on the wire; ReasonNone is empty.
func (r Reason) String() string { return reasonNames[r] }

// IsFault reports whether the workers or the plugin are to blame: such an end is logged as an error.
func (r Reason) IsFault() bool { return r == ReasonReply || r == ReasonError }

// IsLimit reports whether a configured limit or rule ended the connection: such an end closes the socket hard.
func (r Reason) IsLimit() bool {
	return r == ReasonIdle || r == ReasonSlow || r == ReasonTooLong || r == ReasonMemory || r == ReasonFraming
}
