package tests

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

func TestPushCodecs(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC, "connected=hello")
	binary := "\x00\xff\xfe raw\r\n" // no UTF-8

	type object = map[string]any
	byFrame := func(codec byte, marshal func(any) ([]byte, error), unmarshal func([]byte, any) error) func(string, object) any {
		return func(method string, argument object) (answer any) {
			raw, err := marshal(argument)
			require.NoError(t, err)
			body, text := h.callFrame(codec, method, raw)
			require.Empty(t, text)
			require.NoError(t, unmarshal(body, &answer))
			return answer
		}
	}
	for codec, test := range map[string]struct {
		call func(method string, argument object) any
		body any
	}{
		"JSON":               {byFrame(frame.CodecJSON, json.Marshal, json.Unmarshal), base64.StdEncoding.EncodeToString([]byte(binary))},
		"msgpack":            {byFrame(frame.CodecMsgpack, msgpack.Marshal, msgpack.Unmarshal), []byte(binary)},
		"msgpack with a str": {byFrame(frame.CodecMsgpack, msgpack.Marshal, msgpack.Unmarshal), binary},
	} {
		t.Run(codec, func(t *testing.T) {
			c := h.dialFrom(t, "echo")
			uuid := c.receive()
			require.Equal(t, "accepted", test.call("tcp.Write", object{"uuid": uuid, "body": test.body}))
			require.Equal(t, binary, c.receive()+"\r\n")
			require.Equal(t, "accepted", test.call("tcp.Tag", object{"uuid": uuid, "add": []string{"room"}, "remove": []string{"x"}}))
			require.Equal(t, "gone", test.call("tcp.Tag", object{"uuid": stranger, "add": []string{"room"}}))
			for _, selector := range []object{{"tag": "room"}, {"server": "echo"}, {"uuids": []string{uuid}}, {"tag": "room", "server": nil, "uuids": nil}} {
				selector["body"] = test.body
				require.EqualValues(t, fmt.Sprint(object{"accepted": 1, "gone": 0, "full": 0}), fmt.Sprint(test.call("tcp.Broadcast", selector)))
				require.Equal(t, binary, c.receive()+"\r\n")
			}
			nobody := test.call("tcp.Broadcast", object{"server": "echo", "uuids": []string{}, "body": test.body})
			require.EqualValues(t, fmt.Sprint(object{"accepted": 0, "gone": 0, "full": 0}), fmt.Sprint(nobody), "an empty list is nobody")

			page := test.call("tcp.Connections", object{"server": "echo"}).(object)
			require.Equal(t, "", page["next"])
			require.Len(t, page["connections"], 1)
			one := page["connections"].([]any)[0].(object)
			wanted := object{
				"uuid": uuid, "server": "echo", "remote_addr": c.LocalAddr().String(), "tags": []any{"room"}, "state": "reading",
				"packets": 0, "bytes": 0, "bytes_written": len(uuid) + 2 + 5*len(binary),
			}
			for key, want := range wanted {
				require.Equal(t, fmt.Sprint(want), fmt.Sprint(one[key]), key)
			}
			require.Equal(t, "hello", c.ask("hello"))
			require.Equal(t, "accepted", test.call("tcp.Write", object{"uuid": uuid, "body": test.body, "close": true}))
			require.Equal(t, binary, c.rest())
			require.Equal(t, "rpc", h.record.of(t, c).Reason)
			require.Equal(t, "gone", test.call("tcp.Write", object{"uuid": uuid, "body": test.body}))
		})
	}

	t.Run("gob", func(t *testing.T) {
		c := h.dialFrom(t, "echo")
		uuid := c.receive()
		h.tag(uuid, "room", "user:7")
		require.Equal(t, pushAccepted, h.push(uuid, binary, false))
		require.Equal(t, pushCounts{Accepted: 1}, h.broadcast(broadcastRequest{Tag: "user:7", Server: "echo", Body: []byte(binary)}))
		require.Equal(t, pushCounts{Gone: 1}, h.broadcast(broadcastRequest{UUIDs: []string{stranger}, Body: []byte(binary)}))
		require.Equal(t, binary+binary, c.receive()+"\r\n"+c.receive()+"\r\n")
		var page connectionPage
		require.NoError(t, h.call("tcp.Connections", connectionQuery{Tag: "room"}, &page))
		require.Len(t, page.Connections, 1)
		require.Equal(t, []string{"room", "user:7"}, page.Connections[0].Tags)
		var stats stats
		require.NoError(t, h.call("tcp.Stats", true, &stats))
		require.Equal(t, map[string]int{"echo": 1}, stats.Servers)
		require.Equal(t, 2, stats.Tags)
		require.Equal(t, 256<<20, int(stats.MemoryLimit))
	})

	t.Run("mistakes", func(t *testing.T) {
		for _, test := range []struct{ method, argument, want string }{
			{"tcp.Write", `{"uuid":"7","body":"AAAA"}`, `tcp: write: uuid: "7": want the uuid of a connection`},
			{"tcp.Write", `{"uuid":"` + stranger + `","body":"$$$"}`, "tcp: write: body: is no base64: illegal base64"},
			{"tcp.Write", `{"uuid":7}`, "tcp: write: uuid: a number can't be read; docs/push.md has the keys and what they can be"},
			{"tcp.Write", `{"uuid":"` + stranger + `","text":"AAAA"}`, `tcp: write: unknown field "text"`},
			{"tcp.Broadcast", `{"body":"AAAA"}`, "server, uuids and tag are missing"},
			{"tcp.Broadcast", `{"server":"echo","tags":["a"],"body":"AAAA"}`, `tcp: broadcast: unknown field "tags"; docs/push.md has the keys`},
			{"tcp.Tag", `{"uuid":"` + stranger + `","tags":["a"]}`, `tcp: tag: unknown field "tags"`},
			{"tcp.Tag", `{"uuid":"` + stranger + `","add":["` + "\xff" + `"]}`, "tcp: tag: is not UTF-8"},
			{"tcp.Tag", `{"uuid":"` + stranger + `","add":["\udcff"]}`, `tcp: tag: has \udc…, half of a pair`},
			{"tcp.Connections", `{"serverx":"echo"}`, `tcp: connections: unknown field "serverx"`},
			{"tcp.Connections", `[]`, "tcp: connections: the argument: a array can't be read"},
		} {
			_, text := h.callFrame(frame.CodecJSON, test.method, []byte(test.argument))
			require.Contains(t, text, test.want)
		}
		_, text := h.callFrame(frame.CodecJSON, "tcp.Stats", []byte(`null`))
		require.Empty(t, text)
	})
}

