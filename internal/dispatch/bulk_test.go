package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// sentBulk is the context of a bulk as a worker sees it.
type sentBulk struct {
	Event  string
	Events []struct{ Event, UUID string }
	Sizes  []int
}

// bulkPool has one worker, which is busy until release is closed, and then answers by reply.
type bulkPool struct {
	Pool
	release chan struct{}
	reply   func(ctx context.Context, p *Payload) (Results, error)
}

func (p bulkPool) Exec(ctx context.Context, request *Payload, _ chan struct{}) (Results, error) {
	if string(request.Body) == "first" {
		<-p.release
		return frames(&Payload{Context: []byte("CONTINUE")}), nil
	}
	return p.reply(ctx, request)
}

func frames(f ...*Payload) Results { return &one{frames: f} }

// frame is one of an answer to a bulk.
func frame(flags byte, context string, body string) *Payload {
	return &Payload{Flags: flags, Context: []byte(context), Body: []byte(body)}
}

// ended is how one exchange ended.
type ended struct {
	answer Answer
	err    error
}

// exchangeTogether has n connections wait while the worker is busy, and returns how their exchanges end. Event number i has
// the uuid "i" and the body "body i".
func exchangeTogether(t *testing.T, d *Dispatcher, n int, reply func(ctx context.Context, p *Payload) (Results, error)) []ended {
	t.Helper()
	ends := make([]ended, n)
	together(t, d, n, reply, func(i int) {
		context, body := fmt.Sprintf(`{"event":"DATA","uuid":"%d"}`, i), fmt.Sprintf("body %d", i)
		ends[i].answer, ends[i].err = d.Exchange(&Call{Event: wire.Data, Shares: true}, nil, []byte(context), []byte(body))
	})
	return ends
}

// together calls exchange for n connections, which wait while the worker is busy, and returns when all have returned and the
// worker is free.
func together(t *testing.T, d *Dispatcher, n int, reply func(ctx context.Context, p *Payload) (Results, error), exchange func(i int)) {
	t.Helper()
	pool := bulkPool{Pool: d.Pool, release: make(chan struct{}), reply: reply}
	d.Pool = pool
	var wg sync.WaitGroup
	start := func(isStarted func() bool, exchange func()) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			exchange()
		}()
		require.Eventually(t, isStarted, time.Minute, 10*time.Microsecond)
	}
	start(func() bool { return d.Queue.admittedCount() == 1 }, func() {
		_, _ = d.Exchange(&Call{Event: wire.Data}, nil, []byte("{}"), []byte("first"))
	})
	for i := range n {
		start(func() bool { return d.Queue.Waiting() > i }, func() { exchange(i) })
	}
	close(pool.release)
	wg.Wait()
	require.Eventually(t, func() bool { return d.Queue.admittedCount() == 0 }, time.Minute, time.Millisecond)
}

func newBulkDispatcher() (*Dispatcher, *logtest.Log) {
	d := newDispatcher(nil)
	d.Queue.Bulk = BulkLimits{MaxEvents: 64, MaxBytes: 256 << 10}
	var log *logtest.Log
	d.Log, log = logtest.New(slog.LevelDebug)
	return d, log
}

func TestBulkIsOneExchange(t *testing.T) {
	d, log := newBulkDispatcher()
	var sent []string
	ends := exchangeTogether(t, d, 3, func(_ context.Context, p *Payload) (Results, error) {
		sent = append(sent, string(p.Context)+string(p.Body))
		return frames(frame(0, `{"replies":["WRITE",{"reply":"CLOSE"},"CONTINUE"],"sizes":[2,0,3]}`, "abcde")), nil
	})
	require.Equal(t, []string{`{"event":"BULK","events":[{"event":"DATA","uuid":"0"},{"event":"DATA","uuid":"1"},{"event":"DATA","uuid":"2"}],` +
		`"sizes":[6,6,6]}body 0body 1body 2`}, sent)
	for i, want := range []string{"WRITE ab", `{"reply":"CLOSE"} `, "CONTINUE cde"} {
		require.NoError(t, ends[i].err)
		require.Equal(t, want, string(ends[i].answer.Context)+" "+string(ends[i].answer.Body))
		require.Nil(t, ends[i].answer.More)
	}
	require.Zero(t, log.Len())
}

