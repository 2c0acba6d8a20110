package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// A worker that answers an event twice is ahead by one answer from then on: what it says about one client goes to the next. Its
// replies do not show that unless they have the uuid. What shows it is a frame in its pipe while it has nothing to do.

// astrayInterval lies between two looks at the pipes, at least: each look costs a few system calls for each idle worker.
const astrayInterval = 20 * time.Millisecond

// replaceAstray replaces idle workers that have written something, unless it was looked a moment ago.
func (d *Dispatcher) replaceAstray() {
	now := time.Now().UnixNano()
	last := d.astrayLook.Load()
	if now-last < int64(astrayInterval) || !d.astrayLook.CompareAndSwap(last, now) {
		return
	}
	for _, w := range d.Pool.Workers() {
		if isAstray(w) {
			_ = w.Kill()
			w.Reap()
			d.warnOfAstray(w)
		}
	}
}

// isAstray reports whether w has written something nobody waits for. The order matters: had w got an event meanwhile, it would
// not be ready, or have one more. One that has had none yet is left to its first exchange: what it prints when it starts would
// make the pool start another one at once, and again.
func isAstray(w Worker) bool {
	execs := w.Execs()
	return execs > 0 && w.Is(telemetry.WorkerReady) && hasWritten(w.Pid()) && w.Is(telemetry.WorkerReady) && w.Execs() == execs
}

func (d *Dispatcher) warnOfAstray(w Worker) {
	d.Log.LogAttrs(context.Background(), warnOnce(&d.astrayWarned), "a worker had written something without an event and was replaced: "+
		"it answers an event twice, or prints behind an answer; answers may have gone to other clients "+
		"(a warning once until the workers are reset)", slog.Int64("pid", w.Pid()))
}