// pushed is the line i that a pusher sends.
func pushed(name string, i int) string {
	return fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", i%100*10))
}

func TestConcurrentPushesStayWhole(t *testing.T) { // not in parallel: it takes all there is
	pushes, packets := 10_000, 2000
	if len(buildFlags) > 0 {
		pushes = 3000 // under the race detector one takes so much longer
	}
	interpreter := php(t)
	script, err := filepath.Abs("php/push.php")
	require.NoError(t, err)
	h := start(t, withRPC, "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()

	var pushers sync.WaitGroup
	pushers.Add(3)
	go func() {
		defer pushers.Done()
		out, err := exec.Command(interpreter, script, h.dir+"/rpc", uuid, fmt.Sprint(pushes), "php").CombinedOutput()
		assert.NoError(t, err, string(out))
	}()
	go func() {
		defer pushers.Done()
		conn, err := net.Dial("unix", h.dir+"/rpc")
		assert.NoError(t, err)
		client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
		defer func() { _ = client.Close() }()
		for i := 0; i < pushes; {
			var result string
			request := writeRequest{UUID: uuid, Body: []byte(pushed("go", i) + "\r\n")}
			if !assert.NoError(t, client.Call("tcp.Write", request, &result)) {
				return
			}
			if result == pushAccepted {
				i++
				continue
			}
			assert.Equal(t, pushFull, result)
			time.Sleep(time.Millisecond)
		}
	}()
	go func() {
		defer pushers.Done()
		for i := range packets {
			_, err := io.WriteString(c, pushed("packet", i*7)+"\r\n")
			assert.NoError(t, err)
		}
	}()

	next := map[string]int{}
	for range 2*pushes + packets {
		line := c.receive()
		name, _, _ := strings.Cut(line, " ")
		i := next[name]
		if next[name]++; name == "packet" {
			i *= 7
		}
		require.Equal(t, pushed(name, i), line)
	}
	require.Equal(t, map[string]int{"go": pushes, "php": pushes, "packet": packets}, next)
	pushers.Wait()
}

func TestPushDuringExchange(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, withRPC, "connected=hello", at)
	c := h.dial("echo")
	uuid := c.receive()
	c.send("!gate echo")
	v := g.next()
	require.Equal(t, pushAccepted, h.push(uuid, "meanwhile\r\n", false))
	require.Equal(t, "meanwhile", c.receive())
	v.release()
	require.Equal(t, "!gate echo", c.receive())

	c.send("!gate echo")
	v = g.next()
	require.Equal(t, pushAccepted, h.push(uuid, "bye\r\n", true))
	require.Equal(t, "bye\r\n", c.rest(), "though the worker still has the event")
	require.Equal(t, pushGone, h.push(uuid, "x", false))
	v.release()
	require.Equal(t, "rpc", h.record.of(t, c).Reason)
}

