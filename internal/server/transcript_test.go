package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
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

// orderedConn notes when it is closed.
type orderedConn struct {
	net.Conn
	order *[]string
}

func (c orderedConn) Close() error {
	*c.order = append(*c.order, "close")
	return c.Conn.Close()
}

func (c orderedConn) CloseWrite() error {
	if s, ok := c.Conn.(*net.TCPConn); ok {
		return s.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c orderedConn) CloseRead() error {
	if s, ok := c.Conn.(*net.TCPConn); ok {
		return s.CloseRead()
	}
	return errors.ErrUnsupported
}

// player plays a transcript.
type player struct {
	*script
	t      *testing.T
	c      *connection
	client net.Conn
	closes int // CLOSE events
}

// play runs one transcript against a connection, whose ends are server and client. Its lines, in order:
//
//	server {"framing":…}        how the server is configured; first
//	event  CONNECTED | DATA ["eof"] "packet" | CLOSE, each with KEY=VALUE…   what the worker gets
//	reply  WORD ["body"]        its answer; UUID in it is the connection's
//	stream WORD ["body"]        the first frame of its answer
//	frame  ["body"]             one more           last   WORD ["body"]    the last one
//	fails  reached|unreached REASON    panics
//	client sends "bytes" | reads "bytes" | reads EOF | shuts (its writing side) | closes | resets
//	breaks REASON               the stream fails
//	ended                       the stream is ended, and its worker is free
//	push   RESULT "bytes"       hangup RESULT "bytes": the last one
//	abort  REASON               drain               tcp: needs a real socket
//	pause                       for the end of the client's side, of which no event tells that it was read
//
// What is not in the transcript must not happen: an event, a byte to the client.
func play(t *testing.T, transcript string, server, client net.Conn) {
	s := newScript()
	l := testListener(s)
	logs := l.observe(slog.LevelDebug)
	configure(t, l, transcript)
	c := l.newConnection(orderedConn{server, s.order})
	c.reader.Socket = stream.NewSocket(server)
	c.writer.Socket = c.reader.Socket
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.serve(func() { *s.order = append(*s.order, "gone") })
	}()
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))

	p := &player{script: s, t: t, c: c, client: client}
	lines := bufio.NewScanner(strings.NewReader(transcript))
	for lines.Scan() {
		p.line(lines.Text())
	}

	select {
	case <-ended:
	case e := <-s.events:
		require.Fail(t, "an event that the transcript does not have", "%v", e)
	case <-time.After(patience):
		require.Fail(t, "the connection does not end")
	}
	rest, _ := io.ReadAll(client)
	require.Empty(t, rest, "bytes that the transcript does not have")
	require.Zero(t, l.memory.Used())
	require.Equal(t, []string{"close", "gone", "CLOSE"}[:2+p.closes], *s.order)
	require.Len(t, logs.Saying("connection ended"), 1)
	panics := logs.Saying("panic")
	require.Equal(t, strings.Contains(transcript, "\npanics"), len(panics) == 1)
}

// configure does what the line server of a transcript says.
func configure(t *testing.T, l *listener, transcript string) {
	_, section, ok := strings.Cut(transcript, "\nserver ")
	if !ok {
		return
	}
	section, _, _ = strings.Cut(section, "\n")
	s := &settings.Server{Addr: ":0"}
	require.NoError(t, json.Unmarshal([]byte(section), s))
	c := settings.Config{Servers: map[string]*settings.Server{"s": s}}
	require.Empty(t, c.Check())
	l.settings = s.Effective()
}

func (p *player) line(line string) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	word, argument, _ := strings.Cut(rest, " ")
	switch verb {
	case "", "#", "tcp", "server":
	case "event":
		p.event(line, word, argument)
	case "client":
		p.clientDoes(line, word, argument)
	case "push", "hangup":
		require.Equal(p.t, PushResult(word), p.c.writer.Push([]byte(unquote(argument)), verb == "hangup"), line)
	case "abort":
		p.c.abort(namedReason(word))
	case "pause":
		time.Sleep(300 * time.Millisecond)
	case "drain":
		p.c.drain(wire.ReasonShutdown)
	default:
		p.worker(line, verb, word, argument)
	}
}

// worker plays a line about what a worker does.
func (p *player) worker(line, verb, word, argument string) {
	switch verb {
	case "reply":
		p.replies(reply(strings.ReplaceAll(unquote(word), "UUID", p.c.uuid), unquote(argument)))
	case "stream":
		a := reply(unquote(word), unquote(argument))
		a.More = p.script
		p.replies(a)
	case "frame":
		p.frames <- scriptedFrame{answer: reply("", unquote(strings.TrimSpace(word+" "+argument)))}
	case "last":
		p.frames <- scriptedFrame{answer: reply(word, unquote(argument)), last: true}
	case "breaks":
		p.frames <- scriptedFrame{err: &dispatch.Failure{Reason: namedReason(word), Reached: true, Err: errors.New("of a test")}}
	case "ended":
		require.True(p.t, receive(p.t, p.ended), line)
	case "fails":
		f := &dispatch.Failure{Reached: word == "reached", Reason: namedReason(argument), Err: errors.New(argument)}
		p.answer <- func() (dispatch.Answer, error) { return dispatch.Answer{}, f }
	case "panics":
		p.answer <- func() (dispatch.Answer, error) { panic("of a test") }
	default:
		require.Fail(p.t, "unknown line", line)
	}
}

func (p *player) event(line, name, argument string) {
	e := receive(p.t, p.events)
	require.Equal(p.t, name, e.context["event"], line)
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
		require.Equal(p.t, value, fmt.Sprint(e.context[key]), line)
		body = rest
	}
	require.Equal(p.t, state, e.context["state"], line)
	require.Equal(p.t, eof, e.context["eof"] == true, line)
	require.Equal(p.t, unquote(body), e.body, line)
	if name == wire.EventClose {
		p.closes++
	}
}

func (p *player) clientDoes(line, verb, argument string) {
	switch verb {
	case "sends":
		_, err := p.client.Write([]byte(unquote(argument)))
		require.NoError(p.t, err, line)
	case "reads":
		if argument == "EOF" {
			n, err := p.client.Read(make([]byte, 1))
			require.Zero(p.t, n, line)
			require.Error(p.t, err, line)
			require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded, line)
			return
		}
		want := unquote(argument)
		require.Equal(p.t, want, readString(p.t, p.client, len(want)), line)
	case "shuts":
		require.NoError(p.t, p.client.(*net.TCPConn).CloseWrite())
	case "resets":
		require.NoError(p.t, p.client.(*net.TCPConn).SetLinger(0))
		require.NoError(p.t, p.client.Close())
	case "closes":
		require.NoError(p.t, p.client.Close())
	default:
		require.Fail(p.t, "unknown line", line)
	}
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}
