package telemetry

import (
	"sync"
	"time"
)

const (
	logPause    = time.Second // between two reports of a ThrottledLog, and the window of a LogLimiter
	maxLogLines = 100         // that a LogLimiter allows in a window
)

// ThrottledLog reports something that may happen thousands of times a second: the first time at once, and after that once a
// second at most, with the number of times since the last report.
type ThrottledLog struct {
	report func(times int)

	mu      sync.Mutex
	pending int         // not reported yet
	timer   *time.Timer // ends the pause after a report; nil: no pause
}

// NewThrottledLog returns a log that calls report with its lock held: report must not call back.
func NewThrottledLog(report func(times int)) *ThrottledLog { return &ThrottledLog{report: report} }

// Add counts one more.
func (l *ThrottledLog) Add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending++
	if l.timer == nil {
		l.flush()
	}
}

// Close reports what is pending, at once. A later Add is reported all the same.
func (l *ThrottledLog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.pending > 0 {
		l.report(l.pending)
		l.pending = 0
	}
}

// flush reports what is pending and begins a pause. Where nothing is pending there is no pause. l.mu is held.
func (l *ThrottledLog) flush() {
	if l.pending == 0 {
		l.timer = nil
		return
	}
	l.report(l.pending)
	l.pending = 0
	l.timer = time.AfterFunc(logPause, l.endPause)
}

func (l *ThrottledLog) endPause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush() // after Close nothing is pending
}

// LogLimiter allows a hundred log lines of a kind each second. The lines over that are counted and reported.
type LogLimiter struct {
	suppressed *ThrottledLog

	mu    sync.Mutex
	since time.Time // when the window began
	lines int       // allowed in it
}

// NewLogLimiter returns a limiter; report gets the number of lines that were not allowed since its last call.
func NewLogLimiter(report func(times int)) *LogLimiter {
	return &LogLimiter{suppressed: NewThrottledLog(report)}
}

// Allows reports whether the caller may log a line, and counts it.
func (l *LogLimiter) Allows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= logPause {
		l.since, l.lines = now, 0
	}
	if l.lines == maxLogLines {
		l.suppressed.Add()
		return false
	}
	l.lines++
	return true
}

// Close reports the lines that were not allowed and not reported yet.
func (l *LogLimiter) Close() { l.suppressed.Close() }
