package cluster

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
)

// fakeRedis answers as a Redis Cluster of one.
type fakeRedis struct {
	address string
	// publish returns what a PUBLISH is answered; an empty answer cuts the connection.
	publish func(channel string) string
	// stuck: no connection is answered until it is closed; nil: at once.
	stuck chan struct{}
	// refusal is what a client that introduces itself is told; empty: it may.
	refusal string

	mu         sync.Mutex
	asked      map[string]int // how often, by the command
	ended      int            // connections
	subscribed string         // the channel that was subscribed to last
}

func startFakeRedis(t *testing.T, publish func(channel string) string) *fakeRedis {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &fakeRedis{address: listener.Addr().String(), publish: publish, asked: make(map[string]int)}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	serving.Add(1)
	go func() { // ends with the listener
		defer serving.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Add(1)
			go func() { // ends with the connection
				defer serving.Done()
				r.serve(conn)
			}()
		}
	}()
	return r
}

func (r *fakeRedis) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended++
	}()
	for in := bufio.NewReader(conn); ; {
		args, err := readCommand(in)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.asked[args[0]]++
		if args[0] == "subscribe" {
			r.subscribed = args[len(args)-1]
		}
		stuck := r.stuck
		r.mu.Unlock()
		if stuck != nil {
			<-stuck
		}
		if answer := r.answer(args); answer == "" {
			return
		} else if _, err = io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func (r *fakeRedis) answer(args []string) string {
	host, port, _ := net.SplitHostPort(r.address)
	switch args[0] {
	case "client":
		r.mu.Lock()
		defer r.mu.Unlock()
		return cmp.Or(r.refusal, "+OK\r\n")
	case "cluster":
		return fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%s:%s\r\n", bulk(host), port)
	case "ping":
		return "*2\r\n" + bulk("pong") + bulk(append(args, "")[1])
	case "subscribe": // there is a message for all already
		var answers strings.Builder
		for _, channel := range args[1:] {
			answers.WriteString("*3\r\n" + bulk("subscribe") + bulk(channel) + ":1\r\n")
			if strings.HasSuffix(channel, "}."+allSubject) {
				answers.WriteString("*3\r\n" + bulk("message") + bulk(channel) + bulk("hello"))
			}
		}
		return answers.String()
	case "publish":
		return r.publish(args[1])
	}
	return "-ERR unknown command\r\n"
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readSize(in)
	args := make([]string, n)
	for i := range args {
		size, err := readSize(in)
		if err != nil {
			return nil, err
		}
		arg := make([]byte, size+len("\r\n"))
		if _, err = io.ReadFull(in, arg); err != nil {
			return nil, err
		}
		args[i] = string(arg[:size])
	}
	return args, err
}

// readSize reads what stands behind * or $.
func readSize(in *bufio.Reader) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

func (r *fakeRedis) count(command string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[command]
}

func (r *fakeRedis) endedConnections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// ear is a receiver that notes what it is told.
type ear struct {
	onReceived func()

	mu       sync.Mutex
	downs    []error
	troubles []error
	results  map[uint64]string
}

func (e *ear) note(call uint64, result string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.results == nil {
		e.results = make(map[uint64]string)
	}
	e.results[call] = result
}

// count returns how often the engine was lost.
func (e *ear) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.downs)
}

func (e *ear) up(string) {}
func (e *ear) down(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.downs = append(e.downs, err)
}
func (e *ear) trouble(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.troubles = append(e.troubles, err)
}
func (e *ear) unusable(error)     {}
func (e *ear) received([]byte)    { e.onReceived() }
func (e *ear) nobody(call uint64) { e.note(call, "nobody") }
func (e *ear) unseen(call uint64) { e.note(call, "unseen") }
func (e *ear) failed(call uint64) { e.note(call, "failed") }

func redisOf(to receiver, addrs ...string) *redisEngine {
	timeout := time.Second
	return newRedis(&settings.Cluster{Name: "test", Timeout: &timeout, Redis: &settings.Redis{Addrs: addrs}}, NodeID{1}, to)
}

