package dispatch

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rrtcp/tcp/internal/telemetry"
)

const (
	watchInterval = time.Second / 4 // between looks at workers and starts

	// missingAfter is how long there are too few workers, and none comes up, until they count as missing. Pools try once a second.
	missingAfter = 3 * time.Second

	endStartsWithin = 5 * time.Second // a start that has begun when the pool is destroyed has a process by then, however busy the machine

	minResetPause = time.Second / 4 // between a reset that has failed and the next one; doubled each time
	maxResetPause = 8 * time.Second
)

var errNotStarted = errors.New("they can't be run, end before they answer, or do not answer within allocate_timeout; the log has the pool's errors")

// missingWorkers notices that workers are gone and none comes up in their place.
type missingWorkers struct {
	mu     sync.Mutex
	known  map[int64]bool       // pids
	comeUp map[int64]bool       // pids of all that have come up and have not ended
	dead   map[Worker]time.Time // that are still listed, by when a look has found them so
	since  time.Time            // the last one came up, or there were enough
	number int
	logged bool
}

// look updates the number of missing workers. There are these and those that are starting, which may take timeout, and there should be
// want. It returns since when some have been missing, or the zero time.
func (m *missingWorkers) look(workers []Worker, starting, want int, timeout time.Duration) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.known
	m.known = make(map[int64]bool, len(workers))
	dead := make(map[Worker]time.Time)
	came, alive := m.since.IsZero(), 0
	for _, w := range workers {
		since, isDead := m.dead[w]
		if !isDead && !w.Exists() {
			since, isDead = time.Now(), true
		}
		if isDead {
			dead[w] = since
		}
		if isDead || w.Is(telemetry.WorkerDestroyed) {
			continue
		}
		alive++
		m.known[w.Pid()] = true
		came = came || !before[w.Pid()]
	}
	m.dead = dead
	switch {
	case came || alive >= want:
		m.since, m.number = time.Now(), 0
	case m.number > 0 || alive+starting < want && time.Since(m.since) > missingAfter || time.Since(m.since) > timeout+missingAfter:
		m.number = want - alive
		return m.since
	}
	return time.Time{}
}

// none says that no worker is missing any more, before the next look.
func (m *missingWorkers) none() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since, m.number = time.Now(), 0
}

// haveComeUp returns the pids of workers that have come up and have not ended. Some pools list none any more that they have told to end.
func (m *missingWorkers) haveComeUp(workers []Worker) map[int64]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[int64]bool, len(workers))
	for pid := range m.comeUp {
		if Exists(pid) {
			all[pid] = true
		}
	}
	for _, w := range workers {
		all[w.Pid()] = true
	}
	m.comeUp = all
	return all
}

// haveComeUp returns the pids of the pool's workers that are no starts any more.
func (d *Dispatcher) haveComeUp() map[int64]bool { return d.missing.haveComeUp(d.Pool.Workers()) }

// WatchStarts ends starts that take too long, and notices that workers are missing, until Destroy has ended the workers.
func (d *Dispatcher) WatchStarts() {
	for !d.gone.Load() {
		d.watchStarts()
		time.Sleep(watchInterval)
	}
}

func (d *Dispatcher) watchStarts() {
	want, starting := d.Queue.limit(), 0
	if want == Unlimited {
		return // the pool bounds the starts of workers for exchanges
	}
	d.haveComeUp()
	if d.Starts.underWay() || d.alive() < want {
		starting = d.Starts.end(d.startTimeout(), d.haveComeUp)
	}
	since := d.missing.look(d.Pool.Workers(), starting, want, d.Starts.Timeout)
	d.Starts.missingSince.Store(&since)
}

// endStarts ends what is still starting when the pool is destroyed, and what has come up since. No process is left then.
func (d *Dispatcher) endStarts() {
	d.Starts.endAll(func() int {
		late := d.alive()
		kill(d.Pool.Workers()...)
		return late
	})
	d.gone.Store(true)
}

// startTimeout is how long a start may take. Stop does not wait long for workers that it has no use for.
func (d *Dispatcher) startTimeout() time.Duration {
	if d.Starts.useless.Err() == nil {
		return d.Starts.Timeout
	}
	if missing, _ := d.Missing(); missing > 0 {
		return 0
	}
	return min(d.Starts.Timeout, missingAfter)
}

// Missing returns how many workers there should be and can't be started, and why.
func (d *Dispatcher) Missing() (int, error) {
	if d.empty.Load() && d.Queue.limit() != Unlimited {
		return d.Queue.limit(), *d.resetError.Load()
	}
	d.missing.mu.Lock()
	defer d.missing.mu.Unlock()
	if d.missing.number == 0 {
		return 0, nil
	}
	return d.missing.number, errNotStarted
}

// reportMissing logs that workers are missing, and that they can be started again; each once.
func (d *Dispatcher) reportMissing() {
	missing, cause := d.Missing()
	switch {
	case missing > 0 && !d.missing.logged:
		d.Log.Warn("workers are missing: they can't be started; they are tried again and again",
			slog.Int("workers", missing), slog.Any("error", cause))
	case missing == 0 && d.missing.logged:
		d.Log.Info("workers can be started again")
	}
	d.missing.logged = missing > 0
}

// isIncomplete reports whether a pool that waits for all its workers to be idle waits in vain: some are missing, and the others have
// nothing to do; or the host has destroyed it.
func (d *Dispatcher) isIncomplete() bool {
	missing, _ := d.Missing()
	isDestroyed := d.HostDestroysPool && d.stopping.Load() && d.alive() == 0
	return isDestroyed || missing > 0 && !slices.ContainsFunc(d.Pool.Workers(), d.isBusy)
}

// isBusy reports whether w is at an exchange or about to end. Pools have a state of its own for one at an exchange that is to be replaced.
func (d *Dispatcher) isBusy(w Worker) bool { return !w.Is(telemetry.WorkerReady) && d.isAlive(w) }

func (d *Dispatcher) alive() (alive int) {
	for _, w := range d.Pool.Workers() {
		if d.isAlive(w) {
			alive++
		}
	}
	return alive
}

// isAlive reports whether a worker is there. Pools go on to list one that dies as it comes up, also when another process has its pid.
func (d *Dispatcher) isAlive(w Worker) bool {
	_, isDead := d.missing.deadSince(w)
	return !isDead && !w.Is(telemetry.WorkerDestroyed) && w.Exists()
}

// deadSince returns when a look has found w dead; false: none has.
func (m *missingWorkers) deadSince(w Worker) (since time.Time, isDead bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since, isDead = m.dead[w]
	return since, isDead
}

// noteReset notes how a reset has ended, and when Maintain tries again.
func (d *Dispatcher) noteReset(err error) {
	if err == nil {
		d.resetPause = 0
		d.empty.Store(false)
		d.missing.none()
		return
	}
	d.resetError.Store(&err)
	d.empty.Store(true)
	d.resetPause = min(max(2*d.resetPause, minResetPause), maxResetPause)
	d.nextReset = time.Now().Add(d.resetPause)
}
