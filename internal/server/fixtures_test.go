package server

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/certtest"
	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// event is what a worker gets.
type event struct {
	context map[string]any
	body    string
}

func decodeEvent(context, body []byte) event {
	e := event{body: string(body)}
	if json.Unmarshal(context, &e.context) != nil {
		panic(string(context))
	}
	return e
}

// reply is a worker's answer.
func reply(context, body string) dispatch.Answer {
	return dispatch.Answer{Context: []byte(context), Body: []byte(body)}
}

// replyOf is a reply with a body of so many bytes.
func replyOf(context string, size int) dispatch.Answer {
	return reply(context, strings.Repeat("x", size))
}

// answers are workers that give the same answer to every event at once.
type answers dispatch.Answer

func (a answers) Exchange(*dispatch.Call, <-chan struct{}, []byte, []byte) (dispatch.Answer, error) {
	return dispatch.Answer(a), nil
}

func (a answers) HandOverClose(*dispatch.Call, []byte) {}

// script are workers whose answers come from the test, one at a time.
type script struct {
	events chan event // one for each event; to receive is to be the worker that gets it
	answer chan func() (dispatch.Answer, error)
	order  *[]string // "close" of the socket, "gone", "CLOSE", as they happened
	frames chan scriptedFrame
	ended  chan bool // receives when a streamed answer is ended
}

func newScript() *script {
	return &script{
		events: make(chan event), answer: make(chan func() (dispatch.Answer, error)), order: new([]string),
		frames: make(chan scriptedFrame), ended: make(chan bool),
	}
}

func (s *script) Exchange(_ *dispatch.Call, _ <-chan struct{}, context, body []byte) (dispatch.Answer, error) {
	s.events <- decodeEvent(context, body)
	return (<-s.answer)()
}

func (s *script) HandOverClose(_ *dispatch.Call, context []byte) {
	*s.order = append(*s.order, "CLOSE")
	s.events <- decodeEvent(context, nil)
}

// replies answers the event that is in flight.
func (s *script) replies(a dispatch.Answer) {
	s.answer <- func() (dispatch.Answer, error) { return a, nil }
}

// scriptedFrame is one frame of a streamed answer.
type scriptedFrame struct {
	answer dispatch.Answer
	last   bool
	err    error
}

func (s *script) Next(cancel <-chan struct{}) (frame dispatch.Answer, last bool, err error) {
	select {
	case f := <-s.frames:
		return f.answer, f.last, f.err
	case <-cancel:
		return dispatch.Answer{}, false, &dispatch.Failure{Reached: true, Err: dispatch.ErrCanceled}
	}
}

func (s *script) End() { s.ended <- true }

// testListener returns a listener with the defaults of every setting. It can serve connections, but not accept them.
func testListener(w workers) *listener {
	c := settings.Config{Servers: map[string]*settings.Server{"s": {Addr: ":0"}}}
	if errs := c.Check(); len(errs) > 0 {
		panic(errs[0])
	}
	return &listener{
		newUUID: uuid.NewString,
		server:  "s", settings: c.Servers["s"].Effective(), log: logtest.Discard(), stats: new(telemetry.Server), workers: w,
		registry: new(registry), memory: stream.NewMemory(c.MemoryLimitBytes()),
		faults: telemetry.NewLogLimiter(func(int) {}), handshakes: telemetry.NewLogLimiter(func(int) {}), ended: func(wire.Reason) {},
	}
}

// observe makes l log to the result.
func (l *listener) observe(level slog.Level) (logs *logtest.Log) {
	l.log, logs = logtest.New(level)
	return logs
}

// useTLS makes l a listener with a certificate of its own.
func (l *listener) useTLS(t testing.TB) {
	l.tls = testTLS(t)
	l.certificates = newCertificates(l.server, l.tls, l.log)
}

// testTLS returns the section tls of a server, checked, with a new certificate.
func testTLS(t testing.TB) *settings.TLS {
	pair := certtest.WritePair(t, t.TempDir(), "localhost")
	section := &settings.TLS{KeyPair: settings.KeyPair{Cert: pair.Cert, Key: pair.Key}}
	c := settings.Config{Servers: map[string]*settings.Server{"s": {Addr: ":0", TLS: section}}}
	require.Empty(t, c.Check())
	return section
}

// serveConn runs a connection; ended is closed when its goroutine ends.
func (l *listener) serveConn(conn net.Conn) (c *connection, ended chan struct{}) {
	c, ended = l.newConnection(conn), make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func() {})
	}()
	return c, ended
}

// tcpPair returns both ends of a connection over the loopback.
func tcpPair(t testing.TB) (server net.Conn, client *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); dialed.Close() })
	return server, dialed.(*net.TCPConn)
}

// receive returns the next value of a channel; the zero value where it is closed.
func receive[T any](t testing.TB, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		require.FailNow(t, "nothing comes")
	}
	return v
}

func requireEventually(t testing.TB, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond)
}

func readString(t testing.TB, from io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(from, b)
	require.NoError(t, err)
	return string(b)
}

// namedReason returns the reason of that name; ReasonNone for "canceled", the failure of an exchange that an abort ends.
func namedReason(name string) wire.Reason {
	if name == "canceled" {
		return wire.ReasonNone
	}
	for r := range wire.Reason(wire.NumReasons) {
		if r.String() == name {
			return r
		}
	}
	panic(name)
}
