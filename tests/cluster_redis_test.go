package tests

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cli asks a Redis with redis-cli.
func (e *clusterEngine) cli(args ...string) string {
	host, port, _ := net.SplitHostPort(e.address)
	out, _ := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// requireReached pushes from each of two nodes to a client of the other, until the push is accepted.
func requireReached(t *testing.T, a, b *host, text string) {
	t.Helper()
	for _, way := range [][2]*host{{a, b}, {b, a}} {
		c := way[1].dial("echo")
		uuid := c.receive()
		way[0].reach(c, uuid, text)
		way[1].tag(uuid, uuid)
		eventually(t, "its tag is reached", func() bool {
			n := way[0].broadcast(broadcastRequest{Tag: uuid, Body: []byte("tagged\r\n")})
			require.Equal(t, 1, n.Accepted+n.Unreachable, "%+v", n)
			return n.Accepted == 1
		})
		for line := c.receive(); line != "tagged"; line = c.receive() {
			require.Equal(t, text, line)
		}
	}
}

// startRedisCluster starts a Redis Cluster of two, and two nodes at it.
func startRedisCluster(t *testing.T) (one, two *clusterEngine, a, b *host) {
	one, two = newEngine(t, "redis"), newEngine(t, "redis")
	for _, e := range []*clusterEngine{one, two} {
		e.timeout = time.Second
		host, _, _ := net.SplitHostPort(e.address)
		e.args = []string{"--cluster-enabled", "yes", "--cluster-announce-ip", host, "--cluster-port", strings.Split(freePort(t), ":")[1]}
		e.start()
	}
	require.Equal(t, "OK", one.cli("cluster", "addslotsrange", "0", "8191"))
	require.Equal(t, "OK", two.cli("cluster", "addslotsrange", "8192", "16383"))
	host, port, _ := net.SplitHostPort(two.address)
	require.Equal(t, "OK", one.cli("cluster", "meet", host, port, two.args[5]))
	for _, e := range []*clusterEngine{one, two} {
		eventually(t, "it is one cluster", func() bool { return strings.Contains(e.cli("cluster", "info"), "cluster_state:ok") })
	}
	a, b = one.nodeVia(one.address+","+two.address), two.nodeVia(two.address+","+one.address)
	awaitNodes(a, b)
	return one, two, a, b
}

// A Redis Cluster: all messages go through the node that has the slot.
func TestClusterOfRedis(t *testing.T) {
	t.Parallel()
	_, _, a, b := startRedisCluster(t)
	requireReached(t, a, b, "hello")
}

// The slot moves to the other Redis. The nodes follow, each when it hears of it, and reach each other meanwhile.
func TestClusterOfRedisMovesSlot(t *testing.T) {
	t.Parallel()
	from, to, a, b := startRedisCluster(t)
	const channel = "{rrtcp}.all"
	slot := from.cli("cluster", "keyslot", channel)
	if from.cli("pubsub", "numsub", channel) != channel+"\n2" {
		from, to = to, from
	}
	require.Equal(t, channel+"\n2", from.cli("pubsub", "numsub", channel))
	c := b.dial("echo")
	uuid := c.receive()
	b.tag(uuid, "room")
	source, destination := from.cli("cluster", "myid"), to.cli("cluster", "myid")
	require.Equal(t, "OK", to.cli("cluster", "setslot", slot, "importing", source)) // else a message of the source's takes the slot back
	for _, e := range []*clusterEngine{to, from} {
		require.Equal(t, "OK", e.cli("cluster", "setslot", slot, "node", destination))
	}

	var accepted []string
	n := 0
	note := func(isAccepted bool, line string) {
		if isAccepted {
			accepted = append(accepted, line)
			return
		}
		lost := append(a.logged("tcp", "can't be reached"), b.logged("tcp", "can't be reached")...)
		require.NotEmpty(t, lost, "%s: no node has lost the engine", line)
	}
	eventually(t, "all have followed", func() bool {
		n++
		result := a.push(uuid, fmt.Sprintf("push %d\r\n", n), false)
		require.Contains(t, []string{pushAccepted, pushUnreachable}, result)
		note(result == pushAccepted, fmt.Sprintf("push %d", n))
		counts := a.broadcast(broadcastRequest{Tag: "room", Body: fmt.Appendf(nil, "tag %d\r\n", n)})
		require.Equal(t, 1, counts.Accepted+counts.Unreachable, "%+v", counts)
		note(counts.Accepted == 1, fmt.Sprintf("tag %d", n))
		return to.cli("pubsub", "numsub", channel) == channel+"\n2"
	})
	for _, want := range accepted {
		for line := c.receive(); line != want; line = c.receive() { // what was unreachable may have come, too
			require.NotContains(t, accepted, line, "accepted pushes come once, in order")
		}
	}
	requireReached(t, a, b, "after")
}

// The master that Sentinel names goes, and another one takes its place.
func TestClusterSentinel(t *testing.T) {
	t.Parallel()
	master, replica, sentinel := startEngine(t, "redis"), newEngine(t, "redis"), newEngine(t, "redis")
	host, port, _ := net.SplitHostPort(master.address)
	replicaHost, _, _ := net.SplitHostPort(replica.address)
	replica.args = []string{"--replicaof", host + " " + port, "--replica-announce-ip", replicaHost}
	replica.start()
	_, sentinelPort, _ := net.SplitHostPort(sentinel.address)
	sentinel.conf = shortDir(t) + "/conf"
	save(t, sentinel.conf, fmt.Appendf(nil, "port %s\nsentinel monitor mymaster %s %s 1\n", sentinelPort, host, port))
	sentinel.args = []string{"--sentinel"}
	sentinel.start()
	eventually(t, "the replica is known", func() bool {
		return strings.Contains(sentinel.cli("sentinel", "replicas", "mymaster"), "master-link-status\nok")
	})
	sentinel.timeout = time.Second
	sentinel.keys = ", master_name: mymaster"
	a, b := sentinel.node(), sentinel.node()
	awaitNodes(a, b)
	requireReached(t, a, b, "before")
	require.Equal(t, "OK", sentinel.cli("sentinel", "failover", "mymaster"))
	eventually(t, "the replica is the master", func() bool {
		return strings.HasPrefix(sentinel.cli("sentinel", "get-master-addr-by-name", "mymaster"), replicaHost)
	})
	master.kill()
	requireReached(t, a, b, "after")
	require.NotEmpty(t, a.logged("tcp", "can't be reached"))
}
