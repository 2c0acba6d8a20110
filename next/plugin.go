// Package tcp of this folder is the plugin for RoadRunner's next major, which is beta. It has only what differs from the package
// above it, which is for v2023.3 and v2024.1; everything else is in that module's internal.
package tcp

import (
	"context"
	"log/slog"

	"github.com/roadrunner-server/api-plugins/v6/status"
	"github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/pool/v2/payload"
	"github.com/roadrunner-server/pool/v2/pool"
	staticPool "github.com/roadrunner-server/pool/v2/pool/static_pool"
	"github.com/roadrunner-server/pool/v2/state/process"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/server"
)

const (
	// PluginName is the plugin's name and that of its section in the configuration.
	PluginName = server.Name
	// RrMode is the name of the variable in the workers' environment that says which plugin they work for: RR_MODE=tcp.
	RrMode = "RR_MODE"
)

// Logger is RoadRunner's logger plugin.
type Logger interface {
	NamedLogger(name string) *slog.Logger
}

// Pooler is RoadRunner's server plugin, which makes the pools of workers.
type Pooler interface {
	NewPool(ctx context.Context, cfg *pool.Config, env map[string]string, _ *slog.Logger) (*staticPool.Pool, error)
}

// core is embedded under a name that is not exported: only its methods are part of the plugin.
type core = server.Server

// Plugin listens on the configured servers and drives their connections. Its zero value is ready for Init. Serve, Stop, Reset,
// AddWorker, RemoveWorker, Name, Addr, MetricsCollector, Close, Write, Broadcast, Tag, Connections, Stats, LocalStats and Nodes are the
// methods of internal/server's Server.
type Plugin struct {
	core
}

// Init reads and checks the section tcp. Without one the plugin is disabled.
func (p *Plugin) Init(cfg Configurer, log Logger, pooler Pooler) error {
	const op = errors.Op("tcp_plugin_init")
	if !cfg.Has(PluginName) {
		return errors.E(op, errors.Disabled)
	}
	logger := log.NamedLogger(PluginName)
	c := new(Config)
	err := c.load(cfg)
	for _, warning := range c.Warnings() {
		logger.Warn(warning)
	}
	if err != nil {
		return errors.E(op, errors.Init, err)
	}
	server.Init(&p.core, c.options(logger, pooler))
	return nil
}

// Exec hands a payload of the caller's to a worker and returns its answer. It waits its turn like every event.
func (p *Plugin) Exec(request *payload.Payload) (*payload.Payload, error) {
	answer, err := server.Exec(&p.core, dispatch.Payload(*request))
	return (*payload.Payload)(answer), err
}

// Workers lists the workers and what they do; none before Serve.
func (p *Plugin) Workers() []*process.State {
	var states []*process.State
	for _, w := range server.Workers(&p.core) {
		states = append(states, (*process.State)(w))
	}
	return states
}

// Status tells RoadRunner's status plugin whether any worker is alive. One that is replaced by a Reset is.
func (p *Plugin) Status() (*status.Status, error) {
	return &status.Status{Code: server.HealthCode(server.IsAlive(&p.core))}, nil
}

// Ready tells RoadRunner's status plugin whether clients are served: every address listens, a worker is ready to take an
// event, and the plugin is not stopping. A Reset under way changes nothing: connections are accepted, exchanges wait.
func (p *Plugin) Ready() (*status.Status, error) {
	return &status.Status{Code: server.HealthCode(server.IsReady(&p.core))}, nil
}
