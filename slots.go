package tcp

import (
	"net"
	"net/netip"
	"sync"
)

// slots are the permissions to be alive: as many connections as have one may be open.
type slots struct {
	limit int // 0: no limit

	mu     sync.Mutex
	freed  sync.Cond // of mu; told when a slot is given back and at close
	taken  int
	closed bool
}

func newSlots(limit int) *slots {
	s := &slots{limit: limit}
	s.freed.L = &s.mu
	return s
}

// await returns when a slot is free, or after close. It takes none.
func (s *slots) await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitLocked()
}

// take waits for a slot and takes it; false after close.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaitLocked()
	if s.closed {
		return false
	}
	s.taken++
	return true
}

func (s *slots) awaitLocked() {
	for s.limit > 0 && s.taken >= s.limit && !s.closed {
		s.freed.Wait()
	}
}

// giveBack lets the next one in.
func (s *slots) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.freed.Broadcast()
}

// close ends every wait, now and later.
func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.freed.Broadcast()
}

// peers counts the open connections of each client address.
type peers struct {
	limit int // for each; 0: no limit, and nothing is counted

	mu   sync.Mutex
	open map[netip.Addr]int
}

// add counts one more from there; false: it has as many as it may.
func (p *peers) add(from net.Addr) bool {
	ip, ok := p.counted(from)
	if !ok {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[ip] >= p.limit {
		return false
	}
	if p.open == nil {
		p.open = make(map[netip.Addr]int)
	}
	p.open[ip]++
	return true
}

func (p *peers) remove(from net.Addr) {
	ip, ok := p.counted(from)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[ip]--; p.open[ip] == 0 {
		delete(p.open, ip)
	}
}

// counted is the address that counts: clients of a unix socket have none.
func (p *peers) counted(from net.Addr) (netip.Addr, bool) {
	a, ok := from.(*net.TCPAddr)
	if p.limit == 0 || !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap().WithZone(""), true
}
