package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// observed is a host that is asked over HTTP, too.
type observed struct {
	*host
	metrics, status string // addresses
}

func startObserved(t *testing.T, tcp string, worker ...string) observed {
	t.Helper()
	metrics, status := freePort(t), freePort(t)
	return observed{start(t, fmt.Sprintf("metrics: {address: %q}\nstatus: {address: %q}\n%s",
		metrics, status, tcp), worker...), metrics, status}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	var answer *http.Response
	eventually(t, "somebody answers at "+url, func() (ok bool) { // those plugins start when Serve is over
		var err error
		answer, err = client.Get(url) // it has a timeout, and is closed below
		return err == nil
	})
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(raw)
}

// scrape is what Prometheus would get.
func (h observed) scrape() string {
	h.t.Helper()
	code, body := get(h.t, "http://"+h.metrics)
	require.Equal(h.t, http.StatusOK, code)
	return body
}

// metric is a value of a scrape; series is as it stands there, without the prefix.
func metric(t *testing.T, scrape, series string) float64 {
	t.Helper()
	_, rest, ok := strings.Cut(scrape, "\nrr_tcp_"+series+" ")
	require.True(t, ok, "%s is missing", series)
	text, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return value
}

const openAndLimited = `
tcp:
  servers:
    echo: {addr: "127.0.0.1:0", max_connections_per_ip: 2}
    other: {addr: "127.0.0.1:0", access_log: true, max_connections: 50}
  max_connections: 100
  pool: {num_workers: 2}
`

func TestMetrics(t *testing.T) {
	t.Parallel()
	h := startObserved(t, openAndLimited)
	before := h.scrape()
	for _, series := range []string{
		`connections{server="echo"}`, `connections_total{server="other"}`, `closed_total{reason="eof",server="echo"}`,
		`exchange_errors_total{kind="error",server="echo"}`, `exchange_duration_seconds_count{event="DATA",server="echo"}`,
	} {
		require.Zero(t, metric(t, before, series), series)
	}

	one, two := h.dial("echo"), h.dial("echo")
	require.Equal(t, "hello", one.ask("hello"))
	require.Equal(t, "hi", one.ask("hi"))
	two.send("!error no")
	two.requireEnd()
	eventually(t, "the one that failed is gone", func() bool {
		return metric(t, h.scrape(), `closed_total{reason="error",server="echo"}`) == 1
	})
	two = h.dial("echo")
	require.Equal(t, "x", two.ask("x"))
	h.dial("echo").requireEnd() // the third of its address
	other := h.dial("other")
	require.Equal(t, "12345", other.ask("12345"))
	other.closeWrite()
	require.Empty(t, other.rest())
	eventually(t, "nothing is under way", func() bool { return metric(t, h.scrape(), "workers_ready") == 2 })

	after := h.scrape()
	for series, want := range map[string]float64{
		`connections{server="echo"}`:        2,
		`connections{server="other"}`:       0,
		`connections_total{server="echo"}`:  3,
		`connections_total{server="other"}`: 1,

		`closed_total{reason="error",server="echo"}`: 1,
		`closed_total{reason="eof",server="other"}`:  1,
		`closed_total{reason="eof",server="echo"}`:   0,

		`refused_total{reason="max_connections_per_ip",server="echo"}`: 1,

		`packets_total{server="echo"}`:        4,
		`received_bytes_total{server="echo"}`: float64(len("hello\r\n" + "hi\r\n" + "!error no\r\n" + "x\r\n")),
		`sent_bytes_total{server="echo"}`:     float64(len("hello\r\n" + "hi\r\n" + "x\r\n")),
		`sent_bytes_total{server="other"}`:    7,

		`exchange_duration_seconds_count{event="CONNECTED",server="echo"}`: 3,
		`exchange_duration_seconds_count{event="DATA",server="echo"}`:      4,
		`exchange_duration_seconds_count{event="CLOSE",server="echo"}`:     1,
		`exchange_duration_seconds_count{event="CLOSE",server="other"}`:    1,
		`exchange_errors_total{kind="error",server="echo"}`:                1,
		`exchange_errors_total{kind="died",server="echo"}`:                 0,

		`max_connections`:                        100,
		`server_max_connections{server="other"}`: 50,
		`memory_limit_bytes`:                     256 << 20,

		`queue_duration_seconds_count`: 11,
		`exchanges_waiting`:            0,
		`no_free_workers_total`:        0,
		`buffered_bytes`:               0,
		`total_workers`:                2,
		`workers_working`:              0,
		`workers_invalid`:              0,
	} {
		require.InDelta(t, want, metric(t, after, series), 0, series)
	}
	require.Positive(t, metric(t, after, `exchange_duration_seconds_sum{event="DATA",server="echo"}`))
	memory := metric(t, after, "workers_memory_bytes")
	require.Greater(t, memory, 1e6)
	sum := 0.0
	for _, pid := range h.workers() {
		require.InDelta(t, 1, metric(t, after, fmt.Sprintf(`worker_state{pid="%d",state="ready"}`, pid)), 0)
		sum += metric(t, after, fmt.Sprintf(`worker_memory_bytes{pid="%d"}`, pid))
	}
	require.InDelta(t, memory, sum, 1)
}

