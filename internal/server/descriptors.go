package server

import (
	"log/slog"
	"time"

	"github.com/rrtcp/tcp/internal/dispatch"
)

// Descriptors that connections leave to others; docs/operations.md has the sum.
const (
	// workerDescriptors are the pipes of a worker and its pidfd.
	workerDescriptors = 4
	// reservedDescriptors are for RoadRunner itself, clients of its RPC and metrics, listeners, files, and starts of workers.
	reservedDescriptors = 36
	// collectionInterval is the longest that a pidfd which a look of the pool's supervisor has opened stays so: Go's garbage
	// collector closes it.
	collectionInterval = 2 * time.Minute
	// unlimitedWorkers is how many workers a pool may have that makes them itself.
	unlimitedWorkers = 100
)

// freeDescriptors returns how many connections have descriptors, of so many in all; one at least.
func freeDescriptors(limit, workers int, watchTick time.Duration) int {
	if workers == dispatch.Unlimited {
		workers = unlimitedWorkers
	}
	each := workerDescriptors
	if watchTick > 0 {
		each += int(collectionInterval / watchTick)
	}
	return max(limit-workers*each-reservedDescriptors, 1)
}

// maxConnections returns how many connections may be open at once: max_connections, or fewer where there are not enough
// descriptors; 0: no limit.
func maxConnections(configured, free int) int {
	if configured == 0 || configured > free {
		return free
	}
	return configured
}

// reportDescriptors logs how many connections there may be where that is not what the configuration says.
func (s *Server) reportDescriptors() {
	configured := s.options.Config.MaxConnections
	if s.limiter.limit == configured {
		return
	}
	attrs := []any{
		slog.Int("connections", s.limiter.limit), slog.Int("max_connections", configured), slog.Int("descriptors", descriptorLimit()),
	}
	if configured == 0 {
		s.options.Log.Info("descriptors bound the connections: more clients wait to be accepted (ulimit -n)", attrs...)
		return
	}
	s.options.Log.Warn("max_connections has not enough descriptors: more clients wait to be accepted (ulimit -n)", attrs...)
}
