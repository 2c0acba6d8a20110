package tests

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// delimiters of 1 to 8 bytes, most of which overlap themselves, by the name of their server.
var delimiters = map[string]string{
	"lf": "\n", "nul": "\x00", "crlf": "\r\n", "aa": "aa", "aab": "aab", "aba": "aba", "abab": "abab",
	"bytes": "\xff\x00\xff\xff\xfe", "aabaaa": "aabaaa", "ababaab": "ababaab", "aaaaaaab": "aaaaaaab",
}

// cutReference is what the documents say of packets, as simply as can be: a byte at a time, a packet ends as soon as it
// ends in the delimiter.
func cutReference(stream, delimiter string) (packets []packet) {
	var current string
	for i := range len(stream) {
		if current += stream[i : i+1]; strings.HasSuffix(current, delimiter) {
			packets, current = append(packets, packet{body: current}), ""
		}
	}
	if current != "" {
		packets = append(packets, packet{current, true})
	}
	return packets
}

// streams to cut: made of the delimiter's own bytes and pieces, so that most of what looks like one is none.
func streams(delimiter string) map[string]string {
	random := rand.New(rand.NewSource(int64(len(delimiter))))
	letters := delimiter + "x"
	var noise strings.Builder
	for noise.Len() < 80 {
		if random.Intn(4) == 0 {
			noise.WriteString(delimiter)
		} else {
			noise.WriteByte(letters[random.Intn(len(letters))])
		}
	}
	most := delimiter[:len(delimiter)-1]
	return map[string]string{
		"nothing":                          "",
		"one delimiter":                    delimiter,
		"delimiters alone":                 strings.Repeat(delimiter, 5),
		"its beginning again and again":    strings.Repeat(delimiter[:1], 20) + delimiter + "x" + delimiter,
		"all but its last byte, then it":   most + delimiter + most + most + delimiter,
		"a tail":                           "x" + delimiter + "tail",
		"a tail that is most of one":       "x" + delimiter + most,
		"noise of its own bytes":           noise.String(),
		"noise of its own bytes, finished": noise.String() + delimiter,
	}
}

// cuts are the ways in which a stream goes out.
var cuts = map[string]func(c *client, stream string){
	"in one segment": func(c *client, stream string) { write(c, stream) },
	"one byte at a time": func(c *client, stream string) {
		for i := range len(stream) {
			write(c, stream[i:i+1])
		}
	},
	"in two, each half read before the next": func(c *client, stream string) {
		half := len(stream) / 2
		write(c, stream[:half])
		c.awaitRead()
		write(c, stream[half:])
	},
}

func write(c *client, s string) { _, _ = io.WriteString(c, s) } // an error is seen by who reads

// serversOf is a configuration with a server for each delimiter.
func serversOf(more string) string {
	var yaml strings.Builder
	yaml.WriteString("tcp:\n  pool: {num_workers: 2}\n  servers:\n")
	for name, delimiter := range delimiters {
		fmt.Fprintf(&yaml, "    %s: {addr: \"127.0.0.1:0\", delimiter: !!binary %s%s}\n",
			name, base64.StdEncoding.EncodeToString([]byte(delimiter)), more)
	}
	return yaml.String()
}

// play sends the stream, closes the sending side and returns what comes back and what the workers saw.
func (h *host) play(t *testing.T, server string, send func(*client)) (string, *sentence) {
	t.Helper()
	c := h.dialFrom(t, server)
	go func() {
		send(c)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}()
	return c.rest(), h.record.of(t, c)
}

// playAll plays the streams of every delimiter, cut in every way, and checks what the workers saw of each.
func playAll(t *testing.T, yaml string, check func(t *testing.T, stream, delimiter string, seen *sentence)) {
	h := start(t, yaml)
	for server, delimiter := range delimiters {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			for what, stream := range streams(delimiter) {
				for how, send := range cuts {
					t.Run(what+", "+how, func(t *testing.T) {
						echo, seen := h.play(t, server, func(c *client) { send(c, stream) })
						require.Equal(t, stream, echo)
						check(t, stream, delimiter, seen)
					})
				}
			}
		})
	}
}

func TestPacketsInAnySegments(t *testing.T) {
	t.Parallel()
	playAll(t, serversOf(""), func(t *testing.T, stream, delimiter string, seen *sentence) {
		require.Equal(t, cutReference(stream, delimiter), seen.packets)
		require.Equal(t, "eof", seen.Reason)
	})
}

func TestBatchesKeepBytes(t *testing.T) {
	t.Parallel()
	playAll(t, serversOf(", batch: true"), func(t *testing.T, stream, delimiter string, seen *sentence) {
		require.Equal(t, stream, strings.Join(seen.bodies(), ""))

		// What is cut inside of a batch is cut as the reference cuts it: a batch ends where a packet ends.
		var again []packet
		for _, batch := range seen.packets {
			inside := cutReference(batch.body, delimiter)
			require.Equal(t, batch.eof, inside[len(inside)-1].eof, "%q", batch.body)
			again = append(again, inside...)
		}
		require.Equal(t, cutReference(stream, delimiter), again)
	})
}

