package server

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/rrtcp/tcp/internal/wire"
)

// NewRPC returns the receiver of the methods that RoadRunner's rpc plugin serves as tcp.*.
func NewRPC(s *Server) any { return &rpc{server: s} }

type rpc struct {
	server *Server
}

// WriteRequest is the argument of tcp.Write.
type WriteRequest struct {
	UUID  string `json:"uuid" msgpack:"uuid"`
	Body  []byte `json:"body" msgpack:"body"`
	Close bool   `json:"close" msgpack:"close"` // the connection ends behind it
	Local bool   `json:"local" msgpack:"local"` // no other node is asked
}

// UnmarshalJSON refuses keys that it does not know.
func (r *WriteRequest) UnmarshalJSON(b []byte) error {
	type request WriteRequest // without this method
	return decodeArgument("write", b, (*request)(r))
}

// BroadcastRequest is the argument of tcp.Broadcast.
type BroadcastRequest struct {
	Server string   `json:"server" msgpack:"server"`
	UUIDs  []string `json:"uuids" msgpack:"uuids"` // an empty list is none where gob has sent it
	Tag    string   `json:"tag" msgpack:"tag"`
	Body   []byte   `json:"body" msgpack:"body"`
	Local  bool     `json:"local" msgpack:"local"` // no connections of other nodes
}

// UnmarshalJSON refuses keys that it does not know.
func (r *BroadcastRequest) UnmarshalJSON(b []byte) error {
	type request BroadcastRequest // without this method
	return decodeArgument("broadcast", b, (*request)(r))
}

// TagRequest is the argument of tcp.Tag.
type TagRequest struct {
	UUID   string   `json:"uuid" msgpack:"uuid"`
	Add    []string `json:"add" msgpack:"add"`
	Remove []string `json:"remove" msgpack:"remove"`
	Local  bool     `json:"local" msgpack:"local"` // no other node is asked
}

// UnmarshalJSON refuses keys that it does not know.
func (r *TagRequest) UnmarshalJSON(b []byte) error {
	type request TagRequest // without this method
	return decodeArgument("tag", b, (*request)(r))
}

// decodeArgument decodes JSON into the struct that argument points to. An unknown key is an error: were a misspelt tag ignored beside
// a server, the body would go to all of its connections.
func decodeArgument(method string, b []byte, argument any) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	textErr, err := wire.CheckJSONText(b), decoder.Decode(argument)
	var wrong *json.UnmarshalTypeError
	var corrupt base64.CorruptInputError
	switch {
	case textErr != nil:
		err = textErr
	case errors.As(err, &wrong):
		err = fmt.Errorf("%s: a %s can't be read", cmp.Or(wrong.Field, "the argument"), wrong.Value)
	case errors.As(err, &corrupt):
		err = fmt.Errorf("body: is no base64: %w", err)
	case err == nil:
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	return fmt.Errorf("tcp: %s: %s; docs/push.md has the keys and what they can be", method, text[:min(len(text), 4*maxQuoted)])
}

// Close closes the connection with the given uuid. closed is true also where no such connection is open (any more), as
// it has always been; a string that is no uuid is an error.
func (r *rpc) Close(uuid string, closed *bool) error {
	*closed = false
	if err := r.server.Close(uuid); err != nil {
		return err
	}
	*closed = true
	return nil
}

// Write is Server.Write.
func (r *rpc) Write(request WriteRequest, result *PushResult) (err error) {
	*result, err = r.server.write(request.UUID, request.Body, request.Close, request.Local)
	return err
}

// Broadcast is Server.Broadcast.
func (r *rpc) Broadcast(request BroadcastRequest, counts *PushCounts) (err error) {
	*counts, err = r.server.Broadcast(Selector{request.Server, request.UUIDs, request.Tag, request.Local}, request.Body)
	return err
}

// Tag is Server.Tag.
func (r *rpc) Tag(request TagRequest, result *PushResult) (err error) {
	*result, err = r.server.tag(request.UUID, request.Add, request.Remove, request.Local)
	return err
}

// Connections is Server.Connections.
func (r *rpc) Connections(query ConnectionQuery, page *ConnectionPage) (err error) {
	*page, err = r.server.Connections(query)
	return err
}

// Stats is Server.Stats. The argument is not used, as with RoadRunner's informer.List.
func (r *rpc) Stats(_ bool, stats *Stats) error {
	*stats = r.server.Stats()
	return nil
}

// LocalStats is Server.LocalStats. The argument is not used.
func (r *rpc) LocalStats(_ bool, stats *Stats) error {
	*stats = r.server.LocalStats()
	return nil
}

// Nodes is Server.Nodes. The argument is not used.
func (r *rpc) Nodes(_ bool, nodes *NodeList) error {
	*nodes = r.server.Nodes()
	return nil
}
