package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// reasons are those a CLOSE may give.
var reasons = []string{
	"eof", "reset", "worker", "reply", "error", "rpc", "idle", "slow", "too_long", "memory", "overload", "shutdown",
	"handshake", "framing",
}

// sentence is what the workers have seen of one connection.
type sentence struct {
	eventContext
	events  []string // their names
	packets []packet // the bodies of DATA
	pids    []int    // of the workers, one for each event
	closed  bool     // CLOSE was handed over
	ended   bool     // and answered

	inFlight *entry  // the event that is with a worker
	client   *client // once a test has asked for it: addresses are used again
}

type eventContext struct {
	RemoteAddr string `json:"remote_addr"`
	Server     string `json:"server"`
	UUID       string `json:"uuid"`
	Event      string `json:"event"`
	EOF        bool   `json:"eof"`
	Reason     string `json:"reason"`
	State      string `json:"state"`

	LocalAddr    string  `json:"local_addr"` // of CONNECTED
	BytesRead    int64   `json:"bytes_read"` // of CLOSE, as the rest
	BytesWritten int64   `json:"bytes_written"`
	Seconds      float64 `json:"seconds"`
	Unfinished   int     `json:"unfinished"`

	TLS   *tlsContext   `json:"tls"`
	Proxy *proxyContext `json:"proxy"`
}

type proxyContext struct {
	Destination string `json:"destination"`
	TLS         *struct {
		Version  string `json:"version"`
		ClientCN string `json:"client_cn"`
		Verified bool   `json:"verified"`
	} `json:"tls"`
}

type tlsContext struct {
	Version    string `json:"version"`
	Cipher     string `json:"cipher"`
	ServerName string `json:"server_name"`
	Client     *struct {
		Subject     string   `json:"subject"`
		SANs        []string `json:"sans"`
		Fingerprint string   `json:"fingerprint"`
	} `json:"client"`
}

// place tells an event by the worker that got it, and its number there.
type place struct{ pid, n int }

type packet struct {
	body string
	eof  bool
}

// record reads what the workers of a host write and checks that each connection's events are a sentence: CONNECTED
// first and once, then DATA, never two at once, then one CLOSE with a reason, and nothing more.
type record struct {
	path string

	mu        sync.Mutex
	read      int64 // bytes
	boots     []entry
	entries   []entry // of events
	sentences map[string]*sentence
	at        map[place]*sentence // which connection an event of a worker is of
	bulks     int                 // events that came together with others
	dead      map[int]string      // workers that can't write any more, and why
	wrong     []string
	lossy     bool // workers are killed, maybe with an event that they have not written down
}

func newRecord(path string) *record {
	return &record{
		path: path, sentences: make(map[string]*sentence), at: make(map[place]*sentence), dead: make(map[int]string),
	}
}

// update takes in what was written since. It returns what is wrong.
func (r *record) update() []string {
	file, err := os.Open(r.path)
	if err != nil {
		return nil // no worker has started
	}
	defer func() { _ = file.Close() }()
	raw, _ := io.ReadAll(io.NewSectionReader(file, r.read, 1<<40))
	for {
		line, rest, ok := bytes.Cut(raw, []byte("\n"))
		if !ok {
			return r.wrong
		}
		r.read += int64(len(line)) + 1
		raw = rest
		var e entry
		err := json.Unmarshal(line, &e)
		if err != nil && r.lossy {
			e = entry{}
			err = json.Unmarshal(line[max(0, bytes.LastIndex(line, []byte(`{"at":`))):], &e) // one before it was killed while it wrote
		}
		if err != nil {
			r.complain("%s: %.200s", err, line)
			continue
		}
		r.take(e)
	}
}

func (r *record) complain(format string, a ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, a...))
}

func (r *record) take(e entry) {
	if e.Boot {
		delete(r.dead, e.Pid) // another process has its number now
	}
	if why := r.dead[e.Pid]; why != "" {
		r.complain("worker %d lives, but %s", e.Pid, why)
	}
	switch {
	case e.Boot:
		r.boots = append(r.boots, e)
	case e.Answered:
		if s := r.at[place{e.Pid, e.N}]; s != nil && s.inFlight != nil && s.inFlight.Pid == e.Pid && s.inFlight.N == e.N {
			s.inFlight, s.ended = nil, s.closed
		}
	default:
		r.entries = append(r.entries, e)
		if e.Bulk > 1 {
			r.bulks++
		}
		r.event(e)
	}
}

// occasion is an event and those before it.
type occasion struct {
	context string
	before  []string
}

func (o occasion) String() string { return fmt.Sprintf("%s after %v", o.context, o.before) }

