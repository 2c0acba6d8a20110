package wire

import (
	"encoding/json"
	"strconv"
	"time"
)

// Contexts makes the contexts of one connection's events. Each is a JSON object with the keys remote_addr, server, uuid and
// event, the key state where the connection has one, and more for some events. The common part is encoded once.
type Contexts struct {
	head      []byte // `{"remote_addr":"…","server":"…","uuid":"…","event":"`
	data      []byte // the whole context of DATA, the same for every packet
	state     []byte // `,"state":"…"`, or nothing
	closeName string // of the last event, by dialect
}

// NewContexts returns the contexts of a connection. Texts that are not UTF-8 get replacement characters.
func NewContexts(remoteAddr, server, uuid, dialect string) Contexts {
	c := Contexts{closeName: EventClose}
	if dialect == DialectDocumented {
		c.closeName = EventClosed
	}

	c.head = append(c.head, `{"remote_addr":`...)
	c.head = append(c.head, quote(remoteAddr)...)
	c.head = append(c.head, `,"server":`...)
	c.head = append(c.head, quote(server)...)
	c.head = append(c.head, `,"uuid":`...)
	c.head = append(c.head, quote(uuid)...)
	c.head = append(c.head, `,"event":"`...)
	n := len(c.head)
	c.data = c.event(EventData, "")
	c.head = c.data[:n:n] // one copy in memory
	return c
}

// WithState returns c with another state; the empty one is none.
func (c Contexts) WithState(state string) Contexts {
	c.state = nil
	if state != "" {
		c.state = append([]byte(`,"state":`), quote(state)...)
	}
	c.data = c.event(EventData, "")
	return c
}

// StateSize returns how many bytes of memory the state takes.
func (c *Contexts) StateSize() int { return 2 * len(c.state) }

// Beginning is what CONNECTED says about a connection.
type Beginning struct {
	LocalAddr string
	TLS       []byte // the value of the key tls, as JSON; nil leaves it out
	Proxy     []byte // that of the key proxy, likewise
	StartTLS  bool   // a reply may ask for TLS
}

// Connected returns the context of CONNECTED.
func (c *Contexts) Connected(o Beginning) []byte {
	more := `,"local_addr":` + string(quote(o.LocalAddr))
	if o.TLS != nil {
		more += `,"tls":` + string(o.TLS)
	}
	if o.Proxy != nil {
		more += `,"proxy":` + string(o.Proxy)
	}
	if o.StartTLS {
		more += `,"starttls":true`
	}
	return c.event(EventConnected, more)
}

// Secured returns the context of SECURED. tls is as in Connected.
func (c *Contexts) Secured(tls []byte) []byte { return c.event(EventSecured, `,"tls":`+string(tls)) }

// Data returns the context of DATA. The caller must not change it.
func (c *Contexts) Data() []byte { return c.data }

// Tail returns the context of the DATA whose packet the end of file ended, not a delimiter.
func (c *Contexts) Tail() []byte { return c.event(EventData, `,"eof":true`) }

// Truncated returns the context of the DATA with the first bytes of a packet that was too long.
func (c *Contexts) Truncated() []byte { return c.event(EventData, `,"truncated":true`) }

// Ending is what CLOSE says about a connection.
type Ending struct {
	Reason       Reason
	BytesRead    int64
	BytesWritten int64
	Unfinished   int // bytes of a packet that the end of file cut off
	Discarded    int // packets that were too long and dropped
	Duration     time.Duration
}

// Closed returns the context of the last event.
func (c *Contexts) Closed(e Ending) []byte {
	more := `,"reason":"` + e.Reason.String() + `","bytes_read":` + strconv.FormatInt(e.BytesRead, 10) +
		`,"bytes_written":` + strconv.FormatInt(e.BytesWritten, 10) +
		`,"seconds":` + strconv.FormatFloat(e.Duration.Seconds(), 'f', 3, 64)
	if e.Unfinished > 0 {
		more += `,"unfinished":` + strconv.Itoa(e.Unfinished)
	}
	if e.Discarded > 0 {
		more += `,"discarded":` + strconv.Itoa(e.Discarded)
	}
	return c.event(c.closeName, more)
}

func (c *Contexts) event(name, more string) []byte {
	b := make([]byte, 0, len(c.head)+len(name)+len(c.state)+len(more)+2)
	b = append(b, c.head...)
	b = append(b, name...)
	b = append(b, '"')
	b = append(b, c.state...)
	b = append(b, more...)
	return append(b, '}')
}

// quote returns s as a JSON string.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string can't fail
	return b
}
