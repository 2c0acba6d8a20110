package tests

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// workerFaults are packets that do harm to a worker, or are answered in a way that ends the connection.
var workerFaults = []string{
	"!exit", "!kill", "!hang", "!garbage", "!error on purpose", "!answer NOTHING", "!answer -", "!answer CLOSE",
	"!bytes WRITECLOSE 20000000", "!deaf", "!sleep 100ms exit",
}

// storm is a real rr under everything at once: worker faults of all kinds, resets, a pool that changes its size, clients
// that talk in all ways and those that attack. It ends with stop, which finds what is wrong.
type storm struct {
	*host
	metrics string
	talkers []*talkers
	ids     atomic.Int64
	over    chan struct{} // closed to end it
	// lostAtOnce is how many events a worker can take with it that is killed before it has written them down.
	lostAtOnce int
	wg         sync.WaitGroup

	kills, resets, changes, attacks atomic.Int64
	unsure                          atomic.Int64 // how often a worker was to be added, and maybe was
	slowest                         atomic.Int64 // reset, in nanoseconds
	begin, peak                     figures
}

// figures of the process, from its own metrics.
type figures struct{ rss, heap, goroutines, descriptors float64 }

func startStorm(t *testing.T, tcp string, worker ...string) *storm {
	t.Helper()
	h := newHost(t, shortDir(t))
	return h.storm(tcp, h.command(worker)...)
}

// startPlainStorm is startStorm without the race detector in rr.
func startPlainStorm(t *testing.T, tcp string, worker ...string) *storm {
	t.Helper()
	h := newHost(t, shortDir(t))
	h.plain = true
	return h.storm(tcp, h.command(worker)...)
}

// storm runs the host with these workers.
func (h *host) storm(tcp string, command ...string) *storm {
	h.t.Helper()
	address := freePort(h.t)
	s := &storm{host: h, metrics: "http://" + address, over: make(chan struct{}), lostAtOnce: 1}
	h.serveWorker(fmt.Sprintf(`
endure: {grace_period: 20s}
metrics: {address: %q}
%s`, address, tcp), command...)
	s.record.lossy = true
	c := s.dial("echo")
	c.send("hello")
	c.receive()
	require.NoError(h.t, c.Close())
	eventually(h.t, "its metrics answer", func() bool { s.begin = s.figures(); return s.begin.known() })
	return s
}

// talk starts n of these talkers, who take the way to the server.
func (s *storm) talk(n int, way string, ts *talkers) {
	ts.t, ts.ids = s.t, &s.ids
	ts.dial = func() (net.Conn, error) { return net.DialTimeout("tcp", way, patience) }
	s.talkers = append(s.talkers, ts)
	ts.start(n)
}

// every runs f again and again until the end.
func (s *storm) every(pause time.Duration, f func()) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			select {
			case <-s.over:
				return
			case <-time.After(pause):
				f()
			}
		}
	}()
}

