// Package tcp is a RoadRunner plugin: a TCP server whose connections are answered by PHP workers. See README.md.
package tcp

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/sdk/v4/payload"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/roadrunner-server/sdk/v4/state/process"
	"go.uber.org/zap"
)

const (
	// PluginName is the plugin's name and that of its section in the configuration.
	PluginName = "tcp"
	// RrMode is the name of the variable in the workers' environment that says which plugin they work for: RR_MODE=tcp.
	RrMode = "RR_MODE"
)

// Configurer is RoadRunner's config plugin.
type Configurer interface {
	// UnmarshalKey decodes the section name into out.
	UnmarshalKey(name string, out any) error
	// Has reports whether there is a section name.
	Has(name string) bool
}

// Logger is RoadRunner's logger plugin.
type Logger interface {
	NamedLogger(name string) *zap.Logger
}

// Pooler is RoadRunner's server plugin, which makes the pools of workers.
type Pooler interface {
	NewPool(ctx context.Context, cfg *pool.Config, env map[string]string, _ *zap.Logger) (*staticPool.Pool, error)
}

// Plugin listens on the configured servers and drives their connections. Its zero value is ready for Init.
type Plugin struct {
	cfg    *Config
	log    *zap.Logger
	pooler Pooler
	live   registry
	queue  *queue
	slots  *slots
	memory *memory
	turns  *turns
	// overloads are the connections that ended because no worker was free.
	overloads summary
	pushes    pushCounts
	loud      loudness // of connections that ended with an error
	stats     stats

	// kill cuts the exchanges that still run off, and their workers with them; killLast those of CLOSE, too.
	cut, last      context.Context
	kill, killLast context.CancelFunc

	accepting sync.WaitGroup // the accept loops
	changing  sync.WaitGroup // resets and changes of the number of workers under way
	changes   sync.Mutex     // held across each of them: one at a time

	destroyed sync.Once // the pool, where that is ours to destroy: a second time would panic

	mu        sync.Mutex // guards what follows
	listeners []*listener
	exchanger *exchanger // nil until Serve has a pool
	stopping  bool
}

// Init reads and checks the section tcp. Without one the plugin is disabled.
func (p *Plugin) Init(cfg Configurer, log Logger, server Pooler) error {
	const op = errors.Op("tcp_plugin_init")
	if !cfg.Has(PluginName) {
		return errors.E(op, errors.Disabled)
	}

	p.log = log.NamedLogger(PluginName)
	p.pooler = server
	p.cfg = new(Config)
	err := p.cfg.load(cfg)
	for _, warning := range p.cfg.warnings {
		p.log.Warn(warning)
	}
	if err != nil {
		return errors.E(op, errors.Init, err)
	}

	p.stats = newStats(p.cfg.names())
	p.queue = p.cfg.newQueue()
	p.slots = newSlots(p.cfg.MaxConnections)
	p.turns = newTurns()
	p.memory = &memory{limit: sizeOr(defaultMemoryLimit, p.cfg.MemoryLimit)}
	p.overloads.report = func(times int) {
		p.log.Warn("connections ended because no worker was free in time", zap.Int("connections", times))
	}
	p.loud.rest.report = func(times int) {
		p.log.Error("more connections ended with an error; the level debug has each", zap.Int("connections", times))
	}
	p.last, p.killLast = context.WithCancel(context.Background())
	p.cut, p.kill = context.WithCancel(p.last)
	return nil
}

func (c *Config) load(from Configurer) error {
	section := make(map[string]any)
	if err := from.UnmarshalKey(PluginName, &section); err != nil {
		return stderrors.New("tcp: is no section; want keys of its own below it, servers among them")
	}
	decodeErr := from.UnmarshalKey(PluginName, c) // decodes what it can
	errs, said := c.audit(section)
	if decodeErr != nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("tcp: want keys below it as docs/configuration.md has them: %w", decodeErr))
	}
	for _, err := range c.initDefault() {
		key, _, _ := strings.Cut(err.Error(), ": ")
		if !isSaid(key, said) {
			errs = append(errs, err)
		}
	}
	return stderrors.Join(errs...)
}

