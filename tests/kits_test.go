package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
	"github.com/stretchr/testify/require"
)

// peer speaks to a worker process over its pipes, as RoadRunner does.
type peer struct {
	t     *testing.T
	cmd   *exec.Cmd
	relay *pipe.Relay
}

// kitReply is a reply to one event.
type kitReply struct{ Word, UUID, Body string }

// startPeer runs a worker and shakes hands with it.
func startPeer(t *testing.T, command ...string) *peer {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	said := new(strings.Builder)
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	p := &peer{t, cmd, pipe.NewPipeRelay(out, in)}
	lastResort := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		lastResort.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})

	p.send(frame.CONTROL|frame.CodecJSON, 0, -1, fmt.Sprintf(`{"pid":%d}`, os.Getpid()))
	f := p.receive()
	require.NotZero(t, f.ReadFlags()&frame.CONTROL)
	require.JSONEq(t, fmt.Sprintf(`{"pid":%d}`, cmd.Process.Pid), string(f.Payload()))
	return p
}

func (p *peer) send(flags, stream byte, context int, payload string) {
	p.t.Helper()
	f := frame.NewFrame()
	f.WriteVersion(f.Header(), frame.Version1)
	f.WriteFlags(f.Header(), flags)
	if context >= 0 {
		f.WriteOptions(f.HeaderPtr(), uint32(context))
	}
	f.Header()[10] = stream
	f.WritePayloadLen(f.Header(), uint32(len(payload)))
	f.WritePayload([]byte(payload))
	f.WriteCRC(f.Header())
	require.NoError(p.t, p.relay.Send(f))
}

func (p *peer) receive() *frame.Frame {
	p.t.Helper()
	f := frame.NewFrame()
	require.NoError(p.t, p.relay.Receive(f))
	return f
}

// answer is the next frame: context, body, and whether it is the last of its answer.
func (p *peer) answer() (context, body string, isLast bool) {
	p.t.Helper()
	f := p.receive()
	require.Zero(p.t, f.ReadFlags()&frame.ERROR, "%s", f.Payload())
	options := f.ReadOptions(f.Header())
	require.Len(p.t, options, 1)
	return string(f.Payload()[:options[0]]), string(f.Payload()[options[0]:]), f.Header()[10]&frame.STREAM == 0
}

func contextOf(uuid, event string) string {
	return fmt.Sprintf(`{"remote_addr":"192.0.2.1:7","server":"s","uuid":%q,"event":%q}`, uuid, event)
}

// ask sends one event and returns the reply.
func (p *peer) ask(uuid, event, body string) kitReply {
	p.t.Helper()
	context := contextOf(uuid, event)
	p.send(0, 0, len(context), context+body)
	context, body, isLast := p.answer()
	require.True(p.t, isLast)
	return decodeKitReply(p.t, []byte(context), body)
}

func decodeKitReply(t *testing.T, context []byte, body string) kitReply {
	t.Helper()
	var reply struct{ Reply, UUID string }
	require.NoError(t, json.Unmarshal(context, &reply), "%s", context)
	return kitReply{reply.Reply, reply.UUID, body}
}

// kitConnection names connections a, b, c and so on.
func kitConnection(i int) string { return strconv.FormatInt(int64(10+i), 36) }

// sendBulk sends DATA of several connections.
func (p *peer) sendBulk(bodies ...string) {
	p.t.Helper()
	contexts, sizes := make([]string, len(bodies)), make([]int, len(bodies))
	for i, body := range bodies {
		contexts[i], sizes[i] = contextOf(kitConnection(i), "DATA"), len(body)
	}
	list, err := json.Marshal(sizes)
	require.NoError(p.t, err)
	context := fmt.Sprintf(`{"event":"BULK","events":[%s],"sizes":%s}`, strings.Join(contexts, ","), list)
	p.send(0, 0, len(context), context+strings.Join(bodies, ""))
}

// replies is the next frame with replies of a bulk.
func (p *peer) replies() (found []kitReply, isLast bool) {
	p.t.Helper()
	context, body, isLast := p.answer()
	var bulk struct {
		Replies []json.RawMessage
		Sizes   []int
	}
	require.NoError(p.t, json.Unmarshal([]byte(context), &bulk), context)
	require.Equal(p.t, len(bulk.Replies), len(bulk.Sizes))
	for i, size := range bulk.Sizes {
		require.LessOrEqual(p.t, size, len(body))
		found = append(found, decodeKitReply(p.t, bulk.Replies[i], body[:size]))
		body = body[size:]
	}
	require.Empty(p.t, body)
	return found, isLast
}