func TestWaitingEventMetrics(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := startObserved(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 1, allocate_timeout: 15s", 1), at)
	busy, waits := h.dial("echo"), h.dial("echo")
	require.Equal(t, "x", waits.ask("x"))
	busy.send("!gate echo")
	v := g.next()
	waits.send("hello")
	eventually(t, "one waits", func() bool { return metric(t, h.scrape(), "exchanges_waiting") == 1 })
	scrape := h.scrape()
	require.InDelta(t, 1, metric(t, scrape, "workers_working"), 0)
	require.Zero(t, metric(t, scrape, "workers_ready"))
	require.Zero(t, metric(t, scrape, "no_free_workers_total"))
	waits.requireEnd()
	v.release()
	require.Equal(t, "!gate echo", busy.receive())
	eventually(t, "it is counted", func() bool { return metric(t, h.scrape(), "no_free_workers_total") == 1 })
	eventually(t, "and its CLOSE got the worker", func() bool { return metric(t, h.scrape(), "exchanges_waiting") == 0 })
	require.InDelta(t, 1, metric(t, h.scrape(), `exchange_errors_total{kind="overload",server="echo"}`), 0)
	require.NoError(t, waits.Close()) // until then it is closed politely
	eventually(t, "closed", func() bool { return metric(t, h.scrape(), `closed_total{reason="overload",server="echo"}`) == 1 })
}

func (h observed) requireHealth(alive, ready int) {
	h.t.Helper()
	code, body := get(h.t, "http://"+h.status+"/health?plugin=tcp")
	require.Equal(h.t, alive, code, body)
	code, body = get(h.t, "http://"+h.status+"/ready?plugin=tcp")
	require.Equal(h.t, ready, code, body)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	slow := "boot=500ms"
	h := startObserved(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 1", 1), at, slow)
	h.requireHealth(200, 200)
	c := h.dial("echo")
	require.Equal(t, "x", c.ask("x"))
	c.send("!gate echo")
	v := g.next()
	h.requireHealth(200, 503) // the only worker is at work
	v.release()
	require.Equal(t, "!gate echo", c.receive())
	eventually(t, "ready again", func() bool { return metric(t, h.scrape(), "workers_ready") == 1 })
	h.requireHealth(200, 200)

	done := make(chan struct{})
	go func() { defer close(done); h.reset() }()
	for looks, over := 0, false; !over || looks < 10; looks++ { // a reset takes as long as a worker takes to boot, at least
		h.requireHealth(200, 200)
		select {
		case <-done:
			over = true
		default:
		}
	}
	require.Equal(t, "y", c.ask("y"), "connections stayed")
	c.send("!gate echo")
	v = g.next()
	h.terminate()
	eventually(t, "it does not listen any more", func() bool { return h.refuses("echo") })
	h.requireHealth(200, 503)
	v.release()
	h.requireExit()
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	h := start(t, openAndLimited)
	for _, server := range []string{"echo", "other"} {
		c := h.dial(server)
		require.Equal(t, "hello", c.ask("hello"))
		require.Equal(t, "hello", c.ask("hello"))
		require.NoError(t, c.Close())
		eventually(t, server+" says that it ended", func() bool { return len(h.logged("tcp", `"server":"`+server+`","uuid"`)) > 0 })
	}
	for server, level := range map[string]string{"echo": "debug", "other": "info"} {
		lines := h.logged("tcp", `"server":"`+server+`","uuid"`)
		require.Len(t, lines, 1, "nothing for its packets")
		require.Equal(t, level, lines[0].Level)
		require.Equal(t, "eof", lines[0].Reason)
		require.NotEmpty(t, lines[0].UUID)
	}
	var line struct {
		Remote   string
		Packets  int
		Read     int `json:"bytes_read"`
		Written  int `json:"bytes_written"`
		Duration any
	}
	for _, text := range h.lines() {
		if strings.Contains(text, `"server":"other","uuid"`) {
			require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&line))
		}
	}
	require.NotEmpty(t, line.Remote)
	require.Equal(t, []int{2, 14, 14}, []int{line.Packets, line.Read, line.Written})
	require.NotNil(t, line.Duration)
}

func TestRefusedMetrics(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	h := observed{host: startTLS(t, newAuthority(t, "ca"), fmt.Sprintf(`
metrics: {address: %q}
tcp:
  servers:
    echo:
      addr: "127.0.0.1:0"
      max_connections_per_ip: 1
      proxy_protocol: {trusted: ["127.0.0.1"]}
      tls: {cert: DIR/server.pem, key: DIR/server.key}
  pool: {num_workers: 1}
`, address), nil), metrics: address}
	requireRefused := func(proxy, perIP, tls, handshake float64) {
		t.Helper()
		want := []float64{proxy, perIP, tls, handshake}
		eventually(t, fmt.Sprint(want, " are counted"), func() bool {
			scrape := h.scrape()
			for i, series := range []string{
				`refused_total{reason="proxy_protocol",server="echo"}`, `refused_total{reason="max_connections_per_ip",server="echo"}`,
				`refused_total{reason="tls",server="echo"}`, `closed_total{reason="handshake",server="echo"}`,
			} {
				if metric(t, scrape, series) != want[i] {
					return false
				}
			}
			return true
		})
	}
	h.dialFromIP("127.0.0.2", "echo").requireEnd()
	requireRefused(1, 0, 0, 0)
	c := h.dial("echo")
	c.send("no header")
	c.requireEnd()
	requireRefused(2, 0, 0, 1)
	c = h.dial("echo")
	write(c, headerV1+"no handshake\r\n")
	_, _ = io.ReadAll(c) // an alert
	requireRefused(2, 0, 1, 2)

	c = h.dial("echo")
	write(c, headerV1)
	c.awaitRead()
	second := h.dial("echo")
	write(second, headerV1)
	second.requireEnd()
	requireRefused(2, 1, 1, 3)
}
