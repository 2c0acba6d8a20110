package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each limit stands once for all servers, once in a server of its own, and once as zero in a server that has none.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	const answer = 16 << 20 // more than any socket takes
	halfPacket := func(c *client, _ int) { write(c, "half") }
	for key, limit := range map[string]struct {
		general, own string
		sizes        [2]int           // bytes that are just past the two
		times        [2]time.Duration // how long it takes to be past them
		reason       string
		past         func(c *client, size int)
		goOn         func(c *client) // what is served where there is no limit
	}{
		"max_packet_size": {
			general: "64KiB", own: "128KiB", sizes: [2]int{64<<10 + 1, 128<<10 + 1}, reason: "too_long",
			past: func(c *client, size int) { write(c, string(pattern(size))) },
			goOn: func(c *client) { require.Len(c.t, c.ask(""), 128<<10+1) },
		},
		"idle_timeout": {
			general: "500ms", own: "1500ms", times: [2]time.Duration{500 * time.Millisecond, 1500 * time.Millisecond},
			reason: "idle",
			past:   func(*client, int) {},
			goOn:   func(c *client) { require.Equal(c.t, "hello", c.ask("hello")) },
		},
		"packet_timeout": {
			general: "500ms", own: "1500ms", times: [2]time.Duration{500 * time.Millisecond, 1500 * time.Millisecond},
			reason: "slow",
			past:   halfPacket,
			goOn:   func(c *client) { require.Equal(c.t, "half a packet", c.ask(" a packet")) },
		},
		"write_timeout": {
			general: "1s", own: "3s", times: [2]time.Duration{time.Second, 3 * time.Second}, reason: "slow",
			past: func(c *client, _ int) {
				require.NoError(c.t, c.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
				c.send(fmt.Sprintf("!bytes WRITE %d", answer))
			},
			goOn: func(c *client) {
				got := make([]byte, answer)
				_, err := io.ReadFull(c.r, got)
				require.NoError(c.t, err)
				require.True(c.t, string(pattern(answer)) == string(got))
			},
		},
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			h := start(t, fmt.Sprintf(`
tcp:
  %[1]s: %[2]s
  servers:
    general: {addr: "127.0.0.1:0"}
    own: {addr: "127.0.0.1:0", %[1]s: %[3]s}
    off: {addr: "127.0.0.1:0", %[1]s: 0}
  pool: {num_workers: 4}
`, key, limit.general, limit.own))
			off := h.dial("off")
			require.Equal(t, "hello", off.ask("hello"))
			limit.past(off, limit.sizes[1])

			for i, server := range []string{"general", "own"} {
				c := h.dial(server)
				if i == 1 && limit.sizes[1] > 0 {
					limit.past(c, limit.sizes[0])
					require.Len(t, c.ask(""), limit.sizes[0], "the server's own limit is in force")
				}
				begin := time.Now() // the limit's clock may begin before we have our answer
				require.Equal(t, "hello", c.ask("hello"))
				limit.past(c, limit.sizes[i])
				s := h.record.of(t, c)
				took := time.Since(begin)
				require.Equal(t, limit.reason, s.Reason)
				require.GreaterOrEqual(t, took, limit.times[i])
				require.Less(t, took, limit.times[i]*3/2+atOnce)
				_, err := io.Copy(io.Discard, c.r)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the client is closed")
			}
			limit.goOn(off)
			require.Equal(t, "hello", off.ask("hello"))
			require.Empty(t, h.ours("error"))
			require.Empty(t, h.ours("warn"), "what a client does is nothing to be warned of")
		})
	}
}

