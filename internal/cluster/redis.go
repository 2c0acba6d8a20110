package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rrtcp/tcp/internal/settings"
)

const (
	redisDialTimeout = 2 * time.Second
	redisPing        = time.Second
	redisSilence     = 3 * redisPing    // without a byte where one is waited for: the end of a connection
	redisFailing     = 2 * redisSilence // without anything that was published: by then a Redis that is lost is known to be
	redisForever     = time.Hour        // a deadline of go-redis that redisConn replaces
	redisPoolSize    = 2
	// redisRenewal is how old a connection for publishing becomes: its address may be another server's by now.
	redisRenewal = 10 * time.Second
	// redisMaxMessage leaves room below client-output-buffer-limit for Pub/Sub, past which Redis cuts a node off.
	redisMaxMessage = maxRequest + headerSize
	// redisChannels is to how many channels one command subscribes.
	redisChannels = 1000
	// redisSubscribed is the ping behind such a command.
	redisSubscribed = "subscribed"
)

var (
	errRedisSilent = errors.New("redis does not answer")
	errRedisMoved  = errors.New("redis: the subscriptions are at another server than what is published")
)

// redisEngine is one Redis, one that its Sentinels name, or a Redis Cluster. All channels have the same hash tag, the cluster's name
// in braces: in a Redis Cluster they have one slot, so that one node of it knows all subscribers.
type redisEngine struct {
	required  bool
	prefix    string
	timeout   time.Duration
	address   string
	to        receiver
	client    redis.UniversalClient // publishes
	listener  redis.UniversalClient // has the subscriptions
	isCluster bool                  // they are of a Redis Cluster
	own       string                // the channel of this node
	missed    int                   // how often in a row this node was not subscribed where it publishes; only publish touches it
	failing   *redis.PubSub         // in this session nothing can be published, since failed; only publish touches these two
	failed    time.Time

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	subscribed atomic.Pointer[redis.PubSub] // to all channels; nil: nothing is

	mu       sync.Mutex
	pubsub   *redis.PubSub // nil: not connected
	hasMoved bool          // what is published goes to another server: the session is to end
	channels map[string]struct{}
	pings    map[string]chan struct{} // closed when Redis has answered, or the session ends
	lastPing int
}

var _ engine = (*redisEngine)(nil)

func newRedis(c *settings.Cluster, node NodeID, to receiver) *redisEngine {
	e := &redisEngine{
		required: c.Required, prefix: "{" + c.Name + "}.", timeout: *c.Timeout, to: to,
		address: strings.Join(c.Redis.Addrs, ","), channels: make(map[string]struct{}), pings: make(map[string]chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	o := redisOptions(c.Redis, c.Redis.TLS.Config(to.unusable), e.timeout)
	e.client = redis.NewUniversalClient(o)
	quiet := *o
	quiet.Dialer = listening(redis.NewDialer(&redis.Options{DialTimeout: redisDialTimeout, TLSConfig: o.TLSConfig}))
	e.listener = redis.NewUniversalClient(&quiet)
	_, e.isCluster = e.client.(*redis.ClusterClient)
	e.own = e.prefix + nodeSubject(node)
	return e
}

// redisOptions has no retries: a message is published once or not at all. The client of a Redis Cluster counts them as redirects, which
// a PUBLISH never needs.
func redisOptions(c *settings.Redis, t *tls.Config, timeout time.Duration) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: c.Addrs, Username: c.Username, Password: c.Password, DB: c.DB, MasterName: c.MasterName, TLSConfig: t,
		ClientName: "rrtcp", DisableIndentity: true, MaxRetries: -1, MaxRedirects: -1, DialTimeout: redisDialTimeout,
		ReadTimeout: timeout, WriteTimeout: timeout, ContextTimeoutEnabled: true, PoolSize: redisPoolSize,
		ConnMaxLifetime: redisRenewal,
	}
}

