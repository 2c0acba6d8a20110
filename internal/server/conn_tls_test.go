//go:build go1.25

package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// secured is a connection with TLS that is served; its client has yet to make its handshake.
type secured struct {
	*connection
	workers *replies
	client  *tls.Conn
	ended   chan struct{}
}

// strictConn makes an end without close_notify an error for the client: tls.Conn hides it.
type strictConn struct{ net.Conn }

func (c strictConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = stream.ErrTruncated
	}
	return n, err
}

func (c strictConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// slowConn is the connection of a client that reads half a kilobyte after each pause; 0: never.
type slowConn struct {
	net.Conn
	pause time.Duration
	gone  chan struct{} // closed when a client that never reads has ended
}

func (c slowConn) Read(p []byte) (int, error) {
	if c.pause == 0 {
		<-c.gone
		return 0, net.ErrClosed
	}
	time.Sleep(c.pause)
	return c.Conn.Read(p[:min(len(p), 512)])
}

func serveSecure(t *testing.T, l limits, w *replies, server, client net.Conn, batch int) *secured {
	listening := testListener(w)
	l.apply(&listening.settings)
	listening.settings.Framing.Batch = batch
	listening.useTLS(t)
	c, ended := listening.serveConn(server)
	t.Cleanup(func() { require.Zero(t, listening.memory.Used()) })
	return &secured{c, w, tls.Client(strictConn{client}, &tls.Config{InsecureSkipVerify: true}), ended}
}

func TestSteadyTLSReaderIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		w := &replies{answers: []dispatch.Answer{replyOf("WRITECLOSE", 100<<10)}}
		s := serveSecure(t, limits{write: 4 * second}, w, server, slowConn{Conn: client, pause: 2 * second}, 0)
		begin := time.Now()
		got, err := io.ReadAll(s.client)
		require.NoError(t, err, "with close_notify")
		require.Len(t, got, 100<<10)
		require.Greater(t, time.Since(begin), 400*second)
		client.Close()
		<-s.ended
		require.Equal(t, "worker", w.reason)
	})
}

func TestTLSFrameDeadlineIgnoresProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		first := replyOf("WRITE", 100<<10)
		first.More = &endless{}
		w := &replies{answers: []dispatch.Answer{first}}
		s := serveSecure(t, limits{write: 4 * second}, w, server, slowConn{Conn: client, pause: second / 2}, 0)
		_, err := io.ReadAll(s.client)
		require.Error(t, err)
		<-s.ended
		require.Equal(t, "slow", w.reason, "though the client reads steadily: the worker waits")
		client.Close()
	})
}

func TestTLSWriteTimeoutSendsNoAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		w := &replies{answers: []dispatch.Answer{replyOf("WRITE", 100<<10)}}
		s := serveSecure(t, limits{write: 4 * second}, w, server, client, 0)
		require.NoError(t, s.client.Handshake())
		begin := time.Now()
		_, err := io.ReadFull(s.client, make([]byte, 50<<10))
		require.NoError(t, err)
		<-s.ended
		require.InDelta(t, 4, time.Since(begin).Seconds(), 1.1)
		require.Zero(t, time.Since(begin)%second, "no alert is waited for: half a record is out")
		require.Equal(t, "slow", w.reason)
		_, err = io.Copy(io.Discard, s.client)
		require.Error(t, err, "a cut is not to look like an end")
		require.NotErrorIs(t, err, io.EOF)
	})
}

func TestTLSLimitHurriesCloseNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, overhead = 100, 22 // bytes; the latter is what TLS 1.3 adds to a small answer
		server, client := streamtest.Pair(room)
		w := &replies{answers: []dispatch.Answer{replyOf("WRITE", 1), replyOf("WRITE", room-overhead)}}
		s := serveSecure(t, limits{write: time.Hour, idle: 10 * second}, w, server, client, 0)
		readString(t, s.client, 1) // and the session tickets
		begin := time.Now()
		_, err := io.WriteString(s.client, "x\r\n")
		require.NoError(t, err)
		<-s.ended
		require.Equal(t, "idle", w.reason)
		require.Less(t, time.Since(begin), 11*second, "the client takes nothing, so close_notify is given up")
		got, err := io.ReadAll(s.client)
		require.Len(t, got, room-overhead)
		require.ErrorIs(t, err, stream.ErrTruncated)
	})
}

func TestCloseNotifySurvivesUnreadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		s := serveSecure(t, limits{}, &replies{answers: []dispatch.Answer{reply("CLOSE", "")}}, server, client, 0)
		require.NoError(t, s.client.Handshake())
		begin := time.Now()
		_, err := io.ReadAll(s.client)
		require.NoError(t, err, "with close_notify")
		<-s.ended
		require.Equal(t, maxLinger, time.Since(begin), "the client is given time to read it")
	})
}

func TestAbortEndsTLSWrite(t *testing.T) {
	server, client := tcpPair(t)
	w := &replies{answers: []dispatch.Answer{replyOf("WRITE", 64<<20)}}
	s := serveSecure(t, limits{write: patience}, w, server, client, 0)
	require.NoError(t, s.client.Handshake())
	readString(t, s.client, 1<<20)
	begin := time.Now()
	s.abort(wire.ReasonRPC)
	receive(t, s.ended)
	require.Less(t, time.Since(begin), patience/2, "no close_notify is waited for")
	require.Equal(t, "rpc", w.reason)
}

