package dispatch

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// AllocateForever is the allocate_timeout that a pool is made with. A pool gives a worker up that can't be started within it: it
// counts one less for ever, and some pools panic when they count none. So it tries for ever, once a second, and Starts bounds how long one
// start takes.
const AllocateForever = 100 * 365 * 24 * time.Hour

const (
	// startVariable, in the environment of workers, tells the processes of one pool from others.
	startVariable = "RR_TCP_POOL"

	// lostLooks are the looks in a row that find no process, after which a start counts as lost: pools miss the error of a program that can't
	// be run, now and then. It is no time: a busy machine takes longer to make a process, and to look.
	lostLooks = 8

	// killedWithin is how long a process that was killed may take until its start has failed of itself.
	killedWithin = 3 * time.Second

	maxStartPause = 10 * time.Second

	// maxStartDelay lies between the beginning of a start and that of its process, however busy the machine.
	maxStartDelay = time.Minute
)

var lastPool atomic.Int64

// Starts is about the workers of one pool that are starting. It is made before the pool.
type Starts struct {
	Timeout time.Duration // of one start; not changed any more when WatchStarts runs

	pool    string          // the value of startVariable
	overdue atomic.Bool     // some took longer, since explain was called
	useless context.Context // has ended when no event waits for a worker any more
	hurry   context.CancelFunc

	missingSince atomic.Pointer[time.Time] // zero: no worker is missing
	resetting    atomic.Bool

	mu      sync.Mutex
	pending map[*start]bool
	expired []*start // lately: their processes may be younger
	stopped bool     // no more are made
}

type start struct {
	begun  time.Time
	expire func()
	unseen int // looks in a row that have found no process of the pool
}

// child is a process that this one has started.
type child struct {
	age  time.Duration
	ours bool // of the pool; else it can't be told yet, or at all
}

// NewStarts returns the starts of a pool whose workers have so long to start.
func NewStarts(timeout time.Duration) *Starts {
	// What a worker has started, RoadRunner for example, has inherited the variable.
	s := &Starts{Timeout: timeout, pool: fmt.Sprintf("%d.%d", os.Getpid(), lastPool.Add(1)), pending: map[*start]bool{}}
	s.useless, s.hurry = context.WithCancel(context.Background())
	return s
}

// Context is for the pool.
func (s *Starts) Context() context.Context { return startContext{context.Background(), s} }

// startContext is a context that does not end, but each one derived from it does when its start takes too long. The pool derives one
// for each start. The context package asks a parent of another type for AfterFunc, see context.AfterFunc.
type startContext struct {
	context.Context
	starts *Starts
}

// Done is not nil, which would say that contexts derived need no AfterFunc.
func (startContext) Done() <-chan struct{} { return never }

// Err is that of contexts derived.
func (startContext) Err() error { return context.DeadlineExceeded }

// AfterFunc is called when a start begins, and what it returns when it ends. It does not return when no start is to begin any more: the pool
// tries as long as the process lives.
func (c startContext) AfterFunc(expire func()) (stop func() bool) {
	c.starts.pause()
	c.starts.awaitDescriptors()
	p := &start{begun: time.Now(), expire: expire}
	if !c.starts.add(p) {
		<-never
	}
	return func() bool { return c.starts.remove(p) }
}

// pause makes starts rare while they fail: it takes a third of the time since then, beside the second that the pool waits. Those of a
// reset begin at once.
func (s *Starts) pause() {
	since := s.missingSince.Load()
	if since == nil || since.IsZero() || s.resetting.Load() {
		return
	}
	select {
	case <-time.After(min(time.Since(*since)/3, maxStartPause)):
	case <-s.useless.Done():
	}
}

// never is not closed.
var never = make(chan struct{})

func (s *Starts) add(p *start) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.pending[p] = true
	return true
}

func (s *Starts) remove(p *start) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.pending, p)
	return s.pending[p]
}

func (s *Starts) underWay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0
}

// oldest returns how old a process can be that is starting, or was to be killed when its start expired.
func (s *Starts) oldest() (age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = slices.DeleteFunc(s.expired, func(p *start) bool { return time.Since(p.begun)-maxStartDelay > s.Timeout })
	starts := slices.Clone(s.expired)
	for p := range s.pending {
		starts = append(starts, p)
	}
	for _, p := range starts {
		age = max(age, time.Since(p.begun)+time.Second) // the system rounds ages
	}
	return age
}