// allReplies are the replies of a bulk, in however many frames.
func (p *peer) allReplies() (all []kitReply) {
	p.t.Helper()
	for {
		found, isLast := p.replies()
		if all = append(all, found...); isLast {
			return all
		}
	}
}

// randomBulk are the bodies of 1 to 64 events, some of which the handler fails, and what they are answered with.
func randomBulk(random *rand.Rand, failed kitReply) (bodies []string, want []kitReply) {
	for i := range 1 + random.Intn(64) {
		uuid := kitConnection(i)
		body := make([]byte, 1+random.Intn(300)*random.Intn(40))
		_, _ = random.Read(body)
		reply := kitReply{"WRITE", uuid, "." + string(body)} // the point: no command
		if random.Intn(10) == 0 {
			reply, body = kitReply{failed.Word, uuid, failed.Body}, []byte("!throw")
		} else {
			body = []byte(reply.Body)
		}
		bodies, want = append(bodies, string(body)), append(want, reply)
	}
	return bodies, want
}

// stop asks the worker to end.
func (p *peer) stop() {
	p.t.Helper()
	p.send(frame.CONTROL|frame.CodecJSON, 0, -1, `{"stop":true}`)
	require.NoError(p.t, p.cmd.Wait())
}

// pythonCommands has the commands of kit.php that the test of all kits needs.
const pythonCommands = `
import sys, time
sys.path.insert(0, sys.argv[1])
import worker
def handle(event, body):
    verb, _, argument = body.decode("latin-1").rstrip().partition(" ")
    if verb == "!throw":
        raise RuntimeError("thrown in a handler")
    if verb == "!print":
        print("printed in a handler")
    if verb == "!wrong":
        return {"reply": "WRITE"}, "no bytes"
    if verb == "!slow":
        time.sleep(0.006)
    if verb == "!gate":
        open(argument).readline()
    return {"reply": "WRITE"}, body
worker.handle = handle
worker.frames, sys.stdout = sys.stdout.buffer, sys.stderr
worker.main()
`

func kitPHP(t *testing.T) []string {
	t.Helper()
	script, err := filepath.Abs("php/kit.php")
	require.NoError(t, err)
	return []string{php(t), "-d", "error_reporting=-1", "-d", "display_errors=1", script}
}

func TestKits(t *testing.T) {
	t.Parallel()
	python, err := filepath.Abs(repository + "/examples/python")
	require.NoError(t, err)
	for name, kit := range map[string]struct {
		command func(*testing.T) []string
		failed  kitReply // to b
	}{
		"PHP": {kitPHP, kitReply{"WRITECLOSE", "b", "sorry\r\n"}},
		"Python": {func(t *testing.T) []string {
			return []string{installed(t, "python3"), "-B", "-c", pythonCommands, python}
		}, kitReply{"CLOSE", "b", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := kit.command(t)
			p := startPeer(t, command...)
			binary := "\x00\xff\xfe no UTF-8\r\n"
			require.Equal(t, kitReply{"WRITE", "a", binary}, p.ask("a", "DATA", binary))
			require.Equal(t, kitReply{"WRITE", "a", ""}, p.ask("a", "DATA", ""))
			large := string(pattern(3 << 20))
			require.Equal(t, kitReply{"WRITE", "a", large}, p.ask("a", "DATA", large))
			require.Equal(t, kit.failed, p.ask("b", "DATA", "!throw"))
			require.Equal(t, kit.failed, p.ask("b", "DATA", "!wrong"))
			require.Equal(t, kitReply{"WRITE", "a", "!print"}, p.ask("a", "DATA", "!print"))

			p.sendBulk("one", "!wrong", "three")
			require.Equal(t, []kitReply{{"WRITE", "a", "one"}, kit.failed, {"WRITE", "c", "three"}}, p.allReplies())

			p.sendBulk(binary, "!throw", "", large)
			want := []kitReply{{"WRITE", "a", binary}, kit.failed, {"WRITE", "c", ""}, {"WRITE", "d", large}}
			require.Equal(t, want, p.allReplies())

			for n := range 200 {
				bodies, want := randomBulk(rand.New(rand.NewSource(int64(n))), kit.failed)
				p.sendBulk(bodies...)
				require.Equal(t, want, p.allReplies(), "seed %d", n)
			}

			p.send(0, frame.STOP, -1, "") // comes too late: nobody streams any more
			fifo := filepath.Join(shortDir(t), "gate")
			require.NoError(t, syscall.Mkfifo(fifo, 0o600))
			p.sendBulk("!slow", "!gate "+fifo, "behind")
			found, isLast := p.replies()
			require.Equal(t, []kitReply{{"WRITE", "a", "!slow"}}, found, "it does not wait for the one behind it")
			require.False(t, isLast)
			require.NoError(t, os.WriteFile(fifo, []byte("\n"), 0o600))
			require.Equal(t, []kitReply{{"WRITE", "b", "!gate " + fifo}, {"WRITE", "c", "behind"}}, p.allReplies())
			require.Equal(t, kitReply{"WRITE", "a", "and on"}, p.ask("a", "DATA", "and on"))
			p.stop()
		})
	}
}

