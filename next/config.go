package tcp

import (
	"errors"
	"log/slog"

	"github.com/roadrunner-server/pool/v2/pool"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/settings"
)

// Config is the section tcp of the configuration. Its zero values are the documented defaults.
type Config struct {
	settings.Config `mapstructure:",squash"`
	// Pool configures the workers, which all servers share.
	Pool *pool.Config `mapstructure:"pool"`
}

// Parts of Config, and where it comes from.
type (
	// Configurer is RoadRunner's config plugin.
	Configurer = settings.Configurer
	// Server is an entry of tcp.servers.
	Server = settings.Server
	// Limits bound what clients and workers may use.
	Limits = settings.Limits
	// Size is an amount of memory.
	Size = settings.Size
	// TLS is the section tls of a server.
	TLS = settings.TLS
	// KeyPair names the files of a certificate.
	KeyPair = settings.KeyPair
	// ProxyProtocol is the section proxy_protocol of a server.
	ProxyProtocol = settings.ProxyProtocol
	// Packets are the settings of a framing.
	Packets = framing.Packets
	// Length is the section length of a framing.
	Length = framing.Length
	// Rule is an item of the list rules of a framing.
	Rule = framing.Rule
)

// maxWorkers is the most that num_workers can be: more are an error of the pool.
const maxWorkers = 500

// InitDefault fills in the defaults and checks everything. The error names every mistake by its key.
func (c *Config) InitDefault() error { return errors.Join(c.check()...) }

func (c *Config) load(from Configurer) error { return c.Load(from, c, c.check) }

func (c *Config) check() []error {
	if c.Pool == nil {
		c.Pool = &pool.Config{}
	}
	errs := c.InitPool(c.Pool, maxWorkers)
	if c.Pool.Supervisor == nil {
		c.Pool.Supervisor = &pool.SupervisorConfig{}
		c.Pool.Supervisor.InitDefaults()
	}
	if c.Pool.Supervisor.ExecTTL == 0 {
		c.Pool.Supervisor.ExecTTL = dispatch.DefaultExecTTL
	}
	return append(c.Check(), errs...)
}

// options are those of RoadRunner's next major, where a pool belongs to the plugin that asked for it.
func (c *Config) options(log *slog.Logger, pooler Pooler) server.Options {
	cfg := *c.Pool
	cfg.MaxQueueSize = 0 // the plugin's queue has it
	supervisor := *c.Pool.Supervisor
	if supervisor.TTL == 0 && supervisor.IdleTTL == 0 && supervisor.MaxWorkerMemory == 0 {
		supervisor.WatchTick = dispatch.IdleWatchTick
	}
	cfg.Supervisor = &supervisor
	workers := int(cfg.NumWorkers)
	if cfg.Debug || cfg.DynamicAllocatorOpts != nil {
		workers = dispatch.Unlimited
	}
	return server.Options{
		Config: &c.Config, Log: log, Workers: workers, WatchTick: supervisor.WatchTick,
		PoolTraits:      dispatch.PoolTraits{WorkerPerExec: cfg.Debug, RetryNoFree: cfg.DynamicAllocatorOpts != nil, AddHoldsPool: true},
		AllocateTimeout: cfg.AllocateTimeout, DestroyTimeout: cfg.DestroyTimeout, MaxQueueSize: int(c.Pool.MaxQueueSize),
		NewPool: func(starts *dispatch.Starts) (dispatch.Pool, error) {
			if workers != dispatch.Unlimited {
				cfg.AllocateTimeout = dispatch.AllocateForever // for starts
			}
			p, err := pooler.NewPool(starts.Context(), &cfg, starts.Env(RrMode, PluginName), log)
			cfg.AllocateTimeout = c.Pool.AllocateTimeout // for exchanges
			return poolOf(p, err)
		},
	}
}
