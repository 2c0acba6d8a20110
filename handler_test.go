package tcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// script is a pool whose answers come from the test.
type script struct {
	events chan scriptedEvent // one for each event; taking it is the worker's getting it
	answer chan func() (answer, error)
	log    *[]string // what happened in which order: "close" of the socket, "gone", "CLOSE"
	frames chan scriptedFrame
	ended  chan bool // receives when a stream is ended
}

// scriptedFrame is one of a streamed answer; one that has a context and is not the last is its failure.
type scriptedFrame struct {
	body, context string
	last          bool
}

func (s *script) next(cancel <-chan struct{}) (answer, bool, error) {
	select {
	case f := <-s.frames:
		if f.context != "" && !f.last {
			return answer{}, false, &failure{why: namedReason(f.context), reached: true, err: errBroken}
		}
		return answer{context: []byte(f.context), body: []byte(f.body)}, f.last, nil
	case <-cancel:
		return answer{}, false, &failure{reached: true, err: errCanceled}
	}
}

func (s *script) end() { s.ended <- true }

type scriptedEvent struct {
	context map[string]any
	body    string
}

func (s *script) exchange(_ *call, _ <-chan struct{}, context, body []byte) (answer, error) {
	s.events <- decodeEvent(context, body)
	return (<-s.answer)()
}

func (s *script) handOverClose(_ *call, context []byte) {
	*s.log = append(*s.log, "CLOSE")
	s.events <- decodeEvent(context, nil)
}

func decodeEvent(context, body []byte) scriptedEvent {
	e := scriptedEvent{body: string(body)}
	if json.Unmarshal(context, &e.context) != nil {
		panic(string(context))
	}
	return e
}

// loggedConn notes when it is closed.
type loggedConn struct {
	net.Conn
	log *[]string
}

func (c loggedConn) Close() error {
	*c.log = append(*c.log, "close")
	return c.Conn.Close()
}

func (c loggedConn) CloseWrite() error {
	if s, ok := c.Conn.(*net.TCPConn); ok {
		return s.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c loggedConn) CloseRead() error {
	if s, ok := c.Conn.(*net.TCPConn); ok {
		return s.CloseRead()
	}
	return errors.ErrUnsupported
}

// play runs one transcript against a connection. Its lines, in order:
//
//	server {"framing":…}        how the server is configured; first
//	event  CONNECTED | DATA ["eof"] "packet" | CLOSE, each with KEY=VALUE…   what the worker gets
//	reply  WORD ["body"]        its answer; UUID in it is the connection's
//	stream WORD ["body"]        the first frame of its answer
//	frame  ["body"]             one more           last   WORD ["body"]    the last one
//	fails  reached|unreached REASON    panics
//	client sends "bytes" | reads "bytes" | reads EOF | shuts (its writing side) | closes | resets
//	breaks REASON               ended: it is told to end, and its worker is free
//	push   RESULT "bytes"       hangup RESULT "bytes": the last one
//	abort  REASON               drain               tcp: needs a real socket
func play(t *testing.T, transcript string, server, client net.Conn) {
	var order []string
	core, logs := observer.New(zap.DebugLevel)
	s := &script{events: make(chan scriptedEvent), answer: make(chan func() (answer, error)), log: &order}
	s.frames, s.ended = make(chan scriptedFrame), make(chan bool)
	logged := loggedConn{server, &order}
	l := testListener(s, zap.New(core))
	configure(t, l, transcript)
	c := l.newConnection(logged)
	c.packets.socket = newSocket(server)
	c.answers.socket = c.packets.socket
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func() { order = append(order, "gone") })
	}()
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))

	closes := 0
	lines := bufio.NewScanner(strings.NewReader(transcript))
	for lines.Scan() {
		line := lines.Text()
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		word, argument, _ := strings.Cut(rest, " ")
		switch verb {
		case "", "#", "tcp", "server":
		case "event":
			closes += playEvent(t, line, word, argument, s)
		case "reply":
			a := answer{context: []byte(strings.ReplaceAll(unquote(word), "UUID", c.uuid)), body: []byte(unquote(argument))}
			s.answer <- func() (answer, error) { return a, nil }
		case "stream":
			a := answer{context: []byte(unquote(word)), body: []byte(unquote(argument)), more: s}
			s.answer <- func() (answer, error) { return a, nil }
		case "frame":
			s.frames <- scriptedFrame{body: unquote(rest)}
		case "last":
			s.frames <- scriptedFrame{unquote(argument), word, true}
		case "breaks":
			s.frames <- scriptedFrame{context: rest}
		case "ended":
			require.True(t, <-s.ended, line)
		case "fails":
			f := &failure{reached: word == "reached", why: namedReason(argument), err: errors.New(argument)}
			s.answer <- func() (answer, error) { return answer{}, f }
		case "panics":
			s.answer <- func() (answer, error) { panic("of a test") }
		case "client":
			playClient(t, line, word, argument, client)
		case "push", "hangup":
			p := push{body: []byte(unquote(argument)), last: verb == "hangup"}
			require.Equal(t, PushResult(word), c.push(p), line)
		case "abort":
			c.abort(namedReason(word))
		case "drain":
			c.drain(reasonShutdown)
		default:
			require.Fail(t, "unknown line", line)
		}
	}

	select {
	case <-ended:
	case e := <-s.events:
		require.Fail(t, "an event that nobody asked for", "%v", e)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the connection does not end")
	}
	rest, _ := io.ReadAll(client)
	require.Empty(t, rest, "bytes that nobody asked for")
	require.Zero(t, l.memory.used.Load())
	require.Equal(t, []string{"close", "gone", "CLOSE"}[:2+closes], order)
	require.Equal(t, 1, logs.FilterMessage("connection ended").Len(), "one line for each end")
	panics := logs.FilterMessage("panic")
	require.Equal(t, strings.Contains(transcript, "\npanics"), panics.Len() == 1)
}

