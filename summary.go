package tcp

import (
	"sync"
	"time"
)

// loudness lets a few lines of a kind through each second; report is told how many more there were.
type loudness struct {
	rest summary

	mu    sync.Mutex
	since time.Time
	lines int
}

const mostLines = 100

func (l *loudness) allows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= summaryPause {
		l.since, l.lines = now, 0
	}
	if l.lines == mostLines {
		l.rest.add()
		return false
	}
	l.lines++
	return true
}

// summary reports what may happen thousands of times a second: at once, and from then on once a second at most, with how
// often it was.
type summary struct {
	report func(times int)

	mu    sync.Mutex
	times int // not reported yet
	quiet *time.Timer
}

const summaryPause = time.Second

func (s *summary) add() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	if s.quiet == nil {
		s.tell()
	}
}

// tell reports and begins a pause; after one in which nothing happened there is none. s.mu is held.
func (s *summary) tell() {
	if s.times == 0 {
		s.quiet = nil
		return
	}
	s.report(s.times)
	s.times = 0
	s.quiet = time.AfterFunc(summaryPause, s.pauseOver)
}

func (s *summary) pauseOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet != nil {
		s.tell()
	}
}

// close reports what is left.
func (s *summary) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet != nil {
		s.quiet.Stop()
		s.quiet = nil
	}
	if s.times > 0 {
		s.report(s.times)
		s.times = 0
	}
}
