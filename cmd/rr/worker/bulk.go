package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
)

const (
	maxBulkWait  = 5 * time.Millisecond // replies of a bulk wait for each other so long
	maxBulkBytes = 1 << 20              // and their bodies up to so many bytes
)

// Bulk returns the events of a BULK, each as it would have come alone.
func (e Event) Bulk() ([]Event, error) {
	var bulk struct {
		Events []json.RawMessage `json:"events"`
		Sizes  []int             `json:"sizes"`
	}
	if err := json.Unmarshal(e.Context, &bulk); err != nil {
		return nil, fmt.Errorf("worker: bulk: %w", err)
	}
	if len(bulk.Events) == 0 || len(bulk.Events) != len(bulk.Sizes) {
		return nil, fmt.Errorf("worker: bulk: %d events and %d sizes", len(bulk.Events), len(bulk.Sizes))
	}

	events, body := make([]Event, len(bulk.Events)), e.Body
	for i, size := range bulk.Sizes {
		if size < 0 || size > len(body) {
			return nil, errors.New("worker: bulk: the sizes do not add up to the body")
		}
		if err := json.Unmarshal(bulk.Events[i], &events[i]); err != nil {
			return nil, fmt.Errorf("worker: bulk: context: %w", err)
		}
		events[i].Context, events[i].Body = bulk.Events[i], body[:size:size]
		body = body[size:]
	}
	if len(body) > 0 {
		return nil, errors.New("worker: bulk: the sizes do not add up to the body")
	}
	return events, nil
}

// BulkReplies are answers to the events of a bulk, in order, as one frame has them.
type BulkReplies struct {
	Replies []json.RawMessage `json:"replies"`
	Sizes   []int             `json:"sizes"`
	Bodies  []byte            `json:"-"`
}

// Add appends the reply to e. It always names e's connection.
func (r *BulkReplies) Add(e Event, reply Reply) error {
	context, err := reply.object(e.UUID)
	if err != nil {
		return err
	}
	r.Replies = append(r.Replies, context)
	r.Sizes = append(r.Sizes, len(reply.Body))
	r.Bodies = append(r.Bodies, reply.Body...)
	return nil
}

// SendBulk writes a frame with the next replies to a bulk. The last frame has the last of them.
func (w *Worker) SendBulk(r BulkReplies, isLast bool) error {
	context, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if isLast {
		return w.Send(frame.CodecRaw, context, r.Bodies)
	}
	return w.SendStream(context, r.Bodies)
}

// answerBulk hands over the events of a bulk one by one. Replies go out together, unless the handler takes its time. A
// frame of this kind can't tell RoadRunner an error: it goes to standard error, and its connection is closed.
func (w *Worker) answerBulk(e Event, handler func(Event) (Reply, error)) error {
	events, err := e.Bulk()
	if err != nil {
		return w.Send(frame.ERROR, nil, []byte(err.Error()))
	}

	var ready BulkReplies
	flushed := time.Now()
	for i, one := range events {
		reply, err := handler(one)
		if err == nil {
			err = ready.Add(one, reply)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "worker: %s %s: %s\n", one.UUID, one.Event, err)
			_ = ready.Add(one, Reply{Context: Close}) // has no text that could be wrong
		}
		if i == len(events)-1 {
			break
		}
		if time.Since(flushed) > maxBulkWait || len(ready.Bodies) > maxBulkBytes {
			if err := w.SendBulk(ready, false); err != nil {
				return err
			}
			ready, flushed = BulkReplies{}, time.Now()
		}
	}
	return w.SendBulk(ready, true)
}
