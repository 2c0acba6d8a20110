package tests

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStreamedAnswerWrittenImmediately(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	c.send("!begin sleep 300ms answer WRITE end")
	require.Equal(t, "begun", c.receive())
	require.Equal(t, "end", c.receive())
	require.Equal(t, "hello", c.ask("hello"))
	c.send("!begin answer WRITECLOSE bye")
	require.Equal(t, "begun\r\nbye\r\n", c.rest())
	require.Equal(t, "worker", h.record.of(t, c).Reason)
}

func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 2, supervisor: {exec_ttl: 5s}", 1))
	h.record.lossy = true
	idle := h.dial("echo")
	require.Equal(t, "hello", idle.ask("hello"))
	for _, command := range []string{"kill", "exit", "error no", "garbage", "hang"} {
		c := h.dial("echo")
		c.send("!begin sleep 100ms " + command) // RoadRunner may not read what comes with the end of a worker
		require.Equal(t, "begun\r\n", c.rest(), command)
		require.Equal(t, "error", h.record.closedOf(t, c).Reason, command)
		require.Equal(t, command, idle.ask(command))
	}
	eventually(t, "the pool is whole", func() bool { return len(h.workers()) == 2 })
}

const slowStreams = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  write_timeout: 2s
  pool: {num_workers: 1}
`

func TestAbandonedStreamsKeepWorkers(t *testing.T) {
	t.Parallel()
	h := start(t, slowStreams, "connected=hello")
	for range 3 {
		for reason, end := range map[string]func(c *client, uuid string){
			"reset": func(c *client, _ string) { c.reset() },
			"slow":  func(*client, string) {},
			"rpc":   func(_ *client, uuid string) { closed := false; require.NoError(t, h.call("tcp.Close", uuid, &closed)) },
		} {
			c := h.dial("echo")
			uuid := c.receive()
			c.send("!frames 30 1000000 WRITE") // more than buffers take
			_, err := io.ReadFull(c, make([]byte, 3<<20))
			require.NoError(t, err)
			end(c, uuid)
			require.Equal(t, reason, h.record.of(t, c).Reason)
		}
	}
	c := h.dial("echo")
	c.receive()
	require.Equal(t, "hello", c.ask("hello"))
	require.Equal(t, 1, h.record.bootCount(t), "one worker did it all")
}

// Clients that read slowly keep their workers for as long as that takes, unless stream_buffer holds what they have not read.
func TestStreamBufferFreesWorkers(t *testing.T) {
	t.Parallel()
	const frames, size = 30, 1_000_000 // more than the systems take
	h := start(t, strings.Replace(minimal, "tcp:\n", "tcp:\n  stream_buffer: 32MB\n", 1))
	var slow [2]*client
	for i := range slow { // as many as there are workers
		slow[i] = h.dial("echo")
		slow[i].send(fmt.Sprintf("!frames %d %d WRITE\r\nhello", frames, size))
		_, err := io.ReadFull(slow[i], make([]byte, size))
		require.NoError(t, err)
	}
	require.Equal(t, "another", h.dial("echo").ask("another"))
	require.Positive(t, h.stats().BufferedBytes)
	for _, c := range slow {
		_, err := io.ReadFull(c, make([]byte, (frames-1)*size))
		require.NoError(t, err)
		require.Equal(t, "hello", c.receive())
	}
	eventually(t, "nothing is held", func() bool { return h.stats().BufferedBytes == 0 })
}

func TestStopCutsStream(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"a silent worker": "!begin hang", "a client that reads nothing": "!frames 500 1000000 WRITE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, stopsWithin("12s", minimal))
			c := h.dial("echo")
			c.send(command)
			_, err := io.ReadFull(c, make([]byte, 7))
			require.NoError(t, err)
			begin := time.Now()
			h.stop()
			require.Less(t, time.Since(begin), 12*time.Second+atOnce)
		})
	}
}

func TestStopFinishesStream(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")
	c.send("!begin sleep 500ms answer WRITE end")
	require.Equal(t, "begun", c.receive())
	h.terminate()
	require.Equal(t, "end\r\n", c.rest())
	h.requireCleanExit()
}

func TestStreamedAnswerMemory(t *testing.T) {
	t.Parallel()
	const frames, most = 160, 48 << 10 // KiB: the few frames that the pool holds, and what the collector has not seen yet
	p := startPlain(t, minimal)
	require.Equal(t, "hello", p.dial("echo").ask("hello"))
	before, largest := p.rss(), 0
	c := p.dial("echo")
	c.send(fmt.Sprintf("!frames %d %d WRITECLOSE", frames, 1<<20))
	piece := make([]byte, 1<<20)
	for range frames {
		_, err := io.ReadFull(c, piece)
		require.NoError(t, err)
		c.wait()
		time.Sleep(2 * time.Millisecond)
		largest = max(largest, p.rss())
	}
	require.Empty(t, c.rest())
	t.Logf("%d KiB more than before", largest-before)
	require.Less(t, largest-before, most)
}

func TestRawFraming(t *testing.T) {
	t.Parallel()
	h := start(t, "tcp:\n  servers: {echo: {addr: \"127.0.0.1:0\", framing: raw}}\n  pool: {num_workers: 2}\n")
	sent := string(pattern(24 << 20))
	c := h.dial("echo")
	go func() {
		write(c, sent)
		c.closeWrite()
	}()
	require.True(t, sent == c.rest())
	seen := h.record.of(t, c)
	require.True(t, sent == strings.Join(seen.bodies(), ""))
	require.EqualValues(t, len(sent), seen.BytesRead)
	require.Less(t, len(seen.packets), len(sent)/4096, "more than a page at a time")
	for _, packet := range seen.packets {
		require.False(t, packet.eof)
		require.LessOrEqual(t, len(packet.body), 1<<20)
	}
}

func TestStateAcrossWorkers(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(minimal, "num_workers: 2", "num_workers: 2, max_jobs: 1", 1))
	c := h.dial("echo")
	require.Equal(t, "kept", c.ask(`!answer {"reply":"WRITE","state":"mine"} kept`))
	require.Equal(t, "hello", c.ask("hello"))
	require.Equal(t, "replaced", c.ask(`!answer {"reply":"WRITE","state":"other"} replaced`))
	require.NoError(t, c.Close())
	seen := h.record.of(t, c)
	require.Equal(t, "other", seen.State, "of CLOSE")
	require.Greater(t, h.record.bootCount(t), 2)
}
