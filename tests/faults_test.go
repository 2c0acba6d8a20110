package tests

import (
	"encoding/json"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// toxic is a fault on the way between client and server.
type toxic struct {
	Name       string         `json:"name"` // made by add
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: what the client sends; downstream: what it gets
	Toxicity   float32        `json:"toxicity"`
	Attributes map[string]int `json:"attributes"`
}

// proxyTo starts a proxy that passes on to the server until the test ends.
func proxyTo(t *testing.T, address string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", address)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	return proxy
}

// poison adds a toxic to the links that are made from now on, and to those that are there.
func poison(t *testing.T, proxy *toxiproxy.Proxy, x toxic) {
	t.Helper()
	if x.Stream == both {
		for _, x.Stream = range []string{"upstream", "downstream"} {
			poison(t, proxy, x)
		}
		return
	}
	if x.Toxicity == 0 {
		x.Toxicity = 1
	}
	x.Name = x.Type + "_" + x.Stream
	raw, err := json.Marshal(x)
	require.NoError(t, err)
	_, err = proxy.Toxics.AddToxicJson(strings.NewReader(string(raw)))
	require.NoError(t, err)
}

const both = "both" // streams

// linkFaults are bad ways between client and server.
var linkFaults = map[string][]toxic{
	"latency":   {{Type: "latency", Stream: both, Attributes: map[string]int{"latency": 20, "jitter": 20}}},
	"slicer":    {{Type: "slicer", Stream: both, Attributes: map[string]int{"average_size": 40, "size_variation": 30, "delay": 50}}},
	"bandwidth": {{Type: "bandwidth", Stream: both, Attributes: map[string]int{"rate": 50}}},
	// These break connections.
	"reset_peer": {{Type: "reset_peer", Stream: both, Toxicity: 0.5, Attributes: map[string]int{"timeout": 30}}},
	"limit_data": {{Type: "limit_data", Stream: "upstream", Attributes: map[string]int{"bytes": 1500}}},
	"limit_data on the way back": {
		{Type: "limit_data", Stream: "downstream", Attributes: map[string]int{"bytes": 1500}}},
	"timeout": {{Type: "timeout", Stream: both, Toxicity: 0.3, Attributes: map[string]int{"timeout": 200}}},
	"all together": {
		{Type: "latency", Stream: both, Toxicity: 0.5, Attributes: map[string]int{"latency": 10, "jitter": 10}},
		{Type: "slicer", Stream: both, Toxicity: 0.5, Attributes: map[string]int{"average_size": 100, "size_variation": 50, "delay": 50}},
		{Type: "bandwidth", Stream: "downstream", Toxicity: 0.3, Attributes: map[string]int{"rate": 100}},
		{Type: "limit_data", Stream: "upstream", Toxicity: 0.2, Attributes: map[string]int{"bytes": 5000}},
		{Type: "reset_peer", Stream: "downstream", Toxicity: 0.1, Attributes: map[string]int{"timeout": 100}},
	},
}

func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  idle_timeout: 5s
  packet_timeout: 5s
  servers: {echo: {addr: "127.0.0.1:0"}, batch: {addr: "127.0.0.1:0", batch: true}}
  pool: {num_workers: 4}
`)
	var all []*talkers
	var ids atomic.Int64
	t.Run("", func(t *testing.T) {
		for name, faults := range linkFaults {
			ts := &talkers{pause: 5 * time.Millisecond, hangs: 4 * time.Second, ids: &ids}
			all = append(all, ts)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ts.t = t
				proxy := proxyTo(t, h.addr("echo").String())
				for _, x := range faults {
					poison(t, proxy, x)
				}
				ts.dial = func() (net.Conn, error) { return net.DialTimeout("tcp", proxy.Listen, patience) }
				ts.start(15)
				time.Sleep(2 * time.Second)
				eventually(t, "some are answered", func() bool { return ts.asked.Load() > 0 })
				ts.stop()
			})
		}
	})

	h.record.awaitEnd(t, 0)
	together := &talkers{t: t, answered: make(map[int64]int)}
	var asked int64
	for _, ts := range all {
		asked += ts.asked.Load()
		for id, n := range ts.answered {
			together.answered[id] = n
		}
	}
	compared := together.requireTruth(h.record.sentences)
	t.Logf("%d connections, %d packets answered, %d compared", ids.Load(), asked, compared)
	require.Greater(t, int64(compared), asked*9/10)
	require.Empty(t, h.ours("error"))
	require.Equal(t, "hello", h.dial("echo").ask("hello"))
}
