package tcp

import (
	"context"
	"log/slog"

	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
)

// quiet is the level at which Endure logs nothing.
const quiet = slog.LevelError + 1

const (
	transcripts = "testdata/*.txt"
	schemaFile  = "schema.json"
	// otherLine is a key of schema.json that only the pool of the other line has.
	otherLine = "tcp.pool.dynamic_allocator"
)

// hostStops is what the host does to a pool when it stops.
func hostStops(ctx context.Context, p *staticPool.Pool) { p.Destroy(ctx) }

// destroyAgain destroys a pool that may have been destroyed before.
func destroyAgain(ctx context.Context, p *staticPool.Pool) { p.Destroy(ctx) }
