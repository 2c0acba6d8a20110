// Package server listens, and drives connections from accept to CLOSE: listeners, limits on connections, TLS certificates, the
// PROXY protocol, one connection's life, pushes, the registry of open connections, RPC, and Stop. It knows workers only through
// package dispatch, and is not told which RoadRunner line it runs in: the plugin of a line embeds Server and passes what differs
// in Options.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/roadrunner-server/errors"

	"github.com/rrtcp/tcp/internal/cluster"
	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// Name is the name of the plugin and of its section in the configuration.
const Name = "tcp"

// Options are what a RoadRunner line gives to the plugin.
type Options struct {
	Config *settings.Config // checked
	Log    *slog.Logger

	// NewPool makes the pool of workers with the context and environment of starts and, unless it makes workers for exchanges,
	// with dispatch.AllocateForever.
	NewPool func(starts *dispatch.Starts) (dispatch.Pool, error)
	// Workers is the number of workers, or dispatch.Unlimited where the pool makes workers for exchanges that find none.
	Workers int
	dispatch.PoolTraits
	AllocateTimeout time.Duration
	DestroyTimeout  time.Duration
	WatchTick       time.Duration // of the pool's supervisor, whose looks at workers take descriptors
	MaxQueueSize    int           // 0: no limit
}

// Server is the part of the plugin that all RoadRunner lines share. The zero value answers as a plugin that does not serve.
type Server struct {
	options  Options
	counters telemetry.Servers
	pushes   pushCounters
	queue    *dispatch.Queue
	memory   *stream.Memory
	reads    *stream.ReadLimiter
	limiter  *connLimiter             // max_connections
	turns    *stream.HandshakeLimiter // max_handshakes; nil: no limit
	// overloads reports connections that ended because no worker was free; faults bounds the lines about connections that
	// ended with an error, handshakes those about connections that ended before CONNECTED.
	overloads          *telemetry.ThrottledLog
	faults, handshakes *telemetry.LogLimiter
	registry           registry
	cluster            *cluster.Cluster // nil: this node is alone
	asked              telemetry.Histogram
	slowRequests       chan struct{} // of other nodes; it has as many places as may be served at once
	settling           chan struct{} // the same for new tags
	initialized        time.Time

	// exchangeCtx ends the exchanges that still run, and their workers; closeCtx those of CLOSE, too.
	exchangeCtx, closeCtx         context.Context
	cancelExchanges, cancelCloses context.CancelFunc
	accepting                     sync.WaitGroup // the accept loops
	changing                      sync.WaitGroup // the start, resets and changes of the number of workers under way
	changes                       sync.Mutex     // held across each of them: one at a time

	mu         sync.Mutex // guards what follows
	listeners  []*listener
	starts     *dispatch.Starts     // nil until Serve starts workers
	dispatcher *dispatch.Dispatcher // nil until Serve has a pool
	stopping   bool
	upcoming   func() error // the reset that was asked for and has not begun; nil: none
	addresses  string       // where a node of a cluster listens
}

// Init prepares s for Serve.
func Init(s *Server, o Options) {
	s.options = o
	s.counters = telemetry.NewServers(o.Config.Names())
	for name, server := range o.Config.Servers {
		s.counters.Of(name).MaxConnections = int64(server.MaxConnections)
	}
	s.queue = dispatch.NewQueue(o.Workers, o.AllocateTimeout, o.MaxQueueSize)
	s.queue.Bulk.MaxEvents, s.queue.Bulk.MaxBytes = o.Config.BulkLimits()
	if s.queue.Bulk.MaxEvents > 0 && o.Workers == dispatch.Unlimited {
		o.Log.Warn("tcp.bulk has no effect: with pool.debug or pool.dynamic_allocator no event waits for a worker before the pool")
	}
	s.limiter = newConnLimiter(o.Config.MaxConnections)
	if limit := descriptorLimit(); limit > 0 {
		s.limiter.limit = maxConnections(o.Config.MaxConnections, freeDescriptors(limit, o.Workers, o.WatchTick))
	}
	s.reads = stream.NewReadLimiter()
	s.turns = stream.NewHandshakeLimiter(o.Config.HandshakeLimit())
	s.memory = stream.NewMemory(o.Config.MemoryLimitBytes())
	s.overloads = telemetry.NewThrottledLog(func(times int) {
		o.Log.Warn("connections ended because no worker was free in time", slog.Int("connections", times))
	})
	s.faults = telemetry.NewLogLimiter(func(times int) {
		o.Log.Error("more connections ended with an error; the level debug has each", slog.Int("connections", times))
	})
	s.handshakes = telemetry.NewLogLimiter(func(times int) {
		o.Log.Info("more connections ended before CONNECTED; the level debug has each", slog.Int("connections", times))
	})
	s.initCluster()
	s.closeCtx, s.cancelCloses = context.WithCancel(context.Background())
	s.exchangeCtx, s.cancelExchanges = context.WithCancel(s.closeCtx)
}

