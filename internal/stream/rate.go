package stream

import "time"

const (
	// rateTime is how long a client may take nothing of what waits for it before it is below MinRate; one that takes a half of
	// MinRate has twice the time. A receiver opens its window in steps of a sixteenth of its buffer, 400 KB at most by default on
	// Linux: who is measured over a short time seems to take nothing.
	rateTime = 10 * time.Second
	// rateStep is how long something must have waited for a measurement, which costs a system call.
	rateStep = time.Second
)

// rate is how fast a client takes what waits for it. Who writes owns it.
type rate struct {
	waited time.Duration // since the last measurement, how long something has waited
	taken  int64         // bytes that the client had taken then
	behind int64         // how many bytes it had taken less than MinRate wants
}

// isTooSlow measures the rate and reports whether the client is behind MinRate by what that makes in rateTime.
func (w *Writer) isTooSlow() bool {
	r := &w.rate
	if w.MinRate == 0 || r.waited > 0 && r.waited < rateStep {
		return false
	}
	taken := w.total.Load() - int64(w.Socket.untaken())
	want := int64(float64(w.MinRate) * r.waited.Seconds())
	more := max(0, taken-r.taken) // less than 0 is memory that untaken has counted
	r.behind = max(0, r.behind+want-more)
	r.waited, r.taken = 0, taken
	return float64(r.behind) >= float64(w.MinRate)*rateTime.Seconds()
}
