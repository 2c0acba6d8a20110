// Package tcp of this folder is the plugin for RoadRunner v2024.3 and v2025.1. This file is what they do differently; line.go
// at the repository's root is its counterpart for v2023.3 and v2024.1. All other files here are copies of those there.
package tcp

import (
	"context"
	"time"

	"github.com/roadrunner-server/pool/pool"
)

// makesWorkers reports whether the pool makes workers for exchanges that find none.
func makesWorkers(cfg *pool.Config) bool { return cfg.Debug || cfg.DynamicAllocatorOpts != nil }

// destroy ends the workers: here a pool belongs to the plugin that asked for it. Workers that have not ended within that
// time are killed, for which the pool itself would wait ten seconds more. It may be called once.
func (e *exchanger) destroy(ctx context.Context, within time.Duration) {
	done := make(chan struct{}) // closed when the pool is gone
	go e.destroyPool(within, done)
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// destroyPool ends soon after the time that it has, unless a reset is under way that waits for a worker.
func (e *exchanger) destroyPool(within time.Duration, done chan<- struct{}) {
	defer every(tidyPause, e.tidy)()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	workers := e.pool.Workers()
	kept := context.AfterFunc(ctx, func() { kill(workers...) })
	e.pool.Destroy(ctx)
	close(done)
	if kept() {
		return
	}
	for range 20 { // workers that were starting already to take the place of others
		time.Sleep(50 * time.Millisecond)
		kill(e.pool.Workers()...)
	}
}

// killStrays has nothing to do: the pool is destroyed after the last reset.
func (e *exchanger) killStrays() {}
