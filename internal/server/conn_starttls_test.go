package server

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

// startTLSServer is a connection that begins in plain text; its workers are in CONNECTED's exchange.
type startTLSServer struct {
	*script
	t      *testing.T
	c      *connection
	client *net.TCPConn
	done   chan struct{}
}

func serveStartTLS(t *testing.T, prepare ...func(*listener)) *startTLSServer {
	return serveStartTLSOn(t, func(server net.Conn) net.Conn { return server }, prepare...)
}

func serveStartTLSOn(t *testing.T, wrap func(net.Conn) net.Conn, prepare ...func(*listener)) *startTLSServer {
	s := newScript()
	l := testListener(s)
	l.useTLS(t)
	l.tls.Start = "plain"
	for _, f := range prepare {
		f(l)
	}
	server, client := tcpPair(t)
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	c, ended := l.serveConn(wrap(server))
	t.Cleanup(func() { require.Zero(t, l.memory.Used()) })
	return &startTLSServer{s, t, c, client, ended}
}

func (s *startTLSServer) requireEvent(name, body string) map[string]any {
	s.t.Helper()
	e := receive(s.t, s.events)
	require.Equal(s.t, name, e.context["event"])
	require.Equal(s.t, body, e.body)
	return e.context
}

func (s *startTLSServer) send(text string) {
	s.t.Helper()
	_, err := io.WriteString(s.client, text)
	require.NoError(s.t, err)
}

// begin plays the conversation up to the client's handshake.
func (s *startTLSServer) begin(sent, answer string) *tls.Conn {
	s.t.Helper()
	require.Equal(s.t, true, s.requireEvent("CONNECTED", "")["starttls"])
	s.replies(reply("WRITE", "220 ready\r\n"))
	s.send(sent)
	s.requireEvent("DATA", "STARTTLS\r\n")
	s.replies(reply(answer, "220 go ahead\r\n"))
	require.Equal(s.t, "220 ready\r\n220 go ahead\r\n", readString(s.t, s.client, len("220 ready\r\n220 go ahead\r\n")))
	return tls.Client(s.client, &tls.Config{InsecureSkipVerify: true})
}

const asksForTLS = `{"reply":"WRITE","tls":true}`

// What came in plain text behind the command is nobody's: it is not handed over when the session is secure.
func TestStartTLS(t *testing.T) {
	s := serveStartTLS(t)
	client := s.begin("STARTTLS\r\nMAIL FROM:<attacker>\r\nhalf", asksForTLS)
	requireEventually(t, func() bool { return s.c.describe(nil).State == "securing" })
	require.Equal(t, stream.PushAccepted, s.c.writer.Push([]byte("pushed\r\n"), false))
	require.NoError(t, client.Handshake())
	require.Equal(t, "1.3", s.requireEvent("SECURED", "")["tls"].(map[string]any)["version"])
	s.replies(reply("WRITE", "hello\r\n"))
	require.Equal(t, "pushed\r\nhello\r\n", readString(t, client, len("pushed\r\nhello\r\n")))

	_, err := io.WriteString(client, "EHLO a\r\n")
	require.NoError(t, err)
	s.requireEvent("DATA", "EHLO a\r\n")
	s.replies(reply("CONTINUE", ""))
	require.NoError(t, client.CloseWrite())
	require.Equal(t, "eof", s.requireEvent("CLOSE", "")["reason"])
	receive(t, s.done)
}

// A push that ends the connection is written, too, when the session is secure; no worker is asked what comes then.
func TestLastPushDuringStartTLS(t *testing.T) {
	s := serveStartTLS(t)
	client := s.begin("STARTTLS\r\n", asksForTLS)
	requireEventually(t, func() bool { return s.c.describe(nil).State == "securing" })
	require.Equal(t, stream.PushAccepted, s.c.writer.Push([]byte("421 bye\r\n"), true))
	require.NoError(t, client.Handshake())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "421 bye\r\n", string(got))
	require.NoError(t, client.Close())
	require.Equal(t, "rpc", s.requireEvent("CLOSE", "")["reason"])
	receive(t, s.done)
}

