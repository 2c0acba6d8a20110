package tests

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// soak is a storm whose program also loses what it needs from its environment.
type soak struct {
	*storm
	faults atomic.Int64 // of the environment
}

// environmentFaults are what may happen on a machine. Each returns what ends it.
var environmentFaults = []struct {
	name  string
	begin func(*soak) (end func())
}{
	{"the workers' program is missing", func(s *soak) func() { return s.become("") }},
	{"the workers' program hangs", func(s *soak) func() { return s.become("hangs") }},
	{"the workers' program exits at once", func(s *soak) func() { return s.become("exits") }},
	{"no descriptors", func(s *soak) func() { return s.limitDescriptors(0) }},
	{"few descriptors, and clients take them", func(s *soak) func() { return s.flood(20, s.addr("echo")) }},
	{"few descriptors, and RPC clients take them", func(s *soak) func() { return s.flood(20, address{"unix", s.dir + "/rpc"}) }},
}

const soakConfig = `
tcp:
  memory_limit: 64MB
  write_timeout: 5s
  packet_timeout: 10s
  close_timeout: 3s
  servers:
    echo: {addr: "127.0.0.1:0"}
    secure: {addr: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, handshake_timeout: 3s}}
  pool: {num_workers: 4, allocate_timeout: 5s, reset_timeout: 15s, max_jobs: 5000, supervisor: {watch_tick: 1s, exec_ttl: 3s, max_worker_memory: 1}}
`

// TestSoak is all of it together, for SOAK=DURATION: first each fault of the environment alone, then all faults at once. All the
// time one copy of the log goes to a disk that is full.
func TestSoak(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		t.Skip("for `make soak`")
	}
	surviveFewDescriptors(t)
	s := startSoak(t)
	for _, fault := range environmentFaults {
		s.survive(fault.name, fault.begin)
	}
	s.abuseTLS()

	s.talk(300, s.addr("echo").String(), &talkers{faults: workerFaults, oneIn: 40, within: 60 * time.Second})
	for name, faults := range linkFaults {
		proxy := proxyTo(t, s.addr("echo").String())
		for _, x := range faults {
			poison(t, proxy, x)
		}
		s.talk(15, proxy.Listen, &talkers{hangs: 4 * time.Second, pause: 5 * time.Millisecond})
		t.Log("with a link that has the faults: " + name)
	}
	s.strike()
	for _, attack := range attacks {
		s.every(20*time.Millisecond, func() { attack(s.storm) })
	}
	for _, abuse := range tlsAbuses {
		s.every(20*time.Millisecond, func() { s.abuse(abuse) })
	}
	s.every(5*time.Second, s.suffer)
	time.Sleep(duration)
	s.calm()
	s.requireOrder(4)
	s.requireMemory()
	t.Logf("%d faults of the environment", s.faults.Load())
	s.stop()
}

func startSoak(t *testing.T) *soak {
	t.Helper()
	h := newHost(t, shortDir(t))
	h.isFull = true
	newAuthority(t, "ca").server("localhost").save(t, h.dir, "server")
	for name, script := range map[string]string{"hangs": "exec sleep 1000", "exits": "exit 3"} {
		require.NoError(t, os.WriteFile(filepath.Join(h.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	command := h.command(nil)
	require.NoError(t, os.Symlink(command[0], filepath.Join(h.dir, "good")))
	command[0] = filepath.Join(h.dir, "worker")
	s := &soak{storm: &storm{host: h}}
	s.become("good")
	s.storm = h.storm(soakConfig, command...)
	return s
}

// become makes the workers' program another one; none where name is empty. The end makes it the good one.
func (s *soak) become(name string) (end func()) {
	program := filepath.Join(s.dir, "worker")
	_ = os.Remove(program)
	if name != "" {
		if err := os.Symlink(filepath.Join(s.dir, name), program); err != nil {
			s.t.Error(err)
		}
	}
	return func() { s.become("good") }
}

// limitDescriptors leaves the program so many descriptors besides those that it has.
func (s *soak) limitDescriptors(free int) (end func()) {
	pid := s.cmd.Process.Pid
	var before unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before)
	open, _ := s.descriptors()
	limit := unix.Rlimit{Cur: min(uint64(open+free), before.Max), Max: before.Max}
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
	}
	if err != nil {
		s.t.Error(err)
	}
	return func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }
}

// flood makes connections that take more descriptors than there are.
func (s *soak) flood(free int, to address) (end func()) {
	limits := s.limitDescriptors(free)
	all := dialAll(to, 5*free)
	return func() {
		closeAll(all)
		limits()
	}
}

func dialAll(to address, n int) (all []net.Conn) {
	for range n {
		if conn, err := net.DialTimeout(to.network, to.text, time.Second); err == nil {
			all = append(all, conn)
		}
	}
	return all
}

func closeAll(all []net.Conn) {
	for _, conn := range all {
		_ = conn.Close()
	}
}

// descriptors of the program, and those of them that are of processes: each look of the pool's supervisor leaves one for each worker
// until the next collection.
func (s *soak) descriptors() (all, processes int) {
	dir := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(dir, e.Name())); to == "anon_inode:[pidfd]" {
			processes++
		}
	}
	return len(entries), processes
}

// held are descriptors that no collection gives back.
func (s *soak) held() int {
	all, processes := s.descriptors()
	return all - processes
}

// children of the program, those too that have ended and nobody has waited for.
func (s *soak) children() (n int) {
	parent := fmt.Sprintf(" %d ", s.cmd.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		_, behindName, _ := strings.Cut(string(stat), ") ")
		if len(behindName) > 1 && strings.HasPrefix(behindName[1:], parent) {
			n++
		}
	}
	return n
}

