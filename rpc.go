package tcp

// rpc holds the methods that RoadRunner's rpc plugin serves as tcp.*.
type rpc struct {
	plugin *Plugin
}

// WriteRequest is the argument of tcp.Write.
type WriteRequest struct {
	UUID  string `json:"uuid" msgpack:"uuid"`
	Body  []byte `json:"body" msgpack:"body"`
	Close bool   `json:"close" msgpack:"close"` // the connection ends behind it
}

// BroadcastRequest is the argument of tcp.Broadcast.
type BroadcastRequest struct {
	Server string   `json:"server" msgpack:"server"`
	UUIDs  []string `json:"uuids" msgpack:"uuids"`
	Tag    string   `json:"tag" msgpack:"tag"`
	Body   []byte   `json:"body" msgpack:"body"`
}

// TagRequest is the argument of tcp.Tag.
type TagRequest struct {
	UUID   string   `json:"uuid" msgpack:"uuid"`
	Add    []string `json:"add" msgpack:"add"`
	Remove []string `json:"remove" msgpack:"remove"`
}

// Close closes the connection with the given uuid. closed is true also where no such connection is open (any more), as
// it has always been; a string that is no uuid is an error.
func (r *rpc) Close(uuid string, closed *bool) error {
	*closed = false
	if err := r.plugin.Close(uuid); err != nil {
		return err
	}
	*closed = true
	return nil
}

// Write is Plugin.Write.
func (r *rpc) Write(request WriteRequest, result *PushResult) (err error) {
	*result, err = r.plugin.Write(request.UUID, request.Body, request.Close)
	return err
}

// Broadcast is Plugin.Broadcast.
func (r *rpc) Broadcast(request BroadcastRequest, counts *PushCounts) (err error) {
	*counts, err = r.plugin.Broadcast(Selector{request.Server, request.UUIDs, request.Tag}, request.Body)
	return err
}

// Tag is Plugin.Tag.
func (r *rpc) Tag(request TagRequest, result *PushResult) (err error) {
	*result, err = r.plugin.Tag(request.UUID, request.Add, request.Remove)
	return err
}

// Connections is Plugin.Connections.
func (r *rpc) Connections(query ConnectionQuery, page *ConnectionPage) (err error) {
	*page, err = r.plugin.Connections(query)
	return err
}

// Stats is Plugin.Stats. The argument is of no use, as with RoadRunner's informer.List.
func (r *rpc) Stats(_ bool, stats *Stats) error {
	*stats = r.plugin.Stats()
	return nil
}
