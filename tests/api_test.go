package tests

import (
	"net"
	"net/rpc"
	"slices"
	"time"

	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"
	"github.com/stretchr/testify/require"
)

// The types below are what RoadRunner's RPC takes and returns: gob matches fields by name.

type writeRequest struct {
	UUID  string
	Body  []byte
	Close bool
	Local bool
}

type broadcastRequest struct {
	Server string
	UUIDs  []string
	Tag    string
	Body   []byte
	Local  bool
}

type tagRequest struct {
	UUID        string
	Add, Remove []string
	Local       bool
}

type pushCounts struct{ Accepted, Gone, Full, Nodes, Unreachable int }

const (
	pushAccepted = "accepted"
	pushGone     = "gone"
	pushFull     = "full"

	pushUnreachable = "unreachable"
)

type connectionQuery struct {
	Server, Tag, After string
	Limit              int
	Local              bool
}

type connectionPage struct {
	Connections []connectionState
	Next        string
	Unreachable int
}

type connectionState struct {
	UUID, Server, RemoteAddr, ConnectedAt, State string
	Bytes, BytesWritten, Packets                 int64
	Tags                                         []string
}

type stats struct {
	Connections      int
	Servers          map[string]int
	Tags             int
	ExchangesWaiting int
	BufferedBytes    int64
	MemoryLimit      int64
	Pushes           pushCounts
	Version          string
	Nodes            map[string]stats
	Unreachable      int
}

type nodeList struct {
	Nodes     []nodeState
	Connected bool
}

type nodeState struct {
	Node, Version, Host, Address, LastHeard string
	Self                                    bool
	Connections                             int
	Uptime                                  int64
}

type workerList struct{ Workers []struct{ Pid int64 } }

// call calls a method of RoadRunner's RPC as a Go program does.
func (h *host) call(method string, argument, answer any) error {
	h.t.Helper()
	conn, err := net.DialTimeout("unix", h.dir+"/rpc", patience)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
	defer func() { _ = client.Close() }()
	return client.Call(method, argument, answer)
}

// workers are the process ids of the pool's workers, sorted.
func (h *host) workers() (pids []int) {
	h.t.Helper()
	var list workerList
	require.NoError(h.t, h.call("informer.Workers", "tcp", &list))
	for _, w := range list.Workers {
		pids = append(pids, int(w.Pid))
	}
	slices.Sort(pids)
	return pids
}

func (h *host) reset() {
	h.t.Helper()
	require.NoError(h.t, h.tryReset())
}

func (h *host) tryReset() error {
	h.t.Helper()
	var done bool
	return h.call("resetter.Reset", "tcp", &done)
}

func (h *host) addWorker() error {
	h.t.Helper()
	var ignored bool
	return h.call("informer.AddWorker", "tcp", &ignored)
}

func (h *host) removeWorker() error {
	h.t.Helper()
	var ignored bool
	return h.call("informer.RemoveWorker", "tcp", &ignored)
}

// closeConnection calls tcp.Close.
func (h *host) closeConnection(uuid string) {
	h.t.Helper()
	var closed bool
	require.NoError(h.t, h.call("tcp.Close", uuid, &closed))
	require.True(h.t, closed)
}

func (h *host) stats() (s stats) {
	h.t.Helper()
	require.NoError(h.t, h.call("tcp.Stats", true, &s))
	return s
}

func (h *host) nodes() (list nodeList) {
	h.t.Helper()
	require.NoError(h.t, h.call("tcp.Nodes", true, &list))
	return list
}

func (h *host) connections(q connectionQuery) (page connectionPage) {
	h.t.Helper()
	require.NoError(h.t, h.call("tcp.Connections", q, &page))
	return page
}

func (h *host) push(uuid, body string, last bool) (result string) {
	h.t.Helper()
	require.NoError(h.t, h.call("tcp.Write", writeRequest{UUID: uuid, Body: []byte(body), Close: last}, &result))
	return result
}

func (h *host) broadcast(request broadcastRequest) (n pushCounts) {
	h.t.Helper()
	require.NoError(h.t, h.call("tcp.Broadcast", request, &n))
	return n
}

func (h *host) tag(uuid string, add ...string) {
	h.t.Helper()
	var result string
	require.NoError(h.t, h.call("tcp.Tag", tagRequest{UUID: uuid, Add: add}, &result))
	require.Equal(h.t, pushAccepted, result)
}
