package tcp

import (
	"context"
	"sync"
	"time"
)

// lease is a context that the pool gets for an exchange. It derives one from it to wait for a worker, and one more when it
// has it, each with a time limit: for each exchange that would be two timers, and two entries in a map of the context that
// all exchanges share. A lease pretends to end earlier, so that no timer is made, and ends when such a limit is over.
type lease struct {
	of    *leases
	until context.Context // nil: nobody has it
	// within is how long the worker may take, from when it has the event, to give all of its answer; 0: exec_ttl is for the
	// first frame, and for each that follows the pool sees to it.
	within time.Duration

	mu      sync.Mutex
	ended   chan struct{} // closed when it ends, before derived are
	err     error         // why it ended
	derived []func()      // each ends a context that was derived
	asked   int           // how many contexts with a limit were derived
	streams bool          // the first frame has come
	since   time.Time
	limit   time.Duration // when it ends, counted from since; 0: never
}

// leases are those of one pool. One that has ended is not used again.
type leases struct {
	allocate, exec time.Duration // allocate_timeout, exec_ttl; 0: nobody's, or the pool's own business
	makes          bool          // the pool makes a worker for each event, and does not wait for one

	mu    sync.Mutex
	all   []*lease // that may end: no more than there are exchanges at once
	free  []*lease
	timer *time.Timer
	next  time.Time // when it looks after them; zero: nobody has one
}

// endWith ends, with each of these contexts, the leases that last until then.
func (s *leases) endWith(untils ...context.Context) *leases {
	for _, until := range untils {
		context.AfterFunc(until, s.cutOff)
	}
	return s
}

// take is for an exchange that began a moment ago. It ends with until.
func (s *leases) take(until context.Context, began time.Time, within time.Duration) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l *lease
	if n := len(s.free); n > 0 {
		l, s.free = s.free[n-1], s.free[:n-1]
	} else {
		l = &lease{of: s, ended: make(chan struct{})}
		s.all = append(s.all, l)
	}
	l.until, l.within, l.asked, l.streams, l.since, l.limit = until, within, 0, false, began, s.allocate
	if soon := l.soonest(); soon > 0 {
		s.lookAt(began.Add(soon), soon)
	}
	return l
}

// lookAt makes the timer look after in d, which is at that time, if it would not before. s.mu is held.
func (s *leases) lookAt(at time.Time, d time.Duration) {
	switch {
	case s.timer == nil:
		s.timer = time.AfterFunc(d, s.look)
	case s.next.IsZero() || at.Before(s.next):
		s.timer.Reset(d)
	default:
		return
	}
	s.next = at
}

// give takes it back when the pool is done with it.
func (s *leases) give(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.until = nil
	if l.err != nil {
		return // what it has ended may still ask why
	}
	clear(l.derived)
	l.derived = l.derived[:0]
	s.free = append(s.free, l)
}

// look ends what has taken too long.
func (s *leases) look() {
	s.mu.Lock()
	now := time.Now()
	s.next = time.Time{}
	soon := time.Duration(0)
	derived := s.endThose(context.DeadlineExceeded, func(l *lease) bool {
		left := l.left(now)
		if left > 0 && (soon == 0 || left < soon) {
			soon = left
		}
		return left < 0
	})
	if soon > 0 {
		s.lookAt(now.Add(soon), soon)
	}
	s.mu.Unlock()
	for _, end := range derived {
		end()
	}
}

// cutOff ends those whose time is over because RoadRunner stops.
func (s *leases) cutOff() {
	s.mu.Lock()
	derived := s.endThose(context.Canceled, func(l *lease) bool { return l.until.Err() != nil })
	s.mu.Unlock()
	for _, end := range derived {
		end()
	}
}

// endThose returns what ends the contexts derived from them. s.mu is held.
func (s *leases) endThose(why error, which func(*lease) bool) (derived []func()) {
	kept := s.all[:0]
	for _, l := range s.all {
		if l.until == nil || !which(l) {
			kept = append(kept, l)
			continue
		}
		l.mu.Lock()
		l.err = why
		close(l.ended)
		derived = append(derived, l.derived...)
		l.mu.Unlock()
	}
	clear(s.all[len(kept):])
	s.all = kept
	return derived
}

// soonest is the least that it can take until it ends, counted from now on; 0: it does not. l.mu is held, or nobody has it.
func (l *lease) soonest() time.Duration {
	soon := time.Duration(0)
	for _, d := range [...]time.Duration{l.limit, l.of.exec, l.within} {
		if d > 0 && (soon == 0 || d < soon) {
			soon = d
		}
	}
	return soon
}

// left is how long it may be until it ends, or until that has to be asked again; 0: it does not, negative: it is over.
func (l *lease) left(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit == 0 {
		return 0
	}
	left := l.limit - now.Sub(l.since)
	switch {
	case left <= 0:
		return -1
	case l.isWaiting():
		return min(left, l.soonest())
	}
	return left
}

// isWaiting reports whether the pool has no worker yet. l.mu is held.
func (l *lease) isWaiting() bool { return !l.of.makes && l.asked%2 == 1 }

// stream says that the answer has begun and goes on.
func (l *lease) stream() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams = true
	if l.within == 0 {
		l.limit = 0
	}
}

// Deadline is asked for by context.WithTimeout, once for each context that is derived: when the pool begins to wait for a
// worker, and when it has one. It begins anew when the worker was no good. That the time given is over says nothing.
func (l *lease) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams { // to ask the worker to stop is bounded by stream_timeout
		return time.Time{}, false
	}
	l.asked++
	if l.isWaiting() {
		if l.limit = l.of.allocate; l.asked > 1 {
			l.since = time.Now()
		}
		return past, l.limit > 0
	}
	l.limit, l.since = l.of.exec, time.Now()
	if l.within > 0 {
		l.limit = min(l.limit, l.within)
	}
	return past, true
}

// Done is closed when the lease ends.
func (l *lease) Done() <-chan struct{} { return l.ended }

// Err is why it ended.
func (l *lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Value has none.
func (l *lease) Value(any) any { return nil }

// AfterFunc is what context asks of a parent that it does not know: f ends what was derived. What has ended before that, by
// itself, does not mind.
func (l *lease) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go f() // at once: the caller holds what f waits for
	} else {
		l.derived = append(l.derived, f)
	}
	return unstopped
}

func unstopped() bool { return false }
