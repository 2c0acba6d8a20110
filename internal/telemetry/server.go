package telemetry

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/wire"
)

// Servers are the counters of all servers, in the order in which they were named.
type Servers []*Server

// NewServers returns counters at zero.
func NewServers(names []string) Servers {
	servers := make(Servers, 0, len(names))
	for _, name := range names {
		servers = append(servers, &Server{Name: name})
	}
	return servers
}

// Of returns the counters of a server; nil for an unknown name.
func (s Servers) Of(name string) *Server {
	i := slices.IndexFunc(s, func(server *Server) bool { return server.Name == name })
	if i < 0 {
		return nil
	}
	return s[i]
}

// Server has the counters of one server. Counting takes no lock and allocates nothing. Failed and Exchanged accept a nil
// Server: the exchanges of Plugin.Exec belong to none.
type Server struct {
	Name           string
	MaxConnections int64 // set before the first count; 0: no limit

	Opened   atomic.Int64 // connections
	Packets  atomic.Int64 // DATA events
	Received atomic.Int64 // bytes
	Sent     atomic.Int64 // bytes
	Dropped  atomic.Int64 // bytes of answers to clients that were gone
	// Packets that were too long: dropped, or cut short.
	Discarded, Truncated atomic.Int64

	closed    [wire.NumReasons]atomic.Int64
	refused   [numRefusals]atomic.Int64
	failed    [numFailures]atomic.Int64
	exchanges [wire.NumEvents]Histogram // time at the worker
}

// Closed counts the end of a connection that was counted in Opened.
func (s *Server) Closed(why wire.Reason) {
	s.closed[why].Add(1)
}

// Refused counts a client that was turned away.
func (s *Server) Refused(why Refusal) {
	s.refused[why].Add(1)
}

// Failed counts an exchange without a reply. FailureNone is not counted.
func (s *Server) Failed(kind Failure) {
	if s != nil && kind != FailureNone {
		s.failed[kind].Add(1)
	}
}

// Exchanged counts an exchange that reached a worker, whatever came of it.
func (s *Server) Exchanged(e wire.Event, atWorker time.Duration) {
	if s != nil {
		s.exchanges[e].Observe(atWorker)
	}
}

// Connections returns how many connections are open, and how many were closed for each reason.
func (s *Server) Connections() (open int64, closed [wire.NumReasons]int64) {
	var total int64
	for i := range s.closed {
		closed[i] = s.closed[i].Load()
		total += closed[i]
	}
	return s.Opened.Load() - total, closed // Opened is read last, so that open is never negative
}

// Refusals returns how many clients were turned away.
func (s *Server) Refusals(why Refusal) int64 { return s.refused[why].Load() }

// Failures returns how many exchanges brought no reply.
func (s *Server) Failures(kind Failure) int64 { return s.failed[kind].Load() }

// Exchanges returns the durations that Exchanged has counted for an event.
func (s *Server) Exchanges(e wire.Event) *Histogram { return &s.exchanges[e] }

// Refusal is why a client was turned away before any worker was told.
type Refusal uint8

// The refusals.
const (
	RefusedPerIP Refusal = iota // max_connections_per_ip
	RefusedProxy                // proxy_protocol: an address that is not trusted, or no valid header
	RefusedTLS                  // the handshake failed

	numRefusals = iota
)

var refusalNames = [numRefusals]string{RefusedPerIP: "max_connections_per_ip", RefusedProxy: "proxy_protocol", RefusedTLS: "tls"}

// String returns the refusal as the metrics have it.
func (r Refusal) String() string { return refusalNames[r] }

// Failure is why an exchange brought no reply.
type Failure uint8

// The failures.
const (
	FailureNone     Failure = iota // none: the connection or the plugin ended before the reply
	FailureError                   // the worker answered with an error
	FailureReply                   // the worker's answer was not a reply
	FailureTimeout                 // the worker took longer than exec_ttl, or close_timeout
	FailureDied                    // the worker died, or none could be started
	FailureOverload                // no worker was free in time

	numFailures = iota
)

var failureNames = [numFailures]string{
	FailureNone:     "",
	FailureError:    "error",
	FailureReply:    "reply",
	FailureTimeout:  "timeout",
	FailureDied:     "died",
	FailureOverload: "overload",
}

// String returns the failure as the metrics have it; FailureNone is empty.
func (f Failure) String() string { return failureNames[f] }
