package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream"
)

func TestPushesAndAnswersKeepOrder(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testPushOrder(t, false) })
	t.Run("TLS", func(t *testing.T) { testPushOrder(t, true) })
}

const pushers, pushesEach, packetsSent = 4, 300, 300

// testPushOrder pushes from several goroutines while answers are written: nothing interleaves, nothing is lost or overtakes.
func testPushOrder(t *testing.T, secure bool) {
	server, plain := tcpPair(t)
	client := net.Conn(plain)
	answer := "answer " + strings.Repeat("x", 70_000) + "\r\n" // more than one write of the kernel takes
	l := testListener(answers(reply("WRITE", answer)))
	l.settings.PushQueue = 0
	if secure {
		l.useTLS(t)
		client = tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	}
	c, ended := l.serveConn(server)
	r := bufio.NewReaderSize(client, 1<<17)
	line, err := r.ReadString('\n') // the answer to CONNECTED
	require.NoError(t, err)
	require.Equal(t, answer, line)

	var all sync.WaitGroup
	for p := range pushers {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range pushesEach {
				assert.Equal(t, stream.PushAccepted, c.writer.Push([]byte(pushBody(p, i)), false))
			}
		}()
	}
	go func() { _, _ = client.Write(bytes.Repeat([]byte("packet\r\n"), packetsSent)) }()

	requireOrder(t, r, answer)
	all.Wait()
	client.Close()
	receive(t, ended)
	require.Zero(t, l.memory.Used())
}

func pushBody(pusher, i int) string {
	return fmt.Sprintf("push %d %d %s\r\n", pusher, i, strings.Repeat("y", i*100))
}

func requireOrder(t *testing.T, r *bufio.Reader, answer string) {
	next, answered := [pushers]int{}, 0
	for range pushers*pushesEach + packetsSent {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == answer {
			answered++
			continue
		}
		var p, i int
		_, err = fmt.Sscanf(line, "push %d %d", &p, &i)
		require.NoError(t, err, "%.60q", line)
		require.Equal(t, next[p], i)
		require.Equal(t, pushBody(p, i), line)
		next[p]++
	}
	require.Equal(t, packetsSent, answered)
}
