package tcp

import (
	"context"
	"log/slog"
	"os/exec"
	"testing"

	"github.com/roadrunner-server/pool/v2/ipc/pipe"
	"github.com/roadrunner-server/pool/v2/pool"
	staticPool "github.com/roadrunner-server/pool/v2/pool/static_pool"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/linetest"
)

func TestMain(m *testing.M) { linetest.Main(m) }

func TestLine(t *testing.T) {
	linetest.Run(t, linetest.Line{
		NewPool:   newWorkerPool,
		NewLogger: func() any { return new(loggerPlugin) },
		NewPlugin: func() linetest.Plugin { return new(Plugin) },
		NewServer: func(command func([]string) *exec.Cmd) any { return &serverPlugin{command: command} },

		HasAllocator: true,
		AddHoldsPool: true,
		Modules:      []string{"github.com/roadrunner-server/pool/v2", "github.com/roadrunner-server/goridge/v4"},
	})
}

func newWorkerPool(starts *dispatch.Starts, cfg linetest.PoolConfig, command func([]string) *exec.Cmd) (dispatch.Pool, error) {
	c := &Config{Pool: &pool.Config{
		NumWorkers: cfg.NumWorkers, AllocateTimeout: cfg.AllocateTimeout, ResetTimeout: cfg.ResetTimeout, DestroyTimeout: cfg.DestroyTimeout,
	}}
	_ = c.InitDefault() // it has no servers
	return c.options(slog.New(slog.DiscardHandler), &serverPlugin{command: command}).NewPool(starts)
}

func newPool(ctx context.Context, cfg *pool.Config, command func([]string) *exec.Cmd) (*staticPool.Pool, error) {
	return staticPool.NewPool(ctx, command, pipe.NewPipeFactory(slog.New(slog.DiscardHandler)), cfg, slog.New(slog.DiscardHandler))
}

// loggerPlugin is RoadRunner's logger plugin, with all levels off.
type loggerPlugin struct{}

func (*loggerPlugin) Init() error                     { return nil }
func (*loggerPlugin) NamedLogger(string) *slog.Logger { return slog.New(slog.DiscardHandler) }

// serverPlugin is RoadRunner's server plugin: its pools belong to the plugins that asked for them.
type serverPlugin struct {
	command func([]string) *exec.Cmd
}

func (*serverPlugin) Init() error { return nil }

func (s *serverPlugin) NewPool(ctx context.Context, cfg *pool.Config, env map[string]string, _ *slog.Logger) (*staticPool.Pool, error) {
	return newPool(ctx, cfg, linetest.WithEnv(s.command, env))
}
