package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bulky is a configuration whose workers get several events at once.
const bulky = `
metrics: {address: "METRICS"}
tcp:
  bulk: {}
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`

var oneBulkyWorker = strings.Replace(bulky, "num_workers: 2", "num_workers: 1", 1)

// startBulky runs the command, or the recording worker, with this configuration.
func startBulky(t *testing.T, yaml string, command func(*host) []string) observed {
	t.Helper()
	metrics := freePort(t)
	h := newHost(t, shortDir(t))
	return observed{h.serveWorker(strings.Replace(yaml, "METRICS", metrics, 1), command(h)...), metrics + "/metrics", ""}
}

// talkTo lets n clients at once exchange some thousand packets with the host. Each packet and each answer tell by the number of
// the connection and of the packet whose they are.
func talkTo(h *host, n, packets int64) *talkers {
	ts := &talkers{t: h.t, whole: true, dial: func() (net.Conn, error) {
		return net.DialTimeout("tcp", h.addr("echo").String(), patience)
	}}
	ts.start(int(n))
	eventually(h.t, "enough is answered", func() bool { return ts.asked.Load() >= packets })
	ts.stop()
	return ts
}

func TestBulk(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(*testing.T) []string{
		"Go":  func(t *testing.T) []string { return []string{buildProgram(t), "worker", "echo"} },
		"PHP": kitPHP,
		"Python": func(t *testing.T) []string {
			script, err := filepath.Abs(repository + "/examples/python/worker.py")
			require.NoError(t, err)
			return []string{installed(t, "python3"), "-B", script}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := command(t)
			h := startBulky(t, bulky, func(*host) []string { return list })
			talkTo(h.host, 200, 4000)
			scrape := h.scrape()
			together := 1.5
			if len(buildFlags) > 0 {
				together = 1 // under the race detector the clients are slower than the workers
			}
			require.Greater(t, metric(t, scrape, "exchange_events_sum"), together*metric(t, scrape, "exchange_events_count"))
			h.requireGoodBulks(t)
		})
	}
}

// requireGoodBulks fails where the log complains, but of a first bulk that takes long: on a busy machine it does.
func (o observed) requireGoodBulks(t *testing.T) {
	t.Helper()
	require.Len(t, o.ours("warn"), len(o.logged("tcp", "has not answered its first bulk of events yet")))
	require.Empty(t, o.ours("error"))
}

// Each connection's events are a sentence, whether they come together or not.
func TestBulkSentences(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		section string
		options []string
		bulks   bool
	}{
		"without the section": {"", nil, false},
		"in one frame":        {"bulk: {}", nil, true},
		"in a frame for each": {"bulk: {max_events: 5}", []string{"bulk=frames"}, true},
		"within few bytes":    {"bulk: {max_bytes: 1KB}", nil, true},
		"after the documents": {"bulk: {}\n  dialect: documented", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startBulky(t, strings.Replace(bulky, "bulk: {}", c.section, 1), func(h *host) []string { return h.command(c.options) })
			ts := talkTo(h.host, 40, 300)
			h.record.awaitEnd(t, 0)
			require.Positive(t, ts.requireTruth(h.record.sentences))
			require.Equal(t, c.bulks, h.record.bulks > 0, "%d events came together", h.record.bulks)
			h.requireGoodBulks(t)
		})
	}
}

// Workers that answer bulks in every wrong way and die, resets, and workers more and less: no client is told what is not true.
func TestBulkStorm(t *testing.T) { // not beside others: it leaves them no processor
	s := startStorm(t, "tcp:\n  bulk: {max_events: 4}"+fmt.Sprintf(poolOfFour, "", ""), "bulk=random")
	s.lostAtOnce = 4
	s.talk(200, s.addr("echo").String(), &talkers{faults: workerFaults, oneIn: 40, within: 60 * time.Second})
	s.strike()
	time.Sleep(quick)
	s.calm()
	s.requireOrder(4)
	t.Logf("%d events lost", s.record.lost())
	require.Less(t, s.record.lost(), len(s.record.sentences)/10)
	require.Positive(t, s.record.bulks)
	require.NotEmpty(t, s.logged("tcp", "tcp.bulk needs workers that know the event BULK"))
	s.stop()
}

