package dispatch

import (
	"context"
	stderrors "errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// ErrNotServing says that there are no workers to change.
var ErrNotServing = stderrors.New("tcp: there are no workers: the plugin does not serve yet or any more")

var (
	errLastWorker = stderrors.New("the last worker can't be removed: no worker would be left to answer")
	errHeld       = stderrors.New("a worker that was added has not come up; until it does this RoadRunner replaces and removes none")
)

// reapInterval lies between two looks at workers that keep Reset or Destroy waiting. It is shorter than the start of a worker:
// the pool would count a dead worker and the one that replaces it as two idle ones, and end one that is at work.
const reapInterval = 5 * time.Millisecond

// maxRemoveWait is how long RemoveWorker waits for a worker at a time: others can't change the workers meanwhile.
const maxRemoveWait = time.Second

// delistTime is much longer than a pool needs to notice that a worker has died, on a machine that is busy or was paused, too.
const delistTime = 10 * time.Second

// canceledContext has ended.
var canceledContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// IsReady reports whether a worker is free for an event, or will be when a reset is over: exchanges wait for that.
func (d *Dispatcher) IsReady() bool {
	isResetting := d.Queue.IsPaused() && !d.empty.Load()
	return d.WorkerPerExec || isResetting || len(d.workersIn(telemetry.WorkerReady)) > 0
}

// IsAlive reports whether there is any worker, or will be when a reset is over.
func (d *Dispatcher) IsAlive() bool {
	return d.IsReady() || d.alive() > 0
}

func (d *Dispatcher) workersIn(state int64) (found []Worker) {
	for _, w := range d.Pool.Workers() {
		if w.Is(state) {
			found = append(found, w)
		}
	}
	return found
}

// Reset replaces the workers. Exchanges wait meanwhile. An error says that there are none: Maintain starts them.
func (d *Dispatcher) Reset() (err error) {
	if !d.awaitAdded() {
		return errHeld
	}
	d.resetBackoff()
	begin := time.Now()
	d.Queue.pause()
	defer func() {
		d.forgetWorkers()
		d.lastReset, d.resetDuration = time.Now(), time.Since(begin)
		d.Queue.resume(err == nil)
	}()
	d.waitForHandoff()

	wait := d.ExchangeCtx
	if d.empty.Load() && d.alive() == 0 {
		wait = canceledContext // there are no workers to wait for
	}
	d.Starts.overdue.Store(false) // that was before
	d.Starts.resetting.Store(true)
	defer d.Starts.resetting.Store(false)
	err = d.resetPool(wait)
	if err != nil && !d.Starts.overdue.Load() { // one did not start, and the pool has ended the others
		err = d.resetPool(canceledContext)
	}
	if err = d.Starts.explain(err); err != nil {
		err = fmt.Errorf("start the workers (server.command or tcp.pool.command): %w", err)
	}
	d.noteReset(err)
	return err
}

// forgetWorkers forgets what was known of workers that are gone.
func (d *Dispatcher) forgetWorkers() {
	d.unanswered.Store(false)
	d.closeWarned.Store(false)
	d.bulkBegun.Store(false)
	d.bulkAnswered.Store(false)
	d.bulkSaid.Store(bulkUnsaid)
	d.astrayWarned.Store(false)
	d.aheadWarned.Store(false)
}

// resetPool waits until all workers are free, or wait ends, or that is in vain, and replaces them.
func (d *Dispatcher) resetPool(wait context.Context) error {
	ctx, cancel := context.WithCancel(wait)
	defer cancel()
	inVain := 0 // looks in a row: between two exchanges a worker is idle for a moment
	defer every(reapInterval, func() {
		d.reapWorkers()
		inVain++
		if !d.isIncomplete() {
			inVain = 0
		}
		if inVain == 2 {
			cancel()
		}
	})()
	d.confirmEnds()
	return d.Pool.Reset(ctx)
}

// confirmEnds keeps the pool, which is to stop all workers that it lists, from waiting for the end of those that are dead. It leaves out
// those that it may be about to take off its list.
func (d *Dispatcher) confirmEnds() {
	for _, w := range d.Pool.Workers() {
		if since, isDead := d.missing.deadSince(w); isDead && time.Since(since) > delistTime {
			w.ConfirmEnd()
		}
	}
}

// resetBackoff keeps resets apart by as long as the last one took, a second at most: exchanges get through between them.
func (d *Dispatcher) resetBackoff() {
	select {
	case <-time.After(min(d.resetDuration, time.Second) - time.Since(d.lastReset)):
	case <-d.ExchangeCtx.Done():
	}
}

// waitForHandoff waits, for a moment at most, until the exchanges that were admitted have their workers. One that a reset
// overtakes would look for a worker every tenth of a second only, and keep its place meanwhile.
func (d *Dispatcher) waitForHandoff() {
	for range 20 {
		if d.isHandedOff() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// isHandedOff reports whether each exchange has its worker: no other worker is taken then while the queue is paused.
func (d *Dispatcher) isHandedOff() bool {
	return d.WorkerPerExec || d.Queue.admittedCount() <= len(d.workersIn(telemetry.WorkerWorking))
}

// Maintain does what the pool does not do by itself: it replaces workers whose answers go astray, reaps those that have died, starts
// workers after a reset has failed, ends those that are too many after one that has not, and logs when workers are missing.
func (d *Dispatcher) Maintain() error {
	d.replaceAstray()
	if d.isReapable() {
		d.ReapDead()
	}
	d.reportMissing()
	switch {
	case d.empty.Load():
		if time.Now().Before(d.nextReset) {
			return nil
		}
		return d.Reset()
	case d.excess() > 0:
		d.Queue.pause()
		defer d.Queue.resume(false)
		d.waitForHandoff()
		d.removeExcess()
	}
	return nil
}

// reapWorkers corrects the pool's counts while the queue is paused. Reset and Destroy wait until as many workers are idle as
// there should be, and would do so until their time is over.
func (d *Dispatcher) reapWorkers() {
	d.ReapDead()
	d.removeExcess()
}

// ReapDead takes workers that died while idle out of the pool's list of idle ones, where they would stay until an exchange finds
// them. A pool has room for some hundreds there: when it is full it kills each new worker. Several calls may be needed for all.
func (d *Dispatcher) ReapDead() {
	if workers := d.Pool.Workers(); len(workers) > 0 {
		workers[0].Reap()
	}
}

// isReapable reports whether ReapDead does no harm: a pool kills idle workers that are to be replaced, which have their time to end, with
// those that are dead; and it waits for an exchange that looks for a worker, which takes out what is dead itself.
func (d *Dispatcher) isReapable() bool {
	for _, w := range d.Pool.Workers() {
		if !w.Is(telemetry.WorkerReady) && !w.Is(telemetry.WorkerWorking) && d.isAlive(w) {
			return false
		}
	}
	return d.isHandedOff()
}

// excess returns how many workers are too many: the pool replaces one that dies during a reset twice.
func (d *Dispatcher) excess() int {
	if d.adding.Load() {
		return 0 // the new one is not counted yet
	}
	return d.alive() - d.Queue.limit()
}

// removeExcess ends workers that are too many, where they are idle for certain. The queue is paused.
func (d *Dispatcher) removeExcess() {
	idle := d.workersIn(telemetry.WorkerReady)
	for n := min(d.excess(), len(idle)); n > 0 && d.isHandedOff(); n-- {
		kill(idle[n-1])
		idle[n-1].Reap()
	}
}

// kill ends workers that are not to be replaced. It does not wait for them.
func kill(workers ...Worker) {
	for _, w := range workers {
		w.Retire()
		_ = w.Kill()
	}
}

// every calls f again and again until stop is called; stop waits for the last call.
func every(interval time.Duration, f func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{}) // closed by stop; closed when the goroutine has ended
	go func() {
		defer close(ended)
		for {
			f()
			select {
			case <-end:
				return
			case <-time.After(interval):
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// ReapUntil reaps workers until stop is called: Stop waits for exchanges and for the host meanwhile.
func (d *Dispatcher) ReapUntil() (stop func()) {
	d.stopping.Store(true)
	end := every(reapInterval, d.ReapDead)
	return func() {
		end()
		d.reapWorkers()
	}
}

// AddWorker starts one more worker, unless one is missing. One that does not come up within allocate_timeout is an error, and stopped if it
// comes up later: the pool tries on.
func (d *Dispatcher) AddWorker() error {
	d.watchStarts() // the last look may have been before a reset
	if missing, cause := d.Missing(); missing > 0 {
		return fmt.Errorf("workers are missing: %w", cause)
	}
	if !d.adding.CompareAndSwap(false, true) {
		return errNotStarted // nor is the one before
	}
	var settled atomic.Bool
	added := make(chan error, 1) // receives once
	go func() {                  // ends when the worker has come up, or with the process
		err := d.Pool.AddWorker()
		isWanted := settled.CompareAndSwap(false, true)
		if err == nil && (isWanted || !d.removeFree()) {
			d.Queue.widen()
		}
		d.adding.Store(false) // before the caller can add another one
		added <- err
	}()
	select {
	case <-time.After(d.Starts.Timeout):
	case <-d.Starts.useless.Done():
	case err := <-added:
		return err
	}
	if settled.CompareAndSwap(false, true) {
		return errNotStarted
	}
	return <-added
}

// isHeld reports whether the pool waits for a worker that was added, which may never come up.
func (d *Dispatcher) isHeld() bool { return d.AddHoldsPool && d.adding.Load() }

// awaitAdded waits as long as a start may take until the pool is not held; false: it still is.
func (d *Dispatcher) awaitAdded() bool {
	for begun := time.Now(); d.isHeld(); time.Sleep(reapInterval) {
		if time.Since(begun) > d.Starts.Timeout || d.Starts.useless.Err() != nil {
			return false
		}
	}
	return true
}

// removeFree stops the worker that is one more than there are places in the queue, so free unless there is a reset. There may be no pool
// any more.
func (d *Dispatcher) removeFree() bool {
	ctx, cancel := context.WithTimeout(context.Background(), d.Starts.Timeout)
	defer cancel()
	err := d.Pool.RemoveWorker(ctx)
	if errors.Is(errors.WatcherStopped, err) {
		d.killOrphans()
	}
	return err == nil
}

// RemoveWorker waits for a worker to be free and stops it. locked calls its argument while nothing else changes the workers.
func (d *Dispatcher) RemoveWorker(ctx context.Context, locked func(func(*Dispatcher) error) error) error {
	if d.Queue.limit() == Unlimited { // the pool makes and removes workers itself
		return locked(func(d *Dispatcher) error { return d.Pool.RemoveWorker(ctx) })
	}
	for {
		if err := d.Queue.enter(newAttempt(), ctx.Done()); err != nil {
			return err
		}
		err := locked(func(d *Dispatcher) error { return d.removeAdmitted(ctx) })
		if stderrors.Is(err, ErrNotServing) {
			d.Queue.leave()
		}
		if !errors.Is(errors.NoFreeWorkers, err) || ctx.Err() != nil {
			return err
		}
	}
}

// removeAdmitted stops a worker for a caller that the queue has admitted. It removes that place or leaves it.
func (d *Dispatcher) removeAdmitted(ctx context.Context) error {
	if d.isHeld() {
		d.Queue.leave()
		return errHeld
	}
	if d.empty.Load() { // Maintain, which would start workers, waits for the caller
		if err := d.Reset(); err != nil {
			d.Queue.leave()
			return err
		}
	}
	missing, _ := d.Missing()
	if missing > 0 && d.alive() <= 1 || !d.Queue.narrow() {
		d.Queue.leave()
		return errLastWorker
	}
	ctx, cancel := context.WithTimeout(ctx, maxRemoveWait)
	defer cancel()
	if err := d.Pool.RemoveWorker(ctx); err != nil {
		d.Queue.widen()
		return err
	}
	return nil
}
