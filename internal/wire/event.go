package wire

import "fmt"

// Names of events in an event's context. The last event of a connection is EventClose in DialectReleased and EventClosed in
// DialectDocumented.
const (
	EventConnected = "CONNECTED"
	EventData      = "DATA"
	EventClose     = "CLOSE"
	EventClosed    = "CLOSED"
	// EventSecured follows a reply that asks for TLS, when the handshake is over.
	EventSecured = "SECURED"
	// EventBulk is several events of different connections, with tcp.bulk.
	EventBulk = "BULK"
)

// Event is what the plugin tells a worker.
type Event uint8

// The events of a connection, in order, and Secured, which may come between.
const (
	Connected Event = iota
	Data
	Close
	Secured

	NumEvents = iota
)

var eventNames = [NumEvents]string{Connected: EventConnected, Data: EventData, Close: EventClose, Secured: EventSecured}

// String returns the name of the event in DialectReleased.
func (e Event) String() string { return eventNames[e] }

// DisabledEvents are the events that the workers of a server do not get. DATA is always sent.
type DisabledEvents struct{ Connected, Close bool }

// ParseEvents returns what is disabled where only the named events are enabled. Nil enables all.
func ParseEvents(names []string) (DisabledEvents, error) {
	if names == nil {
		return DisabledEvents{}, nil
	}
	d := DisabledEvents{Connected: true, Close: true}
	for _, name := range names {
		switch name {
		case EventConnected:
			d.Connected = false
		case EventClose, EventClosed:
			d.Close = false
		case EventData:
		default:
			return d, fmt.Errorf("unknown event %q; want a list of %s, %s and %s", name, EventConnected, EventData, EventClose)
		}
	}
	return d, nil
}