// A worker that does not know bulks may be silent, answer wrongly or die. The log says in time what is wrong, and once.
func TestBulkWithoutWorkersThatKnowIt(t *testing.T) {
	t.Parallel()
	for _, way := range append([]string{"hang"}, wrongBulks...) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			g, at := newGate(t)
			h := startBulky(t, oneBulkyWorker, func(h *host) []string { return h.command([]string{"bulk=" + way, at}) })
			h.dial("echo").send("!gate echo")
			busy := g.next()
			for range 9 {
				h.dial("echo")
			}
			eventually(t, "all wait", func() bool { return h.stats().ExchangesWaiting == 9 })
			busy.release()
			requireBulkNeeds(t, h.host)
			first := h.firstBulk(t)
			said := h.logged("tcp", "tcp.bulk needs workers that know")
			require.Less(t, time.Unix(0, said[0].Time).Sub(time.Unix(0, first)), patience/2, "not when the worker has answered")
			if way == "hang" { // it would be silent for an hour
				killAll(t, h.host)
			}
		})
	}

	// It dies of a bulk: the keys that it wants of each event are not there.
	t.Run("spiral", func(t *testing.T) {
		t.Parallel()
		h := startExampleWith(t, "direct", func(yaml string) string {
			return strings.Replace(yaml, "tcp:\n", "tcp:\n  bulk: {}\n", 1)
		})
		over := make(chan struct{}) // closed when the log has it
		defer close(over)
		for range 50 {
			go askOn(h.addr("echo").String(), over)
		}
		requireBulkNeeds(t, h)
	})
}

// askOn asks on one connection after the other.
func askOn(address string, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write([]byte("hello\r\n"))
			_, _ = conn.Read(make([]byte, 10))
			_ = conn.Close()
		}
	}
}

// requireBulkNeeds waits until the log says what workers must know.
func requireBulkNeeds(t *testing.T, h *host) {
	t.Helper()
	eventually(t, "the log says what tcp.bulk needs", func() bool { return len(h.logged("tcp", "tcp.bulk needs workers that know")) > 0 })
}

// firstBulk is when a worker first got several events at once.
func (h *host) firstBulk(t *testing.T) int64 {
	t.Helper()
	h.record.now(t)
	for _, e := range h.record.entries {
		if e.Bulk > 1 {
			return e.At
		}
	}
	require.Fail(t, "no bulk")
	return 0
}

// killAll kills the workers that are there now.
func killAll(t *testing.T, h *host) {
	t.Helper()
	h.record.lossy = true
	for _, pid := range pids(h.dir) {
		p, err := os.FindProcess(pid)
		require.NoError(t, err)
		_ = p.Kill()
	}
}

// What is done to connections while a worker has their events is done to each of them alone.
func TestBulkUnderWay(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := startBulky(t, oneBulkyWorker, func(h *host) []string { return h.command([]string{at}) })
	// together has three connections wait for the worker, and returns when it is at the first one's event.
	together := func() (three []*client, at *visit) {
		busy := h.dial("echo")
		for range 3 {
			three = append(three, h.dial("echo"))
			require.Equal(t, "hello", three[len(three)-1].ask("hello"))
		}
		busy.send("!gate echo")
		first := g.next()
		for i, packet := range []string{"!gate echo", "two", "three"} {
			three[i].send(packet)
			eventually(t, "it waits", func() bool { return h.stats().ExchangesWaiting == i+1 })
		}
		first.release()
		require.Equal(t, "!gate echo", busy.receive())
		at = g.next()
		h.record.now(t)
		require.Equal(t, 3, h.record.entries[len(h.record.entries)-1].Bulk)
		return three, at
	}

	for i, name := range []string{"the first one is closed", "another one is closed"} {
		t.Log(name)
		three, at := together()
		h.closeConnection(h.record.current(t, three[i]).UUID)
		three[i].requireEnd()
		require.Equal(t, "accepted", h.push(h.record.current(t, three[2]).UUID, "pushed\r\n", false))
		require.Equal(t, "pushed", three[2].receive(), "a push does not wait for the worker")
		at.release()
		require.Equal(t, []string{"!gate echo", "two"}[1-i], three[1-i].receive())
		require.Equal(t, "three", three[2].receive())
		ended := h.record.of(t, three[i])
		require.Equal(t, "rpc", ended.Reason)
		require.Equal(t, []string{"CONNECTED", "DATA", "DATA", "CLOSE"}, ended.events)
	}

	t.Log("rr stops")
	three, visit := together()
	h.terminate()
	eventually(t, "it accepts nothing more", func() bool { return h.refuses("echo") })
	visit.release()
	for i, c := range three {
		require.Equal(t, []string{"!gate echo", "two", "three"}[i], c.receive())
	}
	h.requireExit()
}