const twoServers = `
tcp:
  pool: {num_workers: 2}
  servers:
    exact: {addr: "127.0.0.1:0"}
    batch: {addr: "127.0.0.1:0", batch: true}
    small: {addr: "127.0.0.1:0", batch: true, read_buf_size: 2048}
`

func TestPackets(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, twoServers, at)

	for _, server := range []string{"exact", "batch"} {
		t.Run("a delimiter is cut in the middle: "+server, func(t *testing.T) {
			t.Parallel()
			_, seen := h.play(t, server, func(c *client) {
				for _, piece := range []string{"one\r", "\ntwo\r", "\r\n", "\n\r", "\n"} {
					write(c, piece)
					c.awaitRead()
				}
			})
			require.Equal(t, []string{"one\r\n", "two\r\r\n", "\n\r\n"}, seen.bodies())
		})

		t.Run("a finished packet does not wait for an unfinished one: "+server, func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, server)
			write(c, "one\r\ntw")
			require.Equal(t, "one", c.receive())
			write(c, "o\r\nthree\r")
			require.Equal(t, "two", c.receive())
			write(c, "\n")
			require.Equal(t, "three", c.receive())
		})

		t.Run("several megabytes in one packet, and a small one behind it: "+server, func(t *testing.T) {
			t.Parallel()
			large := string(pattern(3<<20)) + "\r\n"
			echo, seen := h.play(t, server, func(c *client) { write(c, large+"small\r\n") })
			require.True(t, large+"small\r\n" == echo, "%d bytes come back", len(echo))
			require.Len(t, seen.packets, 2)
			require.True(t, large == seen.packets[0].body, "%d bytes", len(seen.packets[0].body))
			require.Equal(t, packet{body: "small\r\n"}, seen.packets[1])
		})
	}

	t.Run("a thousand packets in one segment are a thousand", func(t *testing.T) {
		t.Parallel()
		stream := strings.Repeat("x\r\n", 1000)
		echo, seen := h.play(t, "exact", func(c *client) { write(c, stream) })
		require.Equal(t, stream, echo)
		require.Equal(t, cutReference(stream, "\r\n"), seen.packets)
	})

	t.Run("a batch is all that has arrived", func(t *testing.T) {
		c := h.dial("batch")
		c.send("!gate echo")
		v := g.next()
		stream := strings.Repeat("x\r\n", 1000)
		write(c, stream+"y")
		v.release()
		c.closeWrite()
		require.Equal(t, "!gate echo\r\n"+stream+"y", c.rest())
		require.Equal(t, []packet{{body: "!gate echo\r\n"}, {body: stream}, {"y", true}}, h.record.of(t, c).packets)
	})

	t.Run("a batch is no larger than read_buf_size, one packet is", func(t *testing.T) {
		c := h.dial("small")
		c.send("!gate echo")
		v := g.next()
		large := strings.Repeat("y", 5000) + "\r\n"
		stream := strings.Repeat("x\r\n", 1000) + large + strings.Repeat("z\r\n", 1000)
		write(c, stream)
		v.release()
		c.closeWrite()
		require.Equal(t, "!gate echo\r\n"+stream, c.rest())

		seen := h.record.of(t, c)
		require.Equal(t, "!gate echo\r\n"+stream, strings.Join(seen.bodies(), ""))
		for _, p := range seen.packets {
			require.True(t, p.body == large || len(p.body) <= 2048, "%d bytes", len(p.body))
			require.True(t, strings.HasSuffix(p.body, "\r\n"))
		}
		require.Less(t, len(seen.packets), 12)
	})
}

func TestTail(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	for name, test := range map[string]struct{ send, back, reason string }{
		"its reply is obeyed: WRITE":      {"tail", "tail", "eof"},
		"its reply is obeyed: CONTINUE":   {"!answer CONTINUE", "", "eof"},
		"its reply is obeyed: WRITECLOSE": {"!answer WRITECLOSE bye", "bye\r\n", "worker"},
		"its reply is obeyed: CLOSE":      {"!answer CLOSE", "", "worker"},
		"an error is one":                 {"!error no", "", "error"},
		"a packet came before it":         {"one\r\ntail", "one\r\ntail", "eof"},
		"half a delimiter is one":         {"tail\r", "tail\r", "eof"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			back, seen := h.play(t, "echo", func(c *client) { write(c, test.send) })
			require.Equal(t, test.back, back)
			require.Equal(t, test.reason, seen.Reason)
			last := seen.packets[len(seen.packets)-1]
			require.True(t, last.eof)
			require.Equal(t, cutReference(test.send, "\r\n"), seen.packets)
		})
	}
}
