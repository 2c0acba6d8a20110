package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// listPool is a Pool with these workers.
type listPool struct {
	Pool
	workers []Worker
}

func (p listPool) Workers() []Worker { return p.workers }

// livePool lists only workers that nobody has killed.
type livePool struct{ listPool }

func (p livePool) Workers() []Worker {
	return slices.DeleteFunc(slices.Clone(p.workers), func(w Worker) bool { return w.(*fakeWorker).killed.Load() > 0 })
}

// maxJobsReached is the state of a worker that is still at the last event it may have.
const maxJobsReached = 7

// fakeWorker is at work from its last event on, until it is killed.
type fakeWorker struct {
	Worker
	state    int64 // 0: as one that works
	lastUsed time.Time
	killed   atomic.Int32
	frames   chan *Payload // closed when it is killed; nil: not
}

func (w *fakeWorker) Is(state int64) bool {
	return state == cmp.Or(w.state, telemetry.WorkerWorking) && w.killed.Load() == 0
}

func (w *fakeWorker) Execs() uint64 { return 0 }

func (w *fakeWorker) LastUsed() time.Time { return w.lastUsed }

func (w *fakeWorker) Kill() error {
	if w.killed.Add(1) == 1 && w.frames != nil {
		close(w.frames)
	}
	return nil
}

// cancelResults are frames that come one after the other. Unlike channelResults the wait can be cancelled.
type cancelResults chan *Payload

func (c cancelResults) Next(cancel <-chan struct{}) (*Payload, error) {
	select {
	case p, ok := <-c:
		if ok {
			return p, nil
		}
		return nil, io.EOF
	case <-cancel:
		return nil, ErrCanceled
	}
}

// silentAfterFirst is the answer of a worker that answers the first event of a bulk, and then is silent.
func (w *fakeWorker) silentAfterFirst() Results {
	w.frames = make(chan *Payload, 1)
	w.frames <- frame(wire.FlagStream, `{"replies":["CONTINUE"],"sizes":[0]}`, "")
	w.lastUsed = time.Now()
	return cancelResults(w.frames)
}

func TestStopEndsBulkBetweenFrames(t *testing.T) {
	d, log := newBulkDispatcher()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	d.ExchangeCtx = ctx
	w, atClose := new(fakeWorker), new(fakeWorker) // of which one got its event after the cut
	d.Pool = listPool{workers: []Worker{atClose, w}}
	ends := make([]ended, 3)
	together(t, d, 3, func(context.Context, *Payload) (Results, error) {
		results := w.silentAfterFirst()
		atClose.lastUsed = w.lastUsed.Add(1)
		return results, nil
	}, func(i int) {
		ends[i].answer, ends[i].err = d.Exchange(&Call{Event: wire.Data, Shares: true}, nil, []byte("{}"), nil)
		if i == 0 {
			stop()
		}
	})
	require.NoError(t, ends[0].err)
	for _, end := range ends[1:] {
		f := FailureOf(end.err)
		require.Equal(t, wire.ReasonShutdown, f.Reason)
		require.True(t, f.Reached)
	}
	require.Equal(t, int32(1), w.killed.Load())
	require.Zero(t, atClose.killed.Load())
	require.Zero(t, log.Len())
}

// A worker that is silent between two frames of its answer to CLOSE is replaced in time, and no other one.
func TestCloseTimeoutBetweenFrames(t *testing.T) {
	for n, state := range map[int]int64{1: telemetry.WorkerWorking, 2: maxJobsReached, 3: telemetry.WorkerWorking} {
		t.Run(fmt.Sprint(n, " connections"), func(t *testing.T) {
			d, log := newBulkDispatcher()
			before, w, after := new(fakeWorker), &fakeWorker{state: state}, new(fakeWorker)
			d.Pool = listPool{workers: []Worker{after, before, w}}
			before.lastUsed = time.Now()
			const closeTimeout = 100 * time.Millisecond
			var begin time.Time
			together(t, d, n, func(context.Context, *Payload) (Results, error) {
				begin = time.Now()
				results := w.silentAfterFirst()
				after.lastUsed = w.lastUsed.Add(time.Microsecond)
				return results, nil
			}, func(int) { d.HandOverClose(&Call{CloseTimeout: closeTimeout, Shares: true}, []byte("{}")) })
			require.GreaterOrEqual(t, time.Since(begin), time.Duration(n)*closeTimeout*9/10)
			require.Equal(t, int32(1), w.killed.Load())
			require.Zero(t, before.killed.Load()+after.killed.Load())
			require.True(t, d.unanswered.Load())
			require.Len(t, log.Saying("a worker did not answer CLOSE in time"), 1)
		})
	}
}

