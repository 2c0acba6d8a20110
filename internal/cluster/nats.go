package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rrtcp/tcp/internal/settings"
)

const (
	natsDialTimeout = 2 * time.Second
	natsPing        = time.Second // two without an answer are the end of a connection
	// natsPending bounds what a subscription holds, in bytes; natsTagged what the tags' together hold, in messages.
	natsPending = 16 << 20
	natsTagged  = 4096
	// natsNoResponders is the status of the message that NATS sends in place of an answer where nobody is subscribed.
	natsNoResponders = "503"
)

// natsEngine is NATS.
type natsEngine struct {
	config   *settings.NATS
	required bool
	timeout  time.Duration
	prefix   string
	nobody   string // the subject, without the call, that NATS answers on where nobody is subscribed
	to       receiver

	conn   *nats.Conn
	first  []string                      // subscribed to at start
	tags   map[string]*nats.Subscription // only the goroutine of the outbox touches it
	tagged chan *nats.Msg
	isUp   atomic.Bool
	limit  atomic.Int64
	ended  chan struct{} // closed by close
}

var _ engine = (*natsEngine)(nil)

func newNATS(c *settings.Cluster, node NodeID, to receiver) *natsEngine {
	return &natsEngine{
		config: c.NATS, required: c.Required, timeout: *c.Timeout, prefix: c.Name + ".",
		nobody: c.Name + ".nobody." + node.String() + ".", to: to,
		tags: make(map[string]*nats.Subscription), tagged: make(chan *nats.Msg, natsTagged), ended: make(chan struct{}),
	}
}

func (e *natsEngine) options() ([]nats.Option, error) {
	c := e.config
	o := []nats.Option{
		nats.Name("rrtcp"), nats.NoEcho(), nats.Timeout(natsDialTimeout), nats.FlusherTimeout(e.timeout),
		nats.PingInterval(natsPing), nats.MaxPingsOutstanding(2), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(backOff), nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(e.connected), nats.ReconnectHandler(e.connected), nats.DisconnectErrHandler(e.disconnected),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { e.to.trouble(err) }),
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
	if t := c.TLS.Config(); t != nil {
		o = append(o, nats.Secure(t))
	}
	return o, nil
}

// backOff is the pause after so many failures in a row: 50 ms, doubled each time, 1 s at most.
func backOff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(max(failures-1, 0), 5), time.Second)
}

func (e *natsEngine) start() error {
	options, err := e.options()
	if err != nil {
		return err
	}
	conn, failure := nats.Connect(e.config.Addr, options...)
	if failure != nil && !e.required { // a client that retries does not say why
		conn, err = nats.Connect(e.config.Addr, append(options, nats.RetryOnFailedConnect(true))...)
	}
	if err = firstError(err, failure); conn == nil {
		return fmt.Errorf("nats: %w", err)
	}
	e.conn = conn
	_, err = conn.Subscribe(e.nobody+"*", e.hearNobody)
	for _, subject := range e.first {
		sub, subErr := conn.Subscribe(e.prefix+subject, func(m *nats.Msg) { e.to.received(m.Data) })
		if err = firstError(err, subErr); subErr == nil {
			err = firstError(err, sub.SetPendingLimits(-1, natsPending))
		}
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("nats: %w", err)
	}
	go e.hearTags() // ends with close
	if failure != nil && !conn.IsConnected() {
		go e.to.down(failure) // Start, which waits, holds a lock
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *natsEngine) connected(conn *nats.Conn) {
	e.limit.Store(conn.MaxPayload())
	e.isUp.Store(true)
	e.to.up("nats " + conn.ConnectedAddr())
}

func (e *natsEngine) disconnected(_ *nats.Conn, err error) {
	e.isUp.Store(false)
	if err != nil { // nil: this node has closed it
		e.to.down(err)
	}
}

// hearNobody is told by NATS that nobody is subscribed to what was published with this call.
func (e *natsEngine) hearNobody(m *nats.Msg) {
	call, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, e.nobody), 10, 64)
	if err == nil && m.Header.Get("Status") == natsNoResponders {
		e.to.nobody(call)
	}
}

// hearTags is one goroutine for all tags: nats.go would have one for each.
func (e *natsEngine) hearTags() {
	for {
		select {
		case m := <-e.tagged:
			e.to.received(m.Data)
		case <-e.ended:
			return
		}
	}
}

func (e *natsEngine) publish(batch []outgoing) {
	for _, m := range batch {
		message := &nats.Msg{Subject: e.prefix + m.subject, Data: m.message}
		if m.call != 0 {
			message.Reply = e.nobody + strconv.FormatUint(m.call, 10)
		}
		if !e.isUp.Load() || e.conn.PublishMsg(message) != nil {
			e.to.failed(m.call)
		}
	}
}

func (e *natsEngine) subscribe(subjects []string) {
	if e.conn == nil {
		e.first = append(e.first, subjects...)
		return
	}
	for _, subject := range subjects {
		if sub, err := e.conn.ChanSubscribe(e.prefix+subject, e.tagged); err == nil { // an error: it is closed
			e.tags[subject] = sub
		}
	}
}

func (e *natsEngine) unsubscribe(subjects []string) {
	for _, subject := range subjects {
		if sub := e.tags[subject]; sub != nil {
			_ = sub.Unsubscribe()
			delete(e.tags, subject)
		}
	}
}

func (e *natsEngine) settle(ctx context.Context) { _ = e.conn.FlushWithContext(ctx) }

func (e *natsEngine) maxMessage() int { return int(e.limit.Load()) }

// close sends what is published.
func (e *natsEngine) close() {
	close(e.ended)
	if e.conn != nil {
		e.conn.Close()
	}
}