// The framing that a reply sets is that of what comes encrypted.
func TestStartTLSWithNext(t *testing.T) {
	s := serveStartTLS(t)
	client := s.begin("STARTTLS\r\nx", `{"reply":"WRITE","tls":true,"next":{"framing":"fixed","packet_size":2}}`)
	require.NoError(t, client.Handshake())
	s.requireEvent("SECURED", "")
	s.replies(reply("CONTINUE", ""))
	_, err := io.WriteString(client, "12")
	require.NoError(t, err)
	s.requireEvent("DATA", "12")
	s.replies(reply("CLOSE", ""))
	s.requireEvent("CLOSE", "")
	receive(t, s.done)
}

// largeName is a server name that no honest client has: the JSON of it is six times as long.
var largeName = strings.Repeat("\x01", 17_000)

func TestLargeServerNameOfSecuredIsMemory(t *testing.T) {
	s := serveStartTLS(t)
	s.begin("STARTTLS\r\n", asksForTLS)
	client := tls.Client(s.client, &tls.Config{InsecureSkipVerify: true, ServerName: largeName})
	require.NoError(t, client.Handshake())
	s.requireEvent("SECURED", "")
	require.Greater(t, s.c.memory.Used(), int64(6*17_000))
	s.replies(reply("CONTINUE", ""))
	requireEventually(t, func() bool { return s.c.memory.Used() == 0 })
	require.NoError(t, client.Close())
	s.requireEvent("CLOSE", "")
	receive(t, s.done)
}

// A handshake that fails ends the connection; what waits is not written in plain text.
func TestStartTLSFails(t *testing.T) {
	for name, c := range map[string]struct {
		does   func(*startTLSServer)
		reason string
	}{
		"no handshake":     {func(s *startTLSServer) { s.send("EHLO a\r\n") }, "handshake"},
		"the client ends":  {func(s *startTLSServer) { require.NoError(s.t, s.client.CloseWrite()) }, "handshake"},
		"RoadRunner stops": {func(s *startTLSServer) { s.c.drain(wire.ReasonShutdown) }, "shutdown"},
		"tcp.Close":        {func(s *startTLSServer) { s.c.abort(wire.ReasonRPC) }, "rpc"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveStartTLS(t, func(l *listener) {
				l.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonShutdown: []byte("421 closing\r\n")}
			})
			s.begin("STARTTLS\r\n", asksForTLS)
			requireEventually(t, func() bool { return s.c.describe(nil).State == "securing" })
			require.Equal(t, stream.PushAccepted, s.c.writer.Push([]byte("pushed\r\n"), false))
			c.does(s)
			require.Equal(t, c.reason, s.requireEvent("CLOSE", "")["reason"])
			receive(t, s.done)
			rest, _ := io.ReadAll(s.client)
			require.NotContains(t, string(rest), "pushed")
			require.NotContains(t, string(rest), "421")
		})
	}
}

func TestStartTLSTimeout(t *testing.T) {
	s := serveStartTLS(t, func(l *listener) { *l.tls.HandshakeTimeout = time.Millisecond })
	s.begin("STARTTLS\r\n", asksForTLS)
	require.Equal(t, "handshake", s.requireEvent("CLOSE", "")["reason"])
	receive(t, s.done)
}

// deadlineConn notes the deadlines that are set.
type deadlineConn struct {
	net.Conn
	mu          sync.Mutex
	read, write time.Time
}

func (c *deadlineConn) note(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set()
}

func (c *deadlineConn) SetDeadline(t time.Time) error {
	c.note(func() { c.read, c.write = t, t })
	return c.Conn.SetDeadline(t)
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.note(func() { c.read = t })
	return c.Conn.SetReadDeadline(t)
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.note(func() { c.write = t })
	return c.Conn.SetWriteDeadline(t)
}

