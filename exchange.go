package tcp

import (
	"context"
	stderrors "errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/sdk/v4/payload"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/roadrunner-server/sdk/v4/worker"
	"go.uber.org/zap"
)

// workerPool is RoadRunner's pool, as the host makes it.
type workerPool interface {
	Workers() []*worker.Process
	AddWorker() error
	RemoveWorker(ctx context.Context) error
	Exec(ctx context.Context, p *payload.Payload, stopCh chan struct{}) (chan *staticPool.PExec, error)
	Reset(ctx context.Context) error
	Destroy(ctx context.Context)
}

var _ workerPool = (*staticPool.Pool)(nil)

// exchanger hands events to the workers and brings their answers back.
type exchanger struct {
	pool  workerPool
	queue *queue
	// cut is cancelled when Stop can wait no longer: workers that are still at an exchange are killed. last is cancelled
	// some time later, for CLOSE. They are the only contexts, countdowns apart, that reach the pool: it kills a worker whose
	// context ends.
	cut, last context.Context

	ballast ballast
	debug   bool // the pool makes a worker for each event
	log     *zap.Logger
	// of the last reset; the next one reads and writes these, one at a time
	lastReset time.Time
	resetTook time.Duration
	empty     atomic.Bool // it failed, and the pool has no workers

	warned atomic.Bool // that workers do not answer CLOSE; once for each generation of workers
}

// call is what a connection needs for its exchanges, one at a time; it is used again for each.
type call struct {
	payload payload.Payload
	// closeTimeout is how long a worker may take to answer CLOSE; 0: exec_ttl alone bounds it.
	closeTimeout time.Duration
	// of what is counted: the event, and who counts; nobody does where it is nil
	kind  eventKind
	stats *serverStats

	here    bool     // exchanges behind the first ones are made by the connection's own goroutine, whose stack grows
	made    int      // exchanges so far
	attempt *attempt // of the last one, for the next, where that is so
}

// brief is how many exchanges a connection may have that is not worth a larger stack.
const brief = 8

func newCall(closeTimeout time.Duration) *call { return &call{closeTimeout: closeTimeout} }

// attempt is what an offer needs besides. They are used again: one of many connections that waits for its client has none.
type attempt struct {
	ticket
	*exchanger
	until  context.Context // the exchanger's cut or last
	call   *call
	limit  time.Duration
	stop   chan struct{} // closed to end an answer that comes as a stream; each one has its own
	answer answer        // what the attempt brought
	err    error
}

var attempts = sync.Pool{New: func() any { return &attempt{ticket: *newTicket(), stop: make(chan struct{})} }}

// run is the part that is made inside the queue. Its place is free when the worker is: with the last frame of the answer.
func (a *attempt) run() (leaves bool) {
	leaves = a.exchange()
	if a.answer.more == nil {
		a.call.worked(a.entered, a.err)
	}
	return leaves
}

func (a *attempt) exchange() (leaves bool) {
	defer a.recovered(&leaves)
	if a.limit == 0 {
		a.answer, a.err = a.exec(a.until, a)
		return a.answer.more == nil
	}
	ctx, stop := newCountdown(a.until, a.limit, a.debug)
	defer stop()
	a.answer, a.err = a.exec(ctx, a)
	if a.answer.more == nil {
		return true
	}
	a.answer.more.end() // leaves
	return false
}

// worked notes how long a worker had the event.
func (c *call) worked(since time.Time, err error) {
	if err == nil || failureOf(err).reached {
		c.stats.exchanged(c.kind, time.Since(since))
	}
}

