package server

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rrtcp/tcp/internal/cluster"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// Bounds of the requests of other nodes that take more than a moment.
const (
	maxSlowRequests = 16   // lists
	maxSettling     = 1000 // new tags that the engine does not know yet
)

func (s *Server) initCluster() {
	s.initialized = time.Now()
	config := s.options.Config.Cluster
	if config == nil {
		return
	}
	s.slowRequests, s.settling = make(chan struct{}, maxSlowRequests), make(chan struct{}, maxSettling)
	s.cluster = cluster.New(cluster.Options{
		Config: config, Log: s.options.Log, Serve: s.serveNode, Describe: s.describeNode, Took: s.asked.Observe,
	})
	s.registry.watcher = s.cluster
}

// joinCluster is told where this node listens.
func (s *Server) joinCluster(listeners []*listener) error {
	if s.cluster == nil {
		return nil
	}
	s.mu.Lock()
	s.addresses = addressesOf(listeners)
	s.mu.Unlock()
	return s.cluster.Start()
}

func addressesOf(listeners []*listener) string {
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, networkAddress(l.socket.Addr()))
	}
	return strings.Join(addresses, " ")
}

func (s *Server) leaveCluster() {
	if s.cluster != nil {
		s.cluster.Stop()
	}
}

// newUUID returns the uuid of a new connection: random, and in a cluster of version 8, which begins with the node.
func (s *Server) newUUID() string {
	if s.cluster == nil {
		return uuid.NewString()
	}
	id, node := uuid.New(), s.cluster.Node()
	copy(id[:], node[:])
	const versionByte, version8 = 6, 0x80
	id[versionByte] = id[versionByte]&0x0f | version8
	return id.String()
}

// otherNode returns the node that the uuid of a connection names; false: it can only be this one.
func (s *Server) otherNode(id string) (cluster.NodeID, bool) {
	if s.cluster == nil {
		return cluster.NodeID{}, false
	}
	parsed, err := uuid.Parse(id)
	node := cluster.NodeID(parsed[:])
	return node, err == nil && parsed.Version() == 8 && node != s.cluster.Node()
}

// describeNode is what the other nodes are told of this one.
func (s *Server) describeNode() cluster.Info {
	s.mu.Lock()
	addresses := s.addresses
	if s.cluster == nil {
		addresses = addressesOf(s.listeners)
	}
	s.mu.Unlock()
	host, _ := os.Hostname()
	return cluster.Info{
		Version: Version, Host: host, Address: addresses, Connections: s.registry.count(),
		Uptime: int64(time.Since(s.initialized).Seconds()),
	}
}

// checkSize returns an error for a request that is too large to send to another node: what connects the nodes has a limit, too.
func (s *Server) checkSize(op string, head, body []byte) error {
	limit, room := s.cluster.MaxRequest(), roomFor(head)
	switch {
	case limit == 0 || room+len(body) <= limit:
		return nil
	case room > limit:
		return fmt.Errorf("tcp: %s: the request has %d bytes without its body; want %d at most to another node: what connects the nodes "+
			"takes no more", op, len(head), limit)
	}
	return fmt.Errorf("tcp: %s: body: has %d bytes; want %d at most to another node: what connects the nodes takes no more",
		op, len(body), limit-room)
}

// aUUID is what the uuid of a connection takes in the head of a request, with all around it.
const aUUID = 64

// roomFor is what the head of a request takes, with the uuid of a connection.
func roomFor(head []byte) int { return max(len(head)+aUUID, maxRequestHead) }

func (s *Server) clusterMetrics() *telemetry.Cluster {
	if s.cluster == nil {
		return nil
	}
	n := s.cluster.Counters()
	return &telemetry.Cluster{
		Out: n.Out.Load(), In: n.In.Load(), Failed: n.Failed.Load(), Refused: n.Refused.Load(), Connected: s.cluster.IsConnected(),
		Nodes: len(s.cluster.Members()) + 1, Subscriptions: s.cluster.Subscriptions(), Asked: &s.asked,
	}
}
