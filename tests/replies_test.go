package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReplies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, command string
		back          string // what the client gets
		reason        string // "": the connection goes on
		level         string // of its last log entry
	}{
		{"the worker is killed", "kill", "", "error", "error"},
		{"the worker exits", "exit", "", "error", "error"},
		{"the worker prints to its standard output", "garbage", "", "error", "error"},
		{"an error frame", "error no", "", "error", "error"},
		{"a stream", "stream 2", "part\r\nend\r\n", "", "debug"},
		{"a long stream", "stream 100", strings.Repeat("part\r\n", 99) + "end\r\n", "", "debug"},
		{"an unknown reply", "answer WRITES body", "", "reply", "error"},
		{"a reply in lower case", "answer write body", "", "reply", "error"},
		{"an event for a reply", "answer DATA body", "", "reply", "error"},
		{"an empty context with a body", "answer - body", "", "reply", "error"},
		{"an empty answer", "answer -", "", "reply", "error"},
		{"CLOSE with a body", "answer CLOSE body", "", "worker", "debug"},
		{"CLOSE", "answer CLOSE", "", "worker", "debug"},
		{"WRITECLOSE", "answer WRITECLOSE bye", "bye\r\n", "worker", "debug"},
		{"an empty WRITECLOSE", "answer WRITECLOSE", "", "worker", "debug"},
		{"CONTINUE with a body", "answer CONTINUE body", "", "", "debug"},
		{"CONTINUE", "answer CONTINUE", "", "", "debug"},
		{"an empty WRITE", "answer WRITE", "", "", "debug"},
		{"WRITE", "answer WRITE hi", "hi\r\n", "", "debug"},
	}

	servers, options := "", []string(nil)
	for i, test := range tests {
		servers += fmt.Sprintf("    opening%d: {addr: \"127.0.0.1:0\"}\n", i)
		options = append(options, fmt.Sprintf("connected.opening%d=%s", i, test.command))
	}
	h := start(t, `
tcp:
  pool: {num_workers: 4}
  servers:
    replying: {addr: "127.0.0.1:0"}
`+servers, options...)

	for i, test := range tests {
		for _, state := range []string{"opening", "replying"} {
			t.Run(state+": "+test.name, func(t *testing.T) {
				t.Parallel()
				server, events := state, []string{"CONNECTED", "DATA", "CLOSE"}
				if state == "opening" {
					server, events = fmt.Sprintf("opening%d", i), []string{"CONNECTED", "CLOSE"}
				}
				c := h.dialFrom(t, server)
				if state == "replying" {
					c.send("!" + test.command)
				}

				reason := test.reason
				if test.reason == "" {
					c.send("and on")
					c.closeWrite()
					require.Equal(t, test.back+"and on\r\n", c.rest())
					reason = "eof"
					events = append(events[:len(events)-1], "DATA", "CLOSE")
				} else {
					require.Equal(t, test.back, c.rest())
					require.NoError(t, c.Close())
				}

				seen := h.record.of(t, c)
				require.Equal(t, events, seen.events)
				require.Equal(t, reason, seen.Reason)
				var logged []logEntry
				eventually(t, "its end is logged", func() bool {
					logged = h.logged("tcp", seen.UUID)
					return len(logged) > 0
				})
				require.Len(t, logged, 1, "each end is logged once")
				require.Equal(t, "connection ended", logged[0].Msg)
				require.Equal(t, server, logged[0].Server)
				require.Equal(t, reason, logged[0].Reason)
				require.Equal(t, test.level, logged[0].Level)
			})
		}
	}
}

func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	large := string(pattern(7 << 20))
	c := h.dial("echo")
	for range 2 {
		c.send(fmt.Sprintf("!bytes WRITE %d", len(large)))
	}
	c.send(fmt.Sprintf("!bytes WRITECLOSE %d", len(large)))
	require.True(t, strings.Repeat(large, 3) == c.rest())
	require.Equal(t, "worker", h.record.of(t, c).Reason)
}

func TestAnswersToClose(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"killed": "kill", "exited": "exit", "garbage": "garbage", "error": "error no", "unknown": "answer WRITES body",
		"empty": "answer -", "write": "answer WRITE", "close": "answer CLOSE", "late": "sleep 300ms answer CONTINUE",
		"stream": "stream 3",
	}
	servers, options := "", []string(nil)
	for server, command := range answers {
		servers += fmt.Sprintf("    %s: {addr: \"127.0.0.1:0\"}\n", server)
		options = append(options, fmt.Sprintf("close.%s=%s", server, command))
	}
	h := start(t, "tcp:\n  pool: {num_workers: 2}\n  servers:\n"+servers, options...)

	for server := range answers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			for range 3 {
				c := h.dialFrom(t, server)
				require.Equal(t, "hello", c.ask("hello"))
				require.NoError(t, c.Close())
				seen := h.record.closedOf(t, c)
				require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, seen.events)
			}
		})
	}
	t.Cleanup(func() {
		require.Empty(t, h.ours("error"))
		require.Empty(t, h.ours("warn"))
	})
}

