package tests

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireSoon fails where a call to another node takes longer than the cluster's timeout allows.
func requireSoon(t *testing.T, call func()) {
	t.Helper()
	begin := time.Now()
	call()
	require.Less(t, time.Since(begin), time.Second+atOnce)
}

func TestClusterEngineDies(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		e.timeout = time.Second
		nodes := e.nodesOf(2)
		a, b := nodes[0], nodes[1]
		own, other := a.dial("echo"), b.dial("echo")
		uuid := other.receive()
		ownUUID := own.receive()
		a.reach(other, uuid, "before")

		stop := make(chan struct{}) // closed when the local pushes may end
		pushed := make(chan int)
		go func() {
			write := a.pusher(t)
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					pushed <- n
					return
				default:
				}
				assert.Equal(t, pushAccepted, write(ownUUID, "local\r\n"))
				time.Sleep(time.Millisecond)
			}
		}()
		e.kill()
		for range 20 {
			requireSoon(t, func() {
				result := a.push(uuid, "meanwhile\r\n", false)
				require.Equal(t, pushUnreachable, result)
			})
		}
		requireSoon(t, func() {
			require.Equal(t, pushCounts{Accepted: 1, Nodes: 1, Unreachable: 1}, a.broadcast(broadcastRequest{Server: "echo", Body: []byte("local\r\n")}))
		})
		requireSoon(t, func() { require.Equal(t, 1, a.connections(connectionQuery{}).Unreachable) })
		requireSoon(t, func() { require.Equal(t, 1, a.stats().Unreachable) })
		requireSoon(t, func() {
			var closed bool
			require.ErrorContains(t, a.call("tcp.Close", uuid, &closed), "unreachable")
		})
		require.False(t, a.nodes().Connected)
		got := a.ctl("nodes")
		require.Equal(t, 1, got.code)
		requireOneLine(t, got.stderr, "can't be reached")
		a.tag(ownUUID, "meanwhile")

		e.start()
		back := time.Now()
		eventually(t, "the other node is reached again", func() bool { return a.push(uuid, "after\r\n", false) == pushAccepted })
		eventually(t, "and the tag, from there", func() bool {
			return b.broadcast(broadcastRequest{Tag: "meanwhile", Body: []byte("tagged\r\n")}).Accepted == 1
		})
		took := time.Since(back)
		t.Log(e.name, "is back: all is well within", took)
		require.Less(t, took, 5*time.Second+atOnce)
		for line := other.receive(); line != "after"; line = other.receive() {
			require.Contains(t, []string{"before", "meanwhile"}, line, "what was unreachable may have been pushed")
		}
		close(stop)
		for local := <-pushed + 1; local > 0; {
			switch line := own.receive(); line {
			case "local":
				local--
			default:
				require.Equal(t, "tagged", line)
			}
		}
		require.Len(t, a.logged("tcp", "can't be reached"), 1)
		require.Len(t, a.logged("tcp", "cluster: connected"), 2)
		require.NotContains(t, a.stderr(), "redis:", "the client of Redis has a logger of its own")
	})
}

func TestClusterNodeDies(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		e.timeout = 5 * time.Second // until a node that is silent is taken for dead, each call waits for it
		nodes := e.nodesOf(3)
		a, b, killed := nodes[0], nodes[1], nodes[2]
		c := killed.dial("echo")
		uuid := c.receive()
		stays := b.dial("echo")
		uuidB := stays.receive()
		require.NoError(t, killed.cmd.Process.Kill())
		<-killed.exited
		for range 20 {
			requireSoon(t, func() {
				require.Contains(t, []string{pushGone, pushUnreachable}, a.push(uuid, "x", false))
			})
			require.Equal(t, pushAccepted, a.push(uuidB, "x\r\n", false))
			require.Equal(t, "x", stays.receive())
		}
		requireSoon(t, func() {
			require.Equal(t, pushCounts{Accepted: 1, Nodes: 2, Unreachable: 1}, a.broadcast(broadcastRequest{Server: "echo", Body: []byte("all\r\n")}))
		})
		require.Equal(t, "all", stays.receive())
		killWorkers(t, killed.dir)

		uuidB = b.dial("echo").receive()
		b.stop()
		require.Equal(t, pushGone, a.push(uuidB, "x", false), "a node that stops says so")
	})
}

