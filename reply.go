package tcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// mostState bounds the state that a connection keeps for its workers, in bytes.
const mostState = 64 << 10

// options are what a reply asks for beside its word.
type options struct {
	next  *next
	state *string
	tags  []string // nil: as they are
}

// next is a framing as a server has it, for what the connection sends from now on.
type next struct {
	Packets
	Delimiter *string `json:"delimiter"` // hides that of Packets: an empty one is a mistake here, too
	Once      bool    `json:"once"`      // for one packet; then comes the server's own
}

// replyObject is a context that says more than a word.
type replyObject struct {
	Reply string   `json:"reply"`
	Next  *next    `json:"next"`
	State *string  `json:"state"`
	Tags  []string `json:"tags"`
	UUID  sentUUID `json:"uuid"`
}

// sentUUID is the uuid of a reply, where there is one. null is one, and nobody's.
type sentUUID struct {
	sent bool
	text string
}

// UnmarshalJSON reads a string.
func (u *sentUUID) UnmarshalJSON(b []byte) error {
	u.sent = true
	err := json.Unmarshal(b, &u.text)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		wrong.Field = "uuid"
	}
	return err
}

// decodeReply reads the context of an answer to an event of the connection uuid: one of the four words, or a JSON object
// that has one. The error says what is wrong with an unknown reply.
func decodeReply(context []byte, uuid string) (reply, options, error) {
	if r := word(context); r != replyUnknown {
		return r, options{}, nil
	}
	if text := bytes.TrimLeft(context, " \t\r\n"); len(text) == 0 || text[0] != '{' {
		return replyUnknown, options{}, fmt.Errorf("the worker answered %s; want WRITE, CONTINUE, WRITECLOSE or CLOSE, or an object",
			shown(context))
	}
	o, err := decodeObject(context)
	if err == nil {
		err = o.check(uuid)
	}
	if err != nil {
		return replyUnknown, options{}, noReply(err)
	}
	return word([]byte(o.Reply)), options{o.Next, o.State, o.Tags}, nil
}

// shown is the beginning of what a worker sent, which may be megabytes, for the log.
func shown[T string | []byte](sent T) []byte { return quote(string(sent[:min(len(sent), 64)])) }

// noReply says what is wrong with an object. The error may quote all of it.
func noReply(err error) error {
	text := err.Error()
	return fmt.Errorf("the worker answered with an object that is no reply: %s", text[:min(len(text), 512)])
}

func decodeObject(context []byte) (o replyObject, err error) {
	if !utf8.Valid(context) {
		return o, errors.New("is not UTF-8, as JSON has to be")
	}
	decoder := json.NewDecoder(bytes.NewReader(context))
	decoder.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	switch err := decoder.Decode(&o); {
	case errors.As(err, &wrong):
		key := strings.ToLower(strings.ReplaceAll(wrong.Field, "Packets.", "")) // which is embedded
		return o, fmt.Errorf("%s: a %s can't be read; docs/worker.md has what can", key, wrong.Value)
	case err != nil:
		return o, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("more comes behind it")
	}
	return o, nil
}

func (o *replyObject) check(uuid string) error {
	switch {
	case o.UUID.sent && o.UUID.text != uuid:
		return fmt.Errorf("uuid: is %s, but this event's is %q; the worker answered another one: it sends two answers to one event",
			shown(o.UUID.text), uuid)
	case word([]byte(o.Reply)) == replyUnknown:
		return fmt.Errorf("reply: is %s; want WRITE, CONTINUE, WRITECLOSE or CLOSE", shown(o.Reply))
	case o.State != nil && len(*o.State) > mostState:
		return fmt.Errorf("state: has %d bytes; want %d at most", len(*o.State), mostState)
	}
	return checkTags("tags", o.Tags)
}

// framing is what n asks for; most are the bytes of read_buf_size, longest those of max_packet_size.
func (n *next) framing(most, longest int) (framing, error) {
	switch {
	case n.Delimiter != nil && *n.Delimiter == "":
		return framing{}, errors.New(`next.delimiter: is empty; want the bytes that end a packet, such as "\r\n"`)
	case n.Once && n.Batch:
		return framing{}, errors.New("next.batch: stands beside once, which is one packet; leave one of them out")
	case n.Delimiter != nil:
		n.Packets.Delimiter = *n.Delimiter
	}
	if errs := n.init("next", longest); len(errs) > 0 {
		return framing{}, errors.Join(errs...)
	}
	return n.Packets.framing(most, longest), nil
}
