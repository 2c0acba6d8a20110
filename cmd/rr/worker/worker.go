// Package worker is a small kit for workers written in Go: it speaks goridge over pipes and hands the events of the
// tcp plugin to a function.
//
//	func main() {
//		err := worker.Serve(func(e worker.Event) (worker.Reply, error) {
//			if e.Event == worker.Data {
//				return worker.Reply{Context: worker.Write, Body: e.Body}, nil
//			}
//			return worker.Reply{Context: worker.Continue}, nil
//		})
//		…
//	}
package worker

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
)

// What Event.Event says. With `dialect: documented` the last event of a connection is named CLOSED instead.
const (
	Connected = "CONNECTED"
	Data      = "DATA"
	Secured   = "SECURED" // behind a Reply with TLS, when the handshake is over
	Closed    = "CLOSE"
	Bulk      = "BULK" // of Receive alone: events of several connections, see Event.Bulk; Serve takes it apart
)

// What Reply.Context asks for.
const (
	Write      = "WRITE"      // the body goes to the client, then read on
	Continue   = "CONTINUE"   // read on
	WriteClose = "WRITECLOSE" // the body goes to the client, then close
	Close      = "CLOSE"      // close
)

// Event is what happened to a connection.
type Event struct {
	RemoteAddr string `json:"remote_addr"`
	Server     string `json:"server"`
	UUID       string `json:"uuid"`
	Event      string `json:"event"`
	EOF        bool   `json:"eof"`       // of DATA: the packet was ended by the end of file, not by a delimiter
	Truncated  bool   `json:"truncated"` // of DATA: the packet was longer than max_packet_size, and this is its beginning
	Reason     string `json:"reason"`    // of CLOSE: why the connection ended
	StartTLS   bool   `json:"starttls"`  // of CONNECTED: a Reply may have TLS
	State      string `json:"state"`     // what the last reply with a State said

	Context []byte `json:"-"` // the JSON that the fields above come from
	Body    []byte `json:"-"` // the packet; valid, as Context is, until the handler returns or Receive is called again
}

// Reply is the answer to an event. Every event needs one; after CLOSE its content does not matter.
type Reply struct {
	Context string
	Body    []byte
	Next    *Framing // how what the client sends from now on is cut; nil: as before
	State   *string  // handed back as State of the connection's later events; nil: as before, empty: none
	Tags    []string // the connection's tags, which pushes find it by; nil: as before, empty: none
	TLS     bool     // behind the body comes a TLS handshake (STARTTLS), then the event Secured
}

// Framing is how a server cuts what its clients send; docs/configuration.md has the meaning of each field.
type Framing struct {
	Protocol      string   `json:"protocol,omitempty"`
	Framing       string   `json:"framing,omitempty"`
	Delimiter     string   `json:"delimiter,omitempty"`
	DelimiterHex  string   `json:"delimiter_hex,omitempty"`
	Delimiters    []string `json:"delimiters,omitempty"`
	DelimitersHex []string `json:"delimiters_hex,omitempty"`
	DelimiterWait string   `json:"delimiter_wait,omitempty"`
	Strip         bool     `json:"strip,omitempty"`
	SkipEmpty     bool     `json:"skip_empty,omitempty"`
	Length        *Length  `json:"length,omitempty"`
	PacketSize    int      `json:"packet_size,omitempty"`
	Rules         []Rule   `json:"rules,omitempty"`
	Batch         bool     `json:"batch,omitempty"`
	Once          bool     `json:"once,omitempty"` // for one packet; then comes the server's own
}

// Rule is the framing of packets that begin with certain bytes.
type Rule struct {
	Starts        string   `json:"starts,omitempty"`
	StartsHex     string   `json:"starts_hex,omitempty"`
	Framing       string   `json:"framing,omitempty"`
	Delimiter     string   `json:"delimiter,omitempty"`
	DelimiterHex  string   `json:"delimiter_hex,omitempty"`
	Delimiters    []string `json:"delimiters,omitempty"`
	DelimitersHex []string `json:"delimiters_hex,omitempty"`
	Strip         bool     `json:"strip,omitempty"`
	SkipEmpty     bool     `json:"skip_empty,omitempty"`
	Length        *Length  `json:"length,omitempty"`
	PacketSize    int      `json:"packet_size,omitempty"`
}

