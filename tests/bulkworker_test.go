package tests

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// errDropped says that a bulk has its answer already.
var errDropped = errors.New("the bulk was answered as a whole")

// wrongBulks are the ways to answer several events that option bulk has beside the right ones.
var wrongBulks = []string{"word", "text", "nothing", "few", "many", "sizes", "error", "part", "dies", "exit"}

// receiveBulk takes several events apart, writes all of them down and answers them as the option bulk has it:
//
//	frames    in a frame for each, late
//	word      with a word, as a worker that does not know bulks
//	text      with no JSON
//	nothing   with an empty frame
//	few, many with one reply too few, or too many
//	sizes     with sizes that are not those of the bodies
//	error     with an ERROR frame
//	part      rightly, but not to the end, then wrongly
//	dies      rightly, but not to the end, then it dies
//	exit      not at all: it dies
//	hang      not at all
//	random    in one of these ways, without the last; mostly rightly
func (w *recorder) receiveBulk(e worker.Event) error {
	events, err := e.Bulk()
	if err != nil {
		return err
	}
	first := w.events + 1
	for i, one := range events {
		w.events = first + i
		w.write(entry{Context: one.Context, Body: one.Body, Bulk: len(events)})
	}
	w.last = w.events
	way := w.options["bulk"]
	if way == "random" {
		way = []string{"", "frames"}[rand.IntN(2)]
		if rand.IntN(10) == 0 {
			way = wrongBulks[rand.IntN(len(wrongBulks))]
		}
	}
	switch way {
	case "exit":
		os.Exit(3)
	case "hang":
		select {}
	case "", "frames", "part", "dies":
		err = w.answerBulk(way, events, first)
	default:
		err = w.answerWrongly(way, events, first)
	}
	w.events = w.last
	if w.bulk = nil; errors.Is(err, errDropped) {
		return nil
	}
	return err
}

// answerBulk does what each event says.
func (w *recorder) answerBulk(way string, events []worker.Event, first int) error {
	end := len(events)
	if way == "part" || way == "dies" {
		end = rand.IntN(end)
	}
	w.bulk = new(worker.BulkReplies)
	for i, one := range events[:end] {
		w.events = first + i
		if err := w.do(one, w.command(one)); err != nil {
			return err
		}
		isLast := i == len(events)-1
		if isLast || way != "" {
			if err := w.out.SendBulk(*w.bulk, isLast); err != nil {
				return err
			}
			w.bulk = new(worker.BulkReplies)
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		}
	}
	switch way {
	case "dies":
		os.Exit(3)
	case "part":
		return w.answerWrongly("word", events[end:], first+end)
	}
	return nil
}

// answerWrongly answers all events at once.
func (w *recorder) answerWrongly(way string, events []worker.Event, first int) error {
	w.bulk = new(worker.BulkReplies)
	for i, one := range events {
		w.events = first + i
		if err := w.answer(worker.Write, one.Body); err != nil {
			return err
		}
	}
	replies := *w.bulk
	switch last := len(events) - 1; way {
	case "word":
		return w.out.Send(frame.CodecRaw, []byte(worker.Write), replies.Bodies)
	case "text":
		return w.out.Send(frame.CodecRaw, []byte("{no JSON"), replies.Bodies)
	case "nothing":
		return w.out.Send(frame.CodecRaw, nil, nil)
	case "error":
		return w.out.Send(frame.ERROR, nil, []byte("all of them"))
	case "few":
		replies.Bodies = replies.Bodies[:len(replies.Bodies)-replies.Sizes[last]]
		replies.Replies, replies.Sizes = replies.Replies[:last], replies.Sizes[:last]
	case "many":
		replies.Replies, replies.Sizes = append(replies.Replies, replies.Replies[0]), append(replies.Sizes, 0)
	case "sizes":
		replies.Sizes[0]++
	}
	return w.out.SendBulk(replies, true)
}

// dropBulk says that no reply is to be sent any more, where several were to go together: what is sent next is the answer to all.
func (w *recorder) dropBulk() error {
	if w.bulk == nil {
		return nil
	}
	for ; w.events < w.last; w.events++ {
		w.write(entry{Answered: true})
	}
	return errDropped
}

// addReply appends a reply; a context that is no object is a word.
func (w *recorder) addReply(context string, body []byte) error {
	raw := json.RawMessage(context)
	if context == "" || context[0] != '{' {
		raw, _ = json.Marshal(context)
	}
	w.bulk.Replies = append(w.bulk.Replies, raw)
	w.bulk.Sizes = append(w.bulk.Sizes, len(body))
	w.bulk.Bodies = append(w.bulk.Bodies, body...)
	return nil
}
