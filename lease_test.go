//go:build go1.25

package tcp

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roadrunner-server/sdk/v4/pool"
	"github.com/stretchr/testify/require"
)

// leased are leases with exec_ttl.
func leased(exec time.Duration, untils ...context.Context) *leases {
	return (&leases{exec: exec}).endWith(untils...)
}

// derive is what the pool does, to wait for a worker and when it has it.
func derive(t *testing.T, l *lease) context.Context {
	ctx, cancel := context.WithTimeout(l, time.Hour)
	t.Cleanup(cancel)
	require.NoError(t, ctx.Err())
	return ctx
}

// requireEnd fails unless ctx ends in that time, no sooner, no later.
func requireEnd(ctx context.Context, t *testing.T, in time.Duration, why error) {
	t.Helper()
	if in > 0 {
		time.Sleep(in - time.Nanosecond)
		synctest.Wait()
		require.NoError(t, ctx.Err())
	}
	time.Sleep(time.Nanosecond)
	synctest.Wait()
	require.ErrorIs(t, ctx.Err(), why)
	<-ctx.Done()
}

func TestALeaseOutlastsTheWaitForAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leased(3 * second)
		l := s.take(context.Background(), time.Now(), 0)
		waiting, cancel := context.WithTimeout(l, 10*second)
		defer cancel()
		requireEnd(waiting, t, 10*second, context.DeadlineExceeded)
		require.NoError(t, l.Err(), "the pool may have got a worker in the last moment")
		requireEnd(derive(t, l), t, 3*second, context.DeadlineExceeded)
		require.ErrorIs(t, context.Cause(l), context.DeadlineExceeded)
	})
}

func TestALeaseCountsFromWhenTheWorkerHasTheEvent(t *testing.T) {
	for name, c := range map[string]struct{ exec, within, want time.Duration }{
		"exec_ttl":                       {exec: 3 * second, want: 3 * second},
		"close_timeout":                  {exec: 60 * second, within: 2 * second, want: 2 * second},
		"close_timeout beyond exec_ttl":  {exec: 3 * second, within: 10 * second, want: 3 * second},
		"exec_ttl beyond the pool's own": {exec: 2 * time.Hour, want: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := leased(c.exec)
				l := s.take(context.Background(), time.Now(), c.within)
				for range 3 { // the pool begins anew when the worker that it got was no good
					waiting := derive(t, l)
					time.Sleep(59 * second)
					require.NoError(t, waiting.Err(), "the wait for a worker does not count")
					working := derive(t, l)
					time.Sleep(c.want / 2)
					require.NoError(t, working.Err(), "nor what another worker took")
				}
				derive(t, l)
				time.Sleep(10 * second)
				requireEnd(derive(t, l), t, c.want, context.DeadlineExceeded)
			})
		})
	}
}

func TestALeaseOfAPoolThatMakesAWorkerForEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leasesOf(&pool.Config{Debug: true, AllocateTimeout: time.Second, Supervisor: &pool.SupervisorConfig{ExecTTL: 3 * second}})
		requireEnd(derive(t, s.take(context.Background(), time.Now(), 0)), t, 3*second, context.DeadlineExceeded)
	})
}

func TestALeaseWithoutALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leasesOf(&pool.Config{})
		l := s.take(context.Background(), time.Now(), 0)
		derive(t, l)
		requireEnd(derive(t, l), t, time.Hour, context.DeadlineExceeded) // the pool's own
		require.NoError(t, l.Err())
		require.Nil(t, s.timer)

		l = s.take(context.Background(), time.Now(), 3*second)
		derive(t, l)
		requireEnd(derive(t, l), t, 3*second, context.DeadlineExceeded)
	})
}

func TestLeasesThatAreShorterEndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leased(60 * second)
		working := func(within time.Duration) context.Context {
			l := s.take(context.Background(), time.Now(), within)
			derive(t, l)
			return derive(t, l)
		}
		long, short := working(0), working(5*second)
		time.Sleep(second)
		shorter := working(2 * second)
		requireEnd(shorter, t, 2*second, context.DeadlineExceeded)
		requireEnd(short, t, 2*second, context.DeadlineExceeded)
		later := working(0)
		requireEnd(long, t, 55*second, context.DeadlineExceeded)
		requireEnd(later, t, 5*second, context.DeadlineExceeded)
		require.Empty(t, s.all, "nothing is kept of those that have ended")

		time.Sleep(time.Hour)
		requireEnd(working(0), t, 60*second, context.DeadlineExceeded) // behind a time without any
	})
}

func TestALeaseIsUsedAgainUnlessItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leased(3 * second)
		take := func() *lease { return s.take(context.Background(), time.Now(), 0) }
		first := take()
		derive(t, first)
		worked := derive(t, first)
		s.give(first)
		time.Sleep(9 * second) // nobody has it
		require.True(t, first == take())
		time.Sleep(9 * second) // the pool has not asked yet
		derive(t, first)
		time.Sleep(4 * second)
		derive(t, first)
		first.stream()
		s.give(first)
		require.True(t, first == take())
		derive(t, first) // and gets no worker
		s.give(first)

		require.True(t, first == take())
		derive(t, first)
		time.Sleep(4 * second)
		requireEnd(derive(t, first), t, 3*second, context.DeadlineExceeded)
		require.NoError(t, worked.Err(), "what was derived for an exchange before has ended with it, or does not matter")
		s.give(first)
		require.False(t, first == take())
	})
}

func TestALeaseEndsWithWhatItLastsUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last, killLast := context.WithCancel(context.Background())
		cut, kill := context.WithCancel(last)
		s := leased(60*second, cut, last)
		event, closing := s.take(cut, time.Now(), 0), s.take(last, time.Now(), 5*second)
		waiting, worked := derive(t, event), derive(t, closing)
		working := derive(t, event)
		s.give(s.take(cut, time.Now(), 0))

		kill()
		synctest.Wait()
		require.ErrorIs(t, waiting.Err(), context.Canceled)
		require.ErrorIs(t, working.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(working), context.Canceled)
		late, cancel := context.WithTimeout(event, second)
		defer cancel()
		require.ErrorIs(t, late.Err(), context.Canceled)
		told := make(chan bool)
		event.AfterFunc(func() { close(told) }) // what would have been derived in that moment
		<-told
		require.NoError(t, worked.Err())
		killLast()
		synctest.Wait()
		require.ErrorIs(t, worked.Err(), context.Canceled)
	})
}

// A worker may be at a stream for as long as it likes; to stop it takes stream_timeout at most.
func TestALeaseOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, kill := context.WithCancel(context.Background())
		s := leased(5*second, cut)
		l := s.take(cut, time.Now(), 0)
		derive(t, l)
		derive(t, l)
		l.stream()
		time.Sleep(time.Hour)
		stopping, cancel := context.WithTimeout(l, 7*second)
		defer cancel()
		requireEnd(stopping, t, 7*second, context.DeadlineExceeded)
		stopping, cancel = context.WithTimeout(l, 7*second)
		defer cancel()
		kill()
		synctest.Wait()
		require.ErrorIs(t, stopping.Err(), context.Canceled)
	})
}

// Leases end while others are taken, asked and given back.
func TestLeasesFromManyGoroutines(t *testing.T) {
	cut, kill := context.WithCancel(context.Background())
	s := leased(time.Millisecond, cut)
	var working sync.WaitGroup
	for range 8 {
		working.Add(1)
		go func() {
			defer working.Done()
			for cut.Err() == nil {
				l := s.take(cut, time.Now(), 0)
				waiting, cancelWait := context.WithTimeout(l, time.Hour)
				working, cancelWork := context.WithTimeout(l, time.Hour)
				select {
				case <-working.Done():
					<-waiting.Done()
					if err := working.Err(); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				case <-time.After(time.Millisecond / 2):
				}
				cancelWork()
				cancelWait()
				s.give(l)
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	kill()
	working.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, len(s.all), 8)
	require.Len(t, s.free, len(s.all))
}
