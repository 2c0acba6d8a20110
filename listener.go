package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// listener accepts the connections of one server.
type listener struct {
	server  string
	dialect string
	framing framing
	most    int // bytes read at once
	limits  limits
	omits   omitted

	socket  net.Listener
	live    *registry
	slots   [2]*slots // of the server, then of all servers
	peers   peers
	proxy   *ProxyProtocol // nil: no headers
	tls     *TLS           // nil: none, as are the certificates
	certs   *certificates
	refused summary // connections over max_connections_per_ip
	strange summary // connections from elsewhere than proxy_protocol.trusted
	memory  *memory
	turns   *turns
	workers workers
	stats   *serverStats
	tracer  trace.Tracer // nil: nobody traces
	access  bool         // access_log
	loud    *loudness    // of errors
	log     *zap.Logger
	ended   func(reason) // told of every end
}

// bind opens the listening socket of addr. Nothing is accepted yet, but the kernel lets clients wait.
func bind(addr address, shared bool) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1} // set for each connection, with the probes as the system has them
	if shared && addr.network != "unix" {
		config.Control = reusePort
	}
	socket, err := config.Listen(context.Background(), addr.network, addr.address)
	if addr.network != "unix" || !errors.Is(err, syscall.EADDRINUSE) {
		return socket, err
	}

	if err := removeStale(addr.address); err != nil {
		return nil, err
	}
	return config.Listen(context.Background(), addr.network, addr.address)
}

// removeStale removes a socket file that a process which is gone left behind. Anything else at path is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is a file that is no socket; remove it or choose another path", path)
	}

	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: another process listens there", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// acceptTrouble is over, and worth a warning when it comes again, when accept has not failed for so long.
const acceptTrouble = time.Minute

// accept takes connections until the socket is closed. It reports what ends it otherwise.
func (l *listener) accept() error {
	var failed time.Time // last
	for failures := 0; ; {
		for _, s := range l.slots {
			s.await() // while there are too many, clients wait in the kernel's queue
		}
		conn, err := l.socket.Accept()
		switch {
		case err == nil:
			failures = 0
			l.admit(conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case !passes(err):
			return fmt.Errorf("tcp: accept %s %s: %w", l.server, addrString(l.socket.Addr()), err)
		default:
			if time.Since(failed) > acceptTrouble {
				l.log.Warn("can't accept connections for now; clients wait",
					zap.String("server", l.server), zap.Error(err))
			}
			failed = time.Now()
			failures++
			time.Sleep(backOff(failures))
		}
	}
}

// passes reports whether an error of accept is that of one connection, or of resources that come free again.
func passes(err error) bool {
	for _, e := range []error{
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EINTR, syscall.EPERM, syscall.EPROTO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// backOff is how long to wait after so many failures in a row: 5 ms, doubled each time, 1 s at most.
func backOff(failures int) time.Duration {
	return min(5*time.Millisecond<<min(failures-1, 10), time.Second)
}

// admit opens a connection that has a right to be. Nobody who was accepted is dropped, but for max_connections_per_ip:
// where another listener was faster, it waits here for its slot.
func (l *listener) admit(conn net.Conn) {
	switch {
	case l.proxy != nil && !l.proxy.trusts(conn.RemoteAddr()):
		_ = conn.Close()
		l.strange.add()
		l.stats.refused[refusedProxy].Add(1)
		return
	case l.proxy == nil && !l.peers.add(conn.RemoteAddr()):
		_ = conn.Close()
		l.refused.add()
		l.stats.refused[refusedPerIP].Add(1)
		return
	}
	for _, s := range l.slots {
		if !s.take() {
			_ = conn.Close() // stopping, and nobody knows of it yet
			return
		}
	}
	l.keepAlive(conn)
	c := l.newConnection(conn)
	c.call.here = l.live.hasFew()
	if !l.live.add(c) {
		_ = conn.Close()
		return
	}
	l.stats.opened.Add(1)
	go l.serve(c) // ends with the connection; live.wait waits for it
}

func (l *listener) serve(c *connection) {
	defer l.live.done()
	c.serve(func() {
		l.live.remove(c.uuid)
		if c.counted {
			l.peers.remove(c.remote)
		}
		l.stats.closed[c.why].Add(1)
	})
	for _, s := range l.slots {
		s.giveBack()
	}
	l.ended(c.why)
}

func (l *listener) newConnection(conn net.Conn) *connection {
	id, socket := uuid.NewString(), newSocket(conn)
	c := &connection{
		uuid:    id,
		server:  l.server,
		conn:    conn,
		remote:  conn.RemoteAddr(),
		counted: l.proxy == nil,
		workers: l.workers,
		open:    l.live,
		call:    newCall(l.limits.close),
		log:     l.log,
		aborted: make(chan struct{}),
		omits:   l.omits,
		begun:   time.Now(),
		stats:   l.stats,
		tracer:  l.tracer,
		access:  l.access,
		loud:    l.loud,
	}
	c.contexts = l.newContexts(c)
	if l.proxy != nil || l.tls != nil {
		c.greet = l.greet
		c.greeting.Store(true)
	}
	c.call.stats = l.stats
	c.packets = reader{
		socket: socket, framing: l.framing, own: l.framing, most: l.most, longest: l.limits.packet,
		memory: l.memory, turns: l.turns, stats: l.stats,
		idle: l.limits.idle, packetTime: l.limits.packetTime, asked: &c.asked,
	}
	if l.limits.idle > 0 || l.limits.packetTime > 0 {
		c.packets.setDeadline = c.setReadDeadline
	}
	c.answers = writer{
		conn: conn, socket: socket, timeout: l.limits.write, memory: l.memory, setDeadline: c.setWriteDeadline,
		outbound: outbound{limit: l.limits.push}, stats: l.stats,
	}
	return c
}

func (l *listener) keepAlive(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok && l.limits.keepalive > 0 {
		_ = c.SetKeepAlive(true)
		_ = c.SetKeepAlivePeriod(l.limits.keepalive)
	}
}

// greet is what comes before CONNECTED.
func (l *listener) greet(c *connection) error {
	if l.proxy != nil {
		c.refusal = refusedProxy
		c.setDeadlineIn(*l.proxy.Timeout)
		client, err := readProxyHeader(c.conn)
		if err != nil {
			return err
		}
		if client != nil {
			c.remote = client
			c.contexts = l.newContexts(c)
		}
		if c.counted = l.peers.add(c.remote); !c.counted {
			l.refused.add()
			c.refusal = refusedPerIP
			return errTooMany
		}
	}
	if l.tls != nil {
		c.refusal = refusedTLS
		c.setDeadlineIn(*l.tls.HandshakeTimeout)
		return c.handshake(l.certs.config())
	}
	return nil
}

var errTooMany = errors.New("the client's address has max_connections_per_ip open")

// newContexts has the peer as the dialect has it: ip:port, or the ip alone.
func (l *listener) newContexts(c *connection) contexts {
	return newContexts(l.remoteName(c.remote), l.server, c.uuid, l.dialect)
}

func (l *listener) remoteName(a net.Addr) string {
	addr := addrOf(a)
	if l.dialect == dialectDocumented {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			return host
		}
	}
	return addr
}

// addrOf is an address as RoadRunner has always written it: ip:port, and @ for the nameless peer of a unix socket.
func addrOf(a net.Addr) string {
	if a != nil {
		if name := a.String(); name != "" {
			return name
		}
	}
	return "@"
}

func addrString(a net.Addr) string { return a.Network() + "://" + a.String() }
