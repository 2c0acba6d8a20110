package tcp

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const aloneTest = "RRTCP_TEST_ALONE" // the process has no other test

var raced bool // the race detector is on, with which stacks are larger

// TestThePoolsGoroutinesNeedNotGrow: the runtime looks at the stacks that there are whenever it collects garbage.
func TestThePoolsGoroutinesNeedNotGrow(t *testing.T) {
	if os.Getenv(aloneTest) == "" { // goroutines that other tests have left behind are part of the average
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
		again.Env = append(os.Environ(), aloneTest+"=1")
		out, err := again.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	const enough = 4 << 10
	p, _, _, err := startEndure(t, oneServer("127.0.0.1:0"))
	require.NoError(t, err)
	addr := p.listeners[0].socket.Addr().String()
	require.Eventually(t, func() bool { return startingStack() >= enough }, 10*time.Second, 10*time.Millisecond)
	const connections = 500
	before := stacks()
	for range connections {
		client, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer client.Close()
		echo(t, client, "x\r\n")
	}
	require.EqualValues(t, enough, startingStack(), "and that is what a waiting connection has anyway")
	if !raced {
		require.Less(t, (stacks()-before)/connections, int64(6<<10), "bytes of stack that a waiting connection has")
	}
}

// stacks is what they take, in bytes.
func stacks() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}

// startingStack is how large the stack of a new goroutine is.
func startingStack() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