// killWorkers ends the workers of a host that was killed.
func killWorkers(t *testing.T, dir string) {
	for _, pid := range pids(dir) {
		if process, err := os.FindProcess(pid); err == nil {
			_ = process.Kill()
		}
	}
	requireNoWorkers(t, dir)
}

func TestClusterStartsWithoutEngine(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nats", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, name)
			required := strings.Replace(e.config(e.address), "{", "{required: true, ", 1)
			text := newHost(t, shortDir(t)).failedStart(strings.Replace(withRPC, "tcp:\n", "tcp:\n  cluster: "+required+"\n", 1))
			require.Contains(t, text, "tcp: cluster: "+name+": ")

			a, b := e.node(), e.node()
			c := b.dial("echo")
			uuid := c.receive()
			require.Equal(t, pushUnreachable, a.push(uuid, "x", false))
			require.Equal(t, pushAccepted, b.push(uuid, "hello\r\n", false))
			require.Equal(t, "hello", c.receive())
			eventually(t, "it says so", func() bool { return len(a.logged("tcp", "can't be reached")) == 1 })
			e.start()
			awaitNodes(a, b)
			require.Equal(t, pushAccepted, a.push(uuid, "there\r\n", false))
			require.Equal(t, "there", c.receive())
		})
	}
}

// An engine that comes after the node, or comes back, and does not let it in, or is another one: the log says why.
func TestClusterEngineRefuses(t *testing.T) {
	t.Parallel()
	const (
		natsTLS  = `tls: {cert_file: "DIR/CERT.pem", key_file: "DIR/CERT.key", ca_file: "DIR/CA.pem", verify: true}`
		redisTLS = "tls-port PORT\nport 0\ntls-cert-file DIR/CERT.pem\ntls-key-file DIR/CERT.key\ntls-ca-cert-file DIR/CA.pem"
		nodeTLS  = `, tls: {root_ca: "DIR/ours.pem", cert: "DIR/engine.pem", key: "DIR/engine.key"}`
	)
	for name, test := range map[string]struct{ before, after, keys string }{
		"nats":                        {"", "authorization: {token: secret}", ""},
		"nats, of another authority":  {natsTLS, strings.ReplaceAll(natsTLS, "CERT", "other"), nodeTLS},
		"nats, of another client":     {natsTLS, strings.ReplaceAll(natsTLS, "CA", "theirs"), nodeTLS},
		"redis":                       {"port PORT", "port PORT\nrequirepass secret", ""},
		"redis, of another authority": {redisTLS, strings.ReplaceAll(redisTLS, "CERT", "other"), nodeTLS},
		"redis, of another client":    {redisTLS, strings.ReplaceAll(redisTLS, "CA", "theirs"), nodeTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine, _, _ := strings.Cut(name, ",")
			e := newEngine(t, engine)
			ip, port, _ := net.SplitHostPort(e.address)
			dir := shortDir(t)
			in := strings.NewReplacer("DIR", dir, "PORT", port, "CERT", "engine", "CA", "ours")
			ours, theirs := newAuthority(t, "engine"), newAuthority(t, "engine")
			save(t, dir+"/ours.pem", ours.pem)
			save(t, dir+"/theirs.pem", theirs.pem)
			both := &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(ip)}}
			ours.issue(both).save(t, dir, "engine")
			theirs.issue(both).save(t, dir, "other")
			e.conf, e.keys = dir+"/conf", in.Replace(test.keys)
			save(t, e.conf, []byte(in.Replace(test.before)+"\n"))

			early := e.node()
			eventually(t, "it says so", func() bool { return len(early.logged("tcp", "can't be reached")) == 1 })
			e.start()
			late := e.node()
			awaitNodes(early, late)
			e.kill()
			later := e.node()
			save(t, e.conf, []byte(in.Replace(test.after)+"\n"))
			e.start()
			for _, h := range []*host{early, late, later} {
				eventually(t, "it says why", func() bool { return len(h.logged("tcp", "refuses something")) == 1 })
			}
		})
	}
}

