package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/dispatch/dispatchtest"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/wire"
)

// bulkWorkers answer events rightly, in part, late, wrongly, or die of them, and note what they have seen of each connection.
type bulkWorkers struct {
	calm    atomic.Bool // only rightly, from now on
	busy    chan struct{}
	release chan struct{} // closed: the packet "gate" is answered

	mu    sync.Mutex
	seen  map[string]string // the names of events in order, by uuid; one that is with a worker ends with "…"
	wrong []string
	bulks int // that were seen
}

func newBulkWorkers() *bulkWorkers {
	return &bulkWorkers{busy: make(chan struct{}), release: make(chan struct{}), seen: make(map[string]string)}
}

// oneIn is true once in n times.
func (w *bulkWorkers) oneIn(n int) bool { return rand.IntN(n) == 0 && !w.calm.Load() }

// begin notes that a worker has these events.
func (w *bulkWorkers) begin(events []event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		id := e.context["uuid"].(string)
		if strings.HasSuffix(w.seen[id], "…") {
			w.wrong = append(w.wrong, "two at once: "+w.seen[id]+e.context["event"].(string))
		}
		w.seen[id] += e.context["event"].(string) + "…"
	}
}

// end notes that a worker answers these events, or never will.
func (w *bulkWorkers) end(events []event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		id := e.context["uuid"].(string)
		w.seen[id] = strings.TrimSuffix(w.seen[id], "…") + " "
	}
}