// A lost answer is no reason to publish again: the message may have been published.
func TestRedisPublishesOnce(t *testing.T) {
	for name, nodes := range map[string]int{"one Redis": 1, "a Redis Cluster": 2} {
		t.Run(name, func(t *testing.T) {
			r := startFakeRedis(t, func(string) string { return "" })
			to := &ear{}
			e := redisOf(to, []string{r.address, r.address}[:nodes]...)
			defer e.close()
			e.publish([]outgoing{{subject: "node.1", message: []byte("hello"), call: 7}})
			require.Equal(t, map[uint64]string{7: "failed"}, to.results)
			require.Equal(t, 1, r.count("publish"))
		})
	}
}

// Without a connection nobody is known to be away.
func TestRedisFailsWithoutAConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	to := &ear{}
	e := redisOf(to, address)
	defer e.close()
	e.publish([]outgoing{{subject: "node.1", message: []byte("hello"), call: 7}, {subject: "tag.1.1", message: []byte("hello"), call: 8}})
	require.Equal(t, map[uint64]string{7: "failed", 8: "failed"}, to.results)
}

// Redis takes its time to let the listener in: meanwhile nothing else waits.
func TestRedisConnectsMeanwhile(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	stuck := make(chan struct{})
	r.mu.Lock()
	r.stuck = stuck
	r.mu.Unlock()
	e := redisOf(&ear{}, r.address)
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return r.count("hello") > 0 }, patience, time.Millisecond)
	free := e.mu.TryLock()
	if free {
		e.mu.Unlock()
	}
	e.close()
	close(stuck)
	require.True(t, free)
}

// Behind an address there may be another server than before, which the connections for publishing find, too.
func TestRedisRenewsWhatPublishes(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	e := redisOf(&ear{}, r.address)
	defer e.close()
	require.Eventually(t, func() bool {
		e.publish([]outgoing{{subject: "node.1", message: []byte("hello")}})
		return r.count("hello") > 1
	}, 4*redisRenewal, redisRenewal/20)
	require.Eventually(t, func() bool { return r.endedConnections() == 1 }, patience, time.Millisecond)
}

// That Redis does not let the listener in is trouble.
func TestRedisRefusesTheListener(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	r.mu.Lock()
	r.refusal = "-NOAUTH Authentication required.\r\n"
	r.mu.Unlock()
	to := &ear{}
	e := redisOf(to, r.address)
	defer e.close()
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return to.count() > 1 }, patience, time.Millisecond)
	to.mu.Lock()
	defer to.mu.Unlock()
	require.NotEmpty(t, to.troubles)
	require.ErrorContains(t, to.troubles[0], "NOAUTH")
}

// Where nothing can be published for long, but everything is heard, Redis is not lost: it is trouble.
func TestRedisSaysThatNothingCanBePublished(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(channel string) string { return map[string]string{"{test}.good": ":1\r\n"}[channel] })
	to := &ear{onReceived: func() {}}
	e := redisOf(to, r.address)
	defer e.close()
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return e.subscribed.Load() != nil }, patience, time.Millisecond)
	troubles := func(subject string) []error {
		e.publish([]outgoing{{subject: subject, message: []byte("hello")}})
		to.mu.Lock()
		defer to.mu.Unlock()
		return to.troubles
	}
	later := func() { e.failed = e.failed.Add(-2 * redisFailing) }

	require.Empty(t, troubles("bad"))
	require.Empty(t, troubles("bad"), "Redis may be lost")
	later()
	require.Empty(t, troubles("good"))
	require.Empty(t, troubles("bad"), "it was not so all the time")
	later()
	e.failing = &redis.PubSub{} // of the session before
	require.Empty(t, troubles("bad"))
	later()
	require.Len(t, troubles("bad"), 1)
	require.ErrorContains(t, to.troubles[0], "nothing can be published: EOF")
}