// A login with too few rights is named in the log. With the missing ones a node needs no new start.
func TestClusterRightsComeLate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ conf, keys, few, enough string }{
		"nats": {
			"authorization {users: [{user: rrtcp, password: secret, permissions: {publish: \"rrtcp.>\", subscribe: \"RIGHTS\"}}, {user: all, password: secret}]}\n",
			", user: %s, password: secret", "other.>", "rrtcp.>",
		},
		"redis": {
			"port PORT\nuser rrtcp on >secret resetchannels &RIGHTS -@all +@pubsub +@connection -@dangerous +client|setname +cluster|slots\nuser all on >secret allchannels +@all\n",
			", username: %s, password: secret", "other.*", "{rrtcp}.*",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, name)
			e.conf = shortDir(t) + "/conf"
			_, port, _ := net.SplitHostPort(e.address)
			allow := func(rights string) {
				save(t, e.conf, []byte(strings.NewReplacer("PORT", port, "RIGHTS", rights).Replace(test.conf)))
			}
			allow(test.few)
			e.start()
			e.keys = fmt.Sprintf(test.keys, "rrtcp")
			few := e.node()
			e.keys = fmt.Sprintf(test.keys, "all")
			other := e.node()
			eventually(t, "it says why", func() bool { return len(few.logged("tcp", "refuses something")) == 1 })
			require.Len(t, few.nodes().Nodes, 1)
			allow(test.enough)
			if name == "nats" {
				require.NoError(t, e.cmd.Process.Signal(syscall.SIGHUP))
			} else {
				e.kill()
				e.start()
			}
			awaitNodes(few, other)
			c, own := other.dial("echo"), few.dial("echo")
			few.reach(c, c.receive(), "to the other")
			other.reach(own, own.receive(), "to this one")
		})
	}
}

// A link that is silent in both directions.
func TestClusterPartition(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		e.timeout = time.Second
		link := proxyTo(t, e.address)
		a, b := e.nodeVia(link.Listen), e.node()
		awaitNodes(a, b)
		c, own := b.dial("echo"), a.dial("echo")
		uuid := c.receive()
		ownUUID := own.receive()
		a.reach(c, uuid, "before")

		poison(t, link, toxic{Type: "timeout", Stream: both})
		requireSoon(t, func() { require.Equal(t, pushUnreachable, a.push(uuid, "meanwhile\r\n", false)) })
		requireSoon(t, func() { require.Equal(t, pushUnreachable, b.push(ownUUID, "meanwhile\r\n", false)) })
		require.Equal(t, pushAccepted, a.push(ownUUID, "local\r\n", false))
		require.Equal(t, "local", own.receive())
		for _, stream := range []string{"upstream", "downstream"} {
			require.NoError(t, link.Toxics.RemoveToxic(context.Background(), "timeout_"+stream))
		}
		eventually(t, "the other node is reached again", func() bool { return a.push(uuid, "after\r\n", false) == pushAccepted })
		eventually(t, "and from there", func() bool { return b.push(ownUUID, "after\r\n", false) == pushAccepted })
	})
}

// A message that takes longer than a ping is no reason to think that the engine is gone.
func TestClusterSlowLink(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		e.timeout = time.Second
		link := proxyTo(t, e.address)
		a, b := e.nodeVia(link.Listen), e.node()
		awaitNodes(a, b)
		c := a.dial("echo")
		uuid := c.receive()
		poison(t, link, toxic{Type: "bandwidth", Stream: "downstream", Attributes: map[string]int{"rate": 500}}) // KB/s
		large := strings.Repeat("x", 1_000_000) + "\r\n"
		require.Equal(t, pushUnreachable, b.push(uuid, large, false), "it takes longer than timeout")
		require.True(t, large == c.receive()+"\r\n")
		b.reach(c, uuid, "after")
		require.Empty(t, a.logged("tcp", "can't be reached"))
	})
}

// An engine that takes nothing any more: what waits for it is bounded.
func TestClusterEngineStuck(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		e.plain, e.timeout = true, time.Second
		nodes := e.nodesOf(2)
		a, b := nodes[0], nodes[1]
		c := b.dial("echo")
		uuid := c.receive()
		a.reach(c, uuid, "before")
		before := rss(t, a.cmd.Process.Pid)
		require.NoError(t, e.cmd.Process.Signal(syscall.SIGSTOP))
		eventually(t, "all of its threads have stopped", func() bool { return a.push(uuid, "meanwhile\r\n", false) != pushAccepted })
		const pushers = 64
		done := make(chan int)
		body := strings.Repeat("x", 20_000) + "\r\n"
		for range pushers {
			write := a.pusher(t)
			go func() {
				n := 0
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end); n++ {
					assert.Contains(t, []string{pushUnreachable, pushFull}, write(uuid, body))
				}
				done <- n
			}()
		}
		pushes := 0
		for range pushers {
			pushes += <-done
		}
		grown := rss(t, a.cmd.Process.Pid) - before
		t.Log(pushes, "pushes to a stuck", e.name, "took", grown>>20, "MB")
		require.Less(t, grown, 128<<20)
		require.NoError(t, e.cmd.Process.Signal(syscall.SIGCONT))
		eventually(t, "the other node is reached again", func() bool { return a.push(uuid, "after\r\n", false) == pushAccepted })
	})
}