func TestLastTLSAnswerSurvivesUnreadInput(t *testing.T) {
	server, client := tcpPair(t)
	w := &replies{answers: []dispatch.Answer{replyOf("WRITECLOSE", 4<<20)}}
	s := serveSecure(t, limits{write: patience}, w, server, client, 0)
	require.NoError(t, s.client.Handshake())
	_, err := s.client.Write(make([]byte, 10_000)) // unread input: a plain close would destroy the answer
	require.NoError(t, err)
	got, err := io.ReadAll(s.client)
	require.NoError(t, err, "with close_notify")
	require.Equal(t, 4<<20, len(got))
	client.Close()
	receive(t, s.ended)
}

func TestTLSEndings(t *testing.T) {
	large := strings.Repeat("x", 100_000)
	for name, test := range map[string]struct {
		sends, events, reason string
		notify                bool
	}{
		"a tail with close_notify is a packet":          {"x\r\ntail", "DATA x\r\n|DATA tail", "eof", true},
		"a tail without may have been cut off":          {"x\r\ntail", "DATA x\r\n", "reset", false},
		"whole packets need no close_notify":            {"x\r\ny\r\n", "DATA x\r\n|DATA y\r\n", "eof", false},
		"nothing needs no close_notify":                 {"", "", "eof", false},
		"nothing but close_notify":                      {"", "", "eof", true},
		"a tail of many records with close_notify":      {large, "DATA " + large, "eof", true},
		"many records without close_notify are no tail": {large, "", "reset", false},
	} {
		for kind, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){
			"tcp":    func(t *testing.T) (net.Conn, net.Conn) { s, c := tcpPair(t); return s, c },
			"memory": func(*testing.T) (net.Conn, net.Conn) { s, c := streamtest.Pair(1 << 20); return s, c },
		} {
			for _, batch := range []int{0, 1 << 20} {
				t.Run(name+"/"+kind, func(t *testing.T) {
					server, client := pair(t)
					s := serveSecure(t, limits{}, &replies{}, server, client, batch)
					require.NoError(t, s.client.Handshake())
					_, err := io.WriteString(s.client, test.sends)
					require.NoError(t, err)
					if test.notify {
						require.NoError(t, s.client.CloseWrite())
					}
					require.NoError(t, strictConn{client}.CloseWrite())
					_, err = io.Copy(io.Discard, s.client)
					require.NoError(t, err, "the server sends close_notify")
					receive(t, s.ended)
					events := strings.Join(s.workers.events[1:], "|")
					if batch > 0 {
						events = strings.ReplaceAll(events, "x\r\ny\r\n", "x\r\n|DATA y\r\n")
					}
					require.Equal(t, test.events, events)
					require.Equal(t, test.reason, s.workers.reason)
				})
			}
		}
	}
}

// What a client sends behind its handshake counts, though none of it is data.
func TestUnfinishedTLSMessageIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(4 << 10)
		s := serveSecure(t, limits{packet: 10 * second}, &replies{}, server, client, 0)
		config := &tls.Config{InsecureSkipVerify: true}
		keys := streamtest.KeyLog(config)
		s.client = tls.Client(strictConn{client}, config)
		require.NoError(t, s.client.Handshake())
		begin := time.Now()
		_, err := client.Write(streamtest.NewRecords(s.client, keys).Unfinished(250 << 10))
		require.NoError(t, err)
		synctest.Wait()
		require.Greater(t, s.memory.Used(), int64(250<<10))
		<-s.ended
		require.Equal(t, 10*second, time.Since(begin))
		require.Equal(t, "slow", s.workers.reason)
	})
}

// What is pushed must not go out in plain text.
func TestFailedHandshakeIsNeverPushedTo(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(&replies{})
	l.useTLS(t)
	c, ended := l.serveConn(server)
	_, err := client.Write([]byte("this is no TLS"))
	require.NoError(t, err)
	receive(t, ended)
	require.Equal(t, wire.ReasonHandshake, c.reason)
	require.False(t, c.isVisible(""), "not even for a moment")
	require.True(t, c.IsOpening())
}

func TestLargeHandshakeIsMemory(t *testing.T) {
	server, client := tcpPair(t)
	l := testListener(&replies{})
	l.memory = stream.NewMemory(100 << 10)
	l.useTLS(t)
	c, ended := l.serveConn(server)
	config := &tls.Config{InsecureSkipVerify: true}
	streamtest.LargeHello(config, 60_000)
	require.Error(t, tls.Client(client, config).Handshake())
	receive(t, ended)
	require.Equal(t, wire.ReasonMemory, c.reason)
	require.EqualValues(t, 1, l.stats.Refusals(telemetry.RefusedTLS))
	require.Zero(t, l.memory.Used())
}

func TestBrokenTLSIsReset(t *testing.T) {
	server, client := tcpPair(t)
	s := serveSecure(t, limits{}, &replies{}, server, client, 0)
	require.NoError(t, s.client.Handshake())
	io.WriteString(client, "this is no record\r\n")
	receive(t, s.ended)
	require.Equal(t, "reset", s.workers.reason)
	require.ErrorIs(t, s.err, stream.ErrTLS)
	require.Equal(t, slog.LevelDebug, s.endLevel(), "the client's fault")
}

func TestWaitingTLSConnectionHoldsNoBuffer(t *testing.T) {
	server, client := tcpPair(t)
	w := &replies{answers: []dispatch.Answer{reply("CONTINUE", ""), replyOf("WRITE", 3)}}
	s := serveSecure(t, limits{}, w, server, client, 0)
	require.NoError(t, s.client.Handshake())
	_, err := s.client.Write(append(bytes.Repeat([]byte("x"), 100_000), "\r\n"...))
	require.NoError(t, err)
	readString(t, s.client, 3)
	requireEventually(t, func() bool { return s.memory.Used() == 0 })
	client.Close()
	receive(t, s.ended)
}
