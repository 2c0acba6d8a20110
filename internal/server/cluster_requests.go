package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rrtcp/tcp/internal/cluster"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// What a node asks of another.
const (
	opWrite       = "write"
	opClose       = "close"
	opTag         = "tag"
	opBroadcast   = "broadcast"
	opConnections = "connections"
	opStats       = "stats"
)

// nodeRequest is what stands before the body of a request, in JSON.
type nodeRequest struct {
	Op     string     `json:"op"`
	UUID   string     `json:"uuid,omitempty"`
	Close  bool       `json:"close,omitempty"`
	Add    []string   `json:"add,omitempty"`
	Remove []string   `json:"remove,omitempty"`
	Server string     `json:"server,omitempty"`
	UUIDs  []string   `json:"uuids,omitempty"`
	Tag    string     `json:"tag,omitempty"`
	Query  *nodeQuery `json:"query,omitempty"`
}

// nodeQuery is a ConnectionQuery without its UnmarshalJSON: a newer node may send more keys.
type nodeQuery ConnectionQuery

// nodeAnswer is the answer, in JSON.
type nodeAnswer struct {
	Result PushResult      `json:"result,omitempty"`
	Counts *PushCounts     `json:"counts,omitempty"`
	Page   *ConnectionPage `json:"page,omitempty"`
	Stats  *Stats          `json:"stats,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// maxRequestHead is kept free beside the body of a request, so that the limit for a body is the same for all but the longest requests.
const maxRequestHead = 1024

var errRequest = errors.New("is no request")

// encode returns the length of the JSON, and the JSON. The body stands behind it.
func (r nodeRequest) encode() []byte {
	head, _ := json.Marshal(r) // texts and numbers can't fail
	return wire.AppendHead(make([]byte, 0, binary.MaxVarintLen32+len(head)), head)
}

func decodeRequest(b []byte) (r nodeRequest, body []byte, err error) {
	head, body, ok := wire.CutHead(b)
	if !ok {
		return r, nil, errRequest
	}
	return r, body, json.Unmarshal(head, &r)
}

func (a nodeAnswer) encode() []byte {
	b, _ := json.Marshal(a) // texts and numbers can't fail
	return b
}

// decodeAnswer returns what another node has answered.
func decodeAnswer(from cluster.Answer) (a nodeAnswer, err error) {
	if from.Err != nil {
		return a, from.Err
	}
	if err := json.Unmarshal(from.Body, &a); err != nil {
		return a, fmt.Errorf("%w: %w", cluster.ErrUnreachable, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// serveNode does what another node asks. It does not wait.
func (s *Server) serveNode(request []byte, answer func([]byte)) {
	r, body, err := decodeRequest(request)
	if err != nil {
		answer(nil)
		return
	}
	if len(body) < len(request)/2 { // what waits for a client would hold the whole request, but count as the body
		body = bytes.Clone(body)
	}
	id, _ := canonicalUUID(r.UUID)
	switch r.Op {
	case opWrite:
		answer(nodeAnswer{Result: s.writeHere(id, body, r.Close)}.encode())
	case opClose:
		s.closeHere(id)
		answer(nodeAnswer{Result: stream.PushAccepted}.encode())
	case opBroadcast:
		n, err := s.broadcastHere(Selector{Server: r.Server, UUIDs: r.UUIDs, Tag: r.Tag}, body)
		answer(nodeAnswer{Counts: &n, Error: textOf(err)}.encode())
	case opTag:
		s.serveTag(id, r, answer)
	case opConnections, opStats:
		s.serveSlow(r, answer)
	default:
		answer(nil)
	}
}

// serveTag answers when other nodes find the connection, too. Where very many wait for that, it answers at once.
func (s *Server) serveTag(id string, r nodeRequest, answer func([]byte)) {
	if err := wire.CheckTags("add", r.Add); err != nil {
		answer(nodeAnswer{Error: fmt.Sprintf("tcp: tag: %v", err)}.encode())
		return
	}
	result, err := s.tagHere(id, r.Add, r.Remove)
	answerTag := func() { answer(nodeAnswer{Result: result, Error: textOf(err)}.encode()) }
	if result != stream.PushAccepted || len(r.Add) == 0 {
		answerTag()
		return
	}
	select {
	case s.settling <- struct{}{}:
	default:
		answerTag()
		return
	}
	go func() { // ends with the timeout of tags
		defer func() { <-s.settling }()
		s.cluster.SettleTags()
		answerTag()
	}()
}

// serveSlow is serveNode for lists, which take a moment.
func (s *Server) serveSlow(r nodeRequest, answer func([]byte)) {
	select {
	case s.slowRequests <- struct{}{}:
	default:
		answer(nil)
		return
	}
	go func() { // ends with its list
		defer func() { <-s.slowRequests }()
		switch {
		case r.Op == opStats:
			stats := s.LocalStats()
			answer(nodeAnswer{Stats: &stats}.encode())
		case r.Query != nil:
			answer(s.encodePage(ConnectionQuery(*r.Query)))
		default:
			answer(nil)
		}
	}()
}

// encodePage makes the page shorter where it is too large for a message.
func (s *Server) encodePage(q ConnectionQuery) []byte {
	for q.Local = true; ; q.Limit /= 2 {
		page, err := s.Connections(q)
		b := nodeAnswer{Page: &page, Error: textOf(err)}.encode()
		if limit := s.cluster.MaxRequest(); limit == 0 || len(b) <= limit || q.Limit <= 1 {
			return b
		}
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ask asks one node. It keeps body.
func (s *Server) ask(node cluster.NodeID, r nodeRequest, body []byte) (nodeAnswer, error) {
	head := r.encode()
	if err := s.checkSize(r.Op, head, body); err != nil {
		return nodeAnswer{}, err
	}
	return decodeAnswer(s.cluster.Ask(body, cluster.Question{Node: node, Request: head})[0])
}

// resultOf is the result of a push to another node; what is no result is an error of that node's.
func resultOf(a nodeAnswer, err error) (PushResult, error) {
	switch {
	case errors.Is(err, cluster.ErrGone):
		return stream.PushGone, nil
	case errors.Is(err, cluster.ErrFull):
		return stream.PushFull, nil
	case errors.Is(err, cluster.ErrUnreachable):
		return PushUnreachable, nil
	}
	return a.Result, err
}

// writeAt keeps body.
func (s *Server) writeAt(node cluster.NodeID, id string, body []byte, last bool) (PushResult, error) {
	return resultOf(s.ask(node, nodeRequest{Op: opWrite, UUID: id, Close: last}, body))
}

func (s *Server) tagAt(node cluster.NodeID, id string, add, remove []string) (PushResult, error) {
	return resultOf(s.ask(node, nodeRequest{Op: opTag, UUID: id, Add: add, Remove: remove}, nil))
}

func (s *Server) closeAt(node cluster.NodeID, id string) error {
	_, err := s.ask(node, nodeRequest{Op: opClose, UUID: id}, nil)
	if err != nil && !errors.Is(err, cluster.ErrGone) {
		return fmt.Errorf("tcp: close %s: %s: %w", id, PushUnreachable, err)
	}
	return nil
}
