package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rrtcp/tcp/internal/settings"
)

const (
	natsDialTimeout = 2 * time.Second
	natsPing        = time.Second
	natsPings       = 4 // without an answer are the end of a connection; a large message on a slow link delays them
	// natsPending bounds what a subscription holds, in bytes. Those of tags share a channel of natsTagged messages and a backlog.
	natsPending = 16 << 20
	natsTagged  = 1024
	// natsLinger is how long a node stays subscribed to a tag that it has no more, and answers that nobody has it. NATS may send on what
	// comes before it knows that the node is not, which nats.go then drops: the caller would wait for timeout. That is likely only at once.
	natsLinger = time.Second
	// natsRetry is how long after NATS has refused a subscription the node tries again: NATS does not say when it would allow it.
	natsRetry = 10 * time.Second
	// What closes a connection twice within natsCalm may do so again and again: the pause before the next one grows.
	natsCalm     = 10 * time.Minute
	natsMaxPause = 30 * time.Second
	// natsNoResponders is the status of the message that NATS sends in place of an answer where nobody is subscribed.
	natsNoResponders = "503"
	// natsDenied is what NATS says, with the subject behind it, where a login may not subscribe.
	natsDenied = "Permissions Violation for Subscription to "
)

// natsEngine is NATS.
type natsEngine struct {
	config   *settings.NATS
	required bool
	timeout  time.Duration
	prefix   string
	nobody   string // the subject, without the call, that NATS answers on where nobody is subscribed
	to       receiver

	mu      sync.Mutex
	started bool
	conn    *nats.Conn                    // the last one; nil: there was none yet
	first   []string                      // subscribed to at start
	own     map[string]*nats.Subscription // those, as in tags
	tags    map[string]*nats.Subscription // a nil one: conn was closed, or is nil
	leaving map[string]int                // those of tags that this node has no more, by the number of the call; they are subscribed to
	leaves  int                           // the number of the last one
	denied  map[string]struct{}           // what NATS has refused to subscribe to; if there is any, subscribeAgain is due

	closed     int       // how many connections NATS has closed, but for those long ago
	lastClosed time.Time // only the connections' callbacks touch these two, one connection's after the other's

	linger time.Duration
	retry  time.Duration
	tagged chan *nats.Msg
	inbox  backlog // of tags
	isUp   atomic.Bool
	limit  atomic.Int64  // of a message, when the last one was published
	ended  chan struct{} // closed by close
}

var _ engine = (*natsEngine)(nil)

func newNATS(c *settings.Cluster, node NodeID, to receiver) *natsEngine {
	return &natsEngine{
		config: c.NATS, required: c.Required, timeout: *c.Timeout, prefix: c.Name + ".",
		nobody: c.Name + ".nobody." + node.String() + ".", to: to,
		own: make(map[string]*nats.Subscription), tags: make(map[string]*nats.Subscription), leaving: make(map[string]int),
		denied: make(map[string]struct{}), linger: natsLinger, retry: natsRetry, tagged: make(chan *nats.Msg, natsTagged), inbox: newBacklog(),
		ended: make(chan struct{}),
	}
}

func (e *natsEngine) options(connected nats.ConnHandler) ([]nats.Option, error) {
	c := e.config
	o := []nats.Option{
		nats.Name("rrtcp"), nats.NoEcho(), nats.Timeout(natsDialTimeout), nats.FlusherTimeout(e.timeout),
		nats.PingInterval(natsPing), nats.MaxPingsOutstanding(natsPings), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(e.tryAgain), nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(connected), nats.ReconnectHandler(connected), nats.DisconnectErrHandler(e.disconnected),
		nats.ClosedHandler(e.replace), nats.ErrorHandler(e.refused),
	}
	switch {
	case c.User != "":
		o = append(o, nats.UserInfo(c.User, c.Password))
	case c.Token != "":
		o = append(o, nats.Token(c.Token))
	case c.Credentials != "":
		o = append(o, nats.UserCredentials(c.Credentials))
	case c.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("nats.nkey: %w", err)
		}
		o = append(o, nkey)
	}
	if t := c.TLS.Config(e.to.unusable); t != nil {
		o = append(o, nats.Secure(t))
	}
	return o, nil
}

// backOff is the pause after so many failures in a row: 50 ms, doubled each time, 1 s at most.
func backOff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(max(failures-1, 0), 5), time.Second)
}