func TestMaxPacketSize(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  max_packet_size: 3KiB
  servers:
    single: {addr: "127.0.0.1:0"}
    batch: {addr: "127.0.0.1:0", batch: true}
    large: {addr: "127.0.0.1:0", max_packet_size: 100KiB}
    unix: {addr: "unix://DIR/socket"}
  pool: {num_workers: 2}
`)
	for server, size := range map[string]int{"single": 3 << 10, "batch": 3 << 10, "large": 100 << 10, "unix": 3 << 10} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			longest := string(pattern(size - 2))

			c := h.dialFrom(t, server)
			require.True(t, longest == c.ask(longest), "the longest packet is served")
			write(c, strings.Repeat(longest+"\r\n", 5))
			for range 5 {
				require.True(t, longest == c.receive(), "and as many of them as there are")
			}
			write(c, longest+"..")
			if server != "unix" { // /proc does not tell
				c.awaitRead()
			}
			write(c, "\n") // up to here it might have been finished by the end of file
			c.requireEnd()

			for _, tooLong := range []string{longest + ".\r\n", longest + ".\r\n" + longest + "\r\n", longest + "...."} {
				c := h.dialFrom(t, server)
				write(c, "before\r\n"+tooLong)
				require.Equal(t, "before", c.receive(), "what is before it is served")
				c.requireEnd()
				if server == "unix" {
					continue // clients have no names
				}
				seen := h.record.of(t, c)
				require.Equal(t, "too_long", seen.Reason)
				require.Equal(t, []string{"before\r\n"}, seen.bodies())
			}
		})
	}
}

func TestMaxPacketSizeDefault(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	for range 64 {
		write(c, string(pattern(1<<20)))
	}
	c.awaitRead()
	require.Empty(t, h.record.current(t, c).Reason, "that long it may be")
	write(c, ".")
	require.Equal(t, "too_long", h.record.of(t, c).Reason)
}

func TestTooLongPacketNotRead(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  max_packet_size: 64KiB
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	other := h.dial("echo")
	const most = 64 << 20 // no socket takes that
	c := h.dial("echo")
	sent, err := 0, error(nil)
	for chunk := pattern(64 << 10); err == nil && sent < most; sent += len(chunk) {
		_, err = c.Write(chunk)
	}
	require.Error(t, err, "the server has closed")
	require.Equal(t, "too_long", h.record.of(t, c).Reason)
	require.Equal(t, "hello", other.ask("hello"))
}

func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  idle_timeout: 800ms
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	for name, talk := range map[string]func(*client) time.Time{ // which tells when the clock may begin
		"a packet now and then": func(c *client) (last time.Time) {
			for i := range 8 {
				time.Sleep(200 * time.Millisecond)
				last = time.Now()
				require.Equal(c.t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
			}
			return last
		},
		"a worker that takes long": func(c *client) time.Time {
			begin := time.Now()
			require.Equal(c.t, "!sleep 1600ms echo", c.ask("!sleep 1600ms echo"))
			return begin.Add(1600 * time.Millisecond)
		},
		"a packet that takes long": func(c *client) time.Time {
			write(c, "half ")
			time.Sleep(1600 * time.Millisecond)
			end := time.Now()
			require.Equal(c.t, "half a packet", c.ask("a packet"))
			return end
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, "echo")
			begin := talk(c)
			c.requireEnd()
			require.GreaterOrEqual(t, time.Since(begin), 800*time.Millisecond)
			require.Equal(t, "idle", h.record.of(t, c).Reason)
		})
	}
}

func TestPacketTimeout(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  packet_timeout: 800ms
  servers: {echo: {addr: "127.0.0.1:0"}, batch: {addr: "127.0.0.1:0", batch: true}}
  pool: {num_workers: 4}
`)
	for _, server := range []string{"echo", "batch"} {
		t.Run(server+": a reply is owed while the next packet is begun", func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, server)
			for range 2 {
				write(c, "!sleep 1600ms echo\r\nbeg")
				require.Equal(t, "!sleep 1600ms echo", c.receive())
				require.Equal(t, "begun", c.ask("un"))
			}
			write(c, "beg")
			c.requireEnd()
			require.Equal(t, "slow", h.record.of(t, c).Reason)
		})
	}
	t.Run("bytes now and then do not help", func(t *testing.T) {
		t.Parallel()
		c := h.dialFrom(t, "echo")
		begin := time.Now()
		for err := error(nil); err == nil; time.Sleep(50 * time.Millisecond) {
			_, err = c.Write([]byte("."))
			require.Less(t, time.Since(begin), 800*time.Millisecond+atOnce)
		}
		s := h.record.of(t, c)
		require.Equal(t, "slow", s.Reason)
		require.Empty(t, s.packets)
	})
	t.Run("a client that does nothing is not slow", func(t *testing.T) {
		t.Parallel()
		c := h.dialFrom(t, "echo")
		require.Equal(t, "hello", c.ask("hello"))
		time.Sleep(1600 * time.Millisecond)
		require.Equal(t, "hello", c.ask("hello"))
	})
}