func TestPushDuringConnected(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, withRPC, "connected=gate hello", at)
	c := h.dial("echo")
	v := g.next()
	require.Equal(t, pushAccepted, h.push(v.uuid, "early\r\n", false))
	require.Equal(t, "early", c.receive())
	page := h.connections(connectionQuery{})
	require.Equal(t, "opening", page.Connections[0].State)
	v.release()
	require.Equal(t, v.uuid, c.receive())
}

func TestPushToSlowReader(t *testing.T) {
	t.Parallel()
	h := start(t, strings.Replace(withRPC, "tcp:\n", "tcp:\n  write_timeout: 30s\n  push_queue: 64KiB\n", 1), "connected=hello")
	slow, cut, other := h.dial("echo"), h.dial("echo"), h.dial("echo")
	body := string(pattern(64 << 10))
	until := func(uuid string, want string) {
		eventually(t, "it is "+want, func() bool {
			got := pushAccepted
			for got == pushAccepted {
				got = h.push(uuid, body, false)
			}
			return got == want
		})
	}
	uuid := cut.receive()
	until(uuid, pushFull)
	h.closeConnection(uuid)
	require.Equal(t, "rpc", h.record.of(t, cut).Reason, "at once, though a push is being written")
	until(uuid, pushGone)

	uuid = slow.receive()
	until(uuid, pushFull)
	other.receive()
	require.Equal(t, "hello", other.ask("hello"))
	until(uuid, pushGone) // since the client takes nothing
	require.Equal(t, "slow", h.record.of(t, slow).Reason)
}

func TestStopFlushesPushes(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC, "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()
	body := string(pattern(900_000))
	got := make(chan string, 1) // receives once
	go func() {                 // ends with the connection, or with the client's patience
		time.Sleep(50 * time.Millisecond) // so that some of it waits when the plugin stops
		rest, err := io.ReadAll(c.r)
		assert.NoError(t, err)
		got <- string(rest)
	}()
	for range 2 {
		require.Equal(t, pushAccepted, h.push(uuid, body[:450_000], false))
	}
	h.terminate()
	require.True(t, body[:450_000]+body[:450_000] == <-got)
	require.Equal(t, "shutdown", h.record.of(t, c).Reason)
}

// throng is a program of many clients: ADDRESS READERS DEAF. It tells when all are connected, and how many of the readers
// have had a line. It ends with its standard input.
func throng(args []string) int {
	var readers, deaf int
	_, _ = fmt.Sscan(args[1], &readers)
	_, _ = fmt.Sscan(args[2], &deaf)
	addresses := strings.Split(args[0], ",")
	conns := make([]net.Conn, readers+deaf)
	for i := range conns {
		address := addresses[0]
		if i >= readers {
			address = addresses[1]
		}
		var err error
		if conns[i], err = net.Dial("tcp", address); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("connected")
	had := 0
	for _, conn := range conns[:readers] {
		_ = conn.SetReadDeadline(time.Now().Add(5 * patience)) // much comes before the line
		if line, _ := bufio.NewReaderSize(conn, 64).ReadString('\n'); line == "to all\r\n" {
			had++
		}
	}
	fmt.Println("had", had)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startThrong starts a throng and waits until it is connected. The result is what it says next.
func startThrong(t *testing.T, addresses string, readers, deaf int) *bufio.Scanner {
	t.Helper()
	many := exec.Command(buildWorker(t), addresses, fmt.Sprint(readers), fmt.Sprint(deaf))
	many.Env = append(os.Environ(), "RRTCP_THRONG=1")
	in, err := many.StdinPipe()
	require.NoError(t, err)
	out, err := many.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, many.Start())
	t.Cleanup(func() { _ = in.Close(); _ = many.Wait() })
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "connected", lines.Text())
	return lines
}