func TestPHPKit(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *host {
		t.Helper()
		return newHost(t, shortDir(t)).serveWorker(strings.Replace(minimal, "tcp:\n", "tcp:\n  write_timeout: 60s\n", 1), kitPHP(t)...)
	}

	t.Run("replies", func(t *testing.T) {
		t.Parallel()
		h := start(t)
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		require.Equal(t, "!print", c.ask("!print"))
		require.Equal(t, `{"host":"127.0.0.1"}`, c.ask("!state"))
		for range 3 { // more than there are workers
			failing := h.dial("echo")
			require.Equal(t, "sorry", failing.ask("!throw"))
			failing.requireEnd()
		}
		require.Equal(t, "hello", c.ask("hello"))
		eventually(t, "what handlers throw and print is logged", func() bool {
			return len(h.logged("server", "thrown in a handler")) > 0 && len(h.logged("server", "printed in a handler")) > 0
		})
		require.Empty(t, h.ours("warn"))
		require.Empty(t, h.ours("error"))
	})

	t.Run("delimiters of any bytes", func(t *testing.T) {
		t.Parallel()
		h := start(t)
		for _, delimiter := range []string{"§", "→", "\xff"} {
			c := h.dial("echo")
			require.Equal(t, "!until "+delimiter, c.ask("!until "+delimiter))
			c.exchange(t, "x"+delimiter, "x"+delimiter)
		}
		require.Empty(t, h.ours("error"))
	})

	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		h := start(t)
		c := h.dial("echo")
		for _, n := range []int{0, 1, 4, 5, 6, 10, 1000} { // the real package pings with every fifth frame
			c.send(fmt.Sprint("!stream ", n))
			for i := range n {
				require.Equal(t, fmt.Sprint("line ", i), c.receive())
			}
			require.Equal(t, "hello", c.ask("hello"))
		}
		broken := h.dial("echo")
		broken.send("!breaks")
		require.Equal(t, "begin\r\nsorry\r\n", broken.rest())

		for i := range 3 {
			gone := h.dial("echo")
			left := filepath.Join(h.dir, fmt.Sprint("left", i))
			gone.send("!endless " + left)
			_, err := io.ReadFull(gone, make([]byte, 1<<20))
			require.NoError(t, err)
			require.NoError(t, gone.Close())
			eventually(t, "the generator is left alone", func() bool { _, err := os.Stat(left); return err == nil })
		}
		require.Equal(t, "hello", c.ask("hello"))
		require.Empty(t, h.ours("warn"))
		require.Empty(t, h.ours("error"))
	})

	t.Run("pushes", func(t *testing.T) {
		t.Parallel()
		h := start(t)
		other, c := h.dial("echo"), h.dial("echo")
		require.Equal(t, "hello", other.ask("hello")) // its CONNECTED has been answered
		c.send("!push")
		require.Equal(t, "pushed", c.receive())
		require.Equal(t, "to one", c.receive())
		require.Equal(t, "Accepted Gone Accepted 1 2 all,one replying 2 echo refused", c.receive())
	})
}

func TestPythonWorker(t *testing.T) {
	t.Parallel()
	python := installed(t, "python3")
	script, err := filepath.Abs(repository + "/examples/python/worker.py")
	require.NoError(t, err)
	h := newHost(t, shortDir(t)).serveWorker(minimal, python, "-B", script)
	for range 10 {
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		large := string(pattern(1 << 20))
		require.True(t, large == c.ask(large))
		require.Equal(t, "bye", c.ask("quit"))
		c.requireEnd()
	}
	require.Empty(t, h.ours("warn"))
	require.Empty(t, h.ours("error"))
}
