package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rrtcp/tcp/internal/cluster"
)

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// broadcastToNodes is Broadcast to the connections of all nodes. It keeps body.
func (s *Server) broadcastToNodes(to Selector, body []byte) (PushCounts, error) {
	request := nodeRequest{Op: opBroadcast, Server: to.Server, Tag: to.Tag}
	head := request.encode()
	if err := s.checkSize(opBroadcast, head, body); err != nil {
		return PushCounts{}, err
	}
	here, there, err := s.split(to, request, s.maxUUIDs(head, body))
	if err != nil {
		return PushCounts{}, fmt.Errorf("tcp: broadcast: %w", err)
	}
	n, err := s.broadcastHere(here, body)
	if err != nil {
		return n, err
	}
	n.Nodes = 1
	n.addAnswers(s.cluster.Ask(body, there...), there)
	return n, nil
}

// addAnswers adds what the other nodes answer.
func (n *PushCounts) addAnswers(answers []cluster.Answer, to []cluster.Question) {
	reached := make(map[cluster.NodeID]bool) // false: not by all of its questions
	for i, answer := range answers {
		a, err := decodeAnswer(answer)
		before, isKnown := reached[answer.Node]
		switch {
		case err == nil && a.Counts != nil:
			n.add(*a.Counts)
			reached[answer.Node] = before || !isKnown
		case errors.Is(err, cluster.ErrGone): // it does not have the tag, or it is no more
			n.Gone += to[i].Connections
		case errors.Is(err, cluster.ErrFull):
			n.Full += to[i].Connections
			reached[answer.Node] = false
		default:
			reached[answer.Node] = false
		}
	}
	for _, all := range reached {
		if all {
			n.Nodes++
		} else {
			n.Unreachable++
		}
	}
}

// split returns what of a broadcast concerns this node, and what the others: request, with maxUUIDs at most.
func (s *Server) split(to Selector, request nodeRequest, maxUUIDs int) (here Selector, there []cluster.Question, err error) {
	here = to
	if to.UUIDs == nil {
		encoded := request.encode()
		for _, member := range s.cluster.Members() {
			there = append(there, cluster.Question{Node: member.Node, Tag: to.Tag, Request: encoded})
		}
		return here, there, nil
	}

	here.UUIDs = []string{}
	byNode := make(map[cluster.NodeID][]string)
	for i, id := range to.UUIDs {
		if id, err = parseUUID(fmt.Sprintf("uuids[%d]", i), id); err != nil {
			return here, nil, err
		}
		if node, ok := s.otherNode(id); ok {
			byNode[node] = append(byNode[node], id)
		} else {
			here.UUIDs = append(here.UUIDs, id)
		}
	}
	for node, ids := range byNode {
		slices.Sort(ids)
		for ids = slices.Compact(ids); len(ids) > 0; {
			some := min(len(ids), maxUUIDs)
			request.UUIDs = ids[:some]
			there = append(there, cluster.Question{Node: node, Connections: some, Request: request.encode()})
			ids = ids[some:]
		}
	}
	return here, there, nil
}

// maxUUIDs is how many uuids go into one request.
func (s *Server) maxUUIDs(head, body []byte) int {
	const each, most = len(`"7f4df7c5-1f0e-4a2e-9a1e-6a4d5b3c2b1a",`), 10_000
	limit := s.cluster.MaxRequest()
	if limit == 0 { // nothing will be sent
		return most
	}
	return min(max((limit-len(head)-aUUID-len(body))/each, 1), most)
}

// connectionsOfNodes is Connections of all nodes: their uuids begin with the node, so that one node comes after the other.
func (s *Server) connectionsOfNodes(q ConnectionQuery) (page ConnectionPage, err error) {
	page.Connections = []Connection{}
	limit := q.Limit
	for _, node := range s.nodesFrom(q.After) {
		q.Limit = max(limit-len(page.Connections), 1) // behind a full page: to know whether there is another one
		of, err := s.connectionsOf(node, q)
		switch {
		case errors.Is(err, cluster.ErrGone):
		case err != nil:
			page.Unreachable++
		case len(page.Connections) < limit:
			page.Connections = append(page.Connections, of.Connections...)
			if of.Next != "" {
				page.Next = of.Next
				return page, nil
			}
		case len(of.Connections) > 0:
			page.Next = page.Connections[limit-1].UUID
			return page, nil
		}
	}
	return page, nil
}

