package tests

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bigAnswer is asked for by clients that do not read it.
const bigAnswer = "!bytes WRITE 16777216"

const noDelimiter = "no delimiter"

// attacks are what hostile clients do, once each.
var attacks = map[string]func(*storm){
	"half a packet, then a reset": func(s *storm) {
		s.attack(time.Second, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "half a packet")
			_ = c.SetLinger(0)
		})
	},
	"connected and gone":  func(s *storm) { s.attack(time.Second, func(*net.TCPConn) {}) },
	"connected and reset": func(s *storm) { s.attack(time.Second, func(c *net.TCPConn) { _ = c.SetLinger(0) }) },
	"a byte at a time": func(s *storm) {
		s.attack(3*time.Second, func(c *net.TCPConn) {
			for range 100 {
				if _, err := c.Write([]byte{'s'}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	},
	noDelimiter: func(s *storm) {
		s.attack(3*time.Second, func(c *net.TCPConn) {
			endless := bytes.Repeat([]byte("x"), 1<<20)
			for {
				if _, err := c.Write(endless); err != nil {
					return
				}
			}
		})
	},
	"an answer that is not read": func(s *storm) {
		s.attack(10*time.Second, func(c *net.TCPConn) {
			_ = c.SetReadBuffer(4096)
			_, _ = io.WriteString(c, bigAnswer+"\r\n")
			time.Sleep(2 * time.Second)
			_ = c.SetLinger(0)
		})
	},
	"half-closed and still there": func(s *storm) {
		s.attack(5*time.Second, func(c *net.TCPConn) {
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		})
	},
}

// attack opens one connection and ends it after a while at the latest.
func (s *storm) attack(atMost time.Duration, f func(*net.TCPConn)) {
	conn, err := net.DialTimeout("tcp", s.addr("echo").String(), patience)
	if err != nil {
		return
	}
	s.attacks.Add(1)
	_ = conn.SetDeadline(time.Now().Add(atMost))
	f(conn.(*net.TCPConn))
	_ = conn.Close()
}

// Each attack, by many at once, while others are served.
func TestAttacks(t *testing.T) { // not beside others
	const limit, others = 64 << 20, 16
	attackers, attempts := 60, 100
	if len(buildFlags) > 0 {
		attackers, attempts = 10, 30 // a worker answers so many less
	}
	s := startPlainStorm(t, `
tcp:
  memory_limit: 64MB
  write_timeout: 2s
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	names := []string{noDelimiter} // first: memory that others leave behind would hide what it takes
	for name := range attacks {
		if name != noDelimiter {
			names = append(names, name)
		}
	}
	for _, name := range names {
		attack := attacks[name]
		ts := new(talkers)
		s.talk(others, s.addr("echo").String(), ts)
		over := time.Now().Add(time.Second)
		var wg sync.WaitGroup
		for range attackers {
			wg.Add(1)
			go func() { // ends with the attack
				defer wg.Done()
				for n := 0; n < attempts && time.Now().Before(over); n++ {
					attack(s)
				}
			}()
		}
		var peak figures
		for time.Now().Before(over) {
			peak.rise(s.figures())
			time.Sleep(50 * time.Millisecond)
		}
		wg.Wait()
		ts.stop()
		t.Logf("%s: %d packets of others, peak: %s", name, ts.asked.Load(), peak)
		require.Greater(t, ts.asked.Load(), int64(5), "others are served meanwhile: "+name)
		if name == noDelimiter {
			require.True(t, peak.known())
			require.Less(t, peak.rss-s.begin.rss, float64(limit+150<<20), "memory_limit bounds it")
		}
		s.peak.rise(peak)
	}
	s.calm()
	s.requireOrder(2)
	s.stop()
}

// With two slow workers, each client waits its turn and none is forgotten.
func TestThousandsOfWaitingClients(t *testing.T) { // not beside others
	clients := 5000
	if len(buildFlags) > 0 {
		clients = 1500
	}
	s := startPlainStorm(t, `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`, "connected=sleep 2ms answer WRITE hello")
	var wg sync.WaitGroup
	for range clients {
		wg.Add(1)
		go func() { // ends with its answer, or without
			defer wg.Done()
			conn, err := net.DialTimeout("tcp", s.addr("echo").String(), patience)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(2 * patience))
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\r\n" {
				t.Errorf("got %q, %v", line, err)
			}
		}()
	}
	s.every(100*time.Millisecond, func() { s.peak.rise(s.figures()) })
	wg.Wait()
	s.calm()
	t.Logf("start: %s, peak: %s", s.begin, s.peak)
	require.True(t, s.peak.known())
	require.Less(t, s.peak.rss, float64(150<<20))
	for _, sentence := range s.record.all(t, clients+1) {
		require.Equal(t, "CONNECTED", sentence.events[0])
		require.Equal(t, "eof", sentence.Reason)
	}
	s.stop()
}

// Without descriptors clients wait; when some are free again, they are served.
func TestDescriptorExhaustion(t *testing.T) {
	t.Parallel()
	p := start(t, minimal)
	first := p.dial("echo")
	require.Equal(t, "hello", first.ask("hello"))
	limit := unix.Rlimit{Cur: 64, Max: 64}
	require.NoError(t, unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))

	var clients []*client
	for range 100 {
		c := p.dial("echo")
		c.send("hello")
		clients = append(clients, c)
	}
	const warning = "can't accept connections for now"
	eventually(t, "it says so", func() bool { return len(p.logged("tcp", warning)) == 1 })
	require.Equal(t, "hello", first.ask("hello"), "who was accepted is served")
	for _, c := range clients { // the kernel lets them in one by one
		require.Equal(t, "hello", c.receive())
		require.NoError(t, c.Close())
	}
	require.Len(t, p.logged("tcp", warning), 1, "one warning")
	require.NoError(t, first.Close())
	p.record.all(t, 101)
	p.terminate()
	p.requireExit()
}