func TestBulkOfOneIsAnEventAlone(t *testing.T) {
	d, _ := newBulkDispatcher()
	ends := exchangeTogether(t, d, 1, func(_ context.Context, p *Payload) (Results, error) {
		require.JSONEq(t, `{"event":"DATA","uuid":"0"}`, string(p.Context))
		require.Equal(t, "body 0", string(p.Body))
		return frames(frame(0, "WRITE", "x")), nil
	})
	require.NoError(t, ends[0].err)
	require.Equal(t, "WRITE", string(ends[0].answer.Context))
}

func TestBulkLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits BulkLimits
		width  int
		want   []int // how many events each exchange has
	}{
		"each worker gets a part":         {BulkLimits{64, 1 << 20}, 3, []int{3, 2, 1, 1}},
		"max_events":                      {BulkLimits{2, 1 << 20}, 1, []int{2, 2, 2, 1}},
		"max_bytes":                       {BulkLimits{64, 3 * len(`{"event":"DATA","uuid":"0"}body 0`)}, 1, []int{3, 3, 1}},
		"an event above max_bytes":        {BulkLimits{64, 5}, 1, []int{1, 1, 1, 1, 1, 1, 1}},
		"without the section, each alone": {BulkLimits{}, 1, []int{1, 1, 1, 1, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQueue(c.width, time.Minute, 0)
			q.Bulk = c.limits
			q.admitted = c.width
			for i := range 7 {
				a := newAttempt()
				a.shares = true
				a.payload = Payload{Context: []byte(fmt.Sprintf(`{"event":"DATA","uuid":"%d"}`, i)), Body: []byte(fmt.Sprintf("body %d", i))}
				admitted, err := q.join(a)
				require.NoError(t, err)
				require.False(t, admitted)
			}
			var got []int
			for q.Waiting() > 0 {
				first := q.waiting.first
				q.leave()
				require.NoError(t, <-first.ready)
				got = append(got, first.bulk.len())
			}
			require.Equal(t, c.want, got)
		})
	}
}

// What has another deadline, or is no event, goes by itself, in its turn.
func TestBulkSharesOneLimit(t *testing.T) {
	q := testQueue(1)
	q.Bulk = BulkLimits{64, 1 << 20}
	q.admitted = 1
	var all []*attempt
	for i := range 7 {
		a := newAttempt()
		a.shares, a.limit = i != 5, time.Duration(i%2)
		if i == 6 { // it is killed at another time of Stop
			a.ctx = context.Background()
		}
		_, err := q.join(a)
		require.NoError(t, err)
		all = append(all, a)
	}
	q.leave()
	require.Equal(t, []*attempt{all[0], all[2], all[4]}, all[0].bulk.waiting)
	q.leave()
	require.Equal(t, []*attempt{all[1], all[3]}, all[1].bulk.waiting)
	q.leave()
	require.Nil(t, all[5].bulk)
	q.leave()
	require.Nil(t, all[6].bulk)
	require.Zero(t, q.Waiting())
}

// A slow event holds up only those behind it.
func TestBulkRepliesInFrames(t *testing.T) {
	d, _ := newBulkDispatcher()
	next := make(chan *Payload)
	done := make(chan []ended)
	go func() {
		done <- exchangeTogether(t, d, 3, func(context.Context, *Payload) (Results, error) { return channelResults(next), nil })
	}()
	next <- frame(wire.FlagStream, `{"replies":["CONTINUE","WRITE"],"sizes":[0,1]}`, "b")
	require.Equal(t, 1, d.Queue.admittedCount(), "the worker is not free yet")
	next <- frame(0, `{"replies":["WRITE"],"sizes":[1]}`, "c")
	close(next)
	ends := <-done
	require.Equal(t, "CONTINUE", string(ends[0].answer.Context))
	require.Equal(t, "b", string(ends[1].answer.Body))
	require.Equal(t, "c", string(ends[2].answer.Body))
}

