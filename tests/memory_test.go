package tests

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIdleConnectionMemory(t *testing.T) {
	t.Parallel()
	const connections, most = 3000, 9 // KiB each
	p := startCollecting(t, minimal)
	require.Equal(t, "hello", p.dial("echo").ask("hello"))
	before := p.rss()
	all := make([]*client, connections)
	for i := range all {
		all[i] = p.dial("echo")
		require.Equal(t, "hello", all[i].ask("hello"))
	}
	taken := p.rssBelow(before+connections*most, all[0]) - before
	t.Logf("%.1f KiB each", float64(taken)/connections)
	last := p.dial("echo")
	for _, c := range all {
		_ = c.Close()
	}
	p.rssBelow(before+taken/2, last)
}

// startCollecting is startPlain with a runtime that collects soon and keeps a tenth more than what is in use. By default it waits
// until that is as much as what is in use, and gives back what it has collected minutes later.
func startCollecting(t *testing.T, yaml string) *host {
	t.Helper()
	h := newHost(t, shortDir(t))
	h.plain, h.env = true, []string{"GOGC=10"}
	return h.serve(yaml)
}

// rssBelow waits until the program has given back what is too much. It collects once in two minutes while it has nothing to do, so a client
// keeps it busy.
func (p *host) rssBelow(most int, busy *client) (kib int) {
	p.t.Helper()
	packet := string(pattern(64 << 10))
	eventually(p.t, fmt.Sprintf("RSS is below %d KiB", most), func() bool {
		for range 50 {
			require.Equal(p.t, packet, busy.ask(packet))
		}
		kib = p.rss()
		return kib < most
	})
	return kib
}

func TestIdleTLSConnectionMemory(t *testing.T) {
	t.Parallel()
	const connections, most = 1000, 25 // KiB each
	ca, dir := newAuthority(t, "ca"), shortDir(t)
	ca.server("localhost").save(t, dir, "server")
	p := startCollecting(t, strings.ReplaceAll(secure, "DIR", dir))
	config := ca.trust("localhost")
	ask := func(packet string) *client {
		conn := tls.Client(p.dial("echo").Conn, config)
		require.NoError(t, conn.Handshake())
		c := clientOf(t, conn)
		require.Equal(t, packet, c.ask(packet))
		return c
	}
	first := ask("hello")
	for _, size := range []int{5, 16 << 10} {
		packet := string(pattern(size))
		before := p.rss()
		for range connections {
			ask(packet)
		}
		each := (p.rssBelow(before+connections*most, first) - before) / connections
		t.Logf("%d KiB each after packets of %d bytes", each, size)
	}
}

// tlsAbuses are what clients do whose messages of TLS have no end.
var tlsAbuses = map[string]func(net.Conn){
	"an unfinished message": func(c net.Conn) {
		config := &tls.Config{InsecureSkipVerify: true}
		var keys bytes.Buffer
		config.KeyLogWriter, config.MinVersion = &keys, tls.VersionTLS13
		client := tls.Client(c, config)
		if client.Handshake() == nil {
			_, _ = c.Write(unfinishedMessage(keys.String(), 250<<10))
		}
	},
	"an unfinished handshake": func(c net.Conn) {
		config := &tls.Config{InsecureSkipVerify: true}
		for range 234 { // names of 60 KB
			config.NextProtos = append(config.NextProtos, strings.Repeat("x", 255))
		}
		_ = tls.Client(deaf{c}, config).Handshake()
	},
}

// What clients send whose messages of TLS have no end counts as a packet that they have begun, and as memory.
func TestTLSAbuse(t *testing.T) { // not beside others
	const limit, allowed = 16, 150 // MiB
	const clients = 900
	h := newHost(t, shortDir(t))
	h.plain = true
	h.serveTLS(newAuthority(t, "ca"), strings.Replace(secure, "tcp:\n", "tcp:\n  memory_limit: 16MB\n  packet_timeout: 2s\n", 1), nil)
	for name, abuse := range tlsAbuses {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for range clients {
				all.Add(1)
				go func() { // ends when the server has closed the connection
					defer all.Done()
					c, err := net.Dial("tcp", h.addr("echo").String())
					if err != nil {
						return
					}
					defer c.Close()
					abuse(c)
					_, _ = io.Copy(io.Discard, c)
				}()
			}
			ended, peak := make(chan struct{}), 0
			go func() { all.Wait(); close(ended) }()
			for over := false; !over; {
				select {
				case <-ended:
					over = true
				case <-time.After(20 * time.Millisecond):
					peak = max(peak, h.rss())
				}
			}
			t.Logf("RSS of %d MiB at most", peak>>10)
			require.Less(t, peak>>10, limit+allowed)
			require.Equal(t, "hello", h.dialTLS("echo", &tls.Config{InsecureSkipVerify: true}).ask("hello"))
			eventually(t, "nothing is held", func() bool { return h.stats().BufferedBytes == 0 })
		})
	}
}

// deaf is the connection of a client that hears nothing.
type deaf struct{ net.Conn }

func (deaf) Read([]byte) (int, error) { return 0, io.EOF }

// rss is the program's resident memory in KiB.
func (p *host) rss() (kib int) {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscan(line, &kib)
	require.NoError(p.t, err)
	return kib
}
