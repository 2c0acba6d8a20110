package tests

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// talkers are clients who come, ask, and leave in every way, whatever is done to them meanwhile. What they send is told by
// the number of the connection and of the packet, and so is what they must get.
type talkers struct {
	t    *testing.T
	dial func() (net.Conn, error)
	// faults are packets that end the connection, most of them with the worker; one in so many connections sends one.
	faults []string
	oneIn  int
	others []string      // what those who are no talkers send first
	pause  time.Duration // between two packets of a client
	hangs  time.Duration // where answers may be lost on the way: how long to wait for one
	within time.Duration // how long every other answer may take; patience if not given
	whole  bool          // nothing is done to them: each connection is accepted, and stays until its client leaves

	over  atomic.Bool
	wg    sync.WaitGroup
	ids   *atomic.Int64 // connections; those who talk to the same host share it
	asked atomic.Int64  // packets that were answered
	sent  atomic.Int64  // faults

	mu       sync.Mutex
	answered map[int64]int // packets of each connection
	wrong    []string
}

func (ts *talkers) start(n int) {
	ts.answered = make(map[int64]int)
	if ts.ids == nil {
		ts.ids = new(atomic.Int64)
	}
	for range n {
		ts.wg.Add(1)
		go ts.talk() // ends with stop
	}
}

// stop ends all of them and fails if one was told what is not true.
func (ts *talkers) stop() {
	ts.t.Helper()
	ts.over.Store(true)
	ts.wg.Wait()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	require.Empty(ts.t, strings.Join(ts.wrong, "\n"))
}

func (ts *talkers) complain(format string, a ...any) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.wrong = append(ts.wrong, fmt.Sprintf(format, a...))
}

func (ts *talkers) talk() {
	defer ts.wg.Done()
	for !ts.over.Load() {
		conn, err := ts.dial()
		if err != nil {
			ts.cutOff(err, "before connection %d", ts.ids.Load())
			time.Sleep(10 * time.Millisecond)
			continue
		}
		id := ts.ids.Add(1)
		n := ts.converse(id, conn)
		_ = conn.Close()
		ts.asked.Add(int64(n))
		ts.mu.Lock()
		ts.answered[id] = n
		ts.mu.Unlock()
	}
}

// converse returns how many packets were answered.
func (ts *talkers) converse(id int64, conn net.Conn) (answered int) {
	chance := rand.New(rand.NewPCG(uint64(id), 1))
	fault := ""
	if ts.oneIn > 0 && chance.IntN(ts.oneIn) == 0 {
		fault = ts.faults[chance.IntN(len(ts.faults))]
	}
	together := 1 + chance.IntN(3)
	for rounds := 1 + chance.IntN(12); rounds > 0 && !ts.over.Load(); rounds-- {
		for i := range together {
			if err := cutUp(conn, talk(id, answered+i), chance); err != nil {
				ts.cutOff(err, "connection %d, packet %d", id, answered+i)
				return answered
			}
		}
		for range together {
			if !ts.hears(id, conn, talk(id, answered)) {
				return answered
			}
			answered++
		}
		time.Sleep(ts.pause)
	}

	tail := talk(id, answered)
	switch ending := chance.IntN(4); {
	case fault != "":
		ts.sent.Add(1)
		_, _ = io.WriteString(conn, fault+"\r\n")
		if c, ok := conn.(*net.TCPConn); ok && c.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	case ending == 0: // a tail, which is answered
		_, _ = io.WriteString(conn, tail[:len(tail)/2])
		if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
			_ = ts.hears(id, conn, tail[:len(tail)/2])
		}
	case ending == 1: // in the middle of a packet
		_, _ = io.WriteString(conn, tail[:len(tail)/2])
	case ending == 2:
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.SetLinger(0)
		}
	}
	return answered
}

// hears takes in an answer. False: it is cut off, which is no lie where faults are injected.
func (ts *talkers) hears(id int64, conn net.Conn, want string) bool {
	wait := max(ts.hangs, ts.within)
	if wait == 0 {
		wait = patience
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if want[:n] != string(got[:n]) {
		ts.complain("connection %d: got %.60q, want %.60q", id, got[:n], want)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ts.hangs == 0 {
		ts.complain("connection %d: no answer to %.60q", id, want)
	} else if err != nil {
		ts.cutOff(err, "connection %d, no answer to %.60q", id, want)
	}
	return err == nil
}

// cutOff complains of the end of a connection where nothing is done to any.
func (ts *talkers) cutOff(err error, where string, a ...any) {
	if ts.whole {
		ts.complain("%s: %s", fmt.Sprintf(where, a...), err)
	}
}

// cutUp sends a packet, now and then in pieces.
func cutUp(conn net.Conn, packet string, chance *rand.Rand) error {
	for packet != "" {
		n := len(packet)
		if chance.IntN(8) == 0 {
			n = 1 + chance.IntN(n)
		}
		if _, err := io.WriteString(conn, packet[:n]); err != nil {
			return err
		}
		packet = packet[n:]
	}
	return nil
}

// talk is the packet number n of a connection.
func talk(id int64, n int) string {
	size := int(id*31+int64(n)*17) % 200
	if (id+int64(n))%40 == 0 {
		size *= 200
	}
	return fmt.Sprintf("%d %d %s\r\n", id, n, pattern(size))
}

// requireTruth fails unless the workers were handed exactly what was sent. A packet that the end cut off may have come
// as a tail. It returns how many packets it has compared.
func (ts *talkers) requireTruth(sentences map[string]*sentence) (compared int) {
	ts.t.Helper()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, s := range sentences {
		var id int64
		if len(s.packets) == 0 || s.packets[0].eof {
			continue
		}
		if _, err := fmt.Sscanf(s.packets[0].body, "%d 0 ", &id); err != nil { // no talker's
			require.Contains(ts.t, append(ts.others, ts.faults...), strings.TrimSuffix(s.packets[0].body, "\r\n"))
			continue
		}
		for n, p := range s.packets {
			want, isFault := talk(id, n), len(p.body) > 0 && p.body[0] == '!'
			ok := p.body == want || p.eof && strings.HasPrefix(want, p.body) || isFault && n == len(s.packets)-1
			require.True(ts.t, ok, "packet %d of connection %d is %.60q, want %.60q", n, id, p.body, want)
			compared++
		}
		require.LessOrEqual(ts.t, ts.answered[id], len(s.packets), "connection %d", id)
	}
	return compared
}

// lost is how many events a worker got that was killed before it wrote them down: sentences without a beginning and, once
// no connection is open any more, without an end.
func (r *record) lost() (n int) {
	for _, s := range r.sentences {
		if s.events[0] != "CONNECTED" {
			n++
		}
		if !s.closed {
			n++
		}
	}
	return n
}

// awaitEnd waits until all sentences are finished, but for the events that killed workers have taken with them.
func (r *record) awaitEnd(t *testing.T, kills int) {
	t.Helper()
	r.await(t, fmt.Sprintf("no more than %d events are lost", kills), func() bool { return r.lost() <= kills })
}

// current waits for the client's CONNECTED and returns what the workers have seen of it up to now.
func (r *record) current(t *testing.T, c *client) (found *sentence) {
	t.Helper()
	remote := c.LocalAddr().String()
	r.await(t, "CONNECTED of "+remote, func() bool {
		for _, s := range r.sentences {
			if s.RemoteAddr == remote && s.Server == c.server {
				found = s
			}
		}
		return found != nil
	})
	return found
}