// A connection whose reply is wrong goes on, to its CLOSE, when the worker can't be at its event any more.
func TestBulkFailsBehindItsWorker(t *testing.T) {
	for name, wrong := range map[string]int{"first frame": 1, "second frame": 2} {
		t.Run(name, func(t *testing.T) {
			d, log := newBulkDispatcher()
			var ended atomic.Bool
			together(t, d, 3, func(context.Context, *Payload) (Results, error) {
				frames := make(chan *Payload, 2)
				for i := range wrong {
					frames <- frame(wire.FlagStream, []string{`{"replies":["CONTINUE"],"sizes":[0]}`, `{"replies":["CONTINUE"],"sizes":[7]}`}[2-wrong+i], "")
				}
				go func() {
					require.Eventually(t, func() bool { return log.Len() == 1 }, time.Minute, time.Millisecond)
					time.Sleep(10 * time.Millisecond)
					ended.Store(true)
					close(frames)
				}()
				return cancelResults(frames), nil
			}, func(i int) {
				_, err := d.Exchange(&Call{Event: wire.Data, Shares: true}, nil, []byte("{}"), nil)
				if i >= wrong-1 {
					require.Equal(t, wire.ReasonReply, FailureOf(err).Reason)
					require.True(t, ended.Load())
				}
			})
		})
	}
}

// The kill of a worker that was not the right one is not the last one.
func TestOverdueWorkerIsFoundInTheEnd(t *testing.T) {
	d, _ := newBulkDispatcher()
	w, other := new(fakeWorker), new(fakeWorker)
	d.Pool = livePool{listPool{workers: []Worker{w}}}
	together(t, d, 2, func(context.Context, *Payload) (Results, error) {
		results := w.silentAfterFirst()
		other.frames, w.frames = w.frames, nil // that one is not the worker of these frames
		d.Pool = livePool{listPool{workers: []Worker{w, other}}}
		other.lastUsed = w.lastUsed.Add(1)
		return results, nil
	}, func(int) { d.HandOverClose(&Call{CloseTimeout: time.Millisecond, Shares: true}, []byte("{}")) })
	require.Equal(t, int32(1), w.killed.Load())
	require.Equal(t, int32(1), other.killed.Load())
}

// When Stop cuts off exchanges, those of CLOSE go on: a bulk that is answered whole must not kill their workers.
func TestEndOfBulkKillsNoWorkerDuringStop(t *testing.T) {
	for i := range 60 {
		d, _ := newBulkDispatcher()
		other := &fakeWorker{lastUsed: time.Now().Add(time.Hour)}
		d.Pool = listPool{workers: []Worker{other}}
		ctx, stop := context.WithCancel(context.Background())
		d.ExchangeCtx = ctx
		together(t, d, 2, func(context.Context, *Payload) (Results, error) {
			stop()
			frames := make(chan *Payload, 2)
			frames <- frame(wire.FlagStream, `{"replies":["CONTINUE"],"sizes":[0]}`, "")
			frames <- frame(0, `{"replies":["CONTINUE"],"sizes":[0]}`, "")
			close(frames)
			return cancelResults(frames), nil
		}, func(int) {
			if i%2 == 0 {
				d.HandOverClose(&Call{CloseTimeout: time.Minute, Shares: true}, []byte("{}"))
			} else {
				_, _ = d.Exchange(&Call{Shares: true}, nil, []byte("{}"), nil)
			}
		})
		require.Zero(t, other.killed.Load())
	}
}

// Answers that were handed over at the same moment do not all take the same worker for theirs.
func TestEachKillIsOfAnotherWorker(t *testing.T) {
	d, _ := newBulkDispatcher()
	begin := time.Now()
	var all []*fakeWorker
	var workers []Worker
	for range 5 {
		w := &fakeWorker{lastUsed: begin}
		all, workers = append(all, w), append(workers, w)
	}
	d.Pool = listPool{workers: workers}
	var killing sync.WaitGroup
	for range all {
		killing.Add(1)
		go func() { defer killing.Done(); d.killSince(begin) }()
	}
	killing.Wait()
	for _, w := range all {
		require.Equal(t, int32(1), w.killed.Load())
	}
	d.Pool = listPool{}
	d.killSince(begin)
	require.Empty(t, d.killed, "nobody remembers workers that are gone")
}

