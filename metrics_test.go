package tcp

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/roadrunner-server/sdk/v4/pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// scrape is what a Prometheus gets: value, or number of a histogram's, by name and labels. It is strict about both.
func scrape(t *testing.T, p *Plugin) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range p.MetricsCollector() {
		require.NoError(t, registry.Register(c))
	}
	families, err := registry.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "rr_tcp_") + "{" + strings.Join(labels, ",") + "}"
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

type quietLogger struct{}

func (quietLogger) NamedLogger(string) *zap.Logger { return zap.NewNop() }

func TestMetricsMayBeAskedForAtAnyTime(t *testing.T) {
	p := new(Plugin)
	require.Len(t, scrape(t, p), 5, "the workers, of whom there are none")

	require.NoError(t, p.Init(sections{"tcp": {"servers": map[string]any{
		"a": map[string]any{"addr": "127.0.0.1:0"}, "b": map[string]any{"addr": "127.0.0.1:0"},
	}}}, quietLogger{}, nil))
	values := scrape(t, p)
	for _, name := range []string{
		"total_workers{}", "workers_memory_bytes{}", "workers_ready{}", "workers_working{}", "workers_invalid{}",
		"connections{server=a}", "connections_total{server=b}", "closed_total{reason=too_long,server=a}",
		"refused_total{reason=max_connections_per_ip,server=a}", "refused_total{reason=proxy_protocol,server=a}",
		"refused_total{reason=tls,server=b}", "packets_total{server=a}", "received_bytes_total{server=a}",
		"sent_bytes_total{server=a}", "exchange_duration_seconds{event=CLOSE,server=b}", "queue_duration_seconds{}",
		"exchanges_waiting{}", "exchange_errors_total{kind=timeout,server=a}", "no_free_workers_total{}",
		"buffered_bytes{}", "pushes_total{result=accepted}", "pushes_total{result=full}",
	} {
		require.Contains(t, values, name, "at zero, so that a first increase is seen as one")
		require.Zero(t, values[name], name)
	}
	require.NotContains(t, values, "closed_total{reason=,server=a}")

	p.pushes.add(PushGone)
	p.memory.take(100, 0)
	require.EqualValues(t, 1, scrape(t, p)["pushes_total{result=gone}"])
	require.EqualValues(t, 100, scrape(t, p)["buffered_bytes{}"])
}

func TestAHistogramCountsUpToEachBound(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, bounds[0], bounds[0] + 1, time.Second, time.Hour} {
		h.observe(d)
	}
	count, sum, upTo := h.read()
	require.EqualValues(t, 5, count)
	require.InDelta(t, 3601.0002, sum, 1e-6)
	require.Len(t, upTo, len(bounds))
	require.EqualValues(t, 2, upTo[bounds[0].Seconds()])
	require.EqualValues(t, 3, upTo[bounds[1].Seconds()])
	require.EqualValues(t, 4, upTo[1])
	require.EqualValues(t, 4, upTo[bounds[len(bounds)-1].Seconds()], "the last one is past them all")
}

func TestCountingAllocatesNothing(t *testing.T) {
	var q queue
	q.width = 1
	s, c, ticket := new(serverStats), newCall(0), newTicket()
	c.stats = s
	var none *spans
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = q.enter(ticket, never, false)
		c.worked(time.Now(), nil)
		q.leave()
		s.receive(1)
		s.send(1)
		s.packets.Add(1)
		span := none.exchange(kindData, 1)
		span.end(1, reasonNone, nil)
	}))
	require.EqualValues(t, 1001, s.received.Load())
	count, _, _ := s.exchanges[kindConnected].read()
	require.EqualValues(t, 1001, count)
	count, _, _ = q.waited.read()
	require.EqualValues(t, 1001, count)
}

func TestWhatEventsCameToIsCounted(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{
		NumWorkers: 1, AllocateTimeout: 2 * time.Second, Supervisor: &pool.SupervisorConfig{ExecTTL: 500 * time.Millisecond},
	})
	server := new(serverStats)
	begin := time.Now()
	for body, want := range map[string]failureKind{
		"x": failureNone, "error": failureError, "exit": failureDied, "hang": failureTimeout,
	} {
		c := newCall(0)
		c.stats, c.kind = server, kindData
		_, err := e.exchange(c, never, dataContext, []byte(body))
		if want == failureNone {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, want, failureOf(err).kind(), "%s: %v", body, err)
	}
	count, sum, _ := server.exchanges[kindData].read()
	require.EqualValues(t, 4, count, "failed ones took their time, too")
	require.GreaterOrEqual(t, sum, 0.5)
	require.LessOrEqual(t, sum, time.Since(begin).Seconds())

	require.NoError(t, e.queue.enter(newTicket(), never, false)) // the only place
	_, err := e.exchange(newCall(0), never, dataContext, []byte("x"))
	require.Equal(t, failureOverload, failureOf(err).kind())
	require.EqualValues(t, 1, e.queue.starved.Load())
	canceled := make(chan struct{})
	close(canceled)
	_, err = e.exchange(newCall(0), canceled, dataContext, []byte("x"))
	require.Equal(t, failureNone, failureOf(err).kind(), "nobody's fault")
	require.EqualValues(t, 1, e.queue.starved.Load())

	waits, sum, _ := e.queue.waited.read()
	require.EqualValues(t, 5, waits, "those who got in")
	require.Zero(t, sum, "at once")
	const wait = 50 * time.Millisecond
	time.AfterFunc(wait, e.queue.leave)
	require.NoError(t, e.queue.enter(newTicket(), never, false))
	_, sum, _ = e.queue.waited.read()
	require.GreaterOrEqual(t, sum, wait.Seconds()/2)
	e.queue.leave()
}

