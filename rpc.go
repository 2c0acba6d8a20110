package tcp

import (
	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/stream"
)

// Version is the plugin's. tcp.Stats has it, too.
const Version = server.Version

// RPC is the receiver of the methods tcp.*: Close, Write, Broadcast, Tag, Connections, Stats, LocalStats and Nodes.
func (p *Plugin) RPC() any { return server.NewRPC(&p.core) }

// Requests and results of RPC and of the plugin's methods. The field names are those of RPC.
type (
	// WriteRequest is the argument of tcp.Write.
	WriteRequest = server.WriteRequest
	// BroadcastRequest is the argument of tcp.Broadcast.
	BroadcastRequest = server.BroadcastRequest
	// TagRequest is the argument of tcp.Tag.
	TagRequest = server.TagRequest
	// ConnectionQuery is the argument of tcp.Connections.
	ConnectionQuery = server.ConnectionQuery
	// ConnectionPage is the result of tcp.Connections.
	ConnectionPage = server.ConnectionPage
	// Connection is an item of a ConnectionPage.
	Connection = server.Connection
	// Stats is the result of tcp.Stats and tcp.LocalStats.
	Stats = server.Stats
	// Traffic is what Stats has of a server.
	Traffic = server.Traffic
	// NodeList is the result of tcp.Nodes.
	NodeList = server.NodeList
	// Node is an item of a NodeList.
	Node = server.Node
	// Selector is the argument of Plugin.Broadcast.
	Selector = server.Selector
	// PushCounts is the result of tcp.Broadcast.
	PushCounts = server.PushCounts
	// PushResult is the result of tcp.Write and tcp.Tag.
	PushResult = server.PushResult
)

// What becomes of a push. None of these says that the client has it.
const (
	// PushAccepted says that it goes out behind what was accepted before it, whole or the connection ends.
	PushAccepted = stream.PushAccepted
	// PushGone says that no such connection is open, or it is about to end.
	PushGone = stream.PushGone
	// PushFull says that push_queue bytes wait for the client already, or memory_limit is used up.
	PushFull = stream.PushFull
	// PushUnreachable says that the node which has the connection did not answer in time: the push may have been done or not.
	PushUnreachable = server.PushUnreachable
)
