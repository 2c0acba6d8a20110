package telemetry

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/wire"
)

// newSource returns the source of a plugin with the servers a and b on which nothing has happened.
func newSource() *Source {
	return &Source{
		Servers:   NewServers([]string{"a", "b"}),
		Pushes:    func() (accepted, gone, full int64) { return 0, 0, 0 },
		QueueWait: new(Histogram), ExchangeEvents: NewExchangeEvents(),
		Waiting:       func() int { return 0 },
		NoFreeWorkers: func() int64 { return 0 },
		Buffered:      func() int64 { return 0 },
		Missing:       func() int { return 0 },
	}
}

// scrape gathers as Prometheus would, strictly. It returns the value of each series, or the count of a histogram, and for each
// metric its name, type, labels and help.
func scrape(t *testing.T, source *Source, workers ...*Worker) (values map[string]float64, metrics []string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(NewCollector(
		func() []*Worker { return workers }, func() *Source { return source })))
	families, err := registry.Gather()
	require.NoError(t, err)

	values = make(map[string]float64)
	for _, f := range families {
		var keys []string
		for _, m := range f.GetMetric() {
			var labels []string
			keys = nil
			for _, l := range m.GetLabel() {
				keys, labels = append(keys, l.GetName()), append(labels, l.GetName()+"="+l.GetValue())
			}
			series := strings.TrimPrefix(f.GetName(), "rr_tcp_") + "{" + strings.Join(labels, ",") + "}"
			values[series] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		metrics = append(metrics, fmt.Sprintf("%s %s {%s} %s",
			f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(keys, ","), f.GetHelp()))
	}
	sort.Strings(metrics)
	return values, metrics
}

func TestCollectorBeforeInit(t *testing.T) {
	values, _ := scrape(t, nil)
	require.Equal(t, map[string]float64{
		"total_workers{}": 0, "workers_memory_bytes{}": 0, "workers_ready{}": 0, "workers_working{}": 0, "workers_invalid{}": 0,
	}, values)
}

// Dashboards and alerts depend on every word here.
func TestCollectorDescribesItsMetrics(t *testing.T) {
	source := newSource()
	source.MaxConnections, source.MemoryLimit, source.Servers[0].MaxConnections = 3, 4, 5
	values, metrics := scrape(t, source, &Worker{Pid: 1})
	require.EqualValues(t, 3, values["max_connections{}"])
	require.EqualValues(t, 4, values["memory_limit_bytes{}"])
	require.EqualValues(t, 5, values["server_max_connections{server=a}"])
	require.NotContains(t, values, "server_max_connections{server=b}", "it has no limit")
	require.Equal(t, []string{
		"rr_tcp_buffered_bytes gauge {} What connections hold of memory_limit.",
		"rr_tcp_closed_total counter {reason,server} Connections that were closed, by reason.",
		"rr_tcp_connections gauge {server} Open connections.",
		"rr_tcp_connections_total counter {server} Connections that were opened.",
		"rr_tcp_dropped_bytes_total counter {server} Bytes of answers that were dropped, as their clients were gone.",
		"rr_tcp_exchange_duration_seconds histogram {event,server} Time that a worker had an event.",
		"rr_tcp_exchange_errors_total counter {kind,server} Events that brought no reply, by what went wrong.",
		"rr_tcp_exchange_events histogram {} Events that went to a worker at once; with tcp.bulk only.",
		"rr_tcp_exchanges_waiting gauge {} Events that wait for a worker to be free.",
		"rr_tcp_max_connections gauge {} How many connections all servers together may have open, by tcp.max_connections and descriptors.",
		"rr_tcp_memory_limit_bytes gauge {} How much connections may hold in buffers.",
		"rr_tcp_no_free_workers_total counter {} Events for which no worker was free in time.",
		"rr_tcp_packets_total counter {server} DATA events: packets, or batches of them.",
		"rr_tcp_pushes_total counter {result} Pushes to connections, by result.",
		"rr_tcp_queue_duration_seconds histogram {} Time that an event waited for a worker to be free.",
		"rr_tcp_received_bytes_total counter {server} Bytes received from clients.",
		"rr_tcp_refused_total counter {reason,server} Clients turned away before a worker heard of them.",
		"rr_tcp_sent_bytes_total counter {server} Bytes sent to clients.",
		"rr_tcp_server_max_connections gauge {server} How many connections the server may have open.",
		"rr_tcp_too_long_packets_total counter {result,server} Packets that were too long and did not end their connection, by what became of them.",
		"rr_tcp_total_workers gauge {} Total number of workers used by the TCP plugin",
		"rr_tcp_worker_memory_bytes gauge {pid} Worker current memory usage",
		"rr_tcp_worker_state gauge {pid,state} Worker current state",
		"rr_tcp_workers_invalid gauge {} TCP workers currently in invalid,killing,destroyed,errored,inactive states",
		"rr_tcp_workers_memory_bytes gauge {} Memory usage by TCP workers.",
		"rr_tcp_workers_missing gauge {} Workers that can't be started, and are tried again.",
		"rr_tcp_workers_ready gauge {} TCP workers currently in ready state",
		"rr_tcp_workers_working gauge {} TCP workers currently in working state",
	}, metrics)
}