// configure does what the line server of a transcript says.
func configure(t *testing.T, l *listener, transcript string) {
	_, config, ok := strings.Cut(transcript, "\nserver ")
	if !ok {
		return
	}
	config, _, _ = strings.Cut(config, "\n")
	var s Server
	require.NoError(t, json.Unmarshal([]byte(config), &s))
	require.Empty(t, s.init("server", l.limits.packet))
	var err error
	l.omits, err = omits(s.Events)
	require.NoError(t, err)
	l.framing = s.framing(l.most, l.limits.packet)
}

func playEvent(t *testing.T, line, name, argument string, s *script) (closes int) {
	select {
	case e := <-s.events:
		require.Equal(t, name, e.context["event"], line)
		body, eof := strings.CutPrefix(argument, "eof ")
		state := any(nil)
		for {
			pair, rest, _ := strings.Cut(body, " ")
			key, value, isPair := strings.Cut(pair, "=")
			if !isPair || strings.HasPrefix(pair, `"`) {
				break
			}
			if key == "state" {
				state = value
			}
			require.Equal(t, value, fmt.Sprint(e.context[key]), line)
			body = rest
		}
		require.Equal(t, state, e.context["state"], line)
		require.Equal(t, eof, e.context["eof"] == true, line)
		require.Equal(t, unquote(body), e.body, line)
		if name == "CLOSE" {
			return 1
		}
	case <-time.After(10 * time.Second):
		require.Fail(t, "no event", line)
	}
	return 0
}

func playClient(t *testing.T, line, verb, argument string, client net.Conn) {
	switch verb {
	case "sends":
		_, err := client.Write([]byte(unquote(argument)))
		require.NoError(t, err, line)
	case "reads":
		if argument == "EOF" {
			n, err := client.Read(make([]byte, 1))
			require.Zero(t, n, line)
			require.Error(t, err, line)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, line)
			return
		}
		want := unquote(argument)
		got := make([]byte, len(want))
		_, err := io.ReadFull(client, got)
		require.NoError(t, err, line)
		require.Equal(t, want, string(got), line)
	case "shuts":
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
	case "resets":
		require.NoError(t, client.(*net.TCPConn).SetLinger(0))
		require.NoError(t, client.Close())
	case "closes":
		require.NoError(t, client.Close())
	default:
		require.Fail(t, "unknown line", line)
	}
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