// survive is one fault of the environment while all workers die. Behind it everything must be as it was, without a reset.
func (s *soak) survive(name string, fault func(*soak) func()) {
	s.t.Helper()
	const lasts, healsWithin = 8 * time.Second, 30 * time.Second // longer than allocate_timeout
	written, held := s.size(), s.held()
	limits := s.limitDescriptors(1000)
	end := fault(s)
	most := 0
	for begun := time.Now(); time.Since(begun) < lasts; time.Sleep(100 * time.Millisecond) {
		for _, pid := range s.good() {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				s.kills.Add(1)
			}
		}
		s.ask()
		most = max(most, s.children())
	}
	end()
	limits()
	begun := time.Now()
	var after figures
	eventually(s.t, name+": workers, processes and descriptors are what they were", func() bool {
		var list workerList
		if s.call("informer.Workers", "tcp", &list) != nil || len(list.Workers) != 4 || s.children() != 4 || len(pids(s.dir)) != 4 || !s.ask() {
			return false
		}
		after = s.figures()
		return after.goroutines > 0 && after.goroutines <= s.begin.goroutines+8 && s.held() <= held+8
	})
	healed := time.Since(begun)
	s.t.Logf("%s: %d children at most, %d KB of log, healed in %s: %s, %d of them held", name, most, (s.size()-written)>>10, healed.Round(time.Millisecond), after, s.held())
	require.Less(s.t, healed, healsWithin, name)
	require.LessOrEqual(s.t, most, 16, name)
}

// surviveFewDescriptors is a flood on a program that has had few descriptors since its start, while its workers are replaced often.
func surviveFewDescriptors(t *testing.T) {
	t.Helper()
	h := newHost(t, shortDir(t))
	program := filepath.Join(h.dir, "rr")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nulimit -n 64\nexec '"+buildProgram(t)+"' \"$@\"\n"), 0o700))
	s := &soak{storm: &storm{host: h}}
	h.serveProgram(program, strings.Replace(minimal, "num_workers: 2", "num_workers: 2, max_jobs: 20, allocate_timeout: 5s", 1), h.command(nil)...)
	require.True(t, s.ask())
	before := s.held()
	all := dialAll(s.addr("echo"), 150)
	for range 30 {
		s.ask()
	}
	closeAll(all)
	begun := time.Now()
	eventually(t, "two workers serve again", func() bool {
		return s.ask() && s.children() == 2 && len(s.workers()) == 2 && s.held() <= before+8
	})
	healed := time.Since(begun)
	t.Logf("64 descriptors, %d connections at once: healed in %s: %d descriptors", len(all), healed.Round(time.Millisecond), s.held())
	require.Less(t, healed, 30*time.Second)
	s.stop()
}

// good are the processes that are real workers.
func (s *soak) good() (found []int) {
	program, _ := filepath.EvalSymlinks(filepath.Join(s.dir, "good"))
	for _, pid := range pids(s.dir) {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe == program {
			found = append(found, pid)
		}
	}
	return found
}

// size of the log.
func (s *soak) size() int64 {
	info, err := os.Stat(s.log)
	require.NoError(s.t, err)
	return info.Size()
}

// ask reports whether a client is answered.
func (s *soak) ask() bool {
	conn, err := net.DialTimeout("tcp", s.addr("echo").String(), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, len("hello\r\n"))
	_, err = io.WriteString(conn, "hello\r\n")
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	return err == nil
}

// suffer is one fault of the environment for a while, beside all others.
func (s *soak) suffer() {
	limits := s.limitDescriptors(1000)
	end := environmentFaults[int(s.faults.Add(1))%len(environmentFaults)].begin(s)
	time.Sleep(2 * time.Second)
	end()
	limits()
}

// requireMemory fails unless what the program holds is what it held. Of what it does not, the system gets back a little at a time.
func (s *soak) requireMemory() {
	s.t.Helper()
	var end figures
	defer func() { s.t.Logf("memory: start: %s, end: %s", s.begin, end) }()
	eventually(s.t, "the heap is back to the start", func() bool {
		c := s.dial("echo")
		c.send("!bytes WRITECLOSE 1000000") // garbage, which the next collection takes with the rest
		_ = c.rest()
		_ = c.Close()
		end = s.figures()
		return end.heap > 0 && end.heap <= s.begin.heap+40<<20
	})
}

// abuseTLS is what TestTLSAbuse does, by 300 at once.
func (s *soak) abuseTLS() {
	s.t.Helper()
	before, held := s.figures(), s.held()
	for name, abuse := range tlsAbuses {
		var peak figures
		var all sync.WaitGroup
		for range 300 {
			all.Add(1)
			go func() { // ends when the server has closed the connection
				defer all.Done()
				s.abuse(abuse)
			}()
		}
		ended := make(chan struct{})
		go func() { all.Wait(); close(ended) }()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-time.After(100 * time.Millisecond):
				peak.rise(s.figures())
			}
		}
		var after figures
		eventually(s.t, name+": goroutines and descriptors are back to the start", func() bool {
			after = s.figures()
			return after.goroutines > 0 && after.goroutines <= s.begin.goroutines+8 && s.held() <= held+8
		})
		s.t.Logf("%s: peak: %s, then: %s", name, peak, after)
		if len(buildFlags) == 0 {
			require.Less(s.t, peak.rss, before.rss+float64((64+150)<<20), "memory_limit bounds it")
		}
	}
}

func (s *soak) abuse(f func(net.Conn)) {
	conn, err := net.DialTimeout("tcp", s.addr("secure").String(), patience)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	s.attacks.Add(1)
	f(conn)
	_, _ = io.Copy(io.Discard, conn)
}
