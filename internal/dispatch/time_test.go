//go:build go1.25

//go:debug asynctimerchan=0
package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What a worker has used of its time when it begins to answer is used.
func TestAnswerKeepsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDeadlineContext(context.Background(), 10*time.Second, true)
		defer c.stop()
		_, cancel := context.WithTimeout(c, time.Hour)
		defer cancel()
		begin := time.Now()
		time.Sleep(4 * time.Second)
		require.Equal(t, begin.Add(10*time.Second), c.answer())
		time.Sleep(time.Minute)
		require.NoError(t, c.Err(), "the limit has another place now")
	})
}

// The worker that is killed, where a streamed answer takes too long, is one that got its event since this one was handed over: others
// got theirs while this one waited inside of the pool.
func TestFramesBeginWithWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, a := newDispatcher(nil), newAttempt()
		a.ctx, a.admitted = context.Background(), time.Now()
		a.deadline = newDeadlineContext(a.ctx, time.Hour, false)
		for range 2 { // for a worker, and then with it
			time.Sleep(time.Second)
			_, cancel := context.WithTimeout(a.deadline, time.Hour)
			defer cancel()
		}
		f := d.newFrames(a, nil)
		defer f.release()
		defer f.deadline.stop()
		require.Equal(t, time.Now(), f.begin)
	})
}

// Each waits for allocate_timeout, however many come behind it.
func TestQueueTimeoutOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1)
		require.NoError(t, q.enter(newAttempt(), nil))
		begin, first, second := time.Now(), make(chan error, 1), make(chan error, 1)
		go func() { first <- q.enter(newAttempt(), nil) }()
		time.Sleep(q.timeout / 2)
		go func() { second <- q.enter(newAttempt(), nil) }()
		require.ErrorIs(t, <-first, errNoWorker)
		require.Equal(t, q.timeout, time.Since(begin))
		q.leave()
		require.NoError(t, <-second)
		waits := q.Waits().Counts()
		require.EqualValues(t, 1, waits[0], "it did not wait")
		require.EqualValues(t, 1, waits[len(waits)-2], "half a minute")
		q.Close()
	})
}

// Exchanges get through between resets, which need not be long for that.
func TestResetsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		var begin time.Time
		var takes time.Duration
		d.Pool = processes{Pool: resettable{during: func() { begin = time.Now(); time.Sleep(takes) }}}
		pauseBehind := func(last time.Duration) time.Duration {
			takes = last
			require.NoError(t, d.Reset())
			ended := time.Now()
			takes = 0
			require.NoError(t, d.Reset())
			return begin.Sub(ended)
		}
		require.Equal(t, 300*time.Millisecond, pauseBehind(300*time.Millisecond))
		require.Equal(t, time.Second, pauseBehind(time.Minute))
	})
}

// A worker that was killed may take a while to end, on a busy machine: no other one is killed meanwhile.
func TestDyingWorkerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		w, other := &fakeWorker{lastUsed: time.Now()}, &fakeWorker{lastUsed: time.Now().Add(1)}
		d.Pool = listPool{workers: []Worker{w, other}}
		results := make(cancelResults)
		time.AfterFunc(time.Minute, func() { close(results) })
		f := &poolFrames{dispatcher: d, begin: time.Now(), results: results}
		f.kill()
		require.Equal(t, int32(1), w.killed.Load())
		require.Zero(t, other.killed.Load())
	})
}

// The pool may make a process for a start that has none yet when everything else has ended.
func TestEndOfPoolEndsStartsWithoutProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStarts(time.Hour)
		ctx, _ := derive(t, s)
		s.endAll(func() int { time.Sleep(endStartsWithin); return 0 })
		require.Error(t, ctx.Err())
	})
}

// Where resets fail again and again, nobody waits for longer.
func TestQueuePauseWithoutNewWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue(1)
		require.NoError(t, q.enter(newAttempt(), nil))
		begin := time.Now()
		ended := make(chan error)
		go func() { ended <- q.enter(newAttempt(), nil) }()
		stop := every(8*time.Second, func() {
			q.pause()
			time.Sleep(time.Second)
			q.resume(false)
		})
		require.ErrorIs(t, <-ended, errNoWorker)
		require.WithinRange(t, time.Now(), begin.Add(q.timeout), begin.Add(q.timeout+time.Second))
		stop()
		q.leave()

		q.pause()
		go func() { ended <- q.enter(newAttempt(), nil) }()
		time.Sleep(2 * q.timeout)
		q.resume(false)
		require.ErrorIs(t, <-ended, errNoWorker, "there is a place, but no worker came of it")
	})
}

// Resets that fail are tried again more and more rarely, until one does not fail.
func TestPausesBetweenFailedResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(nil)
		pauseAfterFailure := func() time.Duration {
			d.noteReset(context.DeadlineExceeded)
			return time.Until(d.nextReset)
		}
		for _, want := range []time.Duration{time.Second / 4, time.Second / 2, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
			require.Equal(t, want, pauseAfterFailure())
		}
		d.noteReset(nil)
		require.Equal(t, time.Second/4, pauseAfterFailure())
	})
}