// The documents' sample is ahead by one answer: what it says to CLOSE is for a client. It is replaced, and the log says why.
func TestTextInAnswerToClose(t *testing.T) {
	t.Parallel()
	h := start(t, "tcp:\n  pool: {num_workers: 1}\n  servers: {echo: {addr: \"127.0.0.1:0\"}}\n", "close=answer WRITE body")
	for range 3 {
		c, before := h.dial("echo"), pids(h.dir)
		require.Equal(t, "hello", c.ask("hello"))
		require.NoError(t, c.Close())
		h.record.closedOf(t, c)
		eventually(t, "it is replaced", func() bool {
			now := pids(h.dir)
			return len(now) == 1 && now[0] != before[0]
		})
	}
	warnings := h.ours("warn")
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Msg, "answered CLOSE with a text")
	require.Empty(t, h.ours("error"))
}

// The documents' sample answers CONNECTED twice and CLOSE never. Without these events its clients get their own answers.
func TestSampleWithoutConnectedAndClose(t *testing.T) {
	t.Parallel()
	h := start(t, "tcp:\n  pool: {num_workers: 2}\n  servers: {echo: {addr: \"127.0.0.1:0\", events: [DATA]}}\n",
		"connected=twice one two", "close=hang")
	var clients []*client
	for i := range 20 {
		c := h.dial("echo")
		c.send(fmt.Sprint(i))
		clients = append(clients, c)
	}
	for i, c := range clients {
		require.Equal(t, fmt.Sprint(i), c.receive())
		require.NoError(t, c.Close())
	}
	require.Empty(t, h.ours("warn"))
}

const impatient = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  close_timeout: 2s
  pool: {num_workers: 2}
`

// impatientOne has one worker.
var impatientOne = strings.Replace(impatient, "num_workers: 2", "num_workers: 1", 1)

func TestUnansweredCloseReplacesWorker(t *testing.T) {
	t.Parallel()
	h := start(t, impatient, "close=hang")
	const connects = 8
	var ends []time.Time
	for i := range connects {
		c := h.dial("echo")
		require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)), "the server still answers")
		ends = append(ends, time.Now())
		require.NoError(t, c.Close())
	}
	killed := h.killedFor(connects)
	eventually(t, "the pool is whole", func() bool { return len(h.workers()) == 2 })

	warnings := h.ours("warn")
	require.Len(t, warnings, 1, "one warning, not %d", connects)
	require.Contains(t, warnings[0].Msg, "CLOSE")
	require.Contains(t, warnings[0].Msg, "read()", "it says how to answer")
	require.Contains(t, warnings[0].Msg, "events: [CONNECTED, DATA]", "or how not to get it")
	require.Contains(t, warnings[0].Msg, "execTTL timeout elapsed", "what the pool's lines are")
	require.Empty(t, h.ours("error"))
	least := 2 * time.Second
	for i, end := range ends { // in the order of their times, as killed is
		had := time.Unix(0, killed[i].Time).Sub(end)
		require.GreaterOrEqual(t, had, least)
		require.Less(t, had, 2*time.Second+atOnce)
		least = time.Second
	}
}

func TestCloseTimeoutStart(t *testing.T) {
	t.Parallel()
	t.Run("a worker that boots for longer is not killed for it", func(t *testing.T) {
		t.Parallel()
		// It is there just before the end of a second close_timeout, if one began without it.
		const boot = 1500 * time.Millisecond
		h := start(t, impatientOne, "close=hang", "boot="+boot.String())
		const connects = 3
		var clients []*client
		for range connects {
			c := h.dial("echo")
			require.Equal(t, "hello", c.ask("hello"))
			clients = append(clients, c)
		}
		for _, c := range clients {
			require.NoError(t, c.Close())
		}
		killed := h.killedFor(connects)
		h.record.now(t)
		for i, k := range killed {
			require.EqualValues(t, k.Pid, h.record.boots[i].Pid)
			begun := time.Unix(0, h.record.boots[i].At).Add(boot)
			require.GreaterOrEqual(t, time.Unix(0, k.Time).Sub(begun), time.Second)
		}
	})

	t.Run("waiting for a worker does not count", func(t *testing.T) {
		t.Parallel()
		const timeout = 5 * time.Second
		g, at := newGate(t)
		h := start(t, strings.Replace(impatientOne, "2s", timeout.String(), 1), "close=sleep 100ms answer -", at)
		busy, leaving := h.dial("echo"), h.dial("echo")
		require.Equal(t, "hello", leaving.ask("hello"))
		busy.send("!gate echo")
		v := g.next()
		require.NoError(t, leaving.Close())
		eventually(t, "its CLOSE waits", func() bool { return h.stats().ExchangesWaiting == 1 })
		time.Sleep(timeout)
		v.release()
		require.Equal(t, "!gate echo", busy.receive())
		require.Equal(t, "eof", h.record.of(t, leaving).Reason)
		require.Equal(t, "hello", busy.ask("hello"))
		require.Empty(t, h.ours("warn"))
		require.Len(t, h.record.boots, 1, "the worker was not replaced")
	})
}

// killedFor waits until n workers have been replaced that did not answer CLOSE: they may not even have noticed that they have it.
func (h *host) killedFor(n int) (killed []logEntry) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d workers are killed", n), func() bool {
		killed = h.logged("server", "execTTL")
		return len(killed) == n
	})
	return killed
}