// recovered ends the exchange, not the process, when the pool panics.
func (a *attempt) recovered(leaves *bool) {
	if p := recover(); p != nil {
		*leaves = a.answer.more == nil
		a.err = &failure{why: reasonError, reached: true, err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
	}
}

// answer is what a worker sent back.
type answer struct {
	context, body []byte
	codec         byte   // of the frame
	more          frames // of an answer that comes as a stream; nil: that is all. Who has it ends it.
}

// frames are the rest of an answer, while its worker is at it.
type frames interface {
	// next waits for the next frame. An error is the end, without a last one.
	next(cancel <-chan struct{}) (frame answer, last bool, err error)
	// end asks the worker to stop, if it has not, and waits until it is free.
	end()
}

// failure is an exchange that brought no answer.
type failure struct {
	why     reason
	reached bool // a worker may have seen the event
	err     error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failureOf is what an error of an exchange says.
func failureOf(err error) *failure {
	f := &failure{why: reasonError, reached: true, err: err}
	stderrors.As(err, &f)
	return f
}

// kind is what is counted.
func (f *failure) kind() failureKind {
	switch {
	case f.why == reasonOverload:
		return failureOverload
	case f.why == reasonShutdown, f.why == reasonNone:
		return failureNone
	case errors.Is(errors.SoftJob, f.err):
		return failureError
	case errors.Is(errors.ExecTTL, f.err):
		return failureTimeout
	default:
		return failureDied
	}
}

var (
	errUnsent  = stderrors.New("the worker was gone before the event could be sent")
	errStarved = stderrors.New("the pool had no free worker within allocate_timeout")
	errBroken  = stderrors.New("the answer broke off between two frames")
)

// exchange waits for a worker, hands it one event and waits for its answer. An event that certainly never reached a
// worker is offered once more. Closing cancel ends the wait for a worker, not the worker's work.
func (e *exchanger) exchange(c *call, cancel <-chan struct{}, context, body []byte) (answer, error) {
	c.payload.Context, c.payload.Body = context, body
	a, err := e.offer(e.cut, c, cancel, 0)
	if stderrors.Is(err, errUnsent) {
		a, err = e.offer(e.cut, c, cancel, 0)
	}
	c.payload.Context, c.payload.Body = nil, nil
	if a.more == nil { // the frames of a stream are few at a time
		e.ballast.heed(len(body) + len(a.body))
	}
	return a, err
}

// handOverClose offers the last event of a connection until a worker has it or the plugin stops. Its answer does not
// matter, but a worker that gives none is replaced after close_timeout.
func (e *exchanger) handOverClose(c *call, context []byte) {
	c.payload.Context, c.payload.Body, c.kind = context, nil, kindClose
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a, err := e.offer(e.last, c, nil, c.closeTimeout)
		if a.more != nil {
			a.more.end()
		}

		var f *failure
		switch {
		case !stderrors.As(err, &f) || f.why == reasonShutdown:
			return
		case f.reached:
			e.closeFailed(c, f)
			return
		}
		select {
		case <-e.last.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (e *exchanger) closeFailed(c *call, f *failure) {
	c.stats.fail(f.kind())
	if errors.Is(errors.ExecTTL, f.err) && e.warned.CompareAndSwap(false, true) {
		e.log.Warn("a worker did not answer CLOSE in time and was replaced; every event wants an answer, CLOSE too: "+
			"in PHP call $tcpWorker->read() or ->close() for TcpEvent::Close (said once until the workers are reset)",
			zap.Duration("close_timeout", c.closeTimeout), zap.Error(f.err))
		return
	}
	e.log.Debug("CLOSE was not answered", zap.Error(f.err))
}

// offer is one attempt with the event in c.payload; when until ends, its worker is killed. Who gives no cancel waits for a
// worker as long as it takes. limit, where there is one, is the time that the worker has to answer before it is killed.
func (e *exchanger) offer(until context.Context, c *call, cancel <-chan struct{}, limit time.Duration) (answer, error) {
	for {
		resets := e.queue.pauses.Load()
		a, err := e.admitted(until, c, cancel, limit)
		// The pool counts the time that a Reset takes against an exchange that it caught between queue and worker.
		if !stderrors.Is(err, errStarved) || e.queue.pauses.Load() == resets {
			if err != nil && failureOf(err).why == reasonOverload {
				e.queue.starved.Add(1)
			}
			return a, err
		}
	}
}

func (e *exchanger) admitted(until context.Context, c *call, cancel <-chan struct{}, limit time.Duration) (answer, error) {
	a := c.attempt
	if a == nil {
		a = attempts.Get().(*attempt)
	}
	here := c.here && c.made >= brief
	a.exchanger, a.until, a.call, a.limit, a.here = e, until, c, limit, here
	c.made++
	err := e.queue.do(&a.ticket, a, cancel, cancel == nil)
	if err != nil {
		err = notAdmitted(err)
	} else {
		err = a.err
	}
	got := a.answer
	a.exchanger, a.until, a.call, a.answer, a.err = nil, nil, nil, answer{}, nil
	if here {
		c.attempt = a
	} else {
		attempts.Put(a)
	}
	return got, err
}

func (e *exchanger) exec(ctx context.Context, a *attempt) (answer, error) {
	// Exec with a context that has ended takes a healthy worker and kills it.
	if a.until.Err() != nil {
		return answer{}, &failure{why: reasonShutdown, err: errQueueClosed}
	}

	sent, err := e.pool.Exec(ctx, &a.call.payload, a.stop)
	if err != nil {
		return answer{}, failed(err, a.until.Err() != nil)
	}
	first := <-sent
	if err := first.Error(); err != nil {
		return answer{}, &failure{why: reasonError, reached: true, err: err}
	}
	p := first.Payload()
	got := answer{context: p.Context, body: p.Body, codec: p.Codec}
	if p.Flags&frame.STREAM != 0 {
		got.more = &execFrames{of: e, call: a.call, begin: a.entered, sent: sent, stop: a.stop}
		a.stop = make(chan struct{})
	}
	return got, nil
}

// execFrames are frames from the pool, which looks between two of them whether the worker is to stop. It holds some that
// nobody has taken yet, and then waits: who takes no more ends it. exec_ttl bounds the wait for each.
type execFrames struct {
	of    *exchanger
	call  *call
	begin time.Time                // when the pool got the event
	sent  <-chan *staticPool.PExec // closed when the worker is free
	stop  chan struct{}            // closed by end
	ended bool
}

func (f *execFrames) next(cancel <-chan struct{}) (answer, bool, error) {
	select {
	case got, ok := <-f.sent:
		switch {
		case !ok:
			return answer{}, false, &failure{why: reasonError, reached: true, err: errBroken}
		case got.Error() != nil:
			return answer{}, false, &failure{why: f.of.whyCut(), reached: true, err: got.Error()}
		}
		p := got.Payload()
		return answer{context: p.Context, body: p.Body}, p.Flags&frame.STREAM == 0, nil
	case <-cancel:
		return answer{}, false, &failure{reached: true, err: errCanceled}
	}
}

func (f *execFrames) end() {
	if f.ended {
		return
	}
	f.ended = true
	defer f.of.queue.leave()
	defer f.call.worked(f.begin, nil)
	close(f.stop)
	for {
		select {
		case _, ok := <-f.sent:
			if !ok {
				return
			}
		case <-f.of.cut.Done():
			f.cutOff()
			return
		}
	}
}

// cutOff ends a worker that may be silent for as long as exec_ttl: between frames the pool heeds no context. All that are
// at work are cut then.
func (f *execFrames) cutOff() {
	for _, w := range f.of.pool.Workers() {
		if !w.State().Compare(stateReady) {
			_ = w.Kill()
		}
	}
	for range f.sent {
		if f.of.debug { // nobody knows its worker; it ends with RoadRunner
			return
		}
	}
}

// whyCut is the reason of a worker's failure.
func (e *exchanger) whyCut() reason {
	if e.cut.Err() != nil {
		return reasonShutdown
	}
	return reasonError
}

func notAdmitted(err error) *failure {
	switch {
	case stderrors.Is(err, errQueueClosed):
		return &failure{why: reasonShutdown, err: err}
	case stderrors.Is(err, errCanceled):
		return &failure{why: reasonNone, err: err} // who cancelled said why
	default:
		return &failure{why: reasonOverload, err: err}
	}
}

// failed says what an error of the pool means. cut says that the exchange was ended by Stop.
func failed(err error, cut bool) *failure {
	switch {
	case errors.Is(errors.WatcherStopped, err):
		return &failure{why: reasonShutdown, err: err}
	case errors.Is(errors.NoFreeWorkers, err) && cut:
		return &failure{why: reasonShutdown, err: err}
	case errors.Is(errors.NoFreeWorkers, err):
		return &failure{why: reasonOverload, err: fmt.Errorf("%w: %w", errStarved, err)}
	case errors.Is(errors.QueueSize, err), raisedBy(err, "allocate_dynamically"): // no more workers than max_workers
		return &failure{why: reasonOverload, err: err}
	case errors.Is(errors.WorkerAllocate, err):
		return &failure{why: reasonError, err: err}
	case raisedBy(err, "sync_worker_send_frame"): // half a frame is none to the worker
		return &failure{why: reasonError, err: fmt.Errorf("%w: %w", errUnsent, err)}
	case cut:
		return &failure{why: reasonShutdown, reached: true, err: err}
	default:
		return &failure{why: reasonError, reached: true, err: err}
	}
}

// raisedBy reports whether an error of the pool comes from an operation of its. Kinds don't tell: a frame that could not be
// sent and an answer that could not be read are both Network. These errors have no Unwrap.
func raisedBy(err error, op errors.Op) bool {
	e, ok := err.(*errors.Error)
	for ; ok; e, ok = e.Err.(*errors.Error) {
		if e.Op == op {
			return true
		}
	}
	return false
}

// reset replaces the workers. Exchanges wait while it lasts.
func (e *exchanger) reset() error {
	e.breathe()
	begin := time.Now()
	e.queue.pause()
	defer func() {
		e.lastReset, e.resetTook = time.Now(), time.Since(begin)
		e.queue.resume()
	}()
	e.warned.Store(false)
	e.settle()

	defer every(tidyPause, e.tidy)()
	ctx := e.cut
	if e.empty.Load() {
		ctx = over // there are no workers to wait for
	}
	err := e.pool.Reset(ctx)
	if err != nil { // one did not start, and the pool has ended the others
		err = e.pool.Reset(over)
	}
	e.empty.Store(err != nil)
	return err
}

// breathe keeps resets that follow each other closely apart, by as long as the last one took, a second at most: else no
// exchange would get through between them.
func (e *exchanger) breathe() {
	select {
	case <-time.After(min(e.resetTook, time.Second) - time.Since(e.lastReset)):
	case <-e.cut.Done():
	}
}

// settle waits, for a moment at most, until the exchanges that were let in have their worker. One that a reset catches
// before would look for it every tenth of a second only, and hold its place meanwhile.
func (e *exchanger) settle() {
	for range 20 {
		if e.isSettled() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// isSettled reports whether each exchange has its worker: then no other worker will be taken while the queue is shut.
func (e *exchanger) isSettled() bool {
	return e.debug || e.queue.admitted() <= len(e.in(stateWorking))
}

// in returns the workers that are in that state.
func (e *exchanger) in(state int64) (found []*worker.Process) {
	for _, w := range e.pool.Workers() {
		if w.State().Compare(state) {
			found = append(found, w)
		}
	}
	return found
}

// isReady reports whether a worker is free for an event, or will be when a reset is over: exchanges wait for that. Where a
// worker is made for each event there is always one.
func (e *exchanger) isReady() bool {
	return e.debug || len(e.in(stateReady)) > 0 || e.isResetting()
}

func (e *exchanger) isAlive() bool { return e.isReady() || len(e.in(stateWorking)) > 0 }

func (e *exchanger) isResetting() bool { return e.queue.isShut() && !e.empty.Load() }

// States of a worker as the sdk's package fsm numbers them.
const (
	stateReady     = 1
	stateWorking   = 2
	stateDestroyed = 6 // not to be replaced
)

// tidyPause lies between two looks at workers that keep Reset or Destroy waiting. It is shorter than the start of a worker:
// a dead one and the one that replaces it would count as two that are idle, and the pool would end one that is at work.
const tidyPause = 5 * time.Millisecond

// every calls f again and again until stop is called.
func every(pause time.Duration, f func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{}) // closed by stop, and when the goroutine has ended
	go func() {
		defer close(ended)
		for {
			f()
			select {
			case <-end:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// tidy makes the pool's books right while the queue is shut. Reset and Destroy wait until as many workers as there should
// be are idle, and would until their time is over.
func (e *exchanger) tidy() {
	e.sweep()
	e.trim()
}

// sweep takes workers that were killed while idle out of the pool's queue, where they stay.
func (e *exchanger) sweep() {
	for _, w := range e.pool.Workers() {
		w.Callback()
	}
}

// surplus is how many workers are too many: one that dies while Reset ends the others is replaced twice.
func (e *exchanger) surplus() int {
	return len(e.pool.Workers()) - len(e.in(stateDestroyed)) - e.queue.limit()
}

// trim ends workers that are too many, if it is sure that they are idle. The queue is shut.
func (e *exchanger) trim() {
	idle := e.in(stateReady)
	for n := min(e.surplus(), len(idle)); n > 0 && e.isSettled(); n-- {
		kill(idle[n-1])
		idle[n-1].Callback()
	}
}

// repair does what the pool does not do by itself: it starts workers after a reset has failed, and ends those that are too
// many after one that has not.
func (e *exchanger) repair() error {
	switch {
	case e.empty.Load():
		return e.reset()
	case e.surplus() > 0:
		e.queue.pause()
		defer e.queue.resume()
		e.settle()
		e.trim()
	}
	return nil
}

// kill ends workers that are not to be replaced. It does not wait for them.
func kill(workers ...*worker.Process) {
	for _, w := range workers {
		w.State().Transition(stateDestroyed)
		_ = w.Kill()
	}
}

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (e *exchanger) addWorker() error {
	err := e.pool.AddWorker()
	switch {
	case err == nil:
		e.queue.widen(1)
	case raisedBy(err, "worker_watcher_allocate_new") && e.queue.limit() > 1:
		e.queue.widen(-1) // the pool counts one less then; repair ends it
	}
	return err
}

var errLastWorker = stderrors.New("the last worker can't be removed: nobody would answer")

// takeTime is how long the worker that is to be stopped is waited for at a time: nobody else changes the workers meanwhile.
const takeTime = time.Second

// removeWorker waits for a worker to be free and stops it. locked does the latter while nobody else changes the workers.
func (e *exchanger) removeWorker(ctx context.Context, locked func(func(*exchanger) error) error) error {
	if e.queue.limit() == open { // the pool makes and removes workers itself
		return locked(func(e *exchanger) error { return e.pool.RemoveWorker(ctx) })
	}
	for {
		if err := e.queue.enter(newTicket(), ctx.Done(), false); err != nil {
			return err
		}
		err := locked(func(e *exchanger) error { return e.stopOne(ctx) })
		if stderrors.Is(err, errNotServing) {
			e.queue.leave()
		}
		if !errors.Is(errors.NoFreeWorkers, err) || ctx.Err() != nil {
			return err
		}
	}
}

// stopOne stops a worker for somebody who is inside of the queue, and takes that place away or leaves it.
func (e *exchanger) stopOne(ctx context.Context) error {
	if e.empty.Load() { // there is none, and who would start them waits for us
		if err := e.reset(); err != nil {
			e.queue.leave()
			return err
		}
	}
	if !e.queue.narrow() {
		e.queue.leave()
		return errLastWorker
	}
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	if err := e.pool.RemoveWorker(ctx); err != nil {
		e.queue.widen(1)
		return err
	}
	return nil
}