func TestSteadyReaderServed(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  write_timeout: 800ms
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	const size = 12 << 20
	c := h.dial("echo")
	require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
	c.send(fmt.Sprintf("!bytes WRITECLOSE %d", size))
	var got strings.Builder
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		n, err := io.CopyN(&got, c.r, 128<<10)
		if n == 0 || err != nil {
			require.ErrorIs(t, err, io.EOF)
			require.Greater(t, time.Since(begin), 4*800*time.Millisecond)
			break
		}
	}
	require.True(t, string(pattern(size)) == got.String(), "%d bytes", got.Len())
	require.NoError(t, c.Close())
	require.Equal(t, "worker", h.record.of(t, c).Reason)
}

func TestCloseTimeoutPerServer(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  close_timeout: 300ms
  servers:
    general: {addr: "127.0.0.1:0"}
    own: {addr: "127.0.0.1:0", close_timeout: 1200ms}
    off: {addr: "127.0.0.1:0", close_timeout: 0}
  pool: {num_workers: 3, supervisor: {exec_ttl: 3s}}
`, "close=hang")
	type lived func() (fromEnd, fromEvent time.Duration)
	lives := func(server string) lived {
		c := h.dial(server)
		require.Equal(t, "hello", c.ask("hello"))
		end := time.Now()
		require.NoError(t, c.Close())
		s := h.record.closedOf(t, c)
		pid := s.pids[len(s.pids)-1]
		at := s.inFlight.At // the worker may have noticed late that it has it
		return func() (fromEnd, fromEvent time.Duration) {
			eventually(t, "the worker that does not answer is replaced", func() bool {
				return !slices.Contains(h.workers(), pid)
			})
			return time.Since(end), time.Duration(time.Now().UnixNano() - at)
		}
	}
	off, own, general := lives("off"), lives("own"), lives("general")
	for _, want := range []struct {
		lived
		least time.Duration
	}{{general, 300 * time.Millisecond}, {own, 1200 * time.Millisecond}, {off, 3 * time.Second}} {
		fromEnd, fromEvent := want.lived()
		require.GreaterOrEqual(t, fromEnd, want.least)
		require.Less(t, fromEvent, want.least+1500*time.Millisecond)
	}
	require.Equal(t, "hello", h.dial("own").ask("hello"), "there are workers again")
	require.Len(t, h.ours("warn"), 1)
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	t.Run("of a server", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  servers: {few: {addr: "127.0.0.1:0", max_connections: 3}, many: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		h.requireMost(t, 3, []string{"few"})
		for range 20 {
			require.Equal(t, "hello", h.dialFrom(t, "many").ask("hello"), "other servers don't care")
		}
	})
	t.Run("of the plugin", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  max_connections: 3
  servers: {one: {addr: "127.0.0.1:0"}, two: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		h.requireMost(t, 3, []string{"one", "two"})
	})
	t.Run("of both", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
tcp:
  max_connections: 3
  servers: {one: {addr: "127.0.0.1:0", max_connections: 1}, two: {addr: "127.0.0.1:0", max_connections: 10}}
  pool: {num_workers: 2}
`)
		one := h.dial("one")
		require.Equal(t, "hello", one.ask("hello"))
		waits := h.dial("one")
		waits.send("waits")
		h.requireMost(t, 2, []string{"two"})
		require.NoError(t, one.Close())
		require.Equal(t, "waits", waits.receive())
	})
	t.Run("who waits does not hold up Stop", func(t *testing.T) {
		t.Parallel()
		h := start(t, `
endure: {grace_period: 60s}
tcp:
  max_connections: 1
  servers: {one: {addr: "127.0.0.1:0"}, two: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
		require.Equal(t, "hello", h.dial("one").ask("hello"))
		for _, server := range []string{"one", "two", "one", "two"} {
			h.dial(server).send("hello")
		}
		begin := time.Now()
		h.stop()
		require.Less(t, time.Since(begin), atOnce)
		require.Len(t, h.record.now(t), 1)
	})
}

// requireMost fails unless most clients of these servers are served at a time, the others when those have left, and
// every one in the end.
func (h *host) requireMost(t *testing.T, most int, servers []string) {
	t.Helper()
	const turns = 6
	var clients []*client
	for i := range most * turns {
		c := h.dialFrom(t, servers[i%len(servers)])
		c.send(fmt.Sprint(i))
		clients = append(clients, c)
		if i < most {
			require.Equal(t, fmt.Sprint(i), c.receive())
		}
	}
	before := len(h.record.now(t))
	served := make([]int, 0, len(clients))
	answers := make(chan int, len(clients)) // the index of who has an answer; -1: has none
	for i, c := range clients[most:] {
		go func() { // ends when it is served, or by its deadline
			if line, _ := c.r.ReadString('\n'); line == fmt.Sprintf("%d\r\n", i+most) {
				answers <- i + most
				return
			}
			answers <- -1
		}()
	}
	for i := range most {
		served = append(served, i)
	}
	for i := 0; i < len(clients); i++ {
		for range 5 { // those who may be here are served, and nobody else
			c := clients[served[i]]
			require.Equal(t, "hello", c.ask("hello"))
		}
		require.Len(t, h.record.now(t), before+len(served)-most, "nobody else was let in")
		require.NoError(t, clients[served[i]].Close())
		if len(served) < len(clients) {
			next := <-answers
			require.Positive(t, next, "somebody was dropped")
			served = append(served, next)
		}
	}
	if len(servers) == 1 {
		for i, next := range served {
			require.Equal(t, i, next, "first come, first served")
		}
	}
}

func TestMaxConnectionsPerIP(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  max_connections_per_ip: 2
  servers:
    echo: {addr: "127.0.0.1:0"}
    other: {addr: "127.0.0.1:0", max_connections_per_ip: 3}
    off: {addr: "127.0.0.1:0", max_connections_per_ip: 0}
  pool: {num_workers: 2}
`)
	from := func(ip, server string) *client {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
		conn, err := dialer.Dial("tcp", h.addr(server).String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		c := clientOf(t, conn)
		c.server = server
		return c
	}
	served := func(ip, server string) *client {
		c := from(ip, server)
		require.Equal(t, "hello", c.ask("hello"), "%s at %s", ip, server)
		return c
	}

	first, second := served("127.0.0.2", "echo"), served("127.0.0.2", "echo")
	const refused = 100
	begin := time.Now()
	for range refused {
		from("127.0.0.2", "echo").requireEnd()
	}
	require.Less(t, time.Since(begin), atOnce, "they are closed at once")
	served("127.0.0.3", "echo")
	for range 3 {
		served("127.0.0.2", "other")
	}
	from("127.0.0.2", "other").requireEnd()
	for range 10 {
		served("127.0.0.2", "off")
	}
	require.Len(t, h.record.now(t), 2+1+3+10, "who is refused has no events")

	require.Equal(t, "hello", first.ask("hello"))
	require.NoError(t, first.Close())
	h.record.of(t, first)
	served("127.0.0.2", "echo")
	from("127.0.0.2", "echo").requireEnd()
	second.reset()
	h.record.of(t, second)
	served("127.0.0.2", "echo")

	for server, times := range map[string]int{"echo": refused + 1, "other": 1} {
		var lines, sum int
		eventually(t, "all are counted", func() bool {
			lines, sum = h.summed("max_connections_per_ip", server)
			return sum >= times
		})
		require.Equal(t, times, sum)
		require.LessOrEqual(t, lines, 2+int(time.Since(begin)/time.Second), "one line a second")
	}
	require.Empty(t, h.ours("warn"))
}

// summed counts the lines of ours that hold the text and, if that is not empty, name the server, and adds up their
// connections.
func (h *host) summed(text, server string) (lines, connections int) {
	h.t.Helper()
	for _, line := range h.lines() {
		var e struct {
			Logger, Server string
			Connections    int
		}
		if !strings.Contains(line, text) {
			continue
		}
		require.NoError(h.t, json.Unmarshal([]byte(line), &e))
		if e.Logger == "tcp" && (server == "" || e.Server == server) {
			lines, connections = lines+1, connections+e.Connections
		}
	}
	return lines, connections
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	yaml := func(limit string) string {
		return "tcp:\n  memory_limit: " + limit + "\n" + `
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`
	}
	t.Run("a few big holders leave something to the rest", func(t *testing.T) {
		t.Parallel()
		h := start(t, yaml("2MB"))
		half := string(pattern(200_000)) // takes a buffer of 256 KiB
		var held []*client
		for range 40 { // 10 MB
			c := h.dial("echo")
			write(c, half)
			held = append(held, c)
		}
		kept := 0
		for _, c := range held {
			eventually(t, "all is read, or it is over", func() bool { return h.record.current(t, c).closed || c.isRead() })
			if !h.record.current(t, c).closed {
				kept++
			}
		}
		require.GreaterOrEqual(t, kept, 4)
		require.LessOrEqual(t, kept, 8, "2 MB are 2 MB")
		for i := range 40 {
			c := h.dial("echo")
			require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)), "small ones are served")
			require.Len(t, c.ask(string(pattern(3000))), 3000)
		}
		for _, c := range held {
			if s := h.record.current(t, c); s.closed {
				require.Equal(t, "memory", h.record.of(t, c).Reason)
				continue
			}
			require.True(t, half+"end" == c.ask("end"), "and so are those who have what they need")
			require.NoError(t, c.Close())
			require.Equal(t, "eof", h.record.of(t, c).Reason)
			break
		}
	})
	t.Run("of answers that nobody takes", func(t *testing.T) {
		t.Parallel()
		h := start(t, yaml("4MB"))
		c := h.dial("echo")
		c.send("!bytes WRITECLOSE 1000000")
		require.Len(t, c.rest(), 1000000)
		c = h.dial("echo")
		c.send("!bytes WRITE 5000000")
		s := h.record.of(t, c)
		require.Equal(t, "memory", s.Reason)
		c.requireEnd()
		require.Equal(t, "hello", h.dial("echo").ask("hello"))
	})
	for name, limit := range map[string]string{"smaller than a packet": "64KiB", "none": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, yaml(limit))
			small := h.dial("echo")
			require.Equal(t, "hello", small.ask("hello"))
			big := h.dial("echo")
			packet := string(pattern(1 << 20))
			write(big, packet+"\r\n")
			if limit == "0" {
				require.True(t, packet == big.receive())
				return
			}
			require.Equal(t, "memory", h.record.of(t, big).Reason)
			require.Equal(t, "hello", small.ask("hello"))
		})
	}
}

