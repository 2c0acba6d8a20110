package server

import (
	"context"
	"fmt"
	"time"

	"github.com/rrtcp/tcp/internal/dispatch"
)

const (
	defaultGracePeriod = 30 * time.Second // Endure's
	// maxHostMargin is how much of the grace period is left to RoadRunner's own clean-up.
	maxHostMargin = 5 * time.Second
	// maxLeaving is how long Stop waits for an engine that hangs: before all else, and again at the end.
	maxLeaving = 2 * time.Second
)

// Stop leaves the cluster, closes the listeners, lets the exchanges that are owed a reply end, and ends what still runs when too little of the
// grace period is left for RoadRunner's own clean-up: CLOSE last. It may come before Serve, during Reset and twice.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	listeners, starts, d, started := s.listeners, s.starts, s.dispatcher, s.queue != nil
	s.stopping = true
	s.mu.Unlock()
	if !started {
		return nil
	}

	left, margin := gracePeriod(ctx)
	deadline := time.Now().Add(left)
	hasLeft := make(chan struct{}) // closed when this node has left the cluster
	go func() {                    // ends when the engine has answered, or within a few times the timeout of the cluster
		defer close(hasLeft)
		s.leaveCluster()
	}()
	leaving := min(maxLeaving, left/6)
	waitUntil(ctx, hasLeft, time.Now().Add(leaving))
	closeAll(listeners)
	s.accepting.Wait()
	for _, l := range listeners {
		l.close()
	}
	s.reads.StopPausing()
	s.registry.drain()

	ended := make(chan struct{}) // closed when the goroutine below ends
	go func() {                  // ends with the last connection and the last change of workers
		defer close(ended)
		s.awaitEnd(starts, d)
	}()
	if !waitUntil(ctx, ended, deadline.Add(-margin)) {
		s.cancelExchanges()
		s.registry.abort()
		waitUntil(ctx, ended, deadline.Add(-margin/2))
	}
	s.queue.Close()
	s.cancelCloses()
	if d != nil {
		d.Destroy(ctx, time.Until(deadline.Add(-margin/4)))
	}
	select {
	case <-ended:
		waitUntil(ctx, hasLeft, time.Now().Add(min(leaving, time.Until(deadline.Add(-margin/4)))))
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tcp: stop: connections, a reset or the clean-up of the pool still run: %w", ctx.Err())
	}
}

// waitUntil reports whether ended was closed before that time, and before ctx ended.
func waitUntil(ctx context.Context, ended <-chan struct{}, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (s *Server) awaitEnd(starts *dispatch.Starts, d *dispatch.Dispatcher) {
	if d != nil {
		defer d.ReapUntil()()
	}
	s.registry.wait()
	if starts != nil {
		starts.Hurry()
	}
	s.changing.Wait()
	s.overloads.Close()
	s.faults.Close()
	s.handshakes.Close()
}

// gracePeriod is how much time there is, and how much of it exchanges leave for what comes after them: five seconds, or a
// third.
func gracePeriod(ctx context.Context) (left, margin time.Duration) {
	left = defaultGracePeriod
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return left, min(maxHostMargin, left/3)
}
