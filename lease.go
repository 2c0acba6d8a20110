package tcp

import (
	"context"
	"sync"
	"time"
)

// lease is a context that the pool gets for an exchange. It derives one from it to wait for a worker, and one more when it
// has it, with exec_ttl: for each exchange that would be a timer, and two entries in a map of the context that all exchanges
// share. A lease pretends to end before exec_ttl, so that no timer is made, and ends when the time is over.
type lease struct {
	of    *leases
	until context.Context // nil: nobody has it

	mu      sync.Mutex
	ended   chan struct{} // closed when it ends, before derived are
	err     error         // why it ended
	derived []func()      // each ends a context that was derived
	asked   int           // how many contexts with a time limit were derived
	limit   time.Duration // how long a worker may have the event; 0: the pool sees to it
	since   time.Time     // when it got it; zero: no worker has it
}

// leases are those of one pool. One that has ended is not used again.
type leases struct {
	exec  time.Duration // exec_ttl; 0: there is none
	makes bool          // the pool makes a worker for each event, and does not wait for one

	mu    sync.Mutex
	all   []*lease // those that somebody has, and free
	free  []*lease
	timer *time.Timer
	next  time.Time // when the timer looks after them; zero: it does not run
}

// endWith ends, with each of these contexts, the leases that last until then.
func (s *leases) endWith(untils ...context.Context) *leases {
	for _, until := range untils {
		context.AfterFunc(until, s.cutOff)
	}
	return s
}

// take is for an exchange that began a moment ago. The lease ends with until, and when a worker has had the event for within,
// if that is not 0, or for exec_ttl.
func (s *leases) take(until context.Context, began time.Time, within time.Duration) *lease {
	limit := s.exec
	if within > 0 && (limit == 0 || within < limit) {
		limit = within
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var l *lease
	if n := len(s.free); n > 0 {
		l, s.free = s.free[n-1], s.free[:n-1]
	} else {
		l = &lease{of: s, ended: make(chan struct{})}
		s.all = append(s.all, l)
	}
	l.until, l.asked, l.limit, l.since = until, 0, limit, time.Time{}
	if limit > 0 {
		s.lookAt(began.Add(limit), limit)
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

// endThose returns what ends the contexts derived from them. which is asked with the lease's mu held, as s.mu is.
func (s *leases) endThose(why error, which func(*lease) bool) (derived []func()) {
	kept := s.all[:0]
	for _, l := range s.all {
		if l.until == nil || !l.endIf(why, which) {
			kept = append(kept, l)
			continue
		}
		derived = append(derived, l.derived...)
	}
	clear(s.all[len(kept):])
	s.all = kept
	return derived
}

func (l *lease) endIf(why error, which func(*lease) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !which(l) {
		return false
	}
	l.err = why
	close(l.ended)
	return true
}

// left is how long it may be until it ends, or until that has to be asked again; 0: forever, negative: it is over. l.mu is
// held.
func (l *lease) left(now time.Time) time.Duration {
	if l.since.IsZero() {
		return l.limit
	}
	if left := l.limit - now.Sub(l.since); left > 0 {
		return left
	}
	return -1
}

// stream says that the answer has begun and goes on. For the time between two frames the pool has a limit.
func (l *lease) stream() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.since = 0, time.Time{}
}

// Deadline is asked for by context.WithTimeout, once for each context that is derived: when the pool begins to wait for a
// worker, which allocate_timeout bounds, and when it has one. It begins anew when the worker was no good. A stream has one
// more, to ask the worker to stop.
func (l *lease) Deadline() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	waits := !l.of.makes && l.asked%2 == 1
	if waits || l.limit == 0 {
		l.since = time.Time{}
		return time.Time{}, false
	}
	l.since = time.Now()
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