// rss is what a process has of the memory, in bytes.
func rss(t *testing.T, pid int) int {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// NATS ends a connection that has too many subscriptions. Its client does not connect again by itself.
func TestClusterTooManyTags(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "nats")
	e.timeout = time.Second
	e.conf = shortDir(t) + "/conf"
	save(t, e.conf, []byte("max_subscriptions: 8\n"))
	e.start()
	nodes := e.nodesOf(2)
	a, b := nodes[0], nodes[1]
	own, other := a.dial("echo"), b.dial("echo")
	ownUUID, uuid := own.receive(), other.receive()
	tooMany := []string{"1", "2", "3", "4", "5", "6", "7"}
	b.tag(uuid, append(tooMany, "room")...)
	eventually(t, "it says so", func() bool { return len(b.logged("tcp", "refuses something")) == 1 })
	require.Contains(t, b.logged("tcp", "refuses something")[0].Error, "maximum subscriptions exceeded")
	require.NotEmpty(t, b.logged("tcp", "can't be reached"))
	var result string
	require.NoError(t, b.call("tcp.Tag", tagRequest{UUID: uuid, Remove: tooMany}, &result))
	eventually(t, "its tag is reached", func() bool {
		return a.broadcast(broadcastRequest{Tag: "room", Body: []byte("tagged\r\n")}).Accepted == 1
	})
	require.Equal(t, "tagged", other.receive())
	eventually(t, "it is reached", func() bool { return a.push(uuid, "hello\r\n", false) == pushAccepted })
	for line := other.receive(); line != "hello"; line = other.receive() {
		require.Equal(t, "tagged", line, "what was unreachable may have been pushed")
	}
	eventually(t, "it reaches others", func() bool { return b.push(ownUUID, "hello\r\n", false) == pushAccepted })
	require.Equal(t, "hello", own.receive())
}

// Whoever may publish can send anything. A node counts and ignores it.
func TestClusterGarbage(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		nodes := e.nodesOf(2)
		node := nodes[1].nodes().Nodes[0].Node
		c := nodes[1].dial("echo")
		uuid := c.receive()
		stranger := "\x00\x01\x02\x03\x04\x05" + "\x00\x00\x00\x00\x00\x00\x00\x07"
		for _, message := range []string{
			"", "r", "rr", "hello", strings.Repeat("x", 100_000), "rr\x01\x03" + stranger + "\xff\xff\xff\xff\xff", "rr\x01\x03" + stranger + "\x02{}",
			"rr\x01\x01" + stranger + "no JSON", "rr\x02\x03" + stranger + "a version to come", "rr\x01\x09" + stranger + "a kind to come",
			"rr\x01\x04" + stranger + "an answer that nobody waits for", "rr\x01\x03" + stranger + "\x0f{\"op\":\"write\"}",
		} {
			e.publish("node."+node, message)
			e.publish("all", message)
		}
		for i := range 10 {
			require.Equal(t, pushAccepted, nodes[0].push(uuid, itoa(i)+"\r\n", false))
			require.Equal(t, itoa(i), c.receive())
		}
		require.Len(t, nodes[0].nodes().Nodes, 2)
	})
}

// publish sends a message as whoever may publish can.
func (e *clusterEngine) publish(subject, message string) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.address)
	require.NoError(e.t, err)
	defer func() { _ = conn.Close() }()
	c := clientOf(e.t, conn)
	if e.name == "nats" {
		require.Contains(e.t, c.receive(), "INFO")
		write(c, fmt.Sprintf("CONNECT {\"verbose\":false}\r\nPUB rrtcp.%s %d\r\n%s\r\nPING\r\n", subject, len(message), message))
		require.Equal(e.t, "PONG", c.receive())
		return
	}
	subject = "{rrtcp}." + subject
	write(c, fmt.Sprintf("*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(subject), subject, len(message), message))
	require.Contains(e.t, c.receive(), ":")
}
