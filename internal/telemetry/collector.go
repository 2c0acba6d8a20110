package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rrtcp/tcp/internal/wire"
)

// Source is where the collector finds the numbers of a plugin after Init.
type Source struct {
	Servers       Servers
	Pushes        func() (accepted, gone, full int64)
	QueueWait     *Histogram   // time that exchanges waited for a worker
	Waiting       func() int   // exchanges that wait for a worker now
	NoFreeWorkers func() int64 // exchanges for which no worker was free in time
	Buffered      func() int64 // bytes that count against memory_limit
	Missing       func() int   // workers that can't be started
	// ExchangeEvents is how many events went to a worker at once; of NewExchangeEvents.
	ExchangeEvents prometheus.Histogram
	Cluster        *Cluster // nil: this node is alone

	MaxConnections, MemoryLimit int64 // 0: no limit, and no metric
}

// collector shows what a plugin has counted, and its workers.
type collector struct {
	workers func() []*Worker
	source  func() *Source
}

var _ prometheus.Collector = collector{}

// NewCollector returns what RoadRunner's metrics plugin registers. Both functions are called at each scrape, at any time from
// any goroutine: workers returns none before Serve, source returns nil before Init.
func NewCollector(workers func() []*Worker, source func() *Source) prometheus.Collector {
	return collector{workers, source}
}

// Describe sends the descriptions of all metrics.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range described {
		to <- d
	}
}

// Collect sends all values. After Init every series exists, at zero where nothing has happened.
func (c collector) Collect(to chan<- prometheus.Metric) {
	out := sink(to)
	collectWorkers(out, c.workers())
	if s := c.source(); s != nil {
		s.collect(out)
	}
}

const namePrefix = "rr_tcp_"

var described []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(namePrefix+name, help, labels, nil)
	described = append(described, d)
	return d
}

// All plugins of RoadRunner that have workers show these seven.
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
	descMax         = describe("max_connections", "How many connections all servers together may have open, by tcp.max_connections and descriptors.")
	descServerMax   = describe("server_max_connections", "How many connections the server may have open.", "server")
	descOpened      = describe("connections_total", "Connections that were opened.", "server")
	descClosed      = describe("closed_total", "Connections that were closed, by reason.", "server", "reason")
	descRefused     = describe("refused_total", "Clients turned away before a worker heard of them.", "server", "reason")
	descPackets     = describe("packets_total", "DATA events: packets, or batches of them.", "server")
	descTooLong     = describe("too_long_packets_total", "Packets that were too long and did not end their connection, by what became of them.", "server", "result")
	descReceived    = describe("received_bytes_total", "Bytes received from clients.", "server")
	descSent        = describe("sent_bytes_total", "Bytes sent to clients.", "server")
	descDropped     = describe("dropped_bytes_total", "Bytes of answers that were dropped, as their clients were gone.", "server")
	descExchange    = describe("exchange_duration_seconds", "Time that a worker had an event.", "server", "event")
	descFailed      = describe("exchange_errors_total", "Events that brought no reply, by what went wrong.", "server", "kind")
	descQueue       = describe("queue_duration_seconds", "Time that an event waited for a worker to be free.")
	descMissing     = describe("workers_missing", "Workers that can't be started, and are tried again.")
	descWaiting     = describe("exchanges_waiting", "Events that wait for a worker to be free.")
	descStarved     = describe("no_free_workers_total", "Events for which no worker was free in time.")
	descBuffered    = describe("buffered_bytes", "What connections hold of memory_limit.")
	descMemoryLimit = describe("memory_limit_bytes", "How much connections may hold in buffers.")
	descPushes      = describe("pushes_total", "Pushes to connections, by result.", "result")
	_               = describe(exchangeEvents, exchangeEventsHelp)
)

const (
	exchangeEvents     = "exchange_events"
	exchangeEventsHelp = "Events that went to a worker at once; with tcp.bulk only."
)

// NewExchangeEvents returns the histogram for Source.ExchangeEvents.
func NewExchangeEvents() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: namePrefix + exchangeEvents, Help: exchangeEventsHelp, Buckets: prometheus.ExponentialBuckets(1, 2, 9), // to 256
	})
}

func collectWorkers(out sink, workers []*Worker) {
	var ready, working, memory float64
	for _, w := range workers {
		pid, rss := strconv.FormatInt(w.Pid, 10), float64(w.MemoryUsage)
		out.gauge(descState, 1, w.StatusStr, pid)
		out.gauge(descMemory, rss, pid)
		memory += rss
		switch w.Status {
		case WorkerReady:
			ready++
		case WorkerWorking:
			working++
		}
	}
	total := float64(len(workers))
	out.gauge(descWorkers, total)
	out.gauge(descWorkersMemory, memory)
	out.gauge(descReady, ready)
	out.gauge(descWorking, working)
	out.gauge(descInvalid, total-ready-working)
}

func (s *Source) collect(out sink) {
	for _, server := range s.Servers {
		server.collect(out)
	}
	accepted, gone, full := s.Pushes()
	out.count(descPushes, accepted, "accepted")
	out.count(descPushes, gone, "gone")
	out.count(descPushes, full, "full")
	out.histogram(descQueue, s.QueueWait)
	out.gauge(descMissing, float64(s.Missing()))
	out.gauge(descWaiting, float64(s.Waiting()))
	out.count(descStarved, s.NoFreeWorkers())
	out <- s.ExchangeEvents
	out.gauge(descBuffered, float64(s.Buffered()))
	out.limit(descMemoryLimit, s.MemoryLimit)
	out.limit(descMax, s.MaxConnections)
	s.Cluster.collect(out)
}

func (s *Server) collect(out sink) {
	open, closed := s.Connections()
	out.gauge(descConnections, float64(open), s.Name)
	for why := wire.ReasonNone + 1; why < wire.NumReasons; why++ {
		out.count(descClosed, closed[why], s.Name, why.String())
	}
	out.limit(descServerMax, s.MaxConnections, s.Name)
	out.count(descOpened, s.Opened.Load(), s.Name)
	out.count(descPackets, s.Packets.Load(), s.Name)
	out.count(descTooLong, s.Discarded.Load(), s.Name, "discarded")
	out.count(descTooLong, s.Truncated.Load(), s.Name, "truncated")
	out.count(descReceived, s.Received.Load(), s.Name)
	out.count(descSent, s.Sent.Load(), s.Name)
	out.count(descDropped, s.Dropped.Load(), s.Name)
	for why := Refusal(0); why < numRefusals; why++ {
		out.count(descRefused, s.Refusals(why), s.Name, why.String())
	}
	for kind := FailureNone + 1; kind < numFailures; kind++ {
		out.count(descFailed, s.Failures(kind), s.Name, kind.String())
	}
	for e := wire.Event(0); e < wire.NumEvents; e++ {
		out.histogram(descExchange, s.Exchanges(e), s.Name, e.String())
	}
}

// sink takes the values of one scrape.
type sink chan<- prometheus.Metric

// limit sends a limit that is set.
func (to sink) limit(d *prometheus.Desc, value int64, labels ...string) {
	if value > 0 {
		to.gauge(d, float64(value), labels...)
	}
}

func (to sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (to sink) count(d *prometheus.Desc, value int64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (to sink) histogram(d *prometheus.Desc, h *Histogram, labels ...string) {
	count, sum, upTo := h.buckets()
	to <- prometheus.MustNewConstHistogram(d, count, sum, upTo, labels...)
}
