package server

import (
	"net"
	"net/netip"
	"sync"
)

// connLimiter bounds how many connections are open at once: max_connections of a server, or of all together.
type connLimiter struct {
	limit int // 0: no limit

	mu     sync.Mutex
	freed  sync.Cond // of mu; broadcast when a connection has ended, and by close
	open   int
	closed bool
}

func newConnLimiter(limit int) *connLimiter {
	l := &connLimiter{limit: limit}
	l.freed.L = &l.mu
	return l
}

// wait returns when one more connection may be open, or after close.
func (l *connLimiter) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waitLocked()
}

// acquire waits until one more connection may be open, and counts it; false after close.
func (l *connLimiter) acquire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waitLocked()
	if l.closed {
		return false
	}
	l.open++
	return true
}

func (l *connLimiter) waitLocked() {
	for l.limit > 0 && l.open >= l.limit && !l.closed {
		l.freed.Wait()
	}
}

// release counts the end of a connection.
func (l *connLimiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.freed.Broadcast()
}

// close ends every wait, now and later.
func (l *connLimiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.freed.Broadcast()
}

// ipLimiter bounds how many connections each client address has open: max_connections_per_ip.
type ipLimiter struct {
	limit int // of each address; 0: no limit, and nothing is counted

	mu   sync.Mutex
	open map[netip.Addr]int
}

// acquire counts one more connection from there; false: the address has as many as it may.
func (l *ipLimiter) acquire(from net.Addr) bool {
	ip, ok := l.key(from)
	if !ok {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip] >= l.limit {
		return false
	}
	if l.open == nil {
		l.open = make(map[netip.Addr]int)
	}
	l.open[ip]++
	return true
}

func (l *ipLimiter) release(from net.Addr) {
	ip, ok := l.key(from)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip]--; l.open[ip] == 0 {
		delete(l.open, ip)
	}
}

// key is the address to count; false: not counted, as the clients of a unix socket.
func (l *ipLimiter) key(from net.Addr) (netip.Addr, bool) {
	a, ok := from.(*net.TCPAddr)
	if l.limit == 0 || !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap().WithZone(""), true
}