// isSaid reports whether something is known to be wrong with a key already, or with one above it.
func isSaid(key string, said []string) bool {
	return slices.ContainsFunc(said, func(s string) bool { return key == s || strings.HasPrefix(key, s+".") })
}

// newQueue is the queue in front of the pool, as wide as that. Where a worker is made for each exchange, it is open.
func (c *Config) newQueue() *queue {
	q := &queue{width: int(c.Pool.NumWorkers), timeout: c.Pool.AllocateTimeout, most: int(c.Pool.MaxQueueSize)}
	if makesWorkers(c.Pool) {
		q.width = open
	}
	return q
}

// Serve binds every address, or none, starts the workers and then accepts connections.
func (p *Plugin) Serve() chan error {
	const op = errors.Op("tcp_plugin_serve")
	errCh := make(chan error, 1)
	if err := p.start(errCh); err != nil {
		errCh <- errors.E(op, errors.Serve, err)
	}
	return errCh
}

func (p *Plugin) start(errCh chan<- error) error {
	if p.isStopping() {
		return nil
	}
	listeners, err := p.bind()
	if err != nil {
		return err
	}

	cfg := *p.cfg.Pool
	cfg.MaxQueueSize = 0 // the queue in front of the pool has it
	workers, err := p.pooler.NewPool(context.Background(), &cfg, map[string]string{RrMode: PluginName}, p.log)
	if err != nil {
		closeAll(listeners)
		return fmt.Errorf("tcp: start the workers (server.command or tcp.pool.command): %w", err)
	}
	e := &exchanger{pool: workers, queue: p.queue, cut: p.cut, last: p.last, debug: p.cfg.Pool.Debug, log: p.log}
	if !p.adopt(listeners, e, errCh) {
		closeAll(listeners)
		e.destroy(context.Background(), p.cfg.Pool.DestroyTimeout)
	}
	return nil
}

// adopt begins to accept connections; false: the plugin has been stopped meanwhile.
func (p *Plugin) adopt(listeners []*listener, e *exchanger, errCh chan<- error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return false
	}
	p.listeners, p.exchanger = listeners, e
	go p.keepOrder() // ends with Stop
	tracer := newTracer()
	for _, l := range listeners {
		l.workers, l.tracer = e, tracer
		p.accepting.Add(1)
		go p.accept(l, errCh) // ends when Stop closes the socket
		p.log.Info("listening", zap.String("server", l.server), zap.String("address", addrString(l.socket.Addr())))
	}
	return true
}

func (p *Plugin) accept(l *listener, errCh chan<- error) {
	defer p.accepting.Done()
	if err := l.accept(); err != nil {
		select {
		case errCh <- err:
		default: // another one has ended RoadRunner already
		}
	}
}

func (p *Plugin) bind() ([]*listener, error) {
	var listeners []*listener
	for _, name := range p.cfg.names() {
		server := p.cfg.Servers[name]
		socket, err := bind(server.address, server.limits.reusePort)
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("tcp: listen %s %s: %w", name, server.Addr, err)
		}
		listeners = append(listeners, p.newListener(name, server, socket))
	}
	return listeners, nil
}

func (p *Plugin) newListener(name string, server *Server, socket net.Listener) *listener {
	l := &listener{
		server: name, dialect: p.cfg.Dialect, framing: server.framing(server.readBytes, server.limits.packet),
		most: server.readBytes, limits: server.limits, omits: server.omits, socket: socket, log: p.log, ended: p.ended,
		stats: p.stats.of(name), access: server.AccessLog, loud: &p.loud,
		live: &p.live, memory: p.memory, turns: p.turns, slots: [2]*slots{newSlots(server.MaxConnections), p.slots},
	}
	l.peers.limit = server.limits.connectionsPerIP
	l.refused.report = func(times int) {
		p.log.Info("connections refused: their addresses have max_connections_per_ip open",
			zap.String("server", name), zap.Int("connections", times))
	}
	l.strange.report = func(times int) {
		p.log.Warn("connections refused: they come from none of proxy_protocol.trusted",
			zap.String("server", name), zap.Int("connections", times))
	}
	if l.proxy, l.tls = server.ProxyProtocol, server.TLS; l.tls != nil {
		l.certs = newCertificates(name, l.tls, p.log)
	}
	return l
}