func (r *record) event(e entry) {
	var c eventContext
	decoder := json.NewDecoder(bytes.NewReader(e.Context))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		r.complain("%s: %s", err, e.Context)
		return
	}

	s := r.sentences[c.UUID]
	if s == nil {
		s = &sentence{eventContext: c}
		r.sentences[c.UUID] = s
	}
	name := occasion{string(e.Context), s.events}
	if f := s.inFlight; f != nil {
		// The plugin says that this exchange is over, so the worker must be.
		r.dead[f.Pid] = name.String() + " came while it had an event of that connection"
	}
	if s.closed {
		r.complain("%s: after the end", name)
	}
	if (c.Event == "CONNECTED") != (len(s.events) == 0) && (!r.lossy || c.Event == "CONNECTED") {
		r.complain("%s: CONNECTED comes first, and only then", name)
	}
	if c.RemoteAddr != s.RemoteAddr || c.Server != s.Server {
		r.complain("%s: was %s at %s", name, s.RemoteAddr, s.Server)
	}
	s.events, s.pids, s.inFlight = append(s.events, c.Event), append(s.pids, e.Pid), &e
	r.at[place{e.Pid, e.N}] = s

	isClose := c.Event == "CLOSE" || c.Event == "CLOSED"
	switch {
	case c.Event == "DATA":
		if len(s.packets) > 0 && s.packets[len(s.packets)-1].eof {
			r.complain("%s: DATA after the tail", name)
		}
		s.packets = append(s.packets, packet{string(e.Body), c.EOF})
	case isClose:
		handshake, proxy := s.TLS, s.Proxy
		s.closed, s.eventContext = true, c
		s.TLS, s.Proxy = handshake, proxy
	}
	if isClose != slices.Contains(reasons, c.Reason) {
		r.complain("%s: CLOSE has a reason, nothing else", name)
	}
	if (c.Event == "DATA") != (len(e.Body) > 0) {
		r.complain("%s: DATA has a body, nothing else", name)
	}
	if (c.TLS != nil || c.Proxy != nil) && c.Event != "CONNECTED" {
		r.complain("%s: only CONNECTED has the handshake, and what the proxy tells", name)
	}
	if c.EOF && c.Event != "DATA" {
		r.complain("%s: only DATA can be a tail", name)
	}
	if !isClose && c.Event != "CONNECTED" && c.Event != "DATA" {
		r.complain("%s: no such event", name)
	}
}

// await reads until the condition holds, and checks all that it reads.
func (r *record) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		require.Empty(t, strings.Join(r.update(), "\n"))
		return condition()
	})
}

// of waits until the last event of the client's connection is answered and returns what the workers have seen of it.
func (r *record) of(t *testing.T, c *client) *sentence {
	t.Helper()
	s := r.closedOf(t, c)
	r.await(t, "the CLOSE of "+c.LocalAddr().String()+" is answered", func() bool { return s.ended })
	return s
}

// closedOf waits until the last event has been handed over.
func (r *record) closedOf(t *testing.T, c *client) (found *sentence) {
	t.Helper()
	remote := c.LocalAddr().String()
	r.await(t, "CLOSE of "+remote, func() bool {
		for _, s := range r.sentences {
			if s.RemoteAddr == remote && s.Server == c.server && (s.client == nil || s.client == c) {
				found, s.client = s, c
			}
		}
		return found != nil && found.closed
	})
	return found
}

// all waits until n connections have had their last event answered and returns them by uuid.
func (r *record) all(t *testing.T, n int) map[string]*sentence {
	t.Helper()
	r.await(t, fmt.Sprintf("%d connections have ended", n), func() bool {
		ended := 0
		for _, s := range r.sentences {
			if s.ended {
				ended++
			}
		}
		return ended >= n
	})
	require.Len(t, r.sentences, n)
	return r.sentences
}

// now returns the sentences as they are.
func (r *record) now(t *testing.T) map[string]*sentence {
	t.Helper()
	r.await(t, "", func() bool { return true })
	return r.sentences
}

func (r *record) bootCount(t *testing.T) int {
	t.Helper()
	r.now(t)
	return len(r.boots)
}

// String says what a person wants to know when a test has failed.
func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	closed, ended := 0, 0
	var open strings.Builder
	for uuid, s := range r.sentences {
		if s.closed {
			closed++
		} else {
			fmt.Fprintf(&open, "\n\t%s %v", uuid, s.events)
		}
		if s.ended {
			ended++
		}
	}
	return fmt.Sprintf("%d workers, %d connections, %d with their CLOSE, %d with its answer; open: %s",
		len(r.boots), len(r.sentences), closed, ended, open.String())
}

// bodies are the packets without what is known of them beside.
func (s *sentence) bodies() []string {
	var all []string
	for _, p := range s.packets {
		all = append(all, p.body)
	}
	return all
}
