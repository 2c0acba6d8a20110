package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// EncodeBulk puts events into one payload, whose context is {"event":"BULK","events":[…],"sizes":[…]}: the contexts that the
// events would have alone, and the sizes in bytes of their bodies, which follow each other in the body.
func EncodeBulk(contexts, bodies [][]byte) (context, body []byte) {
	const head, middle, tail = `{"event":"` + EventBulk + `","events":[`, `],"sizes":[`, `]}`
	var sizes []byte
	for i, b := range bodies {
		if i > 0 {
			sizes = append(sizes, ',')
		}
		sizes = strconv.AppendInt(sizes, int64(len(b)), 10)
	}
	events := bytes.Join(contexts, []byte(`,`))
	return slices.Concat([]byte(head), events, []byte(middle), sizes, []byte(tail)), bytes.Join(bodies, nil)
}

// BulkReply is the reply to one event of a bulk: what a worker would answer to that event alone.
type BulkReply struct{ Context, Body []byte }

// bulkReplies is the context of an answer to a bulk.
type bulkReplies struct {
	Replies []json.RawMessage `json:"replies"`
	Sizes   []int             `json:"sizes"`
}

// DecodeBulk reads one frame of an answer to a bulk. Its context is {"replies":[…],"sizes":[…]}: words or objects, and the sizes
// in bytes of their bodies, which follow each other in the body. What it returns refers to body and context.
func DecodeBulk(context, body []byte) ([]BulkReply, error) {
	frame, isPlain := plainReplies(context)
	if !isPlain {
		var err error
		if frame, err = decodeReplies(context); err != nil {
			return nil, err
		}
	}
	if len(frame.Sizes) != len(frame.Replies) {
		return nil, fmt.Errorf("the worker answered a bulk with %d replies and %d sizes; want one size for each reply",
			len(frame.Replies), len(frame.Sizes))
	}
	replies := make([]BulkReply, len(frame.Replies))
	rest := body
	for i, size := range frame.Sizes {
		if size < 0 || size > len(rest) {
			return nil, fmt.Errorf("the worker answered a bulk with sizes of more than the %d bytes of the body", len(body))
		}
		replies[i] = BulkReply{word(frame.Replies[i]), rest[:size:size]}
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("the worker answered a bulk with sizes of %d bytes, but the body has %d", len(body)-len(rest), len(body))
	}
	return replies, nil
}

func decodeReplies(context []byte) (frame bulkReplies, err error) {
	if text := bytes.TrimLeft(context, " \t\r\n"); len(text) == 0 || text[0] != '{' {
		return frame, fmt.Errorf("the worker answered a bulk with %s; want an object with the keys replies and sizes", excerpt(context))
	}
	if err := decodeStrictly(context, &frame); err != nil {
		return frame, NotReply(err)
	}
	return frame, nil
}

// plainReplies is decodeReplies for what the kits write where no reply has more than a word and a uuid; false: it may be
// anything. The decoder takes ten times as long, which is a seventh of all that RoadRunner does for a packet in a bulk.
func plainReplies(context []byte) (frame bulkReplies, isPlain bool) {
	list, sizes, _ := bytes.Cut(context, []byte(`],"sizes":`))
	list, isOpened := bytes.CutPrefix(list, []byte(`{"replies":[`))
	sizes, isClosed := bytes.CutSuffix(sizes, []byte(`}`))
	if !isOpened || !isClosed || json.Unmarshal(sizes, &frame.Sizes) != nil {
		return frame, false
	}
	frame.Replies = make([]json.RawMessage, 0, len(frame.Sizes))
	for isMore := true; isMore; {
		rest, isReply := skipReply(list)
		if !isReply {
			return frame, false
		}
		size := len(list) - len(rest)
		frame.Replies = append(frame.Replies, list[:size:size])
		if list, isMore = bytes.CutPrefix(rest, []byte(`,`)); !isMore && len(rest) > 0 {
			return frame, false
		}
	}
	return frame, true
}

// skipReply returns what follows "WRITE" or {"reply":"WRITE","uuid":"…"}; false: it is another value.
func skipReply(b []byte) (rest []byte, isPlain bool) {
	if rest, isPlain = skipPlain(b, `"`, `"`); isPlain {
		return rest, true
	}
	if rest, isPlain = skipPlain(b, `{"reply":"`, `","uuid":"`); isPlain {
		return skipPlain(rest, ``, `"}`)
	}
	return nil, false
}

// skipPlain returns what follows before, text that JSON never escapes, and behind.
func skipPlain(b []byte, before, behind string) (rest []byte, isPlain bool) {
	if b, isPlain = bytes.CutPrefix(b, []byte(before)); !isPlain {
		return nil, false
	}
	n := 0
	for n < len(b) && (b[n] == '-' || b[n] >= '0' && b[n] <= '9' || b[n] >= 'A' && b[n] <= 'Z' || b[n] >= 'a' && b[n] <= 'z') {
		n++
	}
	return bytes.CutPrefix(b[n:], []byte(behind))
}

// word returns the text of a JSON string, and other values as they are.
func word(value json.RawMessage) []byte {
	if len(value) >= 2 && value[0] == '"' && !bytes.Contains(value, []byte{'\\'}) {
		return value[1 : len(value)-1]
	}
	var text string
	if bytes.HasPrefix(value, []byte(`{`)) || json.Unmarshal(value, &text) != nil {
		return value
	}
	return []byte(text)
}