func (s *storm) strike() {
	s.every(100*time.Millisecond, s.killOne)
	s.every(700*time.Millisecond, func() {
		begin := time.Now()
		if s.try("resetter.Reset") {
			s.resets.Add(1)
		}
		s.slowest.Store(max(s.slowest.Load(), int64(time.Since(begin))))
	})
	s.every(900*time.Millisecond, func() {
		if !s.try("informer.AddWorker") {
			s.unsure.Add(1)
			return
		}
		for !s.try("informer.RemoveWorker") { // it gives up when none is free for long
			if s.isOver() {
				s.unsure.Add(1)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		s.changes.Add(1)
	})
	s.every(500*time.Millisecond, func() { s.peak.rise(s.figures()) })
}

func (s *storm) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// killOne kills any worker, one that starts too.
func (s *storm) killOne() {
	if all := pids(s.dir); len(all) > 0 && syscall.Kill(all[rand.IntN(len(all))], syscall.SIGKILL) == nil {
		s.kills.Add(1)
	}
}

// try calls a method about the plugin tcp.
func (s *storm) try(method string) bool {
	var done bool
	return s.call(method, "tcp", &done) == nil
}

// figures are zero where the process does not answer.
func (s *storm) figures() (f figures) {
	answer, err := http.Get(s.metrics) // its own metrics
	if err != nil {
		return f
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		for name, value := range map[string]*float64{
			"process_resident_memory_bytes": &f.rss, "go_memstats_heap_alloc_bytes": &f.heap, "go_goroutines": &f.goroutines,
			"process_open_fds": &f.descriptors,
		} {
			if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				_, _ = fmt.Sscan(rest, value)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
	return f
}

// known reports whether the process has answered.
func (f figures) known() bool { return min(f.rss, f.heap, f.goroutines, f.descriptors) > 0 }

func (f *figures) rise(to figures) {
	f.rss, f.heap = max(f.rss, to.rss), max(f.heap, to.heap)
	f.goroutines, f.descriptors = max(f.goroutines, to.goroutines), max(f.descriptors, to.descriptors)
}

func (f figures) String() string {
	return fmt.Sprintf("RSS %.0f MB, heap %.0f MB, %.0f goroutines, %.0f descriptors", f.rss/1e6, f.heap/1e6, f.goroutines, f.descriptors)
}

// calm ends all faults and all clients.
func (s *storm) calm() {
	s.t.Helper()
	close(s.over)
	s.wg.Wait()
	for _, ts := range s.talkers {
		ts.stop()
	}
}

// requireOrder fails unless everything is as it was and each connection's events were a sentence that tells the truth.
func (s *storm) requireOrder(workers int) {
	s.t.Helper()
	c := s.dial("echo")
	require.Equal(s.t, "hello", c.ask("hello"))
	require.NoError(s.t, c.Close())
	eventually(s.t, "the pool is back to size", func() bool {
		n := len(s.workers())
		return n >= workers && n <= workers+int(s.unsure.Load()) && len(pids(s.dir)) == n
	})

	var end figures
	defer func() { s.t.Logf("the last figures: %s", end) }()
	eventually(s.t, "goroutines and descriptors are back to the start", func() bool {
		end = s.figures()
		return end.known() && end.goroutines <= s.begin.goroutines+8 && end.descriptors <= s.begin.descriptors+8
	})

	s.record.now(s.t) // takes a while after a long storm
	kills := int(s.kills.Load()) + strings.Count(strings.Join(s.lines(), "\n"), "execTTL")
	s.record.awaitEnd(s.t, kills*s.lostAtOnce)
	all := &talkers{t: s.t, answered: make(map[int64]int), faults: workerFaults, others: []string{"hello", bigAnswer}}
	var packets, faults int64
	for _, ts := range s.talkers {
		packets += ts.asked.Load()
		faults += ts.sent.Load()
		for id, n := range ts.answered {
			all.answered[id] = n
		}
	}
	compared := all.requireTruth(s.record.sentences)
	s.t.Logf("%d connections, %d packets answered, %d compared, %d events checked, 0 violations\n"+
		"%d packets that do harm, %d workers killed, %d resets (the slowest took %s), %d times a worker more and less, %d attacks\n"+
		"start: %s\npeak: %s\nend: %s",
		len(s.record.sentences), packets, compared, len(s.record.entries), faults, s.kills.Load(), s.resets.Load(),
		time.Duration(s.slowest.Load()).Round(time.Millisecond), s.changes.Load(), s.attacks.Load(), s.begin, s.peak, end)
	require.True(s.t, s.peak.known())
	require.Positive(s.t, packets)
	require.Less(s.t, time.Duration(s.slowest.Load()), 30*time.Second, "a reset waited for a worker that will not come")
	require.NotContains(s.t, strings.Join(s.lines(), "\n"), `"msg":"panic"`)
}

// stop ends the program, which takes a while where it can't be killed, and says how it went.
func (s *storm) stop() {
	s.t.Helper()
	s.terminate()
	s.requireExit()
	require.NotContains(s.t, s.stderr(), "panic")
}

const (
	poolOfFour = `
  close_timeout: 3s
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 4, allocate_timeout: 15s, reset_timeout: 15s, supervisor: {watch_tick: 1s, exec_ttl: 3s%s}%s}
`
	quick = 4 * time.Second
)

func TestWorkerFaultStorm(t *testing.T) { // not beside others: it leaves them no processor
	for name, pool := range map[string][2]string{
		"while 500 clients work":       {", max_worker_memory: 1", ""},
		"with a worker for each event": {"", ", max_jobs: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startStorm(t, "tcp:"+fmt.Sprintf(poolOfFour, pool[0], pool[1]))
			clients := 500
			if pool[1] != "" {
				clients = 30
			}
			s.talk(clients, s.addr("echo").String(), &talkers{faults: workerFaults, oneIn: 8, within: 40 * time.Second})
			s.strike()
			time.Sleep(quick)
			s.calm()
			s.requireOrder(4)
			s.stop()
		})
	}
}

// SIGTERM comes when nothing is in order.
func TestStopDuringStorm(t *testing.T) {
	s := startStorm(t, "tcp:"+fmt.Sprintf(poolOfFour, "", ""))
	s.talk(200, s.addr("echo").String(), &talkers{faults: workerFaults, oneIn: 8, within: 40 * time.Second})
	s.strike()
	for _, attack := range attacks {
		s.every(time.Millisecond, func() { attack(s) })
	}
	time.Sleep(time.Second + rand.N(2*time.Second))
	s.stop()
	s.calm()
	requireNoWorkers(t, s.dir)
}
