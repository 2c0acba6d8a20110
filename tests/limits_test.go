package tests

import (
	"fmt"
	"io"
	"net"
	"os"
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
			general: "5s", own: "8s", times: [2]time.Duration{5 * time.Second, 8 * time.Second}, // both are idle until they ask
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