// ended is told why each connection ended.
func (p *Plugin) ended(why reason) {
	if why == reasonOverload {
		p.overloads.add()
	}
}

func closeAll(listeners []*listener) {
	for _, l := range listeners {
		_ = l.socket.Close()
		for _, s := range l.slots {
			s.close()
		}
	}
}

const (
	orderPause   = time.Second / 4
	defaultGrace = 30 * time.Second // Endure's
	hostMargin   = 5 * time.Second
)

// Stop closes the listeners, lets the exchanges that are owed a reply end, and cuts off what still runs when too little
// of the grace period is left for RoadRunner's own clean-up: CLOSE last. It may come before Serve, during Reset and twice.
func (p *Plugin) Stop(ctx context.Context) error {
	p.mu.Lock()
	listeners, e, started := p.listeners, p.exchanger, p.queue != nil
	p.stopping = true
	p.mu.Unlock()
	if !started {
		return nil
	}

	closeAll(listeners)
	p.accepting.Wait()
	for _, l := range listeners {
		l.refused.close()
		l.strange.close()
	}
	p.turns.hurry()
	p.live.drain()

	ended := make(chan struct{}) // closed when nothing of ours runs any more
	go func() {                  // ends with the last connection and Reset
		defer close(ended)
		p.awaitEnd(e)
	}()
	left, margin := grace(ctx)
	deadline := time.Now().Add(left)
	if !endsBy(ctx, ended, deadline.Add(-margin)) {
		p.kill()
		p.live.abort()
		endsBy(ctx, ended, deadline.Add(-margin/2))
	}
	p.queue.close()
	p.killLast()
	if e != nil {
		p.destroyed.Do(func() { e.destroy(ctx, min(p.cfg.Pool.DestroyTimeout, time.Until(deadline.Add(-margin/4)))) })
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tcp: stop: connections, a reset or the clean-up of the pool still run: %w", ctx.Err())
	}
}

func endsBy(ctx context.Context, ended <-chan struct{}, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (p *Plugin) awaitEnd(e *exchanger) {
	if e != nil {
		stop := every(tidyPause, e.sweep)
		defer e.tidy()
		defer stop()
	}
	p.live.wait()
	p.changing.Wait()
	p.overloads.close()
	p.loud.rest.close()
}

// grace is how much time there is, and how much of it exchanges leave to what comes after them: five seconds, or a third.
func grace(ctx context.Context) (left, margin time.Duration) {
	left = defaultGrace
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return left, min(hostMargin, left/3)
}

// Name of the plugin.
func (p *Plugin) Name() string { return PluginName }

// RPC is the receiver of the methods tcp.*.
func (p *Plugin) RPC() any { return &rpc{plugin: p} }

// Addr is the address that the server listens on, with the port that the kernel chose where the configured one is 0;
// nil if it does not listen.
func (p *Plugin) Addr(server string) net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners {
		if l.server == server && !p.stopping {
			return l.socket.Addr()
		}
	}
	return nil
}

// Close closes the connection with that uuid at once; its worker is told the reason rpc. A uuid that is not open is no
// error, a string that is no uuid is one.
func (p *Plugin) Close(id string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return fmt.Errorf("tcp: close %q: want the uuid of a connection: %w", id, err)
	}
	if c := p.live.get(parsed.String()); c != nil {
		c.abort(reasonRPC)
	}
	return nil
}

var errNotServing = stderrors.New("tcp: there are no workers: the plugin does not serve yet or any more")

// serving returns what hands events to the workers; an error before Serve and after Stop.
func (p *Plugin) serving() (*exchanger, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exchanger == nil || p.stopping {
		return nil, errNotServing
	}
	return p.exchanger, nil
}

