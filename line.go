package tcp

import (
	"context"
	"time"

	"github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/sdk/v4/pool"
)

//go:generate go run rr2025/generate.go

// This file is what RoadRunner v2023.3 and v2024.1 do differently; rr2025/line.go is its counterpart for v2024.3 and
// v2025.1. All other files of rr2025 are copies of those here.

// makesWorkers reports whether the pool makes workers for exchanges that find none.
func makesWorkers(cfg *pool.Config) bool { return cfg.Debug }

// destroy leaves the pool to the server plugin, which destroys it while this plugin stops, or after that, and would wait for
// workers that die meanwhile.
func (e *exchanger) destroy(ctx context.Context, _ time.Duration) {
	go e.tidyUntilGone(ctx) // ends with the last worker, or the context
}

func (e *exchanger) tidyUntilGone(ctx context.Context) {
	for len(e.pool.Workers()) > 0 && ctx.Err() == nil {
		e.tidy()
		time.Sleep(tidyPause)
	}
}

// killStrays ends the workers that a reset has made after the host destroyed the pool: nobody else would. It does not
// wait for them, as a second Destroy would: two that stop one worker wait ten seconds for each other.
func (e *exchanger) killStrays() {
	// Asks for a worker to stop, but does not wait for one. What matters is whether the pool would give any.
	if err := e.pool.RemoveWorker(over); errors.Is(errors.WatcherStopped, err) {
		kill(e.pool.Workers()...)
	}
}