func (e *redisEngine) start() error {
	if e.required {
		ctx, cancel := context.WithTimeout(e.ctx, redisDialTimeout)
		defer cancel()
		if err := e.client.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	e.running.Add(1)
	go e.listen() // ends with close
	return nil
}

// listen keeps a connection for the subscriptions.
func (e *redisEngine) listen() {
	defer e.running.Done()
	for failures := 0; e.ctx.Err() == nil; {
		wasUp, err := e.session()
		if e.ctx.Err() != nil {
			return
		}
		e.to.down(err)
		if isRefusal(err) || isOfTLS(err) {
			e.to.trouble(err)
		}
		reload(e.listener)
		if failures++; wasUp {
			failures = 1
		}
		select {
		case <-e.ctx.Done():
		case <-time.After(backOff(failures)):
		}
	}
}

// session lasts as long as one connection; wasUp says that there was one.
func (e *redisEngine) session() (wasUp bool, err error) {
	pubsub := e.listener.Subscribe(e.ctx)
	ended := make(chan struct{}) // closed when the session ends
	defer func() {
		close(ended)
		_ = pubsub.Close()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.hasMoved {
			err = errRedisMoved
		}
		e.subscribed.Store(nil)
		e.pubsub, e.hasMoved = nil, false
		for _, lost := range e.pings {
			close(lost)
		}
		clear(e.pings)
	}()
	others, err := e.begin(pubsub)
	if err != nil {
		return false, err
	}
	e.running.Add(1)
	go e.keepAlive(pubsub, ended) // ends with the session
	for {
		message, err := pubsub.ReceiveTimeout(e.ctx, redisForever)
		if err != nil {
			return wasUp, err
		}
		switch m := message.(type) {
		case *redis.Message:
			e.to.received([]byte(m.Payload))
		case *redis.Pong:
			e.pong(m.Payload)
			switch {
			case wasUp || m.Payload != redisSubscribed:
			case len(others) > 0:
				if others, err = e.subscribeSome(pubsub, others); err != nil {
					return false, err
				}
			default: // everything is subscribed
				wasUp = true
				e.subscribed.Store(pubsub)
				e.to.up("redis " + e.address)
			}
		}
	}
}

// keepAlive pings, so that a connection is not silent as long as Redis is there.
func (e *redisEngine) keepAlive(pubsub *redis.PubSub, ended <-chan struct{}) {
	defer e.running.Done()
	ticker := time.NewTicker(redisPing)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			_ = pubsub.Ping(e.ctx) // an error is seen by the reader, too
		}
	}
}

// begin connects and subscribes to the first of all channels. It returns the others: this node's own comes last, so that who has an answer
// of it finds its tags, too. Nobody waits for the connection, which takes its time.
func (e *redisEngine) begin(pubsub *redis.PubSub) (others []string, err error) {
	first := e.prefix + allSubject
	if err := pubsub.Subscribe(e.ctx, first); err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.pubsub = pubsub
	all := make([]string, 0, len(e.channels))
	for channel := range e.channels {
		if channel != first && channel != e.own {
			all = append(all, channel)
		}
	}
	e.mu.Unlock()
	return e.subscribeSome(pubsub, append(all, e.own))
}

// subscribeSome subscribes to as many channels as fit into one command, with a ping behind it, and returns the others. Redis cuts off a
// client that does not read the answers to all of very many.
func (e *redisEngine) subscribeSome(pubsub *redis.PubSub, all []string) (others []string, err error) {
	n := min(len(all), redisChannels)
	e.mu.Lock()
	defer e.mu.Unlock()
	some := slices.DeleteFunc(all[:n:n], func(channel string) bool {
		_, isWanted := e.channels[channel] // still
		return !isWanted
	})
	if len(some) > 0 {
		if err := pubsub.Subscribe(e.ctx, some...); err != nil {
			return nil, err
		}
	}
	return all[n:], pubsub.Ping(e.ctx, redisSubscribed)
}

func (e *redisEngine) publish(batch []outgoing) {
	ctx, cancel := context.WithTimeout(context.Background(), e.timeout)
	defer cancel()
	subscribed := e.subscribed.Load()
	pipe := e.client.Pipeline()
	asked := e.askForNodes(ctx, pipe, batch)
	published := make([]*redis.IntCmd, len(batch))
	for i, m := range batch {
		published[i] = pipe.Publish(ctx, e.prefix+m.subject, m.whole())
	}
	execute(ctx, pipe)
	e.checkPublished(published[0].Err(), subscribed)
	nodes := asked.Val()
	if n, ok := nodes[e.own]; ok && subscribed != nil {
		e.compare(subscribed, n > 0)
	}
	for i, m := range batch {
		receivers, err := published[i].Result()
		switch {
		case isRefusal(err):
			e.to.trouble(err)
		case err != nil:
			reload(e.client)
		}
		switch {
		case m.call == 0:
		case err != nil:
			e.to.failed(m.call)
		case receivers > 0:
		case e.isCluster && asked.Err() == nil && nodes[e.prefix+nodeSubjectOf(m.subject)] == 0:
			e.to.unseen(m.call)
		default:
			e.to.nobody(m.call)
		}
	}
}

// checkPublished says so where nothing can be published for long, such as without a free descriptor, but the subscriptions last: then Redis
// is not lost, and nothing else would say why the others are unreachable.
func (e *redisEngine) checkPublished(err error, subscribed *redis.PubSub) {
	switch {
	case err == nil:
		e.failing = nil
	case e.failing != subscribed:
		e.failing, e.failed = subscribed, time.Now()
	case subscribed != nil && time.Since(e.failed) > redisFailing:
		e.to.trouble(fmt.Errorf("redis: nothing can be published: %w", err))
	}
}