func TestAStreamedAnswerIsOneExchangeAsLongAsItsWorkerIsAtIt(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	c := newCall(0)
	c.stats, c.kind = new(serverStats), kindData
	a, err := e.exchange(c, never, dataContext, []byte("stream"))
	require.NoError(t, err)
	require.NotNil(t, a.more)
	count, _, _ := c.stats.exchanges[kindData].read()
	require.Zero(t, count, "not over")
	a.more.end()
	count, _, _ = c.stats.exchanges[kindData].read()
	require.EqualValues(t, 1, count)
}

func TestACloseThatIsNotAnsweredIsCounted(t *testing.T) {
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	c := newCall(100 * time.Millisecond)
	c.stats = new(serverStats)
	e.handOverClose(c, []byte(`{"event":"CLOSE","hang":1}`))
	require.EqualValues(t, 1, c.stats.failed[failureTimeout].Load())
	count, sum, _ := c.stats.exchanges[kindClose].read()
	require.EqualValues(t, 1, count)
	require.GreaterOrEqual(t, sum, 0.1)
}

func TestReadyAndAlive(t *testing.T) {
	var p Plugin
	status, err := p.Status()
	require.NoError(t, err)
	require.Equal(t, 503, status.Code, "before Serve, and before Init")

	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	p.exchanger = e
	requireHealth := func(alive, ready int, why string) {
		t.Helper()
		status, err := p.Status()
		require.NoError(t, err)
		require.Equal(t, alive, status.Code, why)
		status, err = p.Ready()
		require.NoError(t, err)
		require.Equal(t, ready, status.Code, why)
	}
	requireHealth(200, 200, "a worker waits")

	ended := make(chan struct{})
	go func() { defer close(ended); e.say(t, "sleep 1s") }()
	require.Eventually(t, func() bool { return len(e.in(stateWorking)) == 1 }, 5*time.Second, time.Millisecond)
	requireHealth(200, 503, "the only worker is at work")
	e.queue.pause()
	requireHealth(200, 200, "a reset: exchanges wait for the new workers")
	e.empty.Store(true)
	requireHealth(200, 503, "a reset that may fail as the last one did")
	e.empty.Store(false)
	e.queue.resume()
	<-ended

	kill(e.pool.Workers()[0])
	require.Eventually(t, func() bool { return len(e.in(stateReady)) == 0 }, 5*time.Second, time.Millisecond)
	requireHealth(503, 503, "there is no worker")
	e.debug = true
	requireHealth(200, 200, "each event gets a worker of its own")
	p.stopping = true
	requireHealth(200, 503, "stopping")
}

func TestTheEndOfAConnectionIsOneLine(t *testing.T) {
	for name, want := range map[string]struct {
		access bool
		word   string
		level  string
	}{
		"ordinary":                  {word: "WRITECLOSE", level: "debug"},
		"ordinary, with access_log": {access: true, word: "WRITECLOSE", level: "info"},
		"no reply":                  {word: "what", level: "error"},
		"no reply, with access_log": {access: true, word: "what", level: "error"},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			l := testListener(answers{context: []byte(want.word), body: []byte("bye")}, zap.New(core))
			l.access = want.access
			server, client := tcpPair(t)
			c := l.newConnection(server)
			c.omits.connected = true
			_, err := client.Write([]byte("hello\r\n"))
			require.NoError(t, err)
			go func() { buffer := make([]byte, 8); client.Read(buffer); client.Close() }()
			c.serve(func() {})

			require.Equal(t, 1, logs.Len(), "nothing for its packets")
			require.Equal(t, want.level, logs.All()[0].Level.String())
			line := logs.All()[0].ContextMap()
			require.Equal(t, "s", line["server"])
			require.Equal(t, c.uuid, line["uuid"])
			require.Equal(t, client.LocalAddr().String(), line["remote"])
			require.Equal(t, c.why.String(), line["reason"])
			require.EqualValues(t, 1, line["packets"])
			require.EqualValues(t, 7, line["bytes_read"])
			if want.level != "error" {
				require.EqualValues(t, 3, line["bytes_written"])
			}
			require.Greater(t, line["duration"], time.Duration(0))
			require.EqualValues(t, 7, l.stats.received.Load())
			require.EqualValues(t, line["bytes_written"], l.stats.sent.Load())
			require.EqualValues(t, 1, l.stats.packets.Load())
		})
	}
}

func TestAFloodOfErrorsIsSummedUp(t *testing.T) {
	const connections, left = 50, 10
	core, logs := observer.New(zap.DebugLevel)
	l := testListener(answers{context: []byte("what")}, zap.New(core))
	summed := 0
	l.loud.rest.report = func(times int) { summed += times }
	l.loud.since, l.loud.lines = time.Now().Add(time.Hour), mostLines-left
	for range connections {
		server, client := tcpPair(t)
		l.newConnection(server).serve(func() {})
		client.Close()
	}
	l.loud.rest.close()
	require.Equal(t, left, logs.FilterLevelExact(zap.ErrorLevel).Len())
	require.Equal(t, connections-left, summed)
	require.Equal(t, summed, logs.FilterLevelExact(zap.DebugLevel).Len(), "each has a line all the same")
	require.EqualValues(t, connections, l.stats.failed[failureReply].Load())

	l.loud.since = time.Now().Add(-summaryPause)
	require.True(t, l.loud.allows(), "a second later")
}
