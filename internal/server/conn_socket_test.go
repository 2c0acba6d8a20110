package server

import (
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

// Tests of what needs the kernel's socket: resets, its buffers.

func TestLastAnswerSurvivesUnreadInput(t *testing.T) {
	server, client := tcpPair(t)
	const size = 4 << 20
	_, err := client.Write(make([]byte, 1000)) // unread input: a plain close would destroy the answer
	require.NoError(t, err)
	_, ended := testListener(answers(replyOf("WRITECLOSE", size))).serveConn(server)
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, size, len(got))
	_, _ = client.Write(make([]byte, 1000))
	client.Close()
	receive(t, ended)
}

func TestLingerDiscardsLittle(t *testing.T) {
	server, client := tcpPair(t)
	_, ended := testListener(answers(reply("WRITECLOSE", "x"))).serveConn(server)
	sent := 0
	for err := error(nil); err == nil; sent += 64 << 10 {
		_, err = client.Write(make([]byte, 64<<10))
	}
	require.Less(t, sent, 64<<20, "what the kernel's buffers hold, and a little more")
	receive(t, ended)
}

func TestAbortEndsLinger(t *testing.T) {
	server, client := tcpPair(t)
	c, ended := testListener(answers(reply("WRITECLOSE", "x"))).serveConn(server)
	readString(t, client, 1)
	c.abort(wire.ReasonShutdown)
	receive(t, ended)
	require.Equal(t, wire.ReasonWorker, c.reason)
}

func TestAbortEndsBlockedWrite(t *testing.T) {
	server, _ := tcpPair(t) // the client never reads
	c, ended := testListener(answers(replyOf("WRITE", 64<<20))).serveConn(server)
	requireEventually(t, func() bool { return c.writer.Total() > 0 })
	c.abort(wire.ReasonRPC)
	receive(t, ended)
	require.Equal(t, wire.ReasonRPC, c.reason)
}

// What was written of an answer that write_timeout ends is not all of it: the client gets a reset, not an end of file.
func TestWriteTimeoutResetsClient(t *testing.T) {
	for name, answer := range map[string]dispatch.Answer{"answer": replyOf("WRITE", 64<<20), "push": reply("CONTINUE", "")} {
		t.Run(name, func(t *testing.T) {
			server, client := tcpPair(t)
			l := testListener(answers(answer))
			l.settings.WriteTimeout, l.settings.PushQueue = second/5, 0
			logs := l.observe(slog.LevelDebug)
			c, ended := l.serveConn(server)
			if name == "push" {
				require.Equal(t, stream.PushAccepted, c.writer.Push(make([]byte, 64<<20), false))
				require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("never written"), false))
			}
			receive(t, ended)
			require.Equal(t, wire.ReasonSlow, c.reason)
			require.ErrorIs(t, c.err, stream.ErrWriteTimeout)
			lines := logs.Saying("connection ended")
			require.Len(t, lines, 1)
			require.Equal(t, c.err.Error(), lines[0].Attrs["error"])
			require.Zero(t, l.memory.Used())
			got, err := io.ReadAll(client)
			require.Error(t, err)
			require.Less(t, len(got), 64<<20)
		})
	}
}

func TestMemoryLimitRefusesAnswer(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(answers(replyOf("WRITE", 1<<20)))
	l.memory = stream.NewMemory(1 << 20)
	c, ended := l.serveConn(server)
	receive(t, ended)
	require.Equal(t, wire.ReasonMemory, c.reason)
	require.Zero(t, c.linger, "limits close hard")
	got, _ := io.ReadAll(client)
	require.Empty(t, got)
	require.Zero(t, l.memory.Used())
}
