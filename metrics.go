package tcp

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// MetricsCollector is what RoadRunner's metrics plugin shows. It may be asked for, and asked, before Serve.
func (p *Plugin) MetricsCollector() []prometheus.Collector {
	return []prometheus.Collector{collector{p}}
}

// collector shows what the plugin has counted, and its workers.
type collector struct{ plugin *Plugin }

var _ prometheus.Collector = collector{}

var described []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("rr_tcp_"+name, help, labels, nil)
	described = append(described, d)
	return d
}

// Every plugin of RoadRunner that has workers has these seven.
var (
	descWorkers       = describe("total_workers", "Total number of workers used by the TCP plugin")
	descWorkersMemory = describe("workers_memory_bytes", "Memory usage by TCP workers.")
	descState         = describe("worker_state", "Worker current state", "state", "pid")
	descMemory        = describe("worker_memory_bytes", "Worker current memory usage", "pid")
	descReady         = describe("workers_ready", "TCP workers currently in ready state")
	descWorking       = describe("workers_working", "TCP workers currently in working state")
	descInvalid       = describe("workers_invalid", "TCP workers currently in invalid,killing,destroyed,errored,inactive states")
)

var (
	descConnections = describe("connections", "Open connections.", "server")
	descOpened      = describe("connections_total", "Connections that were opened.", "server")
	descClosed      = describe("closed_total", "Connections that were closed, by reason.", "server", "reason")
	descRefused     = describe("refused_total", "Clients turned away before a worker heard of them.", "server", "reason")
	descPackets     = describe("packets_total", "DATA events: packets, or batches of them.", "server")
	descReceived    = describe("received_bytes_total", "Bytes received from clients.", "server")
	descSent        = describe("sent_bytes_total", "Bytes sent to clients.", "server")
	descExchange    = describe("exchange_duration_seconds", "Time that a worker had an event.", "server", "event")
	descFailed      = describe("exchange_errors_total", "Events that brought no reply, by what went wrong.", "server", "kind")
	descQueue       = describe("queue_duration_seconds", "Time that an event waited for a worker to be free.")
	descWaiting     = describe("exchanges_waiting", "Events that wait for a worker to be free.")
	descStarved     = describe("no_free_workers_total", "Events for which no worker was free in time.")
	descBuffered    = describe("buffered_bytes", "What connections hold of memory_limit.")
	descPushes      = describe("pushes_total", "Pushes to connections, by result.", "result")
)

// Describe is for Prometheus.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range described {
		to <- d
	}
}

// Collect is for Prometheus. What can be foreseen is there from the beginning, at zero.
func (c collector) Collect(to chan<- prometheus.Metric) {
	out := sink(to)
	c.workers(out)
	p := c.plugin
	if p.stats == nil {
		return // no Init yet
	}
	for _, s := range p.stats {
		s.collect(out)
	}
	pushes := p.pushes.counts()
	for _, result := range []PushResult{PushAccepted, PushGone, PushFull} {
		out.count(descPushes, int64(*pushes.of(result)), string(result))
	}
	out.histogram(descQueue, &p.queue.waited)
	out.gauge(descWaiting, float64(p.queue.waits()))
	out.count(descStarved, p.queue.starved.Load())
	out.gauge(descBuffered, float64(p.memory.used.Load()))
}

func (c collector) workers(out sink) {
	var ready, working, memory float64
	all := c.plugin.Workers()
	for _, w := range all {
		pid, rss := strconv.FormatInt(w.Pid, 10), float64(w.MemoryUsage)
		out.gauge(descState, 1, w.StatusStr, pid)
		out.gauge(descMemory, rss, pid)
		memory += rss
		switch w.Status {
		case stateReady:
			ready++
		case stateWorking:
			working++
		}
	}
	out.gauge(descWorkers, float64(len(all)))
	out.gauge(descWorkersMemory, memory)
	out.gauge(descReady, ready)
	out.gauge(descWorking, working)
	out.gauge(descInvalid, float64(len(all))-ready-working)
}

func (s *serverStats) collect(out sink) {
	open, closed := s.connections()
	out.gauge(descConnections, float64(open), s.server)
	for why, n := range closed[1:] {
		out.count(descClosed, n, s.server, reasonNames[why+1])
	}
	out.count(descOpened, s.opened.Load(), s.server)
	out.count(descPackets, s.packets.Load(), s.server)
	out.count(descReceived, s.received.Load(), s.server)
	out.count(descSent, s.sent.Load(), s.server)
	for why := range s.refused {
		out.count(descRefused, s.refused[why].Load(), s.server, refusalNames[why])
	}
	for kind := range s.failed[1:] {
		out.count(descFailed, s.failed[kind+1].Load(), s.server, failureNames[kind+1])
	}
	for kind := range s.exchanges {
		out.histogram(descExchange, &s.exchanges[kind], s.server, kindNames[kind])
	}
}

// sink takes the values of one scrape.
type sink chan<- prometheus.Metric

func (to sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (to sink) count(d *prometheus.Desc, value int64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (to sink) histogram(d *prometheus.Desc, h *histogram, labels ...string) {
	count, sum, upTo := h.read()
	to <- prometheus.MustNewConstHistogram(d, count, sum, upTo, labels...)
}
