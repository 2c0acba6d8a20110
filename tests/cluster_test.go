package tests

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/rpc"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClusterPushes(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		nodes := e.nodesOf(2)
		a, b := nodes[0], nodes[1]
		c := b.dial("echo")
		uuid := c.receive()
		require.Equal(t, "8", uuid[14:15], "its version")

		for i := range 100 {
			require.Equal(t, pushAccepted, a.push(uuid, fmt.Sprintf("%d\r\n", i), false))
		}
		for i := range 100 {
			require.Equal(t, fmt.Sprint(i), c.receive())
		}
		var result string
		require.NoError(t, a.call("tcp.Write", writeRequest{UUID: uuid, Body: []byte("x"), Local: true}, &result))
		require.Equal(t, pushGone, result)

		require.NoError(t, a.call("tcp.Tag", tagRequest{UUID: uuid, Add: []string{"room"}, Local: true}, &result))
		require.Equal(t, pushGone, result)

		a.tag(uuid, "room")
		require.Equal(t, []string{"room"}, b.connections(connectionQuery{Local: true}).Connections[0].Tags)
		many := tagRequest{UUID: uuid}
		for i := range 32 {
			many.Add = append(many.Add, fmt.Sprint(i))
		}
		require.ErrorContains(t, a.call("tcp.Tag", many, &result), "would have 33")

		require.Equal(t, pushAccepted, a.push(uuid, "bye\r\n", true))
		require.Equal(t, "bye\r\n", c.rest())
		require.Equal(t, "rpc", b.record.of(t, c).Reason)
		require.Equal(t, pushGone, a.push(uuid, "x", false))

		c = b.dial("echo")
		uuid = c.receive()
		a.closeConnection(uuid)
		c.requireEnd()
		a.closeConnection(uuid)

		c = b.dial("echo")
		uuid = c.receive()
		limit := map[string]int{"nats": 1<<20 - 1042, "redis": 4<<20 - 1024}[e.name] // as docs/cluster.md has it
		tooLarge := pattern(limit + 1)
		text := fmt.Sprintf("body: has %d bytes; want %d at most to another node", limit+1, limit)
		require.ErrorContains(t, a.call("tcp.Write", writeRequest{UUID: uuid, Body: tooLarge}, &result), "tcp: write: "+text)
		err := a.call("tcp.Broadcast", broadcastRequest{Server: "echo", Body: tooLarge}, &pushCounts{})
		require.ErrorContains(t, err, "tcp: broadcast: "+text)
		large := string(tooLarge[:limit])
		if queue := 1 << 20; limit > queue { // push_queue
			require.Equal(t, pushFull, a.push(uuid, large, true), "it goes to the other node")
			large = large[:queue]
		}
		require.Equal(t, pushAccepted, a.push(uuid, large, true))
		require.True(t, large == c.rest())
	})
}

// pusher calls tcp.Write over one connection.
func (h *host) pusher(t *testing.T) func(uuid, body string) string {
	conn, err := net.Dial("unix", h.dir+"/rpc")
	require.NoError(t, err)
	client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
	t.Cleanup(func() { _ = client.Close() })
	return func(uuid, body string) (result string) {
		assert.NoError(t, client.Call("tcp.Write", writeRequest{UUID: uuid, Body: []byte(body)}, &result))
		return result
	}
}

// Each node pushes to connections of the others: everything arrives once, in order.
func TestClusterOrder(t *testing.T) { // not in parallel: it takes all there is
	for _, name := range []string{"nats", "redis"} {
		t.Run(name, func(t *testing.T) {
			pushes := 3000
			if len(buildFlags) > 0 {
				pushes = 400 // under the race detector one takes so much longer
			}
			nodes := startEngine(t, name).nodesOf(3)
			clients, uuids := make([]*client, len(nodes)), make([]string, len(nodes))
			for i, h := range nodes {
				clients[i] = h.dial("echo")
				uuids[i] = clients[i].receive()
			}
			var pushing sync.WaitGroup
			for from := range nodes {
				write := nodes[from].pusher(t)
				pushing.Add(1)
				go func() {
					defer pushing.Done()
					for i := range pushes {
						for to := range nodes {
							if to != from {
								assert.Equal(t, pushAccepted, write(uuids[to], fmt.Sprintf("%d %d\r\n", from, i)))
							}
						}
					}
				}()
			}
			for _, c := range clients {
				next := make(map[int]int)
				for range (len(nodes) - 1) * pushes {
					var from, i int
					_, err := fmt.Sscanf(c.receive(), "%d %d", &from, &i)
					require.NoError(t, err)
					require.Equal(t, next[from], i)
					next[from]++
				}
			}
			pushing.Wait()
		})
	}
}