func TestBroadcastToTenThousand(t *testing.T) { // not in parallel: it takes all there is
	const readers, deaf = 9800, 200
	h := startPlain(t, `
tcp:
  write_timeout: 10m
  memory_limit: "1GB"
  servers: {echo: {addr: "127.0.0.1:0", events: [DATA]}, deaf: {addr: "127.0.0.1:0", events: [DATA]}}
  pool: {num_workers: 1}
`)
	lines := startThrong(t, h.addr("echo").String()+","+h.addr("deaf").String(), readers, deaf)
	eventually(t, "all are accepted", func() bool { return h.stats().Connections == readers+deaf })

	tag := h.tagger(t)
	for q := (connectionQuery{Limit: 1000}); ; {
		var page connectionPage
		require.NoError(t, h.call("tcp.Connections", q, &page))
		for _, c := range page.Connections {
			tag(c.UUID, "room")
		}
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	body := pattern(1 << 20)
	for n := (pushCounts{Accepted: 1}); n.Accepted > 0; {
		n = h.broadcast(broadcastRequest{Server: "deaf", Body: body})
	}

	begin := time.Now()
	n := h.broadcast(broadcastRequest{Tag: "room", Body: []byte("to all\r\n")})
	took := time.Since(begin)
	t.Log("a broadcast was accepted within ", took)
	require.Equal(t, readers+deaf, n.Accepted+n.Full)
	require.GreaterOrEqual(t, n.Accepted, readers)
	require.Less(t, took, atOnce, "it does not wait for the deaf")
	require.True(t, lines.Scan())
	require.Equal(t, fmt.Sprint("had ", readers), lines.Text())
}

// tagger calls tcp.Tag over one connection.
func (h *host) tagger(t *testing.T) func(uuid string, add ...string) {
	t.Helper()
	conn, err := net.Dial("unix", h.dir+"/rpc")
	require.NoError(t, err)
	client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
	t.Cleanup(func() { _ = client.Close() })
	return func(uuid string, add ...string) {
		var result string
		require.NoError(t, client.Call("tcp.Tag", tagRequest{UUID: uuid, Add: add}, &result))
		require.Equal(t, pushAccepted, result)
	}
}

func TestPushThroughTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	g, at := newGate(t)
	h := startTLS(t, ca, ""+secure, nil, "connected=hello", at)
	c := h.dialTLS("echo", ca.trust("localhost"))
	uuid := c.receive()
	c.send("!gate echo")
	v := g.next()
	require.Equal(t, pushAccepted, h.push(uuid, "meanwhile\r\n", false))
	require.Equal(t, "meanwhile", c.receive())
	require.Equal(t, pushAccepted, h.push(uuid, "bye\r\n", true))
	require.Equal(t, "bye\r\n", c.rest(), "though the worker still has the event")
	v.release()
	require.Equal(t, "rpc", h.record.of(t, c).Reason)
}

func TestReplySetsTags(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC, "connected=hello")
	c := h.dial("echo")
	uuid := c.receive()
	tags := func() []string {
		var page connectionPage
		require.NoError(t, h.call("tcp.Connections", connectionQuery{}, &page))
		require.Len(t, page.Connections, 1)
		return page.Connections[0].Tags
	}
	require.Equal(t, "ok", c.ask(`!answer {"reply":"WRITE","tags":["room:1","user:7"]} ok`))
	require.Equal(t, []string{"room:1", "user:7"}, tags())
	require.Equal(t, pushCounts{Accepted: 1}, h.broadcast(broadcastRequest{Tag: "room:1", Body: []byte("hello\r\n")}))
	require.Equal(t, "hello", c.receive())
	h.tag(uuid, "more")
	require.Equal(t, "ok", c.ask(`!answer {"reply":"WRITE"} ok`))
	require.Equal(t, []string{"more", "room:1", "user:7"}, tags())
	require.Equal(t, "ok", c.ask(`!answer {"reply":"WRITE","tags":["room:2"]} ok`))
	require.Equal(t, []string{"room:2"}, tags())
	require.Equal(t, "ok", c.ask(`!answer {"reply":"WRITE","tags":[]} ok`))
	require.Empty(t, tags())
}