// Length is a field that announces the length of its packet.
type Length struct {
	Bytes    int     `json:"bytes,omitempty"`
	Encoding string  `json:"encoding,omitempty"`
	Endian   string  `json:"endian,omitempty"`
	Mask     *uint64 `json:"mask,omitempty"`
	ASCII    int     `json:"ascii,omitempty"`
	Until    string  `json:"until,omitempty"`
	UntilHex string  `json:"until_hex,omitempty"`
	Varint   bool    `json:"varint,omitempty"`
	Offset   int     `json:"offset,omitempty"`
	Adjust   int     `json:"adjust,omitempty"`
	Strip    int     `json:"strip,omitempty"`
}

// context is the reply's context: its word, or an object that also names the event's connection, so that a reply that
// went astray is found out.
func (r *Reply) context(uuid string) ([]byte, error) {
	if r.Next == nil && r.State == nil && r.Tags == nil && !r.TLS {
		return []byte(r.Context), nil
	}
	return r.object(uuid)
}

func (r *Reply) object(uuid string) ([]byte, error) {
	if err := r.checkTexts(); err != nil {
		return nil, err
	}
	var tags *[]string
	if r.Tags != nil {
		tags = &r.Tags
	}
	return json.Marshal(struct {
		Reply string    `json:"reply"`
		Next  *Framing  `json:"next,omitempty"`
		State *string   `json:"state,omitempty"`
		Tags  *[]string `json:"tags,omitempty"`
		TLS   bool      `json:"tls,omitempty"`
		UUID  string    `json:"uuid"`
	}{r.Context, r.Next, r.State, tags, r.TLS, uuid})
}

// checkTexts finds a text that is not UTF-8, which encoding/json would silently change.
func (r *Reply) checkTexts() (err error) {
	check := func(key, want string, texts ...string) {
		for _, text := range texts {
			if !utf8.ValidString(text) {
				err = fmt.Errorf("worker: reply: %s: %q is not UTF-8; want %s", key, text, want)
			}
		}
	}
	if r.State != nil {
		check("state", "text, such as base64", *r.State)
	}
	check("tags", "text", r.Tags...)
	if r.Next == nil {
		return err
	}
	own := Rule{Delimiter: r.Next.Delimiter, Delimiters: r.Next.Delimiters, Length: r.Next.Length}
	for i, rule := range append([]Rule{own}, r.Next.Rules...) {
		key := "next"
		if i > 0 {
			key = fmt.Sprintf("next.rules.%d", i-1)
		}
		check(key+".starts", "starts_hex", rule.Starts)
		check(key+".delimiter", "delimiter_hex", rule.Delimiter)
		check(key+".delimiters", "delimiters_hex", rule.Delimiters...)
		if rule.Length != nil {
			check(key+".length.until", "until_hex", rule.Length.Until)
		}
	}
	return err
}

// Serve answers events with the handler until RoadRunner wants the worker to end. An error of the handler is the answer
// to that one event: RoadRunner closes the connection, the worker goes on. Events that came together are handed over one
// by one. Serve itself fails only when the pipes do.
//
// Standard output belongs to RoadRunner. While Serve runs, os.Stdout is standard error, which RoadRunner logs.
func Serve(handler func(Event) (Reply, error)) error {
	stdout := os.Stdout
	os.Stdout = os.Stderr
	defer func() { os.Stdout = stdout }()

	return New(os.Stdin, stdout).Serve(handler)
}

// Worker is one end of the pipes to RoadRunner, for what Serve cannot do: to answer wrongly, late or in pieces.
// Its methods belong to one goroutine.
type Worker struct {
	relay  *pipe.Relay
	in     [12]byte // header of the frame being received
	header [16]byte // header of the frame being sent: 12 bytes and one option, the length of the context
	out    []byte   // its payload
}

// New makes a worker that reads frames from in and writes them to out. It closes neither.
func New(in io.ReadCloser, out io.WriteCloser) *Worker {
	buffered := struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(in, 64<<10), in} // a header, its option and a small payload in one read

	return &Worker{relay: pipe.NewPipeRelay(buffered, out)}
}

// Serve is the function Serve for other pipes than the standard ones. It leaves os.Stdout alone.
func (w *Worker) Serve(handler func(Event) (Reply, error)) error {
	for {
		e, err := w.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}

		if len(e.Context) == 0 {
			continue // to end or to hold a stream: an answer would be taken for that to the next event
		}
		if err := w.answer(e, handler); err != nil {
			return err
		}
	}
}