// Exec hands a payload of the caller's to a worker and returns its answer. It waits its turn like every event.
func (p *Plugin) Exec(request *payload.Payload) (*payload.Payload, error) {
	const op = errors.Op("tcp_plugin_exec")
	e, err := p.serving()
	if err != nil {
		return nil, errors.E(op, err)
	}
	c := newCall(0)
	c.payload = *request
	a, err := e.offer(e.cut, c, e.cut.Done(), 0)
	if a.more != nil {
		a.more.end()
		err = errStreamed
	}
	if err != nil {
		return nil, errors.E(op, err)
	}
	return &payload.Payload{Context: a.context, Body: a.body, Codec: a.codec}, nil
}

var errStreamed = stderrors.New("the worker answered in several frames; answer with one")

// Workers lists the workers and what they do; none before Serve.
func (p *Plugin) Workers() []*process.State {
	p.mu.Lock()
	e := p.exchanger
	p.mu.Unlock()
	if e == nil {
		return nil
	}

	var states []*process.State
	for _, w := range e.pool.Workers() {
		if state, err := process.WorkerProcessState(w); err == nil { // an error: it is gone already
			states = append(states, state)
		}
	}
	return states
}

// AddWorker starts one more worker.
func (p *Plugin) AddWorker() error {
	const op = errors.Op("tcp_plugin_add_worker")
	if err := p.change((*exchanger).addWorker); err != nil {
		return errors.E(op, err)
	}
	return nil
}

// RemoveWorker stops a worker, as soon as one is free. The last one stays: that is an error.
func (p *Plugin) RemoveWorker(ctx context.Context) error {
	const op = errors.Op("tcp_plugin_remove_worker")
	e, err := p.serving()
	if err == nil {
		err = e.removeWorker(ctx, p.change)
	}
	if err != nil {
		return errors.E(op, err)
	}
	return nil
}

// Reset replaces the workers, and certificates that have changed; connections stay, exchanges wait. Before Serve and after
// Stop there is nothing to replace.
func (p *Plugin) Reset() error {
	const op = errors.Op("tcp_plugin_reset")
	err := p.change(func(e *exchanger) error {
		p.renewCertificates()
		p.log.Info("reset: workers are replaced, connections stay")
		return e.reset()
	})
	switch {
	case stderrors.Is(err, errNotServing):
		return nil
	case err != nil:
		return errors.E(op, err)
	}
	p.log.Info("reset: done")
	return nil
}

// keepOrder looks after the pool, and after memory, until Stop has ended.
func (p *Plugin) keepOrder() {
	var room [keeperRoom]byte
	keepRoom(room[:])
	var leisure leisure
	for {
		select {
		case <-p.cut.Done():
			return
		case <-time.After(orderPause):
		}
		leisure.look()
		if !p.changes.TryLock() {
			continue // somebody does what is to be looked after
		}
		if err := p.changeLocked((*exchanger).repair); err != nil && !stderrors.Is(err, errNotServing) {
			p.log.Error("the workers do not start; trying again", zap.Error(err))
		}
		p.changes.Unlock()
	}
}

// change does what changes the workers, one at a time.
func (p *Plugin) change(f func(*exchanger) error) error {
	p.changes.Lock()
	defer p.changes.Unlock()
	return p.changeLocked(f)
}

func (p *Plugin) changeLocked(f func(*exchanger) error) error {
	p.mu.Lock()
	e := p.exchanger
	if e == nil || p.stopping {
		p.mu.Unlock()
		return errNotServing
	}
	p.changing.Add(1)
	p.mu.Unlock()
	defer p.changing.Done()

	err := f(e)
	if p.isStopping() {
		e.killStrays()
	}
	return err
}

func (p *Plugin) renewCertificates() {
	p.mu.Lock()
	listeners := p.listeners
	p.mu.Unlock()
	for _, l := range listeners {
		if l.certs != nil {
			l.certs.renew()
		}
	}
}

func (p *Plugin) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}