// isRefusal reports whether Redis has sent the error.
func isRefusal(err error) bool {
	refused := redis.Error(nil)
	return errors.As(err, &refused)
}

// execute gives each command its error, which go-redis does not where it has no connection.
func execute(ctx context.Context, pipe redis.Pipeliner) {
	cmds, err := pipe.Exec(ctx)
	if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
		return
	}
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

// askForNodes asks which nodes are subscribed where a batch is published: with each message to all, whether this one is, and in a Redis
// Cluster those whose tags the batch is for. There a message reaches the subscribers at all servers, but those at one are counted: a
// node without the tag has none, and so has one whose subscriptions are at another server.
func (e *redisEngine) askForNodes(ctx context.Context, pipe redis.Pipeliner, batch []outgoing) *redis.MapStringIntCmd {
	var channels []string
	for _, m := range batch {
		node := nodeSubjectOf(m.subject)
		switch {
		case m.subject == allSubject:
			channels = append(channels, e.own)
		case e.isCluster && m.call != 0 && m.subject != node:
			channels = append(channels, e.prefix+node)
		}
	}
	if len(channels) == 0 {
		return redis.NewMapStringIntCmd(ctx)
	}
	const firstChannel = 2
	slices.Sort(channels)
	asked := pipe.PubSubNumSub(ctx, slices.Compact(channels)...)
	asked.SetFirstKeyPos(firstChannel) // it goes to the same server
	return asked
}

// compare is told whether this node is subscribed where it publishes. After a failover, or when a slot has moved, it may not be: then
// it looks where the slots are, and subscribes anew where that does not help.
func (e *redisEngine) compare(subscribed *redis.PubSub, isHere bool) {
	if isHere {
		e.missed = 0
		return
	}
	reload(e.client)
	reload(e.listener)
	if e.missed++; e.missed == 1 {
		return
	}
	e.missed = 0
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pubsub == subscribed {
		e.hasMoved = true
		_ = subscribed.Close() // which ends the session
	}
}

// reload looks where the slots of a Redis Cluster are, meanwhile.
func reload(client redis.UniversalClient) {
	if c, ok := client.(*redis.ClusterClient); ok {
		c.ReloadState(context.Background())
	}
}

func (e *redisEngine) subscribe(subjects []string) {
	e.change(subjects, func(channel string) { e.channels[channel] = struct{}{} }, (*redis.PubSub).Subscribe)
}

func (e *redisEngine) unsubscribe(subjects []string) {
	e.change(subjects, func(channel string) { delete(e.channels, channel) }, (*redis.PubSub).Unsubscribe)
}

// change notes what the channels are now, and tells Redis of as many as fit into one command when it has answered those before: as long as
// it deals with a command it serves nobody. An error is the end of the session, which the next one makes good.
func (e *redisEngine) change(subjects []string, note func(string), tell func(*redis.PubSub, context.Context, ...string) error) {
	for {
		n := min(len(subjects), redisChannels)
		e.changeSome(subjects[:n], note, tell)
		if subjects = subjects[n:]; len(subjects) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(e.ctx, e.timeout)
		e.settle(ctx)
		cancel()
	}
}

func (e *redisEngine) changeSome(subjects []string, note func(string), tell func(*redis.PubSub, context.Context, ...string) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := make([]string, len(subjects))
	for i, subject := range subjects {
		changed[i] = e.prefix + subject
		note(changed[i])
	}
	if e.pubsub != nil && len(changed) > 0 {
		_ = tell(e.pubsub, e.ctx, changed...)
	}
}

// settle pings: Redis answers behind what came before.
func (e *redisEngine) settle(ctx context.Context) {
	answered := make(chan struct{})
	e.mu.Lock()
	e.lastPing++
	ping := strconv.Itoa(e.lastPing)
	if e.pubsub != nil && e.pubsub.Ping(e.ctx, ping) == nil {
		e.pings[ping] = answered
	} else {
		close(answered)
	}
	e.mu.Unlock()
	select {
	case <-answered:
	case <-ctx.Done():
	}
	e.mu.Lock()
	delete(e.pings, ping)
	e.mu.Unlock()
}

func (e *redisEngine) pong(ping string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if answered := e.pings[ping]; answered != nil {
		close(answered)
		delete(e.pings, ping)
	}
}

func (e *redisEngine) maxMessage() int { return redisMaxMessage }

func (e *redisEngine) close() {
	e.cancel()
	e.mu.Lock()
	if e.pubsub != nil {
		_ = e.pubsub.Close() // which ends a read
	}
	e.mu.Unlock()
	_ = e.client.Close()
	_ = e.listener.Close()
	e.running.Wait()
}
