package tcp

import (
	"slices"
	"sync/atomic"
	"time"
)

// stats are what the servers count, sorted by name.
type stats []*serverStats

func newStats(servers []string) (s stats) {
	for _, name := range servers {
		s = append(s, &serverStats{server: name})
	}
	return s
}

// of is what one of the configured servers counts.
func (s stats) of(server string) *serverStats {
	i := slices.IndexFunc(s, func(c *serverStats) bool { return c.server == server })
	return s[i]
}

// serverStats is what one server counts; metrics.go shows it. Who counts takes no lock and allocates nothing. A nil one
// counts nothing.
type serverStats struct {
	server    string
	opened    atomic.Int64 // connections
	packets   atomic.Int64 // DATA events
	received  atomic.Int64 // bytes
	sent      atomic.Int64 // bytes
	closed    [len(reasonNames)]atomic.Int64
	refused   [len(refusalNames)]atomic.Int64
	failed    [len(failureNames)]atomic.Int64
	exchanges [len(kindNames)]histogram // time at the worker
}

func (s *serverStats) receive(bytes int) {
	if s != nil {
		s.received.Add(int64(bytes))
	}
}

func (s *serverStats) send(bytes int) {
	if s != nil {
		s.sent.Add(int64(bytes))
	}
}

func (s *serverStats) exchanged(kind eventKind, atWorker time.Duration) {
	if s != nil {
		s.exchanges[kind].observe(atWorker)
	}
}

func (s *serverStats) fail(kind failureKind) {
	if s != nil && kind != failureNone {
		s.failed[kind].Add(1)
	}
}

// connections counts the closed ones, by reason, and those that are open.
func (s *serverStats) connections() (open int64, closed [len(reasonNames)]int64) {
	var all int64
	for i := range s.closed {
		closed[i] = s.closed[i].Load()
		all += closed[i]
	}
	return s.opened.Load() - all, closed // read last: who is closed was opened
}

// refusal is why a client was turned away before any worker heard of it.
type refusal uint8

const (
	refusedPerIP refusal = iota // max_connections_per_ip
	refusedProxy                // proxy_protocol: from an address that is not trusted, or without a proper header
	refusedTLS                  // no handshake came about
)

var refusalNames = [...]string{refusedPerIP: "max_connections_per_ip", refusedProxy: "proxy_protocol", refusedTLS: "tls"}

// failureKind is why an exchange brought no reply.
type failureKind uint8

const (
	failureNone     failureKind = iota // nobody's fault: the connection, or the plugin, ended meanwhile
	failureError                       // the worker answered with an error
	failureReply                       // the worker's answer was no reply
	failureTimeout                     // the worker took longer than exec_ttl, or close_timeout
	failureDied                        // the worker died, or none could be started
	failureOverload                    // no worker was free in time
)

var failureNames = [...]string{
	failureNone:     "",
	failureError:    "error",
	failureReply:    "reply",
	failureTimeout:  "timeout",
	failureDied:     "died",
	failureOverload: "overload",
}

// histogram counts durations by size.
type histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// read returns how many there were, their sum in seconds, and how many did not exceed each bound.
func (h *histogram) read() (count uint64, sum float64, upTo map[float64]uint64) {
	sum = time.Duration(h.sum.Load()).Seconds()
	upTo = make(map[float64]uint64, len(bounds))
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < len(bounds) {
			upTo[bounds[i].Seconds()] = count
		}
	}
	return count, sum, upTo
}