// channelResults are frames that come one after the other.
type channelResults chan *Payload

func (c channelResults) Next(<-chan struct{}) (*Payload, error) {
	if p, ok := <-c; ok {
		return p, nil
	}
	return nil, io.EOF
}

func TestBulkThatIsAnsweredWrongly(t *testing.T) {
	const ok = `{"replies":["WRITE","WRITE"],"sizes":[0,0]}`
	for name, c := range map[string]struct {
		frames   []*Payload
		answered int
		reason   wire.Reason
		says     string
	}{
		"a word":          {[]*Payload{frame(0, "WRITE", "x")}, 0, wire.ReasonReply, `the worker answered a bulk with "WRITE"`},
		"nothing":         {[]*Payload{frame(0, "", "")}, 0, wire.ReasonReply, `the worker answered a bulk with ""`},
		"a reply for one": {[]*Payload{frame(0, `{"reply":"WRITE"}`, "")}, 0, wire.ReasonReply, `unknown field "reply"`},
		"too few replies": {[]*Payload{frame(0, ok, "")}, 0, wire.ReasonReply, "ended its answer to a bulk, but 1 events have no reply"},
		"too many":        {[]*Payload{frame(0, `{"replies":["WRITE","WRITE","WRITE","WRITE"],"sizes":[0,0,0,0]}`, "")}, 0, wire.ReasonReply, "answered 4 events of a bulk, but 3 were left"},
		"other sizes":     {[]*Payload{frame(0, `{"replies":["WRITE","WRITE","WRITE"],"sizes":[0,0]}`, "")}, 0, wire.ReasonReply, "3 replies and 2 sizes"},
		"sizes too large": {[]*Payload{frame(0, `{"replies":["WRITE","WRITE","WRITE"],"sizes":[1,1,9]}`, "abc")}, 0, wire.ReasonReply, "sizes of more than the 3 bytes"},
		"sizes too small": {[]*Payload{frame(0, `{"replies":["WRITE","WRITE","WRITE"],"sizes":[1,1,0]}`, "abc")}, 0, wire.ReasonReply, "sizes of 2 bytes, but the body has 3"},
		"a negative size": {[]*Payload{frame(0, `{"replies":["WRITE","WRITE","WRITE"],"sizes":[-1,1,3]}`, "abc")}, 0, wire.ReasonReply, "sizes of more than"},
		"an empty frame":  {[]*Payload{frame(wire.FlagStream, `{"replies":[],"sizes":[]}`, "")}, 0, wire.ReasonReply, "a frame without replies"},
		"a stream of one": {[]*Payload{frame(wire.FlagStream, "WRITE", "x"), frame(0, "WRITE", "y")}, 0, wire.ReasonReply, `answered a bulk with "WRITE"`},
		"wrong later":     {[]*Payload{frame(wire.FlagStream, ok, ""), frame(0, "WRITE", "")}, 2, wire.ReasonReply, `answered a bulk with "WRITE"`},
		"the worker dies": {[]*Payload{frame(wire.FlagStream, ok, "")}, 2, wire.ReasonError, "broke off between two frames"},
	} {
		t.Run(name, func(t *testing.T) {
			d, log := newBulkDispatcher()
			ends := exchangeTogether(t, d, 3, func(context.Context, *Payload) (Results, error) { return frames(c.frames...), nil })
			for i, end := range ends {
				if i < c.answered {
					require.NoError(t, end.err)
					continue
				}
				f := FailureOf(end.err)
				require.Equal(t, c.reason, f.Reason)
				require.True(t, f.Reached)
				require.ErrorContains(t, f, c.says)
			}
			require.Equal(t, 1, log.Len(), "said once")
			require.Equal(t, int64(3-c.answered), log.All()[0].Attrs["events"])
		})
	}
	require.Equal(t, telemetry.FailureReply, (&Failure{Reason: wire.ReasonReply}).Kind())
}