func (w *Worker) answer(e Event, handler func(Event) (Reply, error)) error {
	if e.Event == Bulk {
		return w.answerBulk(e, handler)
	}
	reply, err := handler(e)
	var context []byte
	if err == nil {
		context, err = reply.context(e.UUID)
	}
	if err != nil {
		return w.Send(frame.ERROR, nil, []byte(err.Error()))
	}
	return w.Send(frame.CodecRaw, context, reply.Body)
}

// Receive waits for the next event. RoadRunner's question for the pid is answered on the way. The error is io.EOF when
// RoadRunner wants the worker to end, by a stop frame or by closing the pipe. A frame without a context, as RoadRunner
// sends to end or to hold a stream, is an Event whose fields are empty.
func (w *Worker) Receive() (Event, error) {
	for {
		f, err := w.receive()
		if err != nil {
			return Event{}, err
		}
		if f.ReadFlags()&frame.CONTROL == 0 {
			return event(f)
		}

		var control struct{ Stop bool }
		if err = json.Unmarshal(f.Payload(), &control); err != nil {
			return Event{}, fmt.Errorf("worker: control frame: %w", err)
		}
		if control.Stop {
			return Event{}, io.EOF
		}
		w.out = fmt.Appendf(w.out[:0], `{"pid":%d}`, os.Getpid())
		if err = w.send(frame.CONTROL|frame.CodecJSON, 0, noContext, nil); err != nil {
			return Event{}, err
		}
	}
}

func (w *Worker) receive() (*frame.Frame, error) {
	f := frame.From(w.in[:], nil)
	switch err := w.relay.Receive(f); {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("worker: receive: %w", err)
	case len(f.Payload()) != int(f.ReadPayloadLen(f.Header())):
		// The relay takes a pipe closed between a header and its payload for a frame without payload.
		return nil, fmt.Errorf("worker: receive: %w", io.ErrUnexpectedEOF)
	}
	return f, nil
}

func event(f *frame.Frame) (Event, error) {
	e := Event{Body: f.Payload()}
	if len(f.Header()) == 12 {
		return e, nil
	}

	n := binary.LittleEndian.Uint32(f.Header()[12:])
	if uint64(n) > uint64(len(e.Body)) {
		return e, fmt.Errorf("worker: a context of %d bytes in a payload of %d", n, len(e.Body))
	}
	e.Context, e.Body = e.Body[:n:n], e.Body[n:]
	if err := json.Unmarshal(e.Context, &e); err != nil {
		return e, fmt.Errorf("worker: context: %w", err)
	}
	return e, nil
}

// Send writes one frame with these flags in its second byte: frame.CodecRaw or 0 for an answer, frame.ERROR for an error whose text is the
// body (and which has no context). A flag the frame does not deserve is the caller's business.
func (w *Worker) Send(flags byte, context, body []byte) error {
	w.out = append(w.out[:0], context...)
	n := len(context)
	if flags&(frame.ERROR|frame.CONTROL) != 0 {
		n = noContext
	}
	return w.send(flags, 0, n, body)
}

// SendStream writes an answer that says that more frames follow; the last one is written by Send.
func (w *Worker) SendStream(context, body []byte) error {
	w.out = append(w.out[:0], context...)
	return w.send(frame.CodecRaw, frame.STREAM, len(context), body)
}

const noContext = -1 // a frame without the option that says how long the context is

// send writes the frame whose payload is w.out and the body.
func (w *Worker) send(flags, stream byte, context int, body []byte) error {
	w.out = append(w.out, body...)
	clear(w.header[:])
	words := 3
	if context != noContext {
		words = 4
		binary.LittleEndian.PutUint32(w.header[12:], uint32(context))
	}

	header := w.header[:words*frame.WORD]
	f := frame.From(header, w.out)
	header[0] = byte(words)
	f.WriteVersion(header, frame.Version1)
	f.WriteFlags(header, flags)
	header[10] = stream
	f.WritePayloadLen(header, uint32(len(w.out)))
	f.WriteCRC(header)
	if cap(w.out) > 1<<20 {
		w.out = nil // one large answer must not be held for ever
	}
	if err := w.relay.Send(f); err != nil {
		return fmt.Errorf("worker: send: %w", err)
	}
	return nil
}