// nodesFrom returns the nodes, this one among them, that may have connections behind a uuid, in order.
func (s *Server) nodesFrom(after string) (nodes []cluster.NodeID) {
	nodes = append(nodes, s.cluster.Node())
	for _, member := range s.cluster.Members() {
		nodes = append(nodes, member.Node)
	}
	slices.SortFunc(nodes, func(a, b cluster.NodeID) int { return slices.Compare(a[:], b[:]) })
	first := strings.ReplaceAll(after, "-", "")
	return slices.DeleteFunc(nodes, func(node cluster.NodeID) bool { return after != "" && node.String() < first[:len(node.String())] })
}

func (s *Server) connectionsOf(node cluster.NodeID, q ConnectionQuery) (ConnectionPage, error) {
	if node == s.cluster.Node() {
		return s.connectionsHere(q), nil
	}
	a, err := s.ask(node, nodeRequest{Op: opConnections, Query: (*nodeQuery)(&q)}, nil)
	switch {
	case err != nil:
		return ConnectionPage{}, err
	case a.Page == nil:
		return ConnectionPage{}, errRequest
	}
	return *a.Page, nil
}

// statsOfNodes is the sum of all nodes, and the parts of it.
func (s *Server) statsOfNodes() Stats {
	here := s.LocalStats()
	sum := here.clone()
	sum.Nodes = map[string]Stats{s.cluster.Node().String(): here}
	var questions []cluster.Question
	request := nodeRequest{Op: opStats}.encode()
	for _, member := range s.cluster.Members() {
		questions = append(questions, cluster.Question{Node: member.Node, Request: request})
	}
	for _, answer := range s.cluster.Ask(nil, questions...) {
		a, err := decodeAnswer(answer)
		if err != nil || a.Stats == nil {
			sum.Unreachable++
			continue
		}
		sum.Nodes[answer.Node.String()] = *a.Stats
		sum.add(*a.Stats)
	}
	return sum
}

// clone can be added to.
func (s Stats) clone() Stats {
	s.Servers, s.Traffic = maps.Clone(s.Servers), maps.Clone(s.Traffic)
	return s
}

func (s *Stats) add(more Stats) {
	s.Connections += more.Connections
	for name, n := range more.Servers {
		s.Servers[name] += n
	}
	for name, t := range more.Traffic {
		s.Traffic[name] = SumTraffic(s.Traffic[name], t)
	}
	s.Tags += more.Tags
	s.ExchangesWaiting += more.ExchangesWaiting
	s.BufferedBytes += more.BufferedBytes
	s.MemoryLimit += more.MemoryLimit
	s.Pushes.add(more.Pushes)
}

// SumTraffic returns the sum of two nodes, or of two times.
func SumTraffic(t, more Traffic) Traffic {
	t.Packets += more.Packets
	t.Received += more.Received
	t.Sent += more.Sent
	t.Exchanges = slices.Clone(t.Exchanges)
	for i, n := range more.Exchanges {
		if i == len(t.Exchanges) {
			t.Exchanges = append(t.Exchanges, 0) // the first one has no such server
		}
		t.Exchanges[i] += n
	}
	return t
}

// Nodes lists the nodes of the cluster; without one this node alone.
func (s *Server) Nodes() NodeList {
	now := time.Now()
	self := nodeOf("", s.describeNode(), now)
	self.Self = true
	if s.cluster == nil {
		return NodeList{Nodes: []Node{self}}
	}
	self.Node = s.cluster.Node().String()
	list := NodeList{Nodes: []Node{self}, Connected: s.cluster.IsConnected()}
	for _, member := range s.cluster.Members() {
		list.Nodes = append(list.Nodes, nodeOf(member.Node.String(), member.Info, member.Heard))
	}
	slices.SortFunc(list.Nodes, func(a, b Node) int { return strings.Compare(a.Node, b.Node) })
	return list
}

func nodeOf(id string, info cluster.Info, heard time.Time) Node {
	return Node{
		Node: id, Version: info.Version, Host: info.Host, Address: info.Address, Connections: info.Connections,
		Uptime: info.Uptime + int64(time.Since(heard).Seconds()), LastHeard: heard.UTC().Format(timeFormat),
	}
}