// A client that reads slowly must not hold what others got.
func TestBulkAnswersHoldNoLargeFrame(t *testing.T) {
	for name, c := range map[string]struct {
		small, large int
		isCopy       bool
	}{
		"a small frame is shared":          {10, 100, false},
		"a large one is not":               {10, 1 << 20, true},
		"half of a large one is no burden": {1 << 20, 1 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newBulkDispatcher()
			f := frame(0, fmt.Sprintf(`{"replies":["WRITE","WRITE"],"sizes":[%d,%d]}`, c.small, c.large), strings.Repeat("x", c.small+c.large))
			ends := exchangeTogether(t, d, 2, func(context.Context, *Payload) (Results, error) { return frames(f), nil })
			require.Equal(t, c.isCopy, &f.Body[0] != &ends[0].answer.Body[0])
			require.Len(t, ends[0].answer.Body, c.small)
			require.Same(t, &f.Body[c.small], &ends[1].answer.Body[0])
		})
	}
}

// What certainly never reached a worker is offered again, for each of the connections.
func TestBulkThatWasNotSent(t *testing.T) {
	d, log := newBulkDispatcher()
	sendFailed := errors.E(errors.Op("sync_worker_send_frame"), errors.Network, errors.Str("x"))
	calls := 0
	ends := exchangeTogether(t, d, 2, func(_ context.Context, p *Payload) (Results, error) {
		if calls++; calls == 1 {
			return nil, errors.E(errors.Op("exec"), sendFailed)
		}
		return rightAnswer(t, p), nil
	})
	for _, end := range ends {
		require.NoError(t, end.err)
	}
	require.Zero(t, log.Len())
}

// A connection that is cut off while others share its exchange does not take them along.
func TestBulkOutlivesItsLeader(t *testing.T) {
	q := testQueue(1)
	q.Bulk = BulkLimits{64, 1 << 20}
	q.admitted = 1
	leader, follower := newAttempt(), newAttempt()
	leader.shares, follower.shares = true, true
	cancel, ended := make(chan struct{}), make(chan error)
	go func() { ended <- q.enter(leader, cancel) }()
	require.Eventually(t, func() bool { return q.Waiting() == 1 }, time.Minute, time.Millisecond)
	_, err := q.join(follower)
	require.NoError(t, err)

	q.mu.Lock() // both happen before the leader looks
	close(cancel)
	time.Sleep(time.Millisecond)
	q.admitted--
	q.admit()
	q.mu.Unlock()
	require.NoError(t, <-ended)
	require.Equal(t, 2, leader.bulk.len())
}

// rightAnswer echoes each event of a bulk, or the event that came alone, with its uuid before it.
func rightAnswer(t *testing.T, p *Payload) Results {
	var sent sentBulk
	require.NoError(t, json.Unmarshal(p.Context, &sent))
	if sent.Event != wire.EventBulk {
		return frames(frame(0, "WRITE", string(p.Body)))
	}
	replies, sizes := strings.Repeat(`,"WRITE"`, len(sent.Sizes))[1:], fmt.Sprint(sent.Sizes)
	return frames(frame(0, `{"replies":[`+replies+`],"sizes":`+strings.ReplaceAll(sizes, " ", ",")+`}`, string(p.Body)))
}

// Whatever comes together, each connection gets the answer to its own event.
func TestBulkAnswersNoStranger(t *testing.T) {
	d, _ := newBulkDispatcher()
	d.Queue.width = 3
	d.Pool = poolFunc{exec: func(_ context.Context, p *Payload) (Results, error) { return rightAnswer(t, p), nil }}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewSource(int64(i)))
			for n := range 200 {
				body := strings.Repeat(fmt.Sprintf("%d/%d ", i, n), rnd.Intn(20))
				answer, err := d.Exchange(&Call{Event: wire.Data, Shares: true}, nil, []byte(`{"event":"DATA"}`), []byte(body))
				if err != nil || string(answer.Body) != body {
					t.Errorf("%q: %q, %v", body, answer.Body, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	require.Zero(t, d.Queue.admittedCount())
}