func TestPanicInTheRestOfABulk(t *testing.T) {
	d, _ := newBulkDispatcher()
	ends := exchangeTogether(t, d, 3, func(context.Context, *Payload) (Results, error) {
		return frames(frame(wire.FlagStream, `{"replies":["CONTINUE"],"sizes":[0]}`, ""), nil), nil
	})
	require.NoError(t, ends[0].err)
	for _, end := range ends[1:] {
		require.ErrorContains(t, end.err, "panic: ")
		require.Equal(t, wire.ReasonError, FailureOf(end.err).Reason)
	}
}

// A worker that does not know bulks may wait for the next event instead of answering.
func TestFirstBulkWithoutAnswerIsSaidInTime(t *testing.T) {
	d, log := newBulkDispatcher()
	said := func() int { return log.Len() }
	for range 2 { // once
		exchangeTogether(t, d, 2, func(_ context.Context, p *Payload) (Results, error) {
			require.Eventually(t, func() bool { return said() == 1 }, time.Minute, time.Millisecond)
			return rightAnswer(t, p), nil
		})
	}
	require.Equal(t, slog.LevelWarn, log.All()[0].Level)
	require.Contains(t, log.All()[0].Message, "has not answered its first bulk of events yet; if it is not just slow: tcp.bulk needs workers that know")

	d, log = newBulkDispatcher()
	for i := range 2 { // a worker that has shown that it knows them may be slow
		exchangeTogether(t, d, 2, func(_ context.Context, p *Payload) (Results, error) {
			if i > 0 {
				time.Sleep(firstBulkPatience * 11 / 10)
			}
			return rightAnswer(t, p), nil
		})
	}
	require.Zero(t, log.Len())
}

// A bulk that is slow and one that fails are one line of the log, unless a worker was just slow.
func TestBulkNeedsAreSaidOnce(t *testing.T) {
	type work func(context.Context, *Payload) (Results, error)
	var log *logtest.Log
	slow := func(answer work) work {
		return func(ctx context.Context, p *Payload) (Results, error) {
			time.Sleep(firstBulkPatience * 11 / 10)
			require.Eventually(t, func() bool { return log.Len() > 0 }, time.Minute, time.Millisecond, "the line may come late")
			return answer(ctx, p)
		}
	}
	dies := func(context.Context, *Payload) (Results, error) {
		return nil, errors.E(errors.Network, errors.Str("EOF"))
	}
	breaksOff := func(context.Context, *Payload) (Results, error) {
		return frames(frame(wire.FlagStream, `{"replies":["CONTINUE"],"sizes":[0]}`, "")), nil
	}
	overdue := func(context.Context, *Payload) (Results, error) {
		return nil, errors.E(errors.ExecTTL, context.DeadlineExceeded)
	}
	wrong := func(context.Context, *Payload) (Results, error) { return frames(frame(0, "WRITE", "")), nil }
	refuses := func(context.Context, *Payload) (Results, error) {
		return nil, errors.E(errors.SoftJob, errors.Str("what is BULK?"))
	}
	right := func(_ context.Context, p *Payload) (Results, error) { return rightAnswer(t, p), nil }
	for name, c := range map[string]struct {
		answers []work
		want    []slog.Level
	}{
		"slow, then dead":        {[]work{slow(dies)}, []slog.Level{slog.LevelWarn}},
		"dead, the next is slow": {[]work{dies, slow(dies)}, []slog.Level{slog.LevelError}},
		"just slow, later wrong": {[]work{slow(right), wrong, wrong}, []slog.Level{slog.LevelWarn, slog.LevelError}},
		"dead in the first one":  {[]work{breaksOff, right}, []slog.Level{slog.LevelError}},
		"right, later dead":      {[]work{right, dies, breaksOff, overdue}, nil}, // it knows bulks
		"right, later refused":   {[]work{right, dies, refuses, wrong}, []slog.Level{slog.LevelError}},
	} {
		t.Run(name, func(t *testing.T) {
			var d *Dispatcher
			d, log = newBulkDispatcher()
			for _, answer := range c.answers {
				exchangeTogether(t, d, 2, answer)
			}
			var got []slog.Level
			for _, line := range log.All() {
				require.Contains(t, line.Message, bulkNeeds)
				got = append(got, line.Level)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestOverdueIsATimeout(t *testing.T) {
	f := (&poolFrames{ctx: expired{context.Background()}}).cutOff()
	require.True(t, errors.Is(errors.ExecTTL, f.Err))
	require.Equal(t, telemetry.FailureTimeout, f.Kind())
}

type expired struct{ context.Context }

func (expired) Err() error { return context.DeadlineExceeded }
