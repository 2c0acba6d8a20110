package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clusterEngine is a NATS or a Redis that connects nodes.
type clusterEngine struct {
	t       *testing.T
	name    string
	address string
	args    []string      // more of them
	conf    string        // its configuration, if not empty; Redis has its port there
	keys    string        // more of its section, with a comma before
	plain   bool          // its nodes are without the race detector
	timeout time.Duration // of calls to another node; long, but where a test waits for its end
	cmd     *exec.Cmd
}

// withEngines runs a test with NATS and with Redis.
func withEngines(t *testing.T, test func(t *testing.T, e *clusterEngine)) {
	t.Parallel()
	for _, name := range []string{"nats", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, startEngine(t, name))
		})
	}
}

func newEngine(t *testing.T, name string) *clusterEngine {
	t.Helper()
	installed(t, name+"-server")
	e := &clusterEngine{t: t, name: name, address: freePort(t), timeout: 30 * time.Second}
	t.Cleanup(e.kill)
	return e
}

func startEngine(t *testing.T, name string) *clusterEngine {
	t.Helper()
	e := newEngine(t, name)
	e.start()
	return e
}

// start starts the engine, at the address that it had before, and waits until it listens.
func (e *clusterEngine) start() {
	e.t.Helper()
	host, port, err := net.SplitHostPort(e.address)
	require.NoError(e.t, err)
	args := []string{"-a", host, "-p", port}
	if e.name == "redis" {
		args = []string{"--port", port, "--bind", host, "--save", "", "--dir", shortDir(e.t)}
	}
	switch {
	case e.conf != "" && e.name == "redis":
		args = append([]string{e.conf}, args[2:]...)
	case e.conf != "":
		args = append(args, "-c", e.conf)
	}
	e.cmd = exec.Command(e.name+"-server", append(args, e.args...)...)
	e.cmd.Env = append(os.Environ(), "LC_ALL=C")
	require.NoError(e.t, e.cmd.Start())
	eventually(e.t, e.name+" listens", func() bool {
		conn, err := net.Dial("tcp", e.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// kill ends the engine with a SIGKILL.
func (e *clusterEngine) kill() {
	if e.cmd != nil {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		e.cmd = nil
	}
}

// config is the section cluster that uses the engine, by the address given, or by several with commas between.
func (e *clusterEngine) config(address string) string {
	if e.name == "redis" {
		return fmt.Sprintf(`{timeout: %s, redis: {addrs: ["%s"]%s}}`, e.timeout, strings.ReplaceAll(address, ",", `", "`), e.keys)
	}
	return fmt.Sprintf(`{timeout: %s, nats: {addr: %q%s}}`, e.timeout, address, e.keys)
}

// node starts a RoadRunner that uses the engine.
func (e *clusterEngine) node() *host {
	e.t.Helper()
	return e.nodeVia(e.address)
}

func (e *clusterEngine) nodeVia(address string) *host {
	e.t.Helper()
	h := newHost(e.t, shortDir(e.t))
	h.plain = e.plain
	return h.serve(`
tcp:
  cluster: `+e.config(address)+`
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 1}
`, "connected=hello")
}

// nodesOf starts so many RoadRunners and waits until each knows all.
func (e *clusterEngine) nodesOf(n int) []*host {
	e.t.Helper()
	nodes := make([]*host, n)
	for i := range nodes {
		nodes[i] = e.node()
	}
	awaitNodes(nodes...)
	return nodes
}

// reach pushes a line to a client of another node until the push is accepted. The client may get a line that was unreachable, too.
func (h *host) reach(c *client, uuid, line string) {
	h.t.Helper()
	eventually(h.t, "it is reached", func() bool { return h.push(uuid, line+"\r\n", false) == pushAccepted })
	require.Equal(h.t, line, c.receive())
}

// awaitNodes waits until all know each other.
func awaitNodes(nodes ...*host) {
	for _, h := range nodes {
		h.t.Helper()
		eventually(h.t, "all nodes are there", func() bool { return len(h.nodes().Nodes) == len(nodes) })
	}
}