func TestClusterBroadcast(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		nodes := e.nodesOf(3)
		var clients []*client // two of each node
		var uuids []string
		for _, h := range nodes {
			for range 2 {
				c := h.dial("echo")
				clients, uuids = append(clients, c), append(uuids, c.receive())
			}
		}
		receive := func(want string, from ...int) {
			t.Helper()
			for _, i := range from {
				require.Equal(t, want, clients[i].receive())
			}
		}
		for i, h := range nodes {
			text := fmt.Sprintf("all of %d", i)
			require.Equal(t, pushCounts{Accepted: 6, Nodes: 3}, h.broadcast(broadcastRequest{Server: "echo", Body: []byte(text + "\r\n")}))
			receive(text, 0, 1, 2, 3, 4, 5)
		}
		require.Equal(t, pushCounts{Accepted: 2}, nodes[0].broadcast(broadcastRequest{Server: "echo", Body: []byte("own\r\n"), Local: true}))
		receive("own", 0, 1)

		// Tags, by whichever node: the next broadcast finds them.
		nodes[1].tag(uuids[3], "room")
		require.Equal(t, pushCounts{Accepted: 1, Nodes: 2}, nodes[0].broadcast(broadcastRequest{Tag: "room", Body: []byte("1\r\n")}))
		receive("1", 3)
		nodes[2].tag(uuids[0], "room")
		require.Equal(t, pushCounts{Accepted: 2, Nodes: 3}, nodes[2].broadcast(broadcastRequest{Tag: "room", Body: []byte("2\r\n")}))
		receive("2", 0, 3)
		require.Equal(t, "ok", clients[4].ask(`!answer {"reply":"WRITE","tags":["room"]} ok`))
		eventually(t, "the reply's tag is known", func() bool {
			return nodes[0].broadcast(broadcastRequest{Tag: "room", Server: "echo", Body: []byte("3\r\n")}).Accepted == 3
		})
		receive("3", 4)
		require.Equal(t, pushCounts{Nodes: 1}, nodes[0].broadcast(broadcastRequest{Tag: "empty", Body: []byte("x")}))
		var result string
		require.NoError(t, nodes[0].call("tcp.Tag", tagRequest{UUID: uuids[3], Remove: []string{"room"}}, &result))
		clients[0].Close()
		clients[4].Close()
		eventually(t, "nobody has the tag", func() bool {
			return nodes[1].broadcast(broadcastRequest{Tag: "room", Body: []byte("x")}) == pushCounts{Nodes: 1}
		})

		to := append([]string{stranger}, uuids[1], uuids[2], uuids[2], uuids[5])
		require.Equal(t, pushCounts{Accepted: 3, Gone: 1, Nodes: 3}, nodes[2].broadcast(broadcastRequest{UUIDs: to, Body: []byte("some\r\n")}))
		receive("some", 1, 2, 5)
		require.ErrorContains(t, nodes[0].call("tcp.Broadcast", broadcastRequest{UUIDs: []string{"7"}}, &pushCounts{}), "broadcast: uuids[0]")
	})
}

