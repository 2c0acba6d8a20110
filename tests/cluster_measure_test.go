package tests

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClusterMeasure gives the figures of docs/cluster.md: MEASURE=1 go test -v -run TestClusterMeasure .
func TestClusterMeasure(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip("MEASURE is not set")
	}
	for _, name := range []string{"nats", "redis"} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, name)
			nodes := e.nodesOf(2)
			a, b := nodes[0], nodes[1]
			own, other := a.dial("echo"), b.dial("echo")
			ownUUID, uuid := own.receive(), other.receive()
			go drop(own)
			go drop(other)
			body := strings.Repeat("x", 98) + "\r\n"
			t.Log("tcp.Write of 100 bytes, to the own node:", percentiles(a.pusher(t), ownUUID, body))
			t.Log("tcp.Write of 100 bytes, to another node:", percentiles(a.pusher(t), uuid, body))
			t.Log("the engine's own round trip:", e.roundTrips())

			for _, callers := range []int{1, 16, 64} {
				var calling sync.WaitGroup
				const each = 2000
				begin := time.Now()
				for range callers {
					write := a.pusher(t)
					calling.Add(1)
					go func() {
						defer calling.Done()
						for range each {
							write(uuid, body)
						}
					}()
				}
				calling.Wait()
				t.Logf("%d callers: %.0f pushes a second", callers, float64(callers*each)/time.Since(begin).Seconds())
			}

			const connections, tags = 500, 32
			before := rss(t, b.cmd.Process.Pid)
			for i := range connections {
				c := b.dial("echo")
				request := tagRequest{UUID: c.receive()}
				for n := range tags {
					request.Add = append(request.Add, fmt.Sprintf("a tag of some length %d %d", i, n))
				}
				var result string
				require.NoError(t, b.call("tcp.Tag", request, &result))
			}
			t.Logf("%d connections with %d tags took %d MB", connections, connections*tags, (rss(t, b.cmd.Process.Pid)-before)>>20)
		})
	}
}

func drop(c *client) {
	for {
		c.wait()
		if _, err := c.r.ReadString('\n'); err != nil {
			return
		}
	}
}

func percentiles(write func(uuid, body string) string, uuid, body string) string {
	took := make([]time.Duration, 20_000)
	for i := range took {
		begin := time.Now()
		write(uuid, body)
		took[i] = time.Since(begin)
	}
	return quantiles(took)
}

func quantiles(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("p50 %s, p99 %s", took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond))
}

// roundTrips measures a PING.
func (e *clusterEngine) roundTrips() string {
	c := dial(e.t, "tcp", e.address)
	if e.name == "nats" {
		c.receive()
		write(c, "CONNECT {\"verbose\":false}\r\n")
	}
	took := make([]time.Duration, 20_000)
	for i := range took {
		begin := time.Now()
		write(c, "PING\r\n")
		c.receive()
		took[i] = time.Since(begin)
	}
	return quantiles(took)
}
