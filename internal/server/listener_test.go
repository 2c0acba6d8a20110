//go:build go1.25

package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// memoryListener is a listening socket in memory. What is not accepted waits in queue.
type memoryListener struct {
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

// addressedConn has the address of its client.
type addressedConn struct {
	*streamtest.Conn
	remote net.Addr
}

func (c addressedConn) RemoteAddr() net.Addr { return c.remote }

// accepting is a listener whose accept loop runs in a bubble, and whose workers answer CONNECTED with "hi".
type accepting struct {
	*listener
	t        *testing.T
	memory   *memoryListener
	refusals []int // reported by overIP
	distrust []int // reported by untrusted
	ends     chan wire.Reason
	err      chan error // receives what accept returns
}

func acceptIn(t *testing.T, perServer, overall int) *accepting {
	a := &accepting{
		listener: testListener(answers(reply("WRITE", "hi"))), t: t, err: make(chan error, 1), ends: make(chan wire.Reason, 100),
		memory: &memoryListener{queue: make(chan net.Conn, 100), closed: make(chan struct{})},
	}
	a.socket, a.limiters = a.memory, [2]*connLimiter{newConnLimiter(perServer), newConnLimiter(overall)}
	a.overIP = telemetry.NewThrottledLog(func(times int) { a.refusals = append(a.refusals, times) })
	a.untrusted = telemetry.NewThrottledLog(func(times int) { a.distrust = append(a.distrust, times) })
	a.ended = func(why wire.Reason) { a.ends <- why }
	go func() { a.err <- a.accept() }()
	return a
}

// dial connects a client with that address and returns it when nothing moves any more.
func (a *accepting) dial(from string) *streamtest.Conn {
	server, client := streamtest.Pair(1000)
	a.memory.queue <- addressedConn{server, tcpAddr(a.t, from)}
	synctest.Wait()
	return client
}

// stop ends the accept loop and all connections.
func (a *accepting) stop() {
	closeAll([]*listener{a.listener})
	require.NoError(a.t, <-a.err)
	a.registry.drain()
	a.registry.wait()
	a.close()
	require.Zero(a.t, a.listener.memory.Used())
	open, _ := a.stats.Connections()
	require.Zero(a.t, open)
}

// requireReleased requires that nothing is counted as open.
func (a *accepting) requireReleased() {
	for _, limiter := range a.limiters {
		require.Zero(a.t, limiter.open)
	}
	require.Empty(a.t, a.byIP.open)
}

// requireGreeted requires that the connection is served.
func requireGreeted(t *testing.T, client net.Conn) {
	t.Helper()
	require.Equal(t, "hi", readString(t, client, 2))
}

func requireRefused(t *testing.T, client net.Conn) {
	t.Helper()
	n, err := client.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
}

func TestMaxConnectionsMakesClientsWait(t *testing.T) {
	for name, limit := range map[string][2]int{"of the server": {2, 0}, "of all servers": {0, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := acceptIn(t, limit[0], limit[1])
				first, second, third := a.dial("127.0.0.1:1"), a.dial("127.0.0.1:2"), a.dial("127.0.0.1:3")
				requireGreeted(t, first)
				requireGreeted(t, second)
				require.Len(t, a.memory.queue, 1, "the third waits in the system's queue")
				first.Close()
				requireGreeted(t, third)
				require.Equal(t, wire.ReasonEOF, <-a.ends)
				a.stop()
				a.requireReleased()
			})
		})
	}
}

func TestMaxConnectionsPerIPRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := acceptIn(t, 0, 0)
		a.byIP.limit = 1
		first := a.dial("127.0.0.1:1")
		requireGreeted(t, first)
		for range 3 {
			requireRefused(t, a.dial("127.0.0.1:2"))
		}
		requireGreeted(t, a.dial("127.0.0.2:1"))
		first.Close()
		synctest.Wait()
		requireGreeted(t, a.dial("127.0.0.1:3"))
		a.stop()
		a.requireReleased()
		require.Equal(t, []int{1, 2}, a.refusals)
		require.EqualValues(t, 3, a.stats.Refusals(telemetry.RefusedPerIP))
		require.Len(t, a.ends, 3, "a client that is refused was no connection")
	})
}

func TestRefusalsAreLogged(t *testing.T) {
	log, logs := logtest.New(slog.LevelInfo)
	config := servers("a")
	var s Server
	Init(&s, Options{Config: &config, Log: log, Workers: 1})
	l := s.newListener("a", config.Servers["a"], nil)
	l.overIP.Add()
	l.untrusted.Add()
	l.close()
	require.Len(t, logs.Saying("connections refused: their addresses have max_connections_per_ip open"), 1)
	require.Len(t, logs.Saying("connections refused: they come from none of proxy_protocol.trusted"), 1)
}

func TestUntrustedProxiesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := acceptIn(t, 0, 0)
		a.proxyProtocol, a.byIP.limit = trusting(t, "10.0.0.0/8"), 1
		requireRefused(t, a.dial("127.0.0.1:1"))
		trusted := a.dial("10.1.1.1:1")
		io.WriteString(trusted, "PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n")
		requireGreeted(t, trusted)
		a.stop()
		a.requireReleased()
		require.Equal(t, []int{1}, a.distrust)
		require.Empty(t, a.refusals)
		require.EqualValues(t, 1, a.stats.Refusals(telemetry.RefusedProxy))
		require.Len(t, a.ends, 1)
	})
}

// trusting returns a section proxy_protocol with the default timeout.
func trusting(t *testing.T, networks ...string) *settings.ProxyProtocol {
	p := &settings.ProxyProtocol{Trusted: networks}
	c := settings.Config{Servers: map[string]*settings.Server{"s": {Addr: ":0", ProxyProtocol: p}}}
	require.Empty(t, c.Check())
	return p
}

func TestStopEndsWaitForPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := acceptIn(t, 0, 0)
		requireGreeted(t, a.dial("127.0.0.1:1"))
		a.limiters[1].mu.Lock()
		a.limiters[1].limit = 1 // as if another server were faster, between accept and the place
		a.limiters[1].mu.Unlock()
		late := a.dial("127.0.0.1:2")
		require.Empty(t, a.memory.queue, "it is accepted already")
		a.stop()
		require.Len(t, a.ends, 1)
		requireRefused(t, late)
	})
}

func TestDrainingRegistryRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := acceptIn(t, 0, 0)
		a.registry.drain()
		late := a.dial("127.0.0.1:1")
		requireRefused(t, late)
		require.Zero(t, a.stats.Opened.Load())
		closeAll([]*listener{a.listener})
		require.NoError(t, <-a.err)
	})
}

// faultyListener returns errors, or a connection for nil, each after a pause, and then that it is closed.
type faultyListener struct {
	net.Listener
	errs  []error
	pause time.Duration
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, net.ErrClosed
	}
	time.Sleep(l.pause)
	err := l.errs[0]
	l.errs = l.errs[1:]
	if err == nil {
		server, client := streamtest.Pair(1)
		client.Close()
		return server, nil
	}
	return nil, err
}

func (l *faultyListener) Addr() net.Addr { return &net.TCPAddr{} }

func faulty(errs ...error) *listener {
	l := testListener(answers{})
	l.limiters = [2]*connLimiter{newConnLimiter(0), newConnLimiter(0)}
	l.socket = &faultyListener{errs: errs}
	return l
}

func TestAcceptWaitsForPlace(t *testing.T) {
	for i := range 2 {
		synctest.Test(t, func(t *testing.T) {
			l := faulty(syscall.EMFILE)
			l.limiters[i] = newConnLimiter(1)
			require.True(t, l.limiters[i].acquire())
			ended := start(func() bool { return l.accept() == nil })
			synctest.Wait()
			require.Len(t, l.socket.(*faultyListener).errs, 1, "accept is not called")
			l.limiters[i].release()
			require.True(t, <-ended)
		})
	}
}

func TestAcceptRetriesTemporaryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := faulty(syscall.EMFILE, os.NewSyscallError("accept", syscall.ECONNABORTED), syscall.ENFILE)
		logs := l.observe(slog.LevelWarn)
		begin := time.Now()
		require.NoError(t, l.accept())
		require.Equal(t, (5+10+20)*time.Millisecond, time.Since(begin))
		require.Equal(t, 1, logs.Len())

		l.socket, begin = &faultyListener{errs: []error{syscall.EMFILE, nil, syscall.EMFILE}}, time.Now()
		require.NoError(t, l.accept())
		require.Equal(t, (5+5)*time.Millisecond, time.Since(begin), "a client was accepted in between")
		l.registry.wait()

		// What accept(2) of Linux names as errors of the network, pending on the new connection.
		l.socket = &faultyListener{errs: []error{
			syscall.ENETDOWN, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
		}}
		require.NoError(t, l.accept())

		l.socket = &faultyListener{errs: []error{syscall.EMFILE, errors.New("of a test")}}
		require.EqualError(t, l.accept(), "tcp: accept s tcp://:0: of a test")
	})
}

func TestAcceptWarningsAreRare(t *testing.T) {
	for pause, want := range map[time.Duration]int{0: 1, 59 * second: 1, 61 * second: 3} {
		synctest.Test(t, func(t *testing.T) {
			l := faulty(syscall.EMFILE, syscall.EMFILE, syscall.EMFILE)
			l.socket.(*faultyListener).pause = pause
			logs := l.observe(slog.LevelWarn)
			require.NoError(t, l.accept())
			require.Equal(t, want, logs.Len(), "failures every %s", pause)
		})
	}
}

func TestAcceptBackoffDoubles(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: 5 * time.Millisecond, 2: 10 * time.Millisecond, 8: 640 * time.Millisecond, 9: time.Second, 1000: time.Second,
	} {
		require.Equal(t, want, acceptBackoff(failures), failures)
	}
}