// handshake_timeout is for the handshake alone.
func TestStartTLSLeavesNoDeadline(t *testing.T) {
	var conn *deadlineConn
	s := serveStartTLSOn(t, func(server net.Conn) net.Conn {
		conn = &deadlineConn{Conn: server}
		return conn
	})
	client := s.begin("STARTTLS\r\n", asksForTLS)
	require.NoError(t, client.Handshake())
	s.requireEvent("SECURED", "")
	conn.note(func() {
		require.Zero(t, conn.read)
		require.Zero(t, conn.write)
	})
	s.replies(reply("CLOSE", ""))
	s.requireEvent("CLOSE", "")
	client.Close()
	receive(t, s.done)
}

func TestStartTLSIsRefused(t *testing.T) {
	t.Run("without the section", func(t *testing.T) {
		s := serveStartTLS(t, func(l *listener) { l.tls = nil })
		require.NotContains(t, s.requireEvent("CONNECTED", ""), "starttls")
		s.replies(reply(asksForTLS, "x"))
		require.Equal(t, "reply", s.requireEvent("CLOSE", "")["reason"])
		receive(t, s.done)
		require.ErrorContains(t, s.c.err, errNoStartTLS.Error())
	})
	t.Run("in an answer of several frames", func(t *testing.T) {
		s := serveStartTLS(t)
		s.requireEvent("CONNECTED", "")
		a := reply(asksForTLS, "x")
		a.More = s.script
		s.replies(a)
		receive(t, s.ended)
		require.Equal(t, "reply", s.requireEvent("CLOSE", "")["reason"])
		receive(t, s.done)
		require.ErrorContains(t, s.c.err, errStreamsToTLS.Error())
	})
	t.Run("twice", func(t *testing.T) {
		s := serveStartTLS(t)
		client := s.begin("STARTTLS\r\n", asksForTLS)
		require.NoError(t, client.Handshake())
		s.requireEvent("SECURED", "")
		s.replies(reply(asksForTLS, ""))
		require.Equal(t, "reply", s.requireEvent("CLOSE", "")["reason"])
		receive(t, s.done)
		require.ErrorContains(t, s.c.err, errIsSecure.Error())
	})
	t.Run("with a reply that closes it is ignored", func(t *testing.T) {
		s := serveStartTLS(t)
		s.requireEvent("CONNECTED", "")
		s.replies(reply(`{"reply":"WRITECLOSE","tls":true}`, "bye"))
		require.Equal(t, "bye", readString(t, s.client, 3))
		require.NoError(t, s.client.Close())
		require.Equal(t, "worker", s.requireEvent("CLOSE", "")["reason"])
		receive(t, s.done)
	})
}

// A push that comes while the answer which announces TLS is written is behind it, and encrypted.
func TestPushBehindStartTLS(t *testing.T) {
	w := newScript()
	l := testListener(w)
	l.useTLS(t)
	l.tls.Start = "plain"
	server, conn := streamtest.Pair(4)
	c, done := l.serveConn(server)
	receive(t, w.events)
	w.replies(reply(asksForTLS, "220 go ahead\r\n"))
	requireEventually(t, func() bool { return server.Buffered() == 4 }) // the rest waits for the client
	require.Equal(t, stream.PushAccepted, c.writer.Push([]byte("pushed\r\n"), false))
	require.Equal(t, "220 go ahead\r\n", readString(t, conn, len("220 go ahead\r\n")))
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, client.Handshake())
	got := make(chan string, 1)
	go func() {
		b := make([]byte, len("pushed\r\n"))
		_, _ = io.ReadFull(client, b)
		got <- string(b)
	}()
	require.Equal(t, "SECURED", receive(t, w.events).context["event"])
	w.replies(reply("CONTINUE", ""))
	require.Equal(t, "pushed\r\n", receive(t, got))
	require.NoError(t, conn.Close())
	receive(t, w.events)
	receive(t, done)
}
