package tcp

import (
	"context"
	"log/slog"

	staticPool "github.com/roadrunner-server/pool/pool/static_pool"
)

// quiet is the level at which Endure logs the least.
const quiet = slog.LevelError

const (
	transcripts = "../testdata/*.txt"
	schemaFile  = "../schema.json"
	// otherLine is a key of schema.json that only the pool of the other line has.
	otherLine = ""
)

// hostStops is what the host does to a pool when it stops.
func hostStops(context.Context, *staticPool.Pool) {}

// destroyAgain destroys a pool that may have been destroyed before: then it panics here.
func destroyAgain(ctx context.Context, p *staticPool.Pool) {
	defer func() { _ = recover() }()
	p.Destroy(ctx)
}