func TestCollectorBeginsAtZero(t *testing.T) {
	values, _ := scrape(t, newSource())
	want := map[string]float64{}
	add := func(name string, labels ...string) {
		if len(labels) == 0 {
			want[name+"{}"] = 0
		}
		for _, l := range labels {
			want[name+"{"+l+"}"] = 0
		}
	}
	add("total_workers")
	add("workers_memory_bytes")
	add("workers_ready")
	add("workers_working")
	add("workers_invalid")
	add("queue_duration_seconds")
	add("exchange_events")
	add("exchanges_waiting")
	add("workers_missing")
	add("no_free_workers_total")
	add("buffered_bytes")
	add("pushes_total", "result=accepted", "result=gone", "result=full")
	for _, server := range []string{"a", "b"} {
		on := "server=" + server
		for _, name := range []string{"connections", "connections_total", "packets_total", "received_bytes_total", "sent_bytes_total", "dropped_bytes_total"} {
			add(name, on)
		}
		add("too_long_packets_total", "result=discarded,"+on, "result=truncated,"+on)
		for _, reason := range []string{
			"eof", "reset", "worker", "reply", "error", "rpc", "idle", "slow", "too_long", "memory", "overload", "shutdown", "handshake", "framing",
		} {
			add("closed_total", "reason="+reason+","+on)
		}
		for _, reason := range []string{"max_connections_per_ip", "proxy_protocol", "tls"} {
			add("refused_total", "reason="+reason+","+on)
		}
		for _, kind := range []string{"error", "reply", "timeout", "died", "overload"} {
			add("exchange_errors_total", "kind="+kind+","+on)
		}
		for _, event := range []string{"CONNECTED", "DATA", "CLOSE", "SECURED"} {
			add("exchange_duration_seconds", "event="+event+","+on)
		}
	}
	require.Equal(t, want, values, "every series exists, so that its first increase is seen as one")
}

func TestCollectorShowsCounts(t *testing.T) {
	source := newSource()
	source.Pushes = func() (accepted, gone, full int64) { return 1, 2, 3 }
	source.Waiting = func() int { return 4 }
	source.NoFreeWorkers = func() int64 { return 5 }
	source.Buffered = func() int64 { return 6 }
	source.Missing = func() int { return 7 }
	source.MaxConnections = 8
	source.QueueWait.Observe(time.Second)
	source.ExchangeEvents.Observe(3)
	b := source.Servers.Of("b")
	b.Opened.Add(10)
	b.Packets.Add(11)
	b.Received.Add(12)
	b.Sent.Add(13)
	b.Dropped.Add(14)
	b.Closed(wire.ReasonTooLong)
	b.Refused(RefusedTLS)
	b.Failed(FailureDied)
	b.Exchanged(wire.Close, time.Millisecond)

	before, _ := scrape(t, newSource())
	values, _ := scrape(t, source)
	changed := make(map[string]float64)
	for series, value := range values {
		if value != before[series] {
			changed[series] = value
		}
	}
	require.Equal(t, map[string]float64{
		"pushes_total{result=accepted}": 1, "pushes_total{result=gone}": 2, "pushes_total{result=full}": 3,
		"exchange_events{}": 1, "exchanges_waiting{}": 4, "workers_missing{}": 7, "max_connections{}": 8, "no_free_workers_total{}": 5, "buffered_bytes{}": 6, "queue_duration_seconds{}": 1,
		"connections{server=b}": 9, "connections_total{server=b}": 10, "packets_total{server=b}": 11,
		"received_bytes_total{server=b}": 12, "sent_bytes_total{server=b}": 13, "dropped_bytes_total{server=b}": 14, "closed_total{reason=too_long,server=b}": 1,
		"refused_total{reason=tls,server=b}": 1, "exchange_errors_total{kind=died,server=b}": 1,
		"exchange_duration_seconds{event=CLOSE,server=b}": 1,
	}, changed)
}

func TestCollectorShowsWorkers(t *testing.T) {
	values, _ := scrape(t, nil,
		&Worker{Pid: 10, Status: WorkerReady, StatusStr: "ready", MemoryUsage: 100},
		&Worker{Pid: 11, Status: WorkerWorking, StatusStr: "working", MemoryUsage: 200},
		&Worker{Pid: 12, Status: WorkerWorking, StatusStr: "working", MemoryUsage: 300},
		&Worker{Pid: 13, Status: WorkerDestroyed, StatusStr: "destroyed", MemoryUsage: 400},
		&Worker{Pid: 14, Status: 8, StatusStr: "errored"},
		&Worker{Pid: 15, Status: 0, StatusStr: "inactive"},
	)
	require.Equal(t, map[string]float64{
		"total_workers{}": 6, "workers_memory_bytes{}": 1000, "workers_ready{}": 1, "workers_working{}": 2, "workers_invalid{}": 3,
		"worker_state{pid=10,state=ready}": 1, "worker_memory_bytes{pid=10}": 100,
		"worker_state{pid=11,state=working}": 1, "worker_memory_bytes{pid=11}": 200,
		"worker_state{pid=12,state=working}": 1, "worker_memory_bytes{pid=12}": 300,
		"worker_state{pid=13,state=destroyed}": 1, "worker_memory_bytes{pid=13}": 400,
		"worker_state{pid=14,state=errored}": 1, "worker_memory_bytes{pid=14}": 0,
		"worker_state{pid=15,state=inactive}": 1, "worker_memory_bytes{pid=15}": 0,
	}, values)
}
