package dispatch

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// BulkLimits bound what goes to a worker at once. The zero value sends each event alone.
type BulkLimits struct {
	MaxEvents int
	MaxBytes  int // of contexts and bodies
}

// bulk is several events of different connections that are one exchange. The queue puts it together where a worker becomes free
// and more wait than there are workers.
type bulk struct {
	waiting []*attempt // whose replies are still to come, in the order of events; the first one made the exchange
}

// len returns how many events go together; without a bulk that is one.
func (b *bulk) len() int {
	if b == nil {
		return 1
	}
	return len(b.waiting)
}

// payload returns what the worker gets.
func (b *bulk) payload() *Payload {
	contexts, bodies := make([][]byte, len(b.waiting)), make([][]byte, len(b.waiting))
	for i, a := range b.waiting {
		contexts[i], bodies[i] = a.payload.Context, a.payload.Body
	}
	p := new(Payload)
	p.Context, p.Body = wire.EncodeBulk(contexts, bodies)
	return p
}

// answerBulk gives each event of b its reply, and does not wait for those of the frames behind the first.
func (d *Dispatcher) answerBulk(b *bulk, first *Payload, rest *poolFrames, err error) {
	leader := b.waiting[0]
	if err == nil {
		err = b.reply(first, rest == nil)
	}
	if err == nil {
		d.bulkBegun.Store(true)
		d.bulkSaid.CompareAndSwap(bulkSlow, bulkUnsaid) // it was just slow
	}
	switch {
	case err != nil && rest == nil:
		d.failBulk(b, err)
	case err != nil:
		go d.failRest(b, rest, err) // ends with the worker's answer, or the worker
	case rest != nil:
		go d.answerRest(b, rest) // ends with the worker's answer, or the worker
	default:
		d.bulkAnswered.Store(true)
	}
	<-leader.ready //nolint:errcheck // it is errAnswered: the first event is the first to get its reply
}

// answerRest gives the rest of the events their replies. Those that still wait when the worker's time is over, or Stop can wait
// no longer, go without.
func (d *Dispatcher) answerRest(b *bulk, rest *poolFrames) {
	defer rest.End()
	for last := false; !last; {
		var frame Answer
		var err error
		switch frame, last, err = rest.Next(rest.ctx.Done()); {
		case err == nil:
			err = b.reply(&Payload{Context: frame.Context, Body: frame.Body}, last)
		case stderrors.Is(err, ErrCanceled):
			err = rest.cutOff()
		}
		if err != nil {
			d.failRest(b, rest, err)
			return
		}
	}
	d.bulkAnswered.Store(true)
}

// failRest is failBulk for a worker that may be still at it: no connection goes on before that has ended.
func (d *Dispatcher) failRest(b *bulk, rest *poolFrames, err error) {
	d.reportBulk(b, err)
	rest.End()
	d.failBulk(b, err)
}

// reply hands on the replies of one frame. With the last frame there must be one for each event.
func (b *bulk) reply(frame *Payload, last bool) (err error) {
	defer recovered(&err)
	replies, err := wire.DecodeBulk(frame.Context, frame.Body)
	switch {
	case err != nil:
	case len(replies) > len(b.waiting):
		err = fmt.Errorf("the worker answered %d events of a bulk, but %d were left", len(replies), len(b.waiting))
	case last && len(replies) < len(b.waiting):
		err = fmt.Errorf("the worker ended its answer to a bulk, but %d events have no reply", len(b.waiting)-len(replies))
	case len(replies) == 0:
		err = errNoReplies
	}
	if err != nil {
		return &Failure{Reason: wire.ReasonReply, Reached: true, Err: err}
	}
	for _, r := range replies {
		b.finish(Answer{Context: r.Context, Body: ownBody(r.Body, frame), Codec: frame.Codec}, nil)
	}
	return nil
}

// maxSharedBody bounds what a client that reads slowly holds beside its own answer: what others got in the same frame.
const maxSharedBody = 16 << 10

// ownBody returns the body of one reply; a copy, where it would hold a frame that is much larger.
func ownBody(body []byte, frame *Payload) []byte {
	if others := len(frame.Body) - len(body); others > maxSharedBody && others > len(body) {
		return bytes.Clone(body)
	}
	return body
}

// finish ends the exchange of the first event that has no reply yet.
func (b *bulk) finish(answer Answer, err error) {
	a := b.waiting[0]
	b.waiting = b.waiting[1:]
	a.answer, a.err = answer, err
	a.ready <- errAnswered // from here on a belongs to its connection
}

const bulkNeeds = "tcp.bulk needs workers that know the event BULK, as those with the PHP kit do (said once until the workers are reset)"

// What the log has said.
const (
	bulkUnsaid int32 = iota
	bulkSlow         // a worker has not answered the first bulk yet
	bulkWrong        // a worker did not answer a bulk rightly
)

// firstBulkPatience is how long a worker may take for the first bulk before the log says that it may not know bulks. One that
// does not need not answer wrongly: it may wait for the next event, and would be silent for as long as exec_ttl.
const firstBulkPatience = 500 * time.Millisecond

// watchFirstBulk begins to watch an exchange until stop is called, unless a bulk was answered before, or part of one.
func (d *Dispatcher) watchFirstBulk() (stop func()) {
	if d.bulkBegun.Load() {
		return func() {}
	}
	timer := time.AfterFunc(firstBulkPatience, func() {
		if !d.bulkBegun.Load() && d.bulkSaid.CompareAndSwap(bulkUnsaid, bulkSlow) {
			d.Log.Warn("a worker has not answered its first bulk of events yet; if it is not just slow: "+bulkNeeds,
				slog.Duration("after", firstBulkPatience))
		}
	})
	return func() { timer.Stop() }
}

// failBulk ends the exchanges of all events that have no reply.
func (d *Dispatcher) failBulk(b *bulk, err error) {
	d.reportBulk(b, err)
	for len(b.waiting) > 0 {
		b.finish(Answer{}, err)
	}
}

// reportBulk logs, once, that a worker did not answer a bulk rightly. One that dies or takes too long may not know bulks, unless one
// was answered before.
func (d *Dispatcher) reportBulk(b *bulk, err error) {
	f := FailureOf(err)
	kind := f.Kind()
	isKnown := d.bulkAnswered.Load() && (kind == telemetry.FailureDied || kind == telemetry.FailureTimeout)
	if f.Reached && f.Reason != wire.ReasonShutdown && !isKnown && d.bulkSaid.CompareAndSwap(bulkUnsaid, bulkWrong) {
		d.Log.Error("a worker did not answer a bulk of events as docs/worker-protocol.md has it: "+bulkNeeds,
			slog.Int("events", len(b.waiting)), slog.Any("error", f))
	}
}