// tryAgain is backOff. What NATS refuses at a connection that nats.go makes anew is told here alone.
func (e *natsEngine) tryAgain(failures int) time.Duration {
	if err := e.connection().LastError(); failures > 1 && err != nil {
		e.refused(nil, nil, err)
	}
	return backOff(failures)
}

func (e *natsEngine) start() error {
	e.mu.Lock()
	e.started = true
	e.mu.Unlock()
	_, wrong := e.options(e.connected)
	err := cmp.Or(wrong, e.connect())
	if err != nil && (e.required || wrong != nil || errors.As(err, new(*url.Error))) {
		return fmt.Errorf("nats: %w", err)
	}
	if err != nil {
		e.to.down(err)
		go e.reconnect(backOff(1)) // ends with close
	}
	go e.takeTags() // ends with close
	go e.hearTags() // ends with close
	return nil
}

// connect makes a connection and subscribes to everything.
func (e *natsEngine) connect() error {
	subscribed := make(chan struct{}) // closed when the receiver may know of the connection
	defer close(subscribed)
	options, err := e.options(func(conn *nats.Conn) {
		<-subscribed
		e.connected(conn)
	})
	if err != nil {
		return err
	}
	conn, err := nats.Connect(e.config.Addr, options...)
	if err != nil {
		return err
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hasEnded() {
		conn.Close()
		return nil
	}
	e.conn = conn // an error of a subscription: it is closed, for which replace is called
	e.subscribeOwn(e.nobodySubject())
	for _, subject := range e.first {
		e.subscribeOwn(subject)
	}
	for subject := range e.tags {
		e.subscribeTag(subject)
	}
	return nil
}

// subscribeOwn subscribes to what this node hears as long as it is there. e.mu is held.
func (e *natsEngine) subscribeOwn(subject string) {
	hear, isNobody := func(m *nats.Msg) { e.to.received(m.Data) }, subject == e.nobodySubject()
	if isNobody {
		hear = e.hearNobody
	}
	sub, err := e.conn.Subscribe(e.prefix+subject, hear)
	if err == nil && !isNobody {
		_ = sub.SetPendingLimits(-1, natsPending)
	}
	e.own[subject] = sub
}

// subscribeTag subscribes to a tag. e.mu is held. An error: the connection is closed, or not there yet.
func (e *natsEngine) subscribeTag(subject string) {
	e.tags[subject], _ = e.conn.ChanSubscribe(e.prefix+subject, e.tagged)
}

// nobodySubject is that of all calls.
func (e *natsEngine) nobodySubject() string { return strings.TrimPrefix(e.nobody, e.prefix) + "*" }

// replace makes another connection for one that is closed: nats.go gives up one that NATS has sent most kinds of errors to, such as that
// it has too many subscriptions. It calls this in a goroutine that then ends.
func (e *natsEngine) replace(conn *nats.Conn) {
	if e.hasEnded() {
		return
	}
	err := cmp.Or(conn.LastError(), nats.ErrConnectionClosed)
	e.to.trouble(err)
	e.to.down(err)
	if time.Since(e.lastClosed) > natsCalm {
		e.closed = 0
	}
	e.lastClosed = time.Now()
	e.closed++
	e.reconnect(min(50*time.Millisecond<<min(e.closed-1, 10), natsMaxPause))
}

// reconnect connects after that pause, and tries until it succeeds: nats.go, told to do so, does not say what NATS refuses.
func (e *natsEngine) reconnect(pause time.Duration) {
	for failures := 1; ; failures++ {
		select {
		case <-e.ended:
			return
		case <-time.After(pause):
		}
		err := e.connect()
		if err == nil || e.hasEnded() {
			return
		}
		e.to.down(err)
		e.refused(nil, nil, err)
		pause = backOff(failures)
	}
}

func (e *natsEngine) hasEnded() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

func (e *natsEngine) connected(conn *nats.Conn) {
	e.isUp.Store(true)
	e.to.up("nats " + conn.ConnectedAddr())
}

func (e *natsEngine) disconnected(_ *nats.Conn, err error) {
	e.isUp.Store(false)
	if err != nil { // nil: it is closed, for which replace is called
		e.to.down(err)
	}
}

// refused is told what NATS does not allow, or drops. An error of the network is no news: the receiver knows that NATS is lost.
func (e *natsEngine) refused(_ *nats.Conn, _ *nats.Subscription, err error) {
	network := net.Error(nil) // so is what a file of credentials can't be read for
	isOfNetwork := errors.As(err, &network) && !errors.As(err, new(*fs.PathError))
	if isOfTLS(err) || !isOfNetwork && !errors.Is(err, nats.ErrNoServers) && !errors.Is(err, io.EOF) {
		e.to.trouble(err)
	}
	if subject, ok := e.deniedBy(err); ok {
		e.deny(subject)
	}
}

// deniedBy returns what an error says NATS did not let this node subscribe to. nats.go has it in the text alone.
func (e *natsEngine) deniedBy(err error) (subject string, ok bool) {
	_, quoted, ok := strings.Cut(err.Error(), natsDenied+`"`+e.prefix)
	return strings.TrimSuffix(quoted, `"`), ok
}

// deny notes that NATS has refused a subscription, which nats.go takes for one.
func (e *natsEngine) deny(subject string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.denied) == 0 {
		time.AfterFunc(e.retry, e.subscribeAgain)
	}
	e.denied[subject] = struct{}{}
}

