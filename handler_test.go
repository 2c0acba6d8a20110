package tcp

import (
	"context"
	"os/exec"
	"testing"

	"github.com/roadrunner-server/sdk/v4/ipc/pipe"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"go.uber.org/zap"

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

		Modules: []string{"github.com/roadrunner-server/sdk/v4", "github.com/roadrunner-server/goridge/v3", "go.uber.org/zap"},
	})
}

func newWorkerPool(starts *dispatch.Starts, cfg linetest.PoolConfig, command func([]string) *exec.Cmd) (dispatch.Pool, error) {
	c := &Config{Pool: &pool.Config{
		NumWorkers: cfg.NumWorkers, AllocateTimeout: cfg.AllocateTimeout, ResetTimeout: cfg.ResetTimeout, DestroyTimeout: cfg.DestroyTimeout,
	}}
	_ = c.InitDefault() // it has no servers
	return c.options(zap.NewNop(), &serverPlugin{command: command}).NewPool(starts)
}

func newPool(ctx context.Context, cfg *pool.Config, command func([]string) *exec.Cmd) (*staticPool.Pool, error) {
	return staticPool.NewPool(ctx, command, pipe.NewPipeFactory(zap.NewNop()), cfg, zap.NewNop())
}

// loggerPlugin is RoadRunner's logger plugin, with all levels off.
type loggerPlugin struct{}

func (*loggerPlugin) Init() error                    { return nil }
func (*loggerPlugin) NamedLogger(string) *zap.Logger { return zap.NewNop() }

// serverPlugin is RoadRunner's server plugin: it destroys its pools when it stops.
type serverPlugin struct {
	command func([]string) *exec.Cmd
	pools   []*staticPool.Pool
}

func (*serverPlugin) Init() error       { return nil }
func (*serverPlugin) Serve() chan error { return make(chan error) }

func (s *serverPlugin) Stop(ctx context.Context) error {
	for _, p := range s.pools {
		p.Destroy(ctx)
	}
	return nil
}

func (s *serverPlugin) NewPool(ctx context.Context, cfg *pool.Config, env map[string]string, _ *zap.Logger) (*staticPool.Pool, error) {
	p, err := newPool(ctx, cfg, linetest.WithEnv(s.command, env))
	if err == nil {
		s.pools = append(s.pools, p)
	}
	return p, err
}
