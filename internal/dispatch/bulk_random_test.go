package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/wire"
)

// randomWorkers answer bulks in every way: rightly, in frames, late, wrongly, in part, not at all.
type randomWorkers struct {
	Pool
	mu     sync.Mutex
	random *rand.Rand
}

func (w *randomWorkers) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Intn(n)
}

func (w *randomWorkers) Workers() []Worker { return nil }

func (w *randomWorkers) Exec(_ context.Context, p *Payload, stop chan struct{}) (Results, error) {
	time.Sleep(time.Duration(w.intn(50)) * time.Microsecond)
	switch w.intn(40) {
	case 0:
		return nil, errors.E(errors.Op("exec"), errors.Network, errors.Str("it died"))
	case 1:
		return nil, errors.E(errors.Op("sync_worker_send_frame"), errors.Network, errors.Str("it was dead"))
	case 2:
		return nil, errors.E(errors.SoftJob, errors.Str("an error frame"))
	case 3:
		panic("in the pool")
	}
	var sent sentBulk
	if err := json.Unmarshal(p.Context, &sent); err != nil {
		return nil, err
	}
	if sent.Event != wire.EventBulk {
		return frames(frame(0, "WRITE", string(p.Body))), nil
	}
	results := make(chan *Payload) // unbuffered: who takes no more has to End the answer
	go w.answer(sent.Sizes, string(p.Body), results, stop)
	return cancelResults(results), nil
}

// answer sends frames of one or more replies until stop is closed. Now and then it ends too early, or is wrong.
func (w *randomWorkers) answer(sizes []int, body string, results chan<- *Payload, stop <-chan struct{}) {
	defer close(results)
	for len(sizes) > 0 {
		n := 1 + w.intn(len(sizes))
		bytes := 0
		replies := make([]string, n)
		for i, size := range sizes[:n] {
			replies[i] = "WRITE"
			bytes += size
		}
		context, err := json.Marshal(map[string]any{"replies": replies, "sizes": sizes[:n]})
		if err != nil {
			panic(err)
		}
		f := frame(wire.FlagStream, string(context), body[:bytes])
		if sizes, body = sizes[n:], body[bytes:]; len(sizes) == 0 {
			f.Flags = 0
		}
		switch w.intn(20) {
		case 0:
			f.Body = append(f.Body, "more"...)
		case 1:
			f.Context = []byte("WRITE")
		case 2:
			f.Flags ^= wire.FlagStream // it ends too early, or not when it should
		case 3:
			return
		}
		select {
		case results <- f:
			if f.Flags == 0 {
				return
			}
		case <-stop:
			return
		}
	}
}

// However workers answer, each connection gets its own answer or an error, and no place in the queue is lost.
func TestBulkWithRandomWorkers(t *testing.T) {
	for seed := range 20 {
		d, _ := newBulkDispatcher()
		d.Queue.width = 1 + seed%4
		d.Pool = &randomWorkers{random: rand.New(rand.NewSource(int64(seed)))}
		var answered, failed sync.Map
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				cancel := make(chan struct{})
				if i%10 == 0 { // a connection that somebody closes
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, func() { close(cancel) })
				}
				for n := range 5 {
					body := fmt.Sprintf("%d/%d", i, n)
					answer, err := d.Exchange(&Call{Event: wire.Data, Shares: true}, cancel, []byte(`{"event":"DATA"}`), []byte(body))
					switch {
					case err != nil:
						failed.Store(body, err)
					case string(answer.Body) != body:
						t.Errorf("seed %d: %q got %q", seed, body, answer.Body)
					default:
						answered.Store(body, true)
					}
				}
				d.HandOverClose(&Call{CloseTimeout: time.Minute, Shares: true}, []byte(`{"event":"CLOSE"}`))
			}()
		}
		wg.Wait()
		require.Eventually(t, func() bool { return d.Queue.admittedCount() == 0 }, time.Minute, time.Millisecond)
		require.Zero(t, d.Queue.Waiting())
		has := func(m *sync.Map) (found bool) {
			m.Range(func(_, _ any) bool { found = true; return false })
			return found
		}
		require.True(t, has(&answered) && has(&failed), "seed %d", seed)
	}
}
