// Package cluster carries requests and their answers between the nodes that have the same name, over NATS or Redis, and knows which
// nodes there are. It does not know what the requests say: package server does. It knows no connections and no sockets of clients.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/settings"
)

var (
	// ErrGone says that there is no such node.
	ErrGone = errors.New("there is no such node")
	// ErrUnreachable says that the node, or the engine, did not answer in time: the node may have got the request or not.
	ErrUnreachable = errors.New("the node did not answer in time")
	// ErrFull says that too much waits for the engine already. The node did not get the request.
	ErrFull = errors.New("too much waits for the engine")
)

// Options are what a node needs of its owner. The functions may be called by any goroutine.
type Options struct {
	Config *settings.Cluster // checked
	Log    *slog.Logger
	// Serve does what a request says and calls answer once, at any time; nil refuses it. It must not wait: requests of one node
	// come in their order, by one goroutine. It owns the request.
	Serve func(request []byte, answer func([]byte))
	// Describe returns what the other nodes are told.
	Describe func() Info
	// Took is told how long the questions to other nodes that were asked together have taken.
	Took func(time.Duration)
}

// Cluster is this node's part in the cluster.
type Cluster struct {
	Options
	node     NodeID
	instance string // of this start: two nodes with the same id differ in it
	timeout  time.Duration
	engine   engine
	calls    calls
	members  members
	outbox   backlog
	tags     tags
	counters Counters
	unknown  sync.Once // logs a message of another version
	twins    sync.Once // logs a node with the same id

	starting sync.Mutex // held by Start, and at the beginning of Stop

	mu        sync.Mutex
	connected time.Time            // zero: the engine can't be reached
	lost      time.Time            // when it could not be reached last
	reported  bool                 // a state was logged
	troubled  map[string]time.Time // when what can come again and again was logged last, by the line
	stopping  bool

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Counters count messages since the start.
type Counters struct {
	Out, In, Failed, Refused atomic.Int64
}

// New returns a node that is not connected yet.
func New(o Options) *Cluster {
	c := &Cluster{
		Options: o, node: newNodeID(o.Config.Node), instance: newInstance(), timeout: *o.Config.Timeout, calls: newCalls(), outbox: newBacklog(),
		troubled: make(map[string]time.Time),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if o.Config.NATS != nil {
		c.engine = newNATS(o.Config, c.node, c)
	} else {
		c.engine = newRedis(o.Config, c.node, c)
	}
	return c
}

// Node returns the id of this node.
func (c *Cluster) Node() NodeID { return c.node }

// Start joins the cluster. An engine that can't be reached is an error only where the configuration says so.
func (c *Cluster) Start() error {
	c.starting.Lock()
	defer c.starting.Unlock()
	if c.isStopping() {
		return nil
	}
	c.engine.subscribe([]string{nodeSubject(c.node), allSubject})
	if err := c.engine.start(); err != nil {
		return fmt.Errorf("tcp: cluster: %w", err)
	}
	c.running.Add(2)
	go c.send()     // ends with Stop
	go c.sayHello() // ends with Stop
	return nil
}

// Stop leaves the cluster. It may come before Start, and twice.
func (c *Cluster) Stop() {
	c.starting.Lock()
	c.mu.Lock()
	first := !c.stopping
	c.stopping = true
	c.mu.Unlock()
	c.starting.Unlock()
	if !first {
		return
	}
	c.outbox.close(outgoing{subject: allSubject, message: c.message(kindBye, 0, []byte(c.instance))})
	c.cancel()
	c.running.Wait() // send empties the outbox, within timeout
	c.engine.close()
	c.calls.failAll()
}

func (c *Cluster) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

// IsConnected reports whether the engine can be reached.
func (c *Cluster) IsConnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.connected.IsZero() && !c.stopping
}

// connectedFor returns for how long the engine could be reached by now; 0: it can't.
func (c *Cluster) connectedFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connected.IsZero() {
		return 0
	}
	return time.Since(c.connected)
}

// lostAt returns when the engine could not be reached last; zero: it always could.
func (c *Cluster) lostAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// MaxRequest is the size of the largest request with its body, and of the largest answer; 0: not known yet.
func (c *Cluster) MaxRequest() int { return max(0, min(c.engine.maxMessage()-headerSize, maxRequest)) }

// Counters returns what was counted.
func (c *Cluster) Counters() *Counters { return &c.counters }

// up and down are told by the engine.
func (c *Cluster) up(server string) {
	if c.changeState(true) {
		c.Log.Info("cluster: connected", slog.String("engine", server), slog.String("node", c.node.String()))
	}
	c.hello(allSubject)
}

func (c *Cluster) down(err error) {
	if c.changeState(false) {
		c.Log.Warn("cluster: the engine can't be reached; trying on, other nodes are unreachable", slog.Any("error", err))
	}
	c.calls.failAll()
}

// troubleInterval is how often what can come again and again is logged at most.
const troubleInterval = time.Minute

func (c *Cluster) trouble(err error) { c.warn("cluster: the engine refuses something", err) }

func (c *Cluster) unusable(err error) {
	c.warn("cluster: a renewed certificate can't be used; the one before stays", err)
}

func (c *Cluster) warn(line string, err error) {
	c.mu.Lock()
	due := time.Since(c.troubled[line]) > troubleInterval
	if due {
		c.troubled[line] = time.Now()
	}
	c.mu.Unlock()
	if due {
		c.Log.Warn(line, slog.Any("error", err))
	}
}

// changeState reports whether the state is another one than before.
func (c *Cluster) changeState(up bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.connected.IsZero() == up || !c.reported
	c.reported = true
	switch {
	case !up:
		c.connected, c.lost = time.Time{}, time.Now()
	case changed:
		c.connected = time.Now()
	}
	return changed && !c.stopping
}
