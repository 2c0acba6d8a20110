package dispatch

import (
	"context"
	stderrors "errors"
	"time"

	"github.com/roadrunner-server/errors"
)

// Destroy ends the workers within that time; it may be called more than once. Where the host destroys the pool, while the
// plugins stop or after that, Destroy only keeps the pool from waiting for workers that die meanwhile.
func (d *Dispatcher) Destroy(ctx context.Context, within time.Duration) {
	d.destroyed.Do(func() {
		if d.HostDestroysPool {
			d.settleStarts(ctx, within)
			d.confirmEnds()
			go d.reapUntilGone(ctx, within) // ends with the last worker, or then
			return
		}
		done := make(chan struct{})                           // closed when the pool is gone
		go d.destroyPool(min(d.DestroyTimeout, within), done) // ends with the pool, or the process
		select {
		case <-done:
		case <-ctx.Done():
		}
	})
}

// settleStarts waits a moment for workers that are starting. Where some are not there then, none is started any more: nothing ends their
// processes when the host has destroyed the pool, which may be the end of this one.
func (d *Dispatcher) settleStarts(ctx context.Context, within time.Duration) {
	for until := time.Now().Add(min(d.startTimeout(), within)); d.Starts.underWay() && time.Now().Before(until) && ctx.Err() == nil; {
		time.Sleep(reapInterval)
	}
	if missing, _ := d.Missing(); missing > 0 || d.Starts.underWay() {
		d.Starts.stop()
		d.Starts.kill(0, d.haveComeUp)
	}
}

// reapUntilGone goes on when ctx, of the plugin's Stop, has ended: the host may destroy the pool later.
func (d *Dispatcher) reapUntilGone(ctx context.Context, within time.Duration) {
	quiet := 0 // twice: a worker may be about to be replaced
	for deadline := time.Now().Add(within); quiet < 2 && time.Now().Before(deadline); time.Sleep(reapInterval) {
		d.reapWorkers()
		quiet++
		if d.alive() > 0 || d.Starts.underWay() {
			quiet = 0
		}
	}
	if stderrors.Is(ctx.Err(), context.Canceled) { // the host is done, or waits for workers that are to be replaced
		d.watchStarts()
		d.gone.Store(true)
		return
	}
	d.endStarts()
}

// destroyPool kills the workers that do not end in time; the pool itself would wait ten seconds more for them. It ends soon
// after that, unless a reset is under way that waits for a worker.
func (d *Dispatcher) destroyPool(within time.Duration, done chan<- struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	defer every(reapInterval, func() {
		d.reapWorkers()
		if d.isIncomplete() {
			cancel()
		}
	})()
	workers := d.Pool.Workers()
	defer context.AfterFunc(ctx, func() { kill(workers...) })()
	if !d.isHeld() { // else this would wait, too: the workers are killed
		d.confirmEnds()
		d.Pool.Destroy(ctx)
	}
	d.endStarts()
	close(done)
}

// KillOrphans ends the workers that a reset has made after the host destroyed the pool. It does not wait for them, as a second
// Destroy would: two that stop one worker wait ten seconds for each other.
func (d *Dispatcher) KillOrphans() {
	if !d.HostDestroysPool {
		return // the pool is destroyed after the last reset
	}
	// With a context that has ended, this only tells whether the pool still gives workers.
	if err := d.Pool.RemoveWorker(canceledContext); errors.Is(errors.WatcherStopped, err) {
		d.killOrphans()
	}
}

// killOrphans ends the workers that have come up since the host destroyed the pool.
func (d *Dispatcher) killOrphans() {
	// A Destroy of the host's that still runs waits for as many workers as there should be, and ends them itself.
	for until := time.Now().Add(time.Second); d.alive() > 0 && time.Now().Before(until); {
		time.Sleep(reapInterval)
	}
	kill(d.Pool.Workers()...)
}
