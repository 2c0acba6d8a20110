package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// listener accepts the connections of one server, and has what they share.
type listener struct {
	server   string // its name
	settings settings.Effective
	dialect  string
	log      *slog.Logger
	stats    *telemetry.Server
	workers  workers
	tracer   trace.Tracer // nil: nothing is traced
	registry *registry
	newUUID  func() string
	memory   *stream.Memory
	reads    *stream.ReadLimiter
	// turns is max_handshakes; nil: no limit.
	turns *stream.HandshakeLimiter
	// accessLog logs the end of each connection at the level info or above; faults bounds the lines at the level error, handshakes
	// those about connections that ended before CONNECTED.
	accessLog          bool
	faults, handshakes *telemetry.LogLimiter
	ended              func(wire.Reason) // called at the end of each connection

	socket   net.Listener
	limiters [2]*connLimiter // of the server, then of all servers
	byIP     ipLimiter
	// overIP and untrusted report connections that were refused: by max_connections_per_ip, by proxy_protocol.trusted.
	overIP, untrusted *telemetry.ThrottledLog
	proxyProtocol     *settings.ProxyProtocol // nil: connections have no header
	tls               *settings.TLS           // nil: none, as are the certificates
	certificates      *certificates
}

func (s *Server) newListener(name string, config *settings.Server, socket net.Listener) *listener {
	log := s.options.Log
	l := &listener{
		server: name, settings: config.Effective(), dialect: s.options.Config.Dialect, log: log, stats: s.counters.Of(name),
		registry: &s.registry, newUUID: s.newUUID, memory: s.memory, reads: s.reads, turns: s.turns, accessLog: config.AccessLog, faults: s.faults, handshakes: s.handshakes, ended: s.ended,
		socket: socket, limiters: [2]*connLimiter{newConnLimiter(config.MaxConnections), s.limiter},
		proxyProtocol: config.ProxyProtocol, tls: config.TLS,
	}
	l.byIP.limit = l.settings.MaxConnectionsPerIP
	l.overIP = telemetry.NewThrottledLog(func(times int) {
		log.Info("connections refused: their addresses have max_connections_per_ip open",
			slog.String("server", name), slog.Int("connections", times))
	})
	l.untrusted = telemetry.NewThrottledLog(func(times int) {
		log.Warn("connections refused: they come from none of proxy_protocol.trusted",
			slog.String("server", name), slog.Int("connections", times))
	})
	if l.tls != nil {
		l.certificates = newCertificates(name, l.tls, log)
	}
	return l
}

// close logs what is not logged yet. The socket is closed already.
func (l *listener) close() {
	l.overIP.Close()
	l.untrusted.Close()
}

// acceptFailurePause is how long accept must not have failed before a failure is worth a warning again.
const acceptFailurePause = time.Minute

// accept takes connections until the socket is closed. It returns what ends it otherwise.
func (l *listener) accept() error {
	var lastFailure time.Time
	for failures := 0; ; {
		for _, limiter := range l.limiters {
			limiter.wait() // clients wait in the kernel's queue meanwhile
		}
		conn, err := l.socket.Accept()
		switch {
		case err == nil:
			failures = 0
			l.admit(conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case !isTemporary(err):
			return fmt.Errorf("tcp: accept %s %s: %w", l.server, networkAddress(l.socket.Addr()), err)
		default:
			if time.Since(lastFailure) > acceptFailurePause {
				l.log.Warn("can't accept connections for now; clients wait",
					slog.String("server", l.server), slog.Any("error", err))
			}
			lastFailure = time.Now()
			failures++
			time.Sleep(acceptBackoff(failures))
		}
	}
}

// isTemporary reports whether an error of accept concerns one connection, or resources that become free again. The errors of the
// network are those that accept(2) of Linux wants to be retried.
func isTemporary(err error) bool {
	for _, e := range []error{
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EINTR, syscall.EPERM,
		syscall.ENETDOWN, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// acceptBackoff is the pause after so many failures in a row: 5 ms, doubled each time, 1 s at most.
func acceptBackoff(failures int) time.Duration {
	return min(5*time.Millisecond<<min(failures-1, 10), time.Second)
}

// admit starts the goroutine of an accepted connection. No client that was accepted is dropped but by
// max_connections_per_ip: where another listener was faster, the connection waits here for max_connections.
func (l *listener) admit(conn net.Conn) {
	isProxied := l.isProxied(conn.RemoteAddr())
	switch {
	case isProxied && !l.proxyProtocol.Trusts(conn.RemoteAddr()):
		_ = conn.Close()
		l.untrusted.Add()
		l.stats.Refused(telemetry.RefusedProxy)
		return
	case !isProxied && !l.byIP.acquire(conn.RemoteAddr()):
		_ = conn.Close()
		l.overIP.Add()
		l.stats.Refused(telemetry.RefusedPerIP)
		return
	}
	for _, limiter := range l.limiters {
		if !limiter.acquire() {
			_ = conn.Close() // the plugin stops
			return
		}
	}
	l.setOptions(conn)
	c := l.newConnection(conn)
	if !l.registry.add(c) {
		_ = conn.Close()
		return
	}
	l.stats.Opened.Add(1)
	go l.serve(c) // ends with the connection; registry.wait waits for it
}

func (l *listener) serve(c *connection) {
	defer l.registry.done()
	c.serve(func() {
		l.registry.remove(c.uuid)
		if c.countedByIP {
			l.byIP.release(c.remote)
		}
		l.stats.Closed(c.reason)
	})
	for _, limiter := range l.limiters {
		limiter.release()
	}
	l.ended(c.reason)
}

// setOptions sets what the system does about a client that is gone or does not read.
func (l *listener) setOptions(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if l.settings.Keepalive > 0 {
		_ = c.SetKeepAlive(true)
		_ = c.SetKeepAlivePeriod(l.settings.Keepalive)
	}
	if l.settings.WriteTimeout > 0 {
		stream.SetUserTimeout(c, l.settings.WriteTimeout)
	}
}

// newContexts returns the contexts of a client's events. DialectDocumented has the bare IP for ip:port.
func (l *listener) newContexts(client net.Addr, uuid string) wire.Contexts {
	addr := clientAddress(client)
	if l.dialect == wire.DialectDocumented {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			addr = host
		}
	}
	return wire.NewContexts(addr, l.server, uuid, l.dialect)
}
