package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Replies as they are on the wire.
const (
	WordWrite      = "WRITE"
	WordContinue   = "CONTINUE"
	WordWriteClose = "WRITECLOSE"
	WordClose      = "CLOSE"
)

// Reply is what a worker asks for in its answer to an event.
type Reply uint8

// The replies. ReplyUnknown stands for every answer that is none of the others.
const (
	ReplyUnknown Reply = iota
	ReplyWrite
	ReplyContinue
	ReplyWriteClose
	ReplyClose
)

// Options are what a reply asks for besides its word.
type Options struct {
	Next  json.RawMessage // how later packets are framed; see framing.DecodeNext. nil: as before
	State *string         // what later events of the connection carry; nil: as before
	Tags  []string        // the connection's tags; nil: as before
	TLS   bool            // a TLS handshake follows
}

// maxState is the largest state of a connection, in bytes.
const maxState = 64 << 10

// replyObject is the context of an answer that is a JSON object.
type replyObject struct {
	Reply string          `json:"reply"`
	Next  json.RawMessage `json:"next"`
	State *string         `json:"state"`
	Tags  []string        `json:"tags"`
	TLS   bool            `json:"tls"`
	UUID  optionalUUID    `json:"uuid"`
}

// optionalUUID is the key uuid of a reply. null counts as set, and matches no connection.
type optionalUUID struct {
	isSet bool
	text  string
}

// UnmarshalJSON reads a string. Its error is none that package json would give a field, as it does in some releases of Go.
func (u *optionalUUID) UnmarshalJSON(b []byte) error {
	u.isSet = true
	err := json.Unmarshal(b, &u.text)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return wrongType("uuid", wrong)
	}
	return err
}

// listIndex is what Go 1.27 adds to the field of an error: tags.0. Older ones say tags.
var listIndex = regexp.MustCompile(`\.\d+`)

func wrongType(key string, err *json.UnmarshalTypeError) error {
	return fmt.Errorf("%s: a %s can't be read; docs/worker.md has what can", key, err.Value)
}

// DecodeReply reads the context of an answer to an event of the connection uuid: one of the four words, or a JSON object that
// has one of them under the key reply. The error of ReplyUnknown says what is wrong.
func DecodeReply(context []byte, uuid string) (Reply, Options, error) {
	if r := parseWord(withoutUUID(context, uuid)); r != ReplyUnknown {
		return r, Options{}, nil
	}
	if text := bytes.TrimLeft(context, " \t\r\n"); len(text) == 0 || text[0] != '{' {
		return ReplyUnknown, Options{}, fmt.Errorf("the worker answered %s; want WRITE, CONTINUE, WRITECLOSE or CLOSE, or an object",
			excerpt(context))
	}
	o, err := decodeObject(context)
	if err == nil {
		err = o.check(uuid)
	}
	if err != nil {
		return ReplyUnknown, Options{}, NotReply(err)
	}
	if bytes.Equal(o.Next, []byte("null")) {
		o.Next = nil
	}
	return parseWord([]byte(o.Reply)), Options{o.Next, o.State, o.Tags, o.TLS}, nil
}

// withoutUUID returns the word of {"reply":"WRITE","uuid":"…"} with this uuid, as kits write most replies, and any other context
// as it is. The decoder takes as long for such an object as the answer's write to the client.
func withoutUUID(context []byte, uuid string) []byte {
	const before, between, behind = `{"reply":"`, `","uuid":"`, `"}`
	end := len(context) - len(between) - len(uuid) - len(behind)
	if end < len(before) || string(context[:len(before)]) != before {
		return context
	}
	rest := context[end:]
	if string(rest[:len(between)]) != between || string(rest[len(between):len(rest)-len(behind)]) != uuid ||
		string(rest[len(rest)-len(behind):]) != behind {
		return context
	}
	return context[len(before):end]
}

func parseWord(context []byte) Reply {
	switch string(context) {
	case WordWrite:
		return ReplyWrite
	case WordContinue:
		return ReplyContinue
	case WordWriteClose:
		return ReplyWriteClose
	case WordClose:
		return ReplyClose
	default:
		return ReplyUnknown
	}
}

// excerpt quotes the beginning of what a worker sent, which may have megabytes.
func excerpt[T string | []byte](sent T) []byte { return quote(string(sent[:min(len(sent), 64)])) }

// NotReply wraps the error of a reply object. The text is cut: it may quote the whole object.
func NotReply(err error) error {
	text := err.Error()
	return fmt.Errorf("the worker answered with an object that is no reply: %s", text[:min(len(text), 512)])
}

func decodeObject(context []byte) (o replyObject, err error) {
	if err := CheckJSONText(context); err != nil {
		return o, err
	}
	err = decodeStrictly(context, &o)
	return o, err
}

// decodeStrictly decodes a JSON object into the struct out, without unknown keys and with nothing behind it.
func decodeStrictly(context []byte, out any) error {
	decoder := json.NewDecoder(bytes.NewReader(context))
	decoder.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	switch err := decoder.Decode(out); {
	case errors.As(err, &wrong):
		return wrongType(listIndex.ReplaceAllString(strings.ToLower(wrong.Field), ""), wrong)
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more comes behind it")
	}
	return nil
}

// escape is an escape in a text of JSON. Its group is half of a surrogate pair without the other half.
var escape = regexp.MustCompile(`\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]|(u[dD][89a-fA-F])|.)`)

// CheckJSONText returns an error where JSON has texts that are not UTF-8. The decoder would make U+FFFD of what is not, and so one text, such
// as a tag, of several.
func CheckJSONText(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("is not UTF-8, as JSON has to be")
	}
	if bytes.Contains(b, []byte(`\ud`)) || bytes.Contains(b, []byte(`\uD`)) {
		for _, m := range escape.FindAllSubmatch(b, -1) {
			if m[1] != nil {
				return fmt.Errorf(`has \%s…, half of a pair, which is no UTF-8`, m[1])
			}
		}
	}
	return nil
}

func (o *replyObject) check(uuid string) error {
	switch {
	case o.UUID.isSet && o.UUID.text != uuid:
		return fmt.Errorf("uuid: is %s, but this event's is %q; the worker answered another one: it sends two answers to one event",
			excerpt(o.UUID.text), uuid)
	case parseWord([]byte(o.Reply)) == ReplyUnknown:
		return fmt.Errorf("reply: is %s; want WRITE, CONTINUE, WRITECLOSE or CLOSE", excerpt(o.Reply))
	case o.State != nil && len(*o.State) > maxState:
		return fmt.Errorf("state: has %d bytes; want %d at most", len(*o.State), maxState)
	}
	return CheckTags("tags", o.Tags)
}