// stop makes every start the last one.
func (s *Starts) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// Env returns the environment of the pool's workers.
func (s *Starts) Env(mode, name string) map[string]string {
	return map[string]string{mode: name, startVariable: s.pool}
}

// Make calls a function that makes the pool, and ends starts that take too long meanwhile, or all after Hurry. Where that fails, no process
// is left.
func (s *Starts) Make(newPool func(*Starts) (Pool, error)) (Pool, error) {
	stop := every(watchInterval, func() {
		timeout := s.Timeout
		if s.useless.Err() != nil {
			timeout = 0
		}
		s.end(timeout, nobody)
	})
	p, err := newPool(s)
	stop()
	err = s.explain(err)
	if err != nil { // a process is younger than its start, and the pool does not end it
		s.endAll(func() int { return 0 })
	}
	return p, err
}

// Hurry says that no event waits for a worker any more.
func (s *Starts) Hurry() { s.hurry() }

// endAll makes every start the last one, and kills what is starting until nothing is left. killOthers kills what else there is to kill, and
// returns how many it has found.
func (s *Starts) endAll(killOthers func() int) {
	s.stop()
	quiet := 0
	for deadline := time.Now().Add(endStartsWithin); quiet < 2 && time.Now().Before(deadline); time.Sleep(reapInterval) {
		quiet++
		others := killOthers()
		if killed, _, _ := s.kill(0, nobody); killed+others > 0 || s.underWay() {
			quiet = 0
		}
	}
	s.expire(0, false) // for want of their processes: the pool does not make them now, or kills them
}

// nobody has come up.
func nobody() map[int64]bool { return nil }

// explain returns err, or why starts have failed with it.
func (s *Starts) explain(err error) error {
	if s.overdue.Swap(false) && err != nil {
		return fmt.Errorf("workers did not answer within allocate_timeout and were killed: %w", err)
	}
	return err
}

// end ends the starts that take longer than that, and those that are lost. It returns how many processes are starting. The end of its
// process ends a start: a pool does not wait for a process that comes up behind a start that has expired, and it would stay a zombie.
func (s *Starts) end(timeout time.Duration, comeUp func() map[int64]bool) (starting int) {
	killed, starting, known := s.kill(timeout, comeUp)
	if known && s.useless.Err() == nil { // else RoadRunner stops, and with it what waits for processes
		timeout += killedWithin
	}
	s.expire(timeout, known && killed+starting == 0)
	return starting
}

// kill kills the pool's processes that were started so long ago and have not come up. The others are starting, and so may be those that
// can't be told. What is older than the starts is none of them; with age 0, which is for a pool that ends, the pool's are killed even so. Not
// known says that there may be more. comeUp is called when the processes are known: one that comes up meanwhile is among both.
func (s *Starts) kill(age time.Duration, comeUp func() map[int64]bool) (killed, starting int, known bool) {
	processes, known := children(startVariable, s.pool)
	for pid := range comeUp() {
		delete(processes, pid)
	}
	oldest := s.oldest()
	for pid, p := range processes {
		switch {
		case p.age > oldest && (age > 0 || !p.ours): // a worker of another plugin, or what a worker has left behind
		case !p.ours || p.age < age:
			starting++
		default:
			s.overdue.Store(true)
			killGroup(pid)
			killed++
		}
	}
	return killed, starting, known
}

// expire ends the starts that take longer than that, or are lost; unseen says that no process of the pool is starting.
func (s *Starts) expire(timeout time.Duration, unseen bool) {
	for _, p := range s.overdueOrLost(timeout, unseen) {
		p.expire()
	}
}

func (s *Starts) overdueOrLost(timeout time.Duration, unseen bool) (ended []*start) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pending {
		p.unseen++
		if !unseen {
			p.unseen = 0
		}
		if p.unseen >= lostLooks || time.Since(p.begun) >= timeout {
			ended = append(ended, p)
			s.expired = append(s.expired, p)
			delete(s.pending, p)
		}
	}
	return ended
}
