//go:build go1.25

package server

import (
	"sync"

	"github.com/rrtcp/tcp/internal/dispatch"
)

// modelWorkers hands every event to the test: first that it is offered, then what comes of it.
type modelWorkers struct {
	taken  chan struct{} // receives once for each event that a worker takes
	answer chan func() (dispatch.Answer, error)
	frames chan func() (dispatch.Answer, bool, error)

	mu   sync.Mutex
	seen seen
}

// seen is what workers have seen of a connection.
type seen struct {
	offered, closes []event
	inFlight        int
	twice           bool // two were in flight
	streaming       bool
}

func (w *modelWorkers) look() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

func (w *modelWorkers) note(change func(*seen)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.seen)
}

func (w *modelWorkers) Exchange(_ *dispatch.Call, cancel <-chan struct{}, context, body []byte) (dispatch.Answer, error) {
	w.note(func(s *seen) {
		s.inFlight++
		s.twice = s.twice || s.inFlight > 1 || len(s.closes) > 0
		s.offered = append(s.offered, decodeEvent(context, body))
	})
	streams := false
	defer func() {
		if !streams {
			w.note(func(s *seen) { s.inFlight-- })
		}
	}()
	select {
	case <-w.taken:
	case <-cancel:
		return dispatch.Answer{}, &dispatch.Failure{Err: dispatch.ErrCanceled}
	}
	a, err := (<-w.answer)()
	if streams = a.More != nil; streams {
		w.note(func(s *seen) { s.streaming = true })
	}
	return a, err
}

func (w *modelWorkers) Next(cancel <-chan struct{}) (dispatch.Answer, bool, error) {
	select {
	case f := <-w.frames:
		return f()
	case <-cancel:
		return dispatch.Answer{}, false, &dispatch.Failure{Reached: true, Err: dispatch.ErrCanceled}
	}
}

// end frees the worker of a stream: only then is its exchange over.
func (w *modelWorkers) End() {
	w.note(func(s *seen) {
		s.twice = s.twice || !s.streaming
		s.streaming = false
		s.inFlight--
	})
}

func (w *modelWorkers) HandOverClose(_ *dispatch.Call, context []byte) {
	w.note(func(s *seen) {
		s.twice = s.twice || s.inFlight > 0
		s.closes = append(s.closes, decodeEvent(context, nil))
	})
}