func TestClusterLists(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		nodes := e.nodesOf(3)
		var uuids []string
		for range 7 {
			h := nodes[rand.IntN(2)] // one has none
			uuids = append(uuids, h.dial("echo").receive())
		}
		slices.Sort(uuids)
		for _, limit := range []int{1, 2, 3, 7, 8} {
			for _, h := range nodes {
				var got []string
				for q := (connectionQuery{Limit: limit}); ; {
					page := h.connections(q)
					require.Zero(t, page.Unreachable)
					require.LessOrEqual(t, len(page.Connections), limit)
					for _, c := range page.Connections {
						got = append(got, c.UUID)
					}
					if q.After = page.Next; q.After == "" {
						break
					}
					require.Len(t, page.Connections, limit, "a page that is not the last one is full")
				}
				require.Equal(t, uuids, got)
			}
		}

		sum := nodes[2].stats()
		require.Equal(t, 7, sum.Connections)
		require.Equal(t, map[string]int{"echo": 7}, sum.Servers)
		require.Len(t, sum.Nodes, 3)
		require.Zero(t, sum.Unreachable)

		var own stats
		require.NoError(t, nodes[2].call("tcp.LocalStats", true, &own))
		require.Zero(t, own.Connections)
		require.Empty(t, own.Nodes)

		eventually(t, "the others have heard of the connections", func() bool {
			connections := 0
			for _, n := range nodes[2].nodes().Nodes {
				connections += n.Connections
			}
			return connections == 7
		})
		list := nodes[0].nodes()
		require.True(t, list.Connected)
		require.True(t, slices.IsSortedFunc(list.Nodes, func(a, b nodeState) int { return slices.Compare([]byte(a.Node), []byte(b.Node)) }))
		for _, h := range nodes {
			i := slices.IndexFunc(list.Nodes, func(n nodeState) bool { return n.Address == "tcp://"+h.addr("echo").String() })
			require.GreaterOrEqual(t, i, 0, "%v", list)
			n := list.Nodes[i]
			require.Equal(t, h == nodes[0], n.Self)
			require.Contains(t, sum.Nodes, n.Node)
			heard, err := time.Parse(time.RFC3339, n.LastHeard)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), heard, patience)
		}

		got := nodes[0].ctl("nodes")
		require.Zero(t, got.code, got.stderr)
		for _, n := range list.Nodes {
			require.Contains(t, got.stdout, n.Node)
		}
		got = nodes[2].ctl("connections")
		require.Zero(t, got.code, got.stderr)
		for _, uuid := range uuids {
			require.Contains(t, got.stdout, uuid)
		}
		require.Equal(t, result{stdout: "sent\n"}, nodes[2].ctl("send", uuids[0], "hello"))
		require.Equal(t, result{stdout: uuids[0] + " is closed\n"}, nodes[2].ctl("close", uuids[0]))
	})
}

// A broadcast to 3 × 5,000 clients: each has it.
func TestClusterThrong(t *testing.T) { // not in parallel: it takes all there is
	for _, name := range []string{"nats", "redis"} {
		t.Run(name, func(t *testing.T) {
			const each = 5000
			e := startEngine(t, name)
			var nodes []*host
			var throngs []*bufio.Scanner
			for range 3 {
				h := startPlain(t, `
tcp:
  memory_limit: "1GB"
  cluster: `+e.config(e.address)+`
  servers: {echo: {addr: "127.0.0.1:0", events: [DATA]}}
  pool: {num_workers: 1}
`)
				nodes = append(nodes, h)
				throngs = append(throngs, startThrong(t, h.addr("echo").String(), each, 0))
			}
			awaitNodes(nodes...)
			eventually(t, "all are accepted", func() bool { return nodes[0].stats().Connections == 3*each })
			begin := time.Now()
			n := nodes[0].broadcast(broadcastRequest{Server: "echo", Body: []byte("to all\r\n")})
			t.Log(name, ": a broadcast was accepted within ", time.Since(begin))
			require.Equal(t, pushCounts{Accepted: 3 * each, Nodes: 3}, n)
			for _, lines := range throngs {
				require.True(t, lines.Scan())
				require.Equal(t, fmt.Sprint("had ", each), lines.Text())
			}
		})
	}
}

// Three servers of NATS, and a node at each: one server goes, and its node finds another one.
func TestClusterOfNATS(t *testing.T) {
	t.Parallel()
	engines, routes := make([]*clusterEngine, 3), make([]string, 3)
	for i := range engines {
		engines[i] = newEngine(t, "nats")
		engines[i].timeout = time.Second
		routes[i] = "nats://" + freePort(t)
	}
	var nodes []*host
	for i, e := range engines {
		e.args = []string{"--cluster_name", "c", "--cluster", routes[i], "--routes", strings.Join(routes, ",")}
		e.start()
	}
	for i, e := range engines {
		nodes = append(nodes, e.nodeVia(e.address+","+engines[(i+1)%3].address))
	}
	awaitNodes(nodes...)
	clients, uuids := make([]*client, 3), make([]string, 3)
	for i, h := range nodes {
		clients[i] = h.dial("echo")
		uuids[i] = clients[i].receive()
	}
	all := func(text string) {
		for from, h := range nodes {
			for to, c := range clients {
				line := fmt.Sprintf("%s %d %d", text, from, to)
				eventually(t, "it is reached", func() bool { return h.push(uuids[to], line+"\r\n", false) == pushAccepted })
				for got := ""; got != line; { // what was unreachable may have come, too
					got = c.receive()
				}
			}
		}
	}
	all("before")
	for _, e := range engines[:2] {
		e.kill()
		all("after")
		e.start()
	}
}

func TestNodesWithoutCluster(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC)
	list := h.nodes()
	require.False(t, list.Connected)
	require.Len(t, list.Nodes, 1)
	require.True(t, list.Nodes[0].Self)
	require.Empty(t, list.Nodes[0].Node)
	got := h.ctl("nodes")
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, "this one")
}