func TestReusePort(t *testing.T) {
	t.Parallel()
	const yaml = `
tcp:
  reuse_port: true
  servers: {echo: {addr: "ADDR"}}
  pool: {num_workers: 1}
`
	first := start(t, strings.Replace(yaml, "ADDR", "127.0.0.1:0", 1))
	addr := first.addr("echo").String()
	second := start(t, strings.Replace(yaml, "ADDR", addr, 1))
	eventually(t, "both have clients", func() bool {
		c := first.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		require.NoError(t, c.Close())
		return len(first.record.now(t)) > 0 && len(second.record.now(t)) > 0
	})
	alone := newHost(t, shortDir(t)).failedStart(strings.Replace(minimal, "127.0.0.1:0", addr, 1))
	require.Contains(t, alone, "address already in use", "a server without reuse_port does not share")
}

func TestKeepalive(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  servers:
    default: {addr: "127.0.0.1:0"}
    own: {addr: "127.0.0.1:0", keepalive: 100s}
    off: {addr: "127.0.0.1:0", keepalive: 0}
  pool: {num_workers: 1}
`)
	for server, seconds := range map[string]float64{"default": 15, "own": 100, "off": 0} {
		c := h.dial(server)
		require.Equal(t, "hello", c.ask("hello"))
		eventually(t, fmt.Sprintf("%s: in %v seconds", server, seconds), func() bool {
			left := c.keepaliveOfServer()
			return left <= seconds && left >= seconds-5
		})
	}
}

// keepaliveOfServer is in how many seconds the server's end asks whether the client is there; 0: never.
func (c *client) keepaliveOfServer() float64 {
	c.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(c.t, err)
	_, row, ok := strings.Cut(string(table), procAddr(c.RemoteAddr().(*net.TCPAddr))+" "+procAddr(c.LocalAddr().(*net.TCPAddr))+" ")
	require.True(c.t, ok)
	fields := strings.Fields(row[:min(len(row), 60)]) // st tx_queue:rx_queue tr:tm->when …
	var timer, ticks int
	_, err = fmt.Sscanf(fields[2], "%x:%x", &timer, &ticks)
	require.NoError(c.t, err)
	if timer != 2 {
		return 0
	}
	return float64(ticks) / 100
}

func TestSlowReaderSocketDiscarded(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  write_timeout: 400ms
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 2}
`)
	c := h.dial("echo")
	require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
	c.send("!bytes WRITE 16777216")
	require.Equal(t, "slow", h.record.of(t, c).Reason)
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	row := procAddr(c.RemoteAddr().(*net.TCPAddr)) + " " + procAddr(c.LocalAddr().(*net.TCPAddr)) + " "
	_, row, found := strings.Cut(string(table), row)
	require.False(t, found, "the system keeps the answer: %.40s", row)
}