// Redis is not silent while nothing is read because a message takes long.
func TestRedisIsHeardBehindALongMessage(t *testing.T) {
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	await := func(pings int) {
		assert.Eventually(t, func() bool { return r.count("ping") >= pings || r.endedConnections() > 0 }, patience, time.Millisecond)
	}
	done := make(chan struct{}) // closed when the message is dealt with
	to := &ear{onReceived: func() {
		await(2 + int(redisSilence/redisPing) + 1)
		close(done)
	}}
	e := redisOf(to, r.address)
	defer e.close()
	e.subscribe([]string{"all"})
	require.NoError(t, e.start())
	<-done
	await(r.count("ping") + 2)
	require.Zero(t, r.endedConnections())
	to.mu.Lock()
	defer to.mu.Unlock()
	require.Empty(t, to.downs)
}

// A read without a deadline, as of a Sentinel's failovers, may be silent for longer; one of a message may not.
func TestRedisConnectionIsSilentWhereItMayBe(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	conn, err := listening(func(context.Context, string, string) (net.Conn, error) { return here, nil })(context.Background(), "", "")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	go func() { // ends when conn reads or is closed
		time.Sleep(redisSilence + redisPing)
		_, _ = there.Write([]byte("x"))
	}()
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)

	require.NoError(t, conn.SetReadDeadline(time.Now().Add(redisForever)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, errRedisSilent)
}

// Redis cuts off a client that does not read what it answers: a node with very many tags reads while it subscribes.
func TestRedisSubscribesToManyChannels(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	to := &ear{onReceived: func() {}}
	e := redisOf(to, r.address)
	defer e.close()
	const many = 200 * redisChannels
	subjects := []string{allSubject, nodeSubject(NodeID{1})}
	for i := range many {
		subjects = append(subjects, tagSubject(uint64(i), NodeID{1}))
	}
	e.subscribe(subjects)
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return e.subscribed.Load() != nil || to.count() > 0 }, patience, time.Millisecond)
	to.mu.Lock()
	defer to.mu.Unlock()
	require.Empty(t, to.downs)
	require.Equal(t, 2+many/redisChannels, r.count("subscribe"), "to all, to the tags, and to what is for this node")
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, e.own, r.subscribed, "whom this node answers may look for its tags")
}

// As long as Redis deals with a command it serves nobody, this node among them.
func TestRedisIsToldOfManyChannelsInSteps(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	e := redisOf(&ear{onReceived: func() {}}, r.address)
	defer e.close()
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return e.subscribed.Load() != nil }, patience, time.Millisecond)
	before := r.count("subscribe")
	const steps = 20
	var subjects []string
	for i := range steps * redisChannels {
		subjects = append(subjects, tagSubject(uint64(i), NodeID{1}))
	}
	e.subscribe(subjects)
	e.settle(context.Background())
	require.Equal(t, before+steps, r.count("subscribe"))
}

// Nobody waits for what a connection that is lost would have answered.
func TestRedisSettlesWhenItIsLost(t *testing.T) {
	t.Parallel()
	r := startFakeRedis(t, func(string) string { return ":1\r\n" })
	e := redisOf(&ear{onReceived: func() {}}, r.address)
	defer e.close()
	require.NoError(t, e.start())
	require.Eventually(t, func() bool { return e.subscribed.Load() != nil }, patience, time.Millisecond)
	stuck := make(chan struct{})
	defer close(stuck)
	r.mu.Lock()
	r.stuck = stuck
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e.settle(ctx)
	require.NoError(t, ctx.Err())
}

// That a connection is lost is for its reader to say: go-redis would connect again for who writes, and print that.
func TestRedisConnectionIsLostForItsReader(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	conn, err := listening(func(context.Context, string, string) (net.Conn, error) { return here, nil })(context.Background(), "", "")
	require.NoError(t, err)
	require.NoError(t, there.Close())
	for range 2 {
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(patience)))
		_, err = conn.Write([]byte("x"))
		require.NoError(t, err)
	}
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(redisForever)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorAs(t, err, new(lostError))
}