func namedReason(name string) reason {
	for r, n := range reasonNames {
		if n == name {
			return reason(r)
		}
	}
	return reasonNone
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob(transcripts)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		name, transcript := strings.TrimSuffix(filepath.Base(file), ".txt"), string(b)
		t.Run(name+"/tcp", func(t *testing.T) {
			server, client := tcpPair(t)
			play(t, transcript, server, client)
		})
		if !strings.Contains(transcript, "\ntcp\n") {
			t.Run(name+"/pipe", func(t *testing.T) {
				server, client := net.Pipe()
				t.Cleanup(func() { client.Close() })
				play(t, transcript, server, client)
			})
		}
	}
}

// answers is a pool that answers everything at once with the same words.
type answers answer

func (a answers) exchange(*call, <-chan struct{}, []byte, []byte) (answer, error) {
	return answer(a), nil
}
func (a answers) handOverClose(*call, []byte) {}

func testListener(w workers, log *zap.Logger) *listener {
	return &listener{
		server: "s", framing: splitDelimiter([]byte("\r\n"), false), most: 1 << 20, limits: new(Limits).over(new(Limits)),
		memory: &memory{limit: defaultMemoryLimit}, live: new(registry), workers: w, log: log,
		stats: new(serverStats), loud: new(loudness),
	}
}

func serveWith(w workers, server net.Conn) (c *connection, ended chan struct{}) {
	c = testListener(w, zap.NewNop()).newConnection(server)
	ended = make(chan struct{})
	go func() { defer close(ended); c.serve(func() {}) }()
	return c, ended
}

// A client that is about to read its answer is not one that is idle.
func TestTheAnswerThatIsOwedWhenRoadRunnerStopsArrivesPolitely(t *testing.T) {
	for _, during := range []string{"CONNECTED", "DATA"} {
		server, client := tcpPair(t)
		s := &script{events: make(chan scriptedEvent), answer: make(chan func() (answer, error)), log: new([]string)}
		c, ended := serveWith(s, server)
		write := func() (answer, error) { return answer{context: []byte("WRITE"), body: []byte("y")}, nil }
		<-s.events
		if during == "DATA" {
			s.answer <- write
			_, err := client.Write([]byte("x\r\n"))
			require.NoError(t, err)
			<-s.events
		}
		c.drain(reasonShutdown)
		s.answer <- write
		client.Close()
		<-s.events // CLOSE
		<-ended
		require.Equal(t, lingerTime, c.linger, during)
		require.Equal(t, reasonShutdown, c.why)
	}
}

func TestTheLastAnswerArrivesThoughTheClientStillSends(t *testing.T) {
	server, client := tcpPair(t)
	last := bytes.Repeat([]byte("x"), 4<<20)
	_, err := client.Write(make([]byte, 1000)) // unread input: a plain close would destroy the answer
	require.NoError(t, err)
	_, ended := serveWith(answers{context: []byte("WRITECLOSE"), body: last}, server)
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, len(last), len(got))
	_, _ = client.Write(make([]byte, 1000))
	client.Close()
	<-ended
}

func TestLingeringIsBoundedInBytesAndTime(t *testing.T) {
	for name, flood := range map[string]bool{"a client that never stops sending": true, "a client that never closes": false} {
		t.Run(name, func(t *testing.T) {
			server, client := tcpPair(t)
			begin := time.Now()
			_, ended := serveWith(answers{context: []byte("WRITECLOSE"), body: []byte("x")}, server)
			sent := 0
			for err := error(nil); flood && err == nil; sent += 64 << 10 {
				_, err = client.Write(make([]byte, 64<<10))
			}
			require.Less(t, sent, 64<<20, "what the kernel's buffers hold, and a little more")
			<-ended
			require.Less(t, time.Since(begin), 5*time.Second)
		})
	}
}

func TestAnAbortEndsALinger(t *testing.T) {
	server, client := tcpPair(t)
	c, ended := serveWith(answers{context: []byte("WRITECLOSE"), body: []byte("x")}, server)
	_, err := io.ReadFull(client, make([]byte, 1))
	require.NoError(t, err)
	c.abort(reasonShutdown)
	<-ended
	require.Equal(t, reasonWorker, c.why)
}

func TestAWriteThatBlocksEndsWithAnAbort(t *testing.T) {
	server, _ := tcpPair(t) // whose client never reads
	c, ended := serveWith(answers{context: []byte("WRITE"), body: make([]byte, 64<<20)}, server)
	time.AfterFunc(50*time.Millisecond, func() { c.abort(reasonRPC) })
	<-ended
	require.Equal(t, reasonRPC, c.why)
}
