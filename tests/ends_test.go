package tests

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 4", 1), at)

	t.Run("a reset while nothing is owed", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		require.Equal(t, "hello", c.ask("hello"))
		c.reset()
		require.Equal(t, "reset", h.record.of(t, c).Reason)
	})

	t.Run("a reset during CONNECTED", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		c.reset()
		seen := h.record.of(t, c)
		require.Contains(t, []string{"reset", "eof"}, seen.Reason)
		require.Equal(t, []string{"CONNECTED", "CLOSE"}, seen.events)
	})

	t.Run("a reset in the middle of a packet", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		write(c, "one\r\ntw")
		require.Equal(t, "one", c.receive())
		c.reset()
		seen := h.record.of(t, c)
		require.Equal(t, "reset", seen.Reason)
		require.Equal(t, []string{"one\r\n"}, seen.bodies())
	})

	for _, reply := range []string{"WRITE", "CONTINUE"} {
		t.Run("a reset while a reply is owed: "+reply, func(t *testing.T) {
			c := h.dialFrom(t, "echo")
			c.send("!gate bytes " + reply + " 100000")
			v := g.next()
			c.reset()
			v.release()
			require.Equal(t, "reset", h.record.of(t, c).Reason)
		})
	}

	t.Run("the client has gone while a reply is owed", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		c.send("!gate echo")
		v := g.next()
		require.NoError(t, c.Close())
		v.release()
		require.Contains(t, []string{"eof", "reset"}, h.record.of(t, c).Reason)
	})

	t.Run("a client that stopped sending gets every reply", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		write(c, "!gate echo\r\ntwo\r\nthree")
		c.closeWrite()
		g.next().release()
		require.Equal(t, "!gate echo\r\ntwo\r\nthree", c.rest())
		require.Equal(t, "eof", h.record.of(t, c).Reason)
	})

	t.Run("packets behind the one that ended it are not handed over", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		write(c, "!answer WRITECLOSE bye\r\ntwo\r\nthree\r\n")
		require.Equal(t, "bye\r\n", c.rest())
		require.NoError(t, c.Close())
		seen := h.record.of(t, c)
		require.Equal(t, []string{"!answer WRITECLOSE bye\r\n"}, seen.bodies())
		require.Equal(t, "worker", seen.Reason)
	})
}

// A plain close with unread input makes the kernel send a reset, which destroys the answer on its way.
func TestLastAnswerWhileClientSends(t *testing.T) {
	t.Parallel()
	const size = 256 << 10 // more than is on its way at once; the client must have it within the second that the server waits
	h := start(t, `
tcp:
  pool: {num_workers: 2}
  servers: {echo: {addr: "127.0.0.1:0"}, unix: {addr: "unix://DIR/socket"}}
`)
	for _, server := range []string{"echo", "unix"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := h.dialFrom(t, server)
			write(c, fmt.Sprintf("!bytes WRITECLOSE %d\r\n%s", size, strings.Repeat("unread\r\n", 4000)))
			var answer strings.Builder
			buffer := make([]byte, 64<<10)
			for err := error(nil); err == nil; {
				time.Sleep(5 * time.Millisecond) // a slow reader: there is always something in flight
				write(c, "more\r\n")
				var n int
				n, err = c.Read(buffer)
				answer.Write(buffer[:n])
				if err != nil {
					require.ErrorIs(t, err, io.EOF, "after %d bytes", answer.Len())
				}
			}
			require.True(t, string(pattern(size)) == answer.String(), "%d bytes", answer.Len())
		})
	}
}

func TestSocketClosedBeforeCloseEvent(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, minimal, at, "close=gate answer CONTINUE")

	t.Run("after CLOSE", func(t *testing.T) {
		c := h.dial("echo")
		c.send("!answer CLOSE")
		v := g.next()
		require.Equal(t, "CLOSE worker", v.event+" "+v.reason)
		requireClosed(c)
		v.release()
	})

	t.Run("after WRITECLOSE, when the client has closed too", func(t *testing.T) {
		c := h.dial("echo")
		c.send("!answer WRITECLOSE bye")
		require.Equal(t, "bye\r\n", c.rest())
		require.NoError(t, c.Close())
		v := g.next()
		require.Equal(t, "CLOSE worker", v.event+" "+v.reason)
		v.release()
	})

	t.Run("after WRITECLOSE, though the client never closes", func(t *testing.T) {
		c := h.dial("echo")
		c.send("!answer WRITECLOSE bye")
		require.Equal(t, "bye\r\n", c.rest())
		begin := time.Now()
		v := g.next()
		require.Less(t, time.Since(begin), time.Second+atOnce)
		requireClosed(c)
		v.release()
	})

	t.Run("after WRITECLOSE, though the client sends for ever", func(t *testing.T) {
		c := h.dial("echo")
		c.send("!answer WRITECLOSE bye")
		begin := time.Now()
		junk := make([]byte, 16<<10)
		for err := error(nil); err == nil; { // ends when the server has closed: nobody reads
			_, err = c.Write(junk)
		}
		require.Less(t, time.Since(begin), time.Second+atOnce)
		g.next().release()
	})

	t.Run("after the end of file", func(t *testing.T) {
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		c.closeWrite()
		v := g.next()
		require.Equal(t, "CLOSE eof", v.event+" "+v.reason)
		requireClosed(c)
		v.release()
	})
}

// requireClosed fails if the server's end of the socket is still open: not only that it sends no more, but that it does
// not take any more.
func requireClosed(c *client) {
	c.t.Helper()
	c.requireEnd()
	eventually(c.t, "a write fails", func() bool {
		_, err := c.Write([]byte("x"))
		return err != nil
	})
}

func TestSlowClientIsolated(t *testing.T) {
	t.Parallel()
	h := start(t, `
tcp:
  write_timeout: 10m
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 1}
`)
	slow := h.dial("echo")
	require.NoError(t, slow.Conn.(*net.TCPConn).SetReadBuffer(4096))
	slow.send(fmt.Sprintf("!bytes WRITE %d", 16<<20)) // more than any socket takes
	for i := range 20 {
		c := h.dial("echo")
		require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
		require.NoError(t, c.Close())
		h.record.of(t, c)
	}
	slow.reset()
	require.Equal(t, "reset", h.record.of(t, slow).Reason)
}
