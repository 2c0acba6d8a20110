package dispatch

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeadlineStartsWithWorker(t *testing.T) {
	const limit = 100 * time.Millisecond
	derive := func(c *deadlineContext) context.Context {
		ctx, cancel := context.WithTimeout(c, time.Hour)
		t.Cleanup(cancel)
		return ctx
	}

	c := newDeadlineContext(context.Background(), limit, false)
	defer c.stop()
	derive(c)
	for range 2 { // the pool begins anew when the worker that it got was no good
		derive(c)
		derive(c)
		time.Sleep(2 * limit)
		require.NoError(t, c.Err(), "the wait for a worker does not count")
	}
	begin := time.Now()
	<-derive(c).Done()
	require.GreaterOrEqual(t, time.Since(begin), limit)

	require.NoError(t, derive(c).Err(), "the wait for the next worker, and its work, have their own time")

	c = newDeadlineContext(context.Background(), limit, true)
	defer c.stop()
	<-derive(c).Done() // a pool that makes a worker for each event does not wait for one

	parent, kill := context.WithCancel(context.Background())
	c = newDeadlineContext(parent, time.Hour, false)
	defer c.stop()
	kill()
	<-derive(c).Done()
}

// The pool derives one more context to end a streamed answer: neither that one nor the worker's has a limit any more.
func TestAnAnswerEndsTheDeadline(t *testing.T) {
	const limit = 100 * time.Millisecond
	for _, workerPerExec := range []bool{false, true} {
		c := newDeadlineContext(context.Background(), limit, workerPerExec)
		defer c.stop()
		c.Deadline()
		c.Deadline()
		working := c.Context
		c.answer()
		c.Deadline()
		require.NoError(t, working.Err())
		time.Sleep(2 * limit)
		require.NoError(t, c.Err())
	}
}

// Who wants no limit may write a hundred years.
func TestLimitOfManyEventsDoesNotOverflow(t *testing.T) {
	const years = 100 * 365 * 24 * time.Hour
	a := &attempt{limit: years}
	require.Equal(t, years, a.allowed())
	a.bulk = &bulk{waiting: make([]*attempt, 2)}
	require.Equal(t, 2*years, a.allowed())
	a.bulk = &bulk{waiting: make([]*attempt, 3)}
	require.Equal(t, time.Duration(math.MaxInt64), a.allowed())
}