// take returns the events of a payload, each as it would have come alone.
func (w *bulkWorkers) take(p *dispatch.Payload) (events []event) {
	var bulk struct {
		Event  string
		Events []json.RawMessage
		Sizes  []int
	}
	if err := json.Unmarshal(p.Context, &bulk); err != nil {
		panic(err)
	}
	if bulk.Event != wire.EventBulk {
		return []event{decodeEvent(p.Context, p.Body)}
	}
	body := p.Body
	for i, size := range bulk.Sizes {
		events = append(events, decodeEvent(bulk.Events[i], body[:size]))
		body = body[size:]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bulks++
	return events
}

func (w *bulkWorkers) work(ctx context.Context, p *dispatch.Payload, stop chan struct{}) (dispatch.Results, error) {
	if w.oneIn(40) {
		return nil, errors.E(errors.Op("sync_worker_send_frame"), errors.Network, errors.Str("it was dead"))
	}
	events := w.take(p)
	w.begin(events)
	if slices.ContainsFunc(events, func(e event) bool { return e.body == "gate\r\n" }) { // beside what dead clients have left
		w.busy <- struct{}{}
		<-w.release
	}
	if w.oneIn(5) {
		time.Sleep(rand.N(500 * time.Microsecond))
	}
	switch {
	case w.oneIn(40):
		w.end(events)
		return nil, errors.E(errors.Op("exec"), errors.Network, errors.Str("it died"))
	case w.oneIn(40):
		w.end(events)
		return nil, errors.E(errors.SoftJob, errors.Str("an error frame"))
	case events[0].context["event"] == "CLOSE" && w.oneIn(200):
		_, _ = ctx.Deadline() // the pool derives a context to wait for a worker, then one for its answer
		_, _ = ctx.Deadline()
		<-ctx.Done() // until close_timeout is over
		w.end(events)
		return nil, errors.E(errors.ExecTTL, ctx.Err())
	case len(events) == 1:
		w.end(events)
		return dispatchtest.Answer(answerTo(events[0]), events[0].body), nil
	}
	frames := make(frameChannel)
	go w.answer(events, frames, stop) // ends with the answer, or stop
	return frames, nil
}

func answerTo(e event) string {
	switch {
	case e.context["event"] != "DATA":
		return wire.WordContinue
	case strings.HasPrefix(e.body, "bye"):
		return wire.WordWriteClose
	default:
		return wire.WordWrite
	}
}

// answer sends frames of one or more replies until stop is closed. Now and then one is wrong, or the last that comes.
func (w *bulkWorkers) answer(events []event, frames frameChannel, stop <-chan struct{}) {
	defer close(frames)
	for len(events) > 0 {
		next := events[:1+rand.IntN(len(events))]
		events = events[len(next):]
		var replies, sizes []string
		var body strings.Builder
		for _, e := range next {
			replies = append(replies, fmt.Sprintf(`{"reply":%q,"uuid":%q}`, answerTo(e), e.context["uuid"]))
			sizes = append(sizes, fmt.Sprint(len(e.body)))
			body.WriteString(e.body)
		}
		f := &dispatch.Payload{Body: []byte(body.String()), Flags: wire.FlagStream, Context: []byte(
			`{"replies":[` + strings.Join(replies, ",") + `],"sizes":[` + strings.Join(sizes, ",") + `]}`)}
		isLast := len(events) == 0
		switch {
		case w.oneIn(50):
			f.Body, isLast = append(f.Body, "more"...), true
		case w.oneIn(50):
			f.Context, isLast = []byte("WRITE"), true
		case w.oneIn(50):
			isLast = true // too early
		case w.oneIn(50):
			w.end(append(next, events...))
			return // it dies
		}
		if isLast {
			f.Flags, next, events = 0, append(next, events...), nil
		}
		w.end(next)
		select {
		case frames <- f:
		case <-stop:
			w.end(events)
			return
		}
	}
}

// frameChannel are the frames of an answer, one after the other.
type frameChannel chan *dispatch.Payload

func (c frameChannel) Next(cancel <-chan struct{}) (*dispatch.Payload, error) {
	select {
	case p, ok := <-c:
		if !ok {
			return nil, io.EOF
		}
		return p, nil
	case <-cancel:
		return nil, dispatch.ErrCanceled
	}
}

var wholeSentence = regexp.MustCompile(`^CONNECTED (DATA )*CLOSE $`)

// talkAtRandom is a client that ends in one way or another. It returns what it got that was not for it.
func talkAtRandom(address net.Addr, i int) error {
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		return nil // the plugin stops
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	for n := range 1 + rand.IntN(6) {
		packet := fmt.Sprintf("%d/%d\r\n", i, n)
		switch rand.IntN(30) {
		case 0:
			packet = "bye " + packet
		case 1:
			packet = strings.Repeat("x", 200) + packet // too long
		case 2:
			_ = conn.(*net.TCPConn).SetLinger(0)
			_, _ = io.WriteString(conn, packet)
			return nil
		case 3:
			packet = strings.TrimSpace(packet)
		}
		_, _ = io.WriteString(conn, packet)
		if !strings.HasSuffix(packet, "\n") {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		got, err := r.ReadString('\n')
		if got != packet && got != "" {
			return fmt.Errorf("%q got %q", packet, got)
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// However workers answer bulks, during resets and Stop too: no answer reaches another connection, each connection's events are a
// sentence, and no worker is lost.
func TestBulksOfRandomWorkers(t *testing.T) {
	const workers, clients = 3, 200
	for run := range 6 {
		config := servers("a")
		maxEvents, closeTimeout := 2+rand.IntN(63), 50*time.Millisecond
		config.Bulk = &settings.Bulk{MaxEvents: &maxEvents}
		config.CloseTimeout, config.MaxPacketSize = &closeTimeout, "100"
		w := newBulkWorkers()
		p := newPluginWith(t, config, workers, w.work)
		require.Empty(t, p.Serve())
		address, over := p.Addr("a"), make(chan struct{})
		var talking, striking sync.WaitGroup
		for i := range clients {
			talking.Add(1)
			go func() {
				defer talking.Done()
				if err := talkAtRandom(address, i); err != nil {
					t.Error(err)
				}
			}()
		}
		striking.Add(1)
		go func() {
			defer striking.Done()
			for {
				select {
				case <-over:
					return
				case <-time.After(rand.N(5 * time.Millisecond)):
				}
				if all := p.uuids(); len(all) > 0 {
					_ = p.Close(all[rand.IntN(len(all))])
				}
				if rand.IntN(5) == 0 {
					_ = p.Reset()
				}
			}
		}()
		if run%2 == 0 { // Stop comes while they talk
			time.Sleep(rand.N(20 * time.Millisecond))
		} else {
			talking.Wait()
			close(over)
			striking.Wait()
			w.calm.Store(true)
			p.requireWorkers(t, w, workers)
			require.Positive(t, w.bulks)
		}
		require.NoError(t, p.Stop(context.Background()))
		talking.Wait()
		if run%2 == 0 {
			close(over)
			striking.Wait()
		}
		require.Empty(t, w.wrong)
		for id, events := range w.seen {
			require.Regexp(t, wholeSentence, events, id)
		}
	}
}

// requireWorkers requires that so many events can be with workers at once.
func (p *plugin) requireWorkers(t *testing.T, w *bulkWorkers, n int) {
	t.Helper()
	for range n {
		p.dial("a").send("gate")
		receive(t, w.busy) // else two may go together
	}
	close(w.release)
}