// Name of the plugin.
func (s *Server) Name() string { return Name }

// Serve binds every address, or none, starts the workers and then accepts connections. Endure reads the channel for errors.
func (s *Server) Serve() chan error {
	const op = errors.Op("tcp_plugin_serve")
	errCh := make(chan error, 1)
	if err := s.start(errCh); err != nil {
		errCh <- errors.E(op, errors.Serve, err)
	}
	return errCh
}

func (s *Server) start(errCh chan<- error) error {
	if s.isStopping() {
		return nil
	}
	s.reportDescriptors()
	listeners, err := s.bind()
	if err != nil {
		return err
	}
	if err := s.joinCluster(listeners); err != nil {
		closeAll(listeners)
		return err
	}
	starts := dispatch.NewStarts(s.options.AllocateTimeout)
	if !s.begin(starts) {
		closeAll(listeners)
		return nil
	}
	defer s.changing.Done()
	pool, err := starts.Make(s.options.NewPool)
	if err != nil {
		s.leaveCluster()
		closeAll(listeners)
		return fmt.Errorf("tcp: start the workers (server.command or tcp.pool.command): %w", err)
	}
	d := &dispatch.Dispatcher{
		Pool: pool, Queue: s.queue, Starts: starts, ExchangeCtx: s.exchangeCtx, CloseCtx: s.closeCtx, Log: s.options.Log,
		PoolTraits: s.options.PoolTraits, DestroyTimeout: s.options.DestroyTimeout,
	}
	go d.WatchStarts() // ends soon after Destroy
	if !s.accept(listeners, d, errCh) {
		closeAll(listeners)
		d.Destroy(context.Background(), s.options.DestroyTimeout)
	}
	return nil
}

// begin has Stop wait for the workers' start, which it hurries; false: the plugin has been stopped meanwhile.
func (s *Server) begin(starts *dispatch.Starts) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.starts = starts
	s.changing.Add(1)
	return true
}

// accept starts the accept loops; false: the plugin has been stopped meanwhile.
func (s *Server) accept(listeners []*listener, d *dispatch.Dispatcher, errCh chan<- error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners, s.dispatcher = listeners, d
	go s.maintain() // ends with Stop
	tracer := telemetry.NewTracer()
	for _, l := range listeners {
		l.workers, l.tracer = d, tracer
		s.accepting.Add(1)
		go s.acceptLoop(l, errCh) // ends when Stop closes the socket
		s.options.Log.Info("listening", slog.String("server", l.server), slog.String("address", networkAddress(l.socket.Addr())))
	}
	return true
}

func (s *Server) acceptLoop(l *listener, errCh chan<- error) {
	defer s.accepting.Done()
	if err := l.accept(); err != nil {
		select {
		case errCh <- err:
		default: // another one has ended RoadRunner already
		}
	}
}

func (s *Server) bind() ([]*listener, error) {
	var listeners []*listener
	for _, name := range s.options.Config.Names() {
		config := s.options.Config.Servers[name]
		e := config.Effective()
		socket, err := listen(e.Network, e.Address, e.ReusePort)
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("tcp: listen %s %s: %w", name, config.Addr, err)
		}
		listeners = append(listeners, s.newListener(name, config, socket))
	}
	return listeners, nil
}

func closeAll(listeners []*listener) {
	for _, l := range listeners {
		_ = l.socket.Close()
		for _, limiter := range l.limiters {
			limiter.close()
		}
	}
}

// ended counts the end of a connection.
func (s *Server) ended(why wire.Reason) {
	if why == wire.ReasonOverload {
		s.overloads.Add()
	}
}

// Addr is the address that the server listens on, with the port that the kernel chose where the configured one is 0;
// nil if it does not listen.
func (s *Server) Addr(server string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.server == server && !s.stopping {
			return l.socket.Addr()
		}
	}
	return nil
}

// MetricsCollector is what RoadRunner's metrics plugin shows. It may be asked for, and asked, before Serve.
func (s *Server) MetricsCollector() []prometheus.Collector {
	return []prometheus.Collector{telemetry.NewCollector(func() []*telemetry.Worker { return Workers(s) }, s.metricsSource)}
}

func (s *Server) metricsSource() *telemetry.Source {
	if s.counters == nil {
		return nil // no Init yet
	}
	return &telemetry.Source{
		Servers: s.counters, Pushes: s.pushes.load, QueueWait: s.queue.Waits(), ExchangeEvents: s.queue.Events(), Waiting: s.queue.Waiting,
		NoFreeWorkers: s.queue.NoFreeWorkers, Buffered: s.memory.Used, Cluster: s.clusterMetrics(),
		Missing: func() int { return missing(s) }, MaxConnections: int64(s.limiter.limit), MemoryLimit: s.memory.Limit(),
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}
