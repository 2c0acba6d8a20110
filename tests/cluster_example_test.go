package tests

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The commands of docs/cluster.md, with other addresses: two people who are on different nodes talk to each other.
func TestClusterExample(t *testing.T) {
	t.Parallel()
	require.Equal(t, "composer install -d examples/php\nexamples/cluster/run.sh nats   # or redis\nnc 127.0.0.1 7000              # in two terminals\n",
		shown(t, "docs/cluster.md", "sh", 0))
	for engine, stop := range map[string]syscall.Signal{"nats": syscall.SIGINT, "redis": syscall.SIGTERM} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			installed(t, engine+"-server")
			installed(t, "haproxy")
			dir := newHowTo(t, "docs/cluster.md").host.dir // with the workers and what Composer would download
			require.NoError(t, os.Mkdir(dir+"/bin", 0o700))
			require.NoError(t, os.Symlink(buildProgram(t), dir+"/bin/rrtcp"))
			require.NoError(t, os.Mkdir(dir+"/cluster", 0o700))
			require.NoError(t, os.Symlink(dir, dir+"/php")) // ../php of the folder cluster
			files, err := filepath.Glob(repository + "/examples/cluster/*")
			require.NoError(t, err)
			for _, file := range files {
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "cluster", filepath.Base(file)), content, 0o700))
			}
			env := map[string]string{}
			for _, name := range []string{"FRONT", "NODE1", "NODE2", "ENGINE"} {
				env[name] = freePort(t)
			}
			var nodes []*host
			for _, name := range []string{"RPC1", "RPC2"} {
				node := &host{t: t, dir: dir + "/" + name}
				require.NoError(t, os.Mkdir(node.dir, 0o700))
				env[name] = "unix://" + node.dir + "/rpc"
				nodes = append(nodes, node)
			}
			cmd := exec.Command(dir+"/cluster/run.sh", engine)
			cmd.Env = append(os.Environ(), "RRTCP_HOST="+dir, "PATH="+dir+"/bin:"+os.Getenv("PATH"))
			for name, address := range env {
				cmd.Env = append(cmd.Env, name+"="+address)
			}
			log, err := os.Create(dir + "/out")
			require.NoError(t, err)
			cmd.Stdout, cmd.Stderr = log, log
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			require.NoError(t, cmd.Start())
			ended := make(chan struct{}) // closed when the script has ended
			go func() { _ = cmd.Wait(); close(ended) }()
			t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, stop) // the whole group of the script, as Ctrl-C does
				select {
				case <-ended:
				case <-time.After(patience):
				}
				left := session(cmd.Process.Pid)
				for _, pid := range left {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				require.True(t, len(left) == 0 || t.Failed(), "something is left: %v", left)
				if raw, _ := os.ReadFile(log.Name()); t.Failed() {
					t.Logf("%s", raw)
				}
			})

			rr := func(command string) string {
				list := exec.Command(dir+"/bin/rrtcp", command, "-c", dir+"/cluster/"+engine+".rr.yaml")
				list.Env = append(os.Environ(), "RPC="+env["RPC1"])
				out, _ := list.CombinedOutput()
				return string(out)
			}
			eventually(t, "both nodes are there", func() bool {
				list := rr("nodes")
				return strings.Contains(list, "tcp://"+env["NODE1"]) && strings.Contains(list, "tcp://"+env["NODE2"])
			})
			// HAProxy takes a moment to find that both are well: until a client is on another node than the one before.
			var alice, bob *client
			var before string
			eventually(t, "two clients are on different nodes", func() bool {
				conn, err := net.Dial("tcp", env["FRONT"])
				if err != nil {
					return false
				}
				c := clientOf(t, conn)
				if line, _ := c.r.ReadString('\n'); line != "What is your name?\r\n" {
					return false
				}
				node := nodeOf(rr("connections"), conn.LocalAddr().String())
				alice, bob = bob, c
				found := before != "" && node != before
				before = node
				return found
			})
			reach := func(clients ...*client) { // tags in a reply take a round trip to the engine
				for _, node := range nodes {
					eventually(t, "broadcasts of the node reach the clients", func() bool {
						n := node.broadcast(broadcastRequest{Tag: "room:lobby", Body: []byte("ready\r\n")}).Accepted
						for _, c := range clients[:n] { // the first ones have been in reach before
							require.Equal(t, "ready", c.receive())
						}
						return n == len(clients)
					})
				}
			}
			require.Contains(t, alice.ask("alice"), "Hello, alice.")
			reach(alice)
			require.Contains(t, bob.ask("bob"), "Hello, bob.")
			require.Equal(t, "* bob has come", alice.receive())
			reach(alice, bob)
			alice.send("hello bob")
			require.Equal(t, "<alice> hello bob", alice.receive())
			require.Equal(t, "<alice> hello bob", bob.receive())
			bob.send("hello alice")
			require.Equal(t, "<bob> hello alice", bob.receive())
			require.Equal(t, "<bob> hello alice", alice.receive())
		})
	}
}

// nodeOf is the node of the client with that address, by what "rrtcp connections" prints.
func nodeOf(list, address string) string {
	for _, line := range strings.Split(list, "\n") {
		if strings.Contains(line, " "+address+" ") {
			return line[:13]
		}
	}
	return ""
}

// session are the processes of the session that the process with that id has begun, in whatever group.
func session(id int) (found []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		_, behindName, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(behindName); len(fields) > 3 && fields[3] == strconv.Itoa(id) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, pid)
		}
	}
	return found
}
