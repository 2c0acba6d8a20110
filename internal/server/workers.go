package server

import (
	"context"
	stderrors "errors"
	"net/http"
	"sync"
	"time"

	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/telemetry"
)

const maintainInterval = time.Second / 4

var errStreamed = stderrors.New("the worker answered in several frames; answer with one")

// currentDispatcher returns nil before Serve.
func (s *Server) currentDispatcher() *dispatch.Dispatcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dispatcher
}

// Workers lists the workers of s; none before Serve.
func Workers(s *Server) (workers []*telemetry.Worker) {
	d := s.currentDispatcher()
	if d == nil {
		return nil
	}
	for _, w := range d.Pool.Workers() {
		if stats, err := w.Stats(); err == nil { // an error: it is gone already
			workers = append(workers, stats)
		}
	}
	return workers
}

// HealthCode is what RoadRunner's status plugin answers: 200 or 503.
func HealthCode(ok bool) int {
	if !ok {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// IsAlive reports whether any worker of s is alive. One that a Reset replaces is.
func IsAlive(s *Server) bool {
	d := s.currentDispatcher()
	return d != nil && d.IsAlive()
}

// IsReady reports whether clients of s are served: every address listens, a worker is ready to take an event, and the plugin is
// not stopping. A Reset under way changes nothing: connections are accepted, exchanges wait.
func IsReady(s *Server) bool {
	d, err := s.serving() // which is set when all listen
	return err == nil && d.IsReady()
}

// missing returns how many workers can't be started; none before Serve.
func missing(s *Server) int {
	d := s.currentDispatcher()
	if d == nil {
		return 0
	}
	workers, _ := d.Missing()
	return workers
}

// Exec hands a payload to a worker of s and returns the answer. It waits its turn like every event.
func Exec(s *Server, request dispatch.Payload) (*dispatch.Payload, error) {
	const op = errors.Op("tcp_plugin_exec")
	d, err := s.serving()
	if err != nil {
		return nil, errors.E(op, err)
	}
	a, err := d.Exec(request)
	if a.More != nil {
		a.More.End()
		err = errStreamed
	}
	if err != nil {
		return nil, errors.E(op, err)
	}
	return &dispatch.Payload{Context: a.Context, Body: a.Body, Codec: a.Codec}, nil
}

// serving returns the dispatcher; an error before Serve and after Stop.
func (s *Server) serving() (*dispatch.Dispatcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dispatcher == nil || s.stopping {
		return nil, dispatch.ErrNotServing
	}
	return s.dispatcher, nil
}

// AddWorker starts one more worker.
func (s *Server) AddWorker() error {
	const op = errors.Op("tcp_plugin_add_worker")
	if err := s.change((*dispatch.Dispatcher).AddWorker); err != nil {
		return errors.E(op, err)
	}
	return nil
}

// RemoveWorker stops a worker, as soon as one is free. The last one stays: that is an error.
func (s *Server) RemoveWorker(ctx context.Context) error {
	const op = errors.Op("tcp_plugin_remove_worker")
	d, err := s.serving()
	if err == nil {
		err = d.RemoveWorker(ctx, s.change)
	}
	if err != nil {
		return errors.E(op, err)
	}
	return nil
}

// Reset replaces the workers, and certificates that have changed; connections stay, exchanges wait. Before Serve and after
// Stop there is nothing to replace.
func (s *Server) Reset() error { return s.upcomingReset()() }

// upcomingReset returns the reset that has not begun yet: one does for all who ask for one before it begins.
func (s *Server) upcomingReset() (reset func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.upcoming == nil {
		s.upcoming = sync.OnceValue(s.reset)
	}
	return s.upcoming
}

func (s *Server) reset() error {
	const op = errors.Op("tcp_plugin_reset")
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.Lock()
	s.upcoming = nil // it begins
	s.mu.Unlock()
	err := s.changeLocked(func(d *dispatch.Dispatcher) error {
		s.renewCertificates()
		s.options.Log.Info("reset: workers are replaced, connections stay")
		return d.Reset()
	})
	switch {
	case stderrors.Is(err, dispatch.ErrNotServing):
		return nil
	case err != nil:
		return errors.E(op, err)
	}
	s.options.Log.Info("reset: done")
	return nil
}

// maintain looks after the workers until Stop ends the exchanges.
func (s *Server) maintain() {
	for {
		select {
		case <-s.exchangeCtx.Done():
			return
		case <-time.After(maintainInterval):
		}
		if !s.changes.TryLock() {
			continue // another change of the workers is under way
		}
		_ = s.changeLocked((*dispatch.Dispatcher).Maintain) // which logs that workers are missing
		s.changes.Unlock()
	}
}

// change calls f, which changes the workers, while nothing else does.
func (s *Server) change(f func(*dispatch.Dispatcher) error) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	return s.changeLocked(f)
}

func (s *Server) changeLocked(f func(*dispatch.Dispatcher) error) error {
	s.mu.Lock()
	d := s.dispatcher
	if d == nil || s.stopping {
		s.mu.Unlock()
		return dispatch.ErrNotServing
	}
	s.changing.Add(1)
	s.mu.Unlock()
	defer s.changing.Done()

	err := f(d)
	if s.isStopping() {
		d.KillOrphans()
	}
	return err
}

func (s *Server) renewCertificates() {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, l := range listeners {
		if l.certificates != nil {
			l.certificates.renew()
		}
	}
}