func (e *natsEngine) subscribeAgain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	denied := e.denied
	e.denied = make(map[string]struct{})
	if e.hasEnded() {
		return
	}
	for subject := range denied {
		if sub := e.own[subject]; sub != nil {
			_ = sub.Unsubscribe()
			e.subscribeOwn(subject)
		}
		if sub := e.tags[subject]; sub != nil {
			_ = sub.Unsubscribe()
			e.subscribeTag(subject)
		}
	}
}

// hearNobody is told by NATS that nobody is subscribed to what was published with this call.
func (e *natsEngine) hearNobody(m *nats.Msg) {
	call, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, e.nobody), 10, 64)
	if err == nil && m.Header.Get("Status") == natsNoResponders {
		e.to.nobody(call)
	}
}

// takeTags puts what comes for tags into the inbox: nats.go bounds a channel by the number of messages alone.
func (e *natsEngine) takeTags() {
	for {
		select {
		case m := <-e.tagged:
			if !e.inbox.put(outgoing{message: m.Data}) {
				e.to.trouble(nats.ErrSlowConsumer)
			}
		case <-e.ended:
			return
		}
	}
}

// hearTags is one goroutine for all tags: nats.go would have one for each.
func (e *natsEngine) hearTags() {
	for {
		select {
		case <-e.inbox.wake:
		case <-e.ended:
			return
		}
		for batch := e.inbox.take(); len(batch) > 0; batch = e.inbox.take() {
			for _, m := range batch {
				e.to.received(m.message)
			}
			e.inbox.done(batch)
		}
	}
}

func (e *natsEngine) publish(batch []outgoing) {
	conn := e.connection()
	if e.isUp.Load() {
		e.limit.Store(conn.MaxPayload()) // NATS tells that of an account when the connection is there already
	}
	for _, m := range batch {
		message := &nats.Msg{Subject: e.prefix + m.subject, Data: m.whole()}
		if m.call != 0 {
			message.Reply = e.nobody + strconv.FormatUint(m.call, 10)
		}
		if !e.isUp.Load() || conn.PublishMsg(message) != nil {
			e.to.failed(m.call)
		}
	}
}

func (e *natsEngine) connection() *nats.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn
}

func (e *natsEngine) subscribe(subjects []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started {
		e.first = append(e.first, subjects...)
		return
	}
	for _, subject := range subjects {
		if _, isLeaving := e.leaving[subject]; isLeaving {
			delete(e.leaving, subject)
			continue
		}
		e.subscribeTag(subject)
	}
}

func (e *natsEngine) unsubscribe(subjects []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaves++
	call := e.leaves
	for _, subject := range subjects {
		e.leaving[subject] = call
	}
	time.AfterFunc(e.linger, func() { e.leave(subjects, call) })
}

// leave unsubscribes from what is still as that call of unsubscribe has left it.
func (e *natsEngine) leave(subjects []string, call int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, subject := range subjects {
		if e.leaving[subject] != call {
			continue
		}
		if sub := e.tags[subject]; sub != nil {
			_ = sub.Unsubscribe()
		}
		delete(e.tags, subject)
		delete(e.leaving, subject)
	}
}

func (e *natsEngine) settle(ctx context.Context) { _ = e.connection().FlushWithContext(ctx) }

func (e *natsEngine) maxMessage() int { return int(e.limit.Load()) }

// close sends what is published.
func (e *natsEngine) close() {
	close(e.ended)
	if conn := e.connection(); conn != nil {
		conn.Close()
	}
}
