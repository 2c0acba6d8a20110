package tcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
	sdkpipe "github.com/roadrunner-server/sdk/v4/ipc/pipe"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

// The test binary is also the worker: RoadRunner sets RR_MODE in a worker's environment.
func TestMain(m *testing.M) {
	if os.Getenv(RrMode) == PluginName {
		work()
		return
	}
	goleak.VerifyTestMain(m, // what RoadRunner never stops: Endure's pollers, a pool's supervisor, the event bus
		goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).startMainThread.func1"),
		goleak.IgnoreAnyFunction("github.com/roadrunner-server/endure/v2.(*Endure).poll.func1"),
		goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/pool/static_pool.(*Pool).Start.func1"),
		goleak.IgnoreAnyFunction("github.com/roadrunner-server/sdk/v4/events.(*Bus).handleEvents"))
}

const (
	onceFile = "RRTCP_TEST_ONCE" // a file that the first worker creates; it misbehaves, later ones do not
	slowBoot = "RRTCP_TEST_BOOT" // a duration
)

// work answers DATA with its own packet, unless that says what to do instead, and everything else with CONTINUE.
func work() {
	boot, _ := time.ParseDuration(os.Getenv(slowBoot))
	time.Sleep(boot)
	relay := pipe.NewPipeRelay(os.Stdin, os.Stdout)
	for {
		f := frame.NewFrame()
		if relay.Receive(f) != nil {
			return
		}
		if f.ReadFlags()&frame.CONTROL != 0 {
			if bytes.Contains(f.Payload(), []byte("stop")) {
				return
			}
			send(relay, frame.CONTROL|frame.CodecJSON, 0, "", fmt.Sprintf(`{"pid":%d}`, os.Getpid()))
			if once := os.Getenv(onceFile); once != "" {
				if _, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
					os.Stdin.Close() // nothing can be sent to this worker
					os.WriteFile(once+".closed", nil, 0o600)
					time.Sleep(time.Minute)
				}
			}
			continue
		}

		if f.Header()[10]&frame.STOP != 0 {
			continue // of a stream that has ended already
		}
		cut := f.ReadOptions(f.Header())[0]
		header, body := string(f.Payload()[:cut]), string(f.Payload()[cut:])
		command, argument, _ := strings.Cut(strings.TrimRight(body, "\r\n"), " ")
		switch d, _ := time.ParseDuration(argument); {
		case strings.Contains(header, `"hang"`):
			time.Sleep(time.Minute)
		case strings.Contains(header, `"CONNECTED"`), strings.Contains(header, `"CLOSE"`):
			send(relay, 0, 0, "CONTINUE", "")
		case command == "sleep":
			time.Sleep(d)
			send(relay, 0, 0, "WRITE", body)
		case command == "reply":
			send(relay, 0, 0, argument, body)
		case command == "error":
			send(relay, frame.ERROR, 0, "", "no good")
		case command == "exit":
			os.Exit(3)
		case command == "hang":
			time.Sleep(time.Minute)
		case command == "mute":
			send(relay, 0, frame.STREAM, "WRITE", body)
			time.Sleep(time.Minute)
		case command == "break":
			send(relay, 0, frame.STREAM, "WRITE", body)
			os.Stdout.Close() // the pool may not read what comes with the end of the process
		case command == "sorry":
			send(relay, 0, frame.STREAM, "WRITE", body)
			send(relay, frame.ERROR, 0, "", "no good")
		case command == "deaf": // to the wish that it stops
			for {
				send(relay, 0, frame.STREAM, "WRITE", body)
			}
		case command == "large": // so many frames of a megabyte
			n, _ := strconv.Atoi(argument)
			chunk := strings.Repeat("x", mebibyte)
			for range n - 1 {
				send(relay, 0, frame.STREAM, "WRITE", chunk)
			}
			send(relay, 0, 0, "WRITECLOSE", chunk)
		case command == "flood":
			stopped := make(chan struct{})
			go func() { defer close(stopped); relay.Receive(frame.NewFrame()) }()
			for flooding := true; flooding; {
				select {
				case <-stopped:
					flooding = false
				default:
					send(relay, 0, frame.STREAM, "WRITE", body)
				}
			}
			send(relay, 0, 0, "WRITE", body)
		case command == "stream":
			for range 5 {
				send(relay, 0, frame.STREAM, "WRITE", body)
			}
			send(relay, 0, 0, "WRITE", body)
		default:
			send(relay, 0, 0, "WRITE", body)
		}
	}
}

func send(relay *pipe.Relay, flags, stream byte, context, body string) {
	f := frame.NewFrame()
	f.WriteVersion(f.Header(), frame.Version1)
	f.WriteFlags(f.Header(), flags)
	f.Header()[10] = stream
	if flags&(frame.CONTROL|frame.ERROR) == 0 {
		f.WriteOptions(f.HeaderPtr(), uint32(len(context)))
	}
	f.WritePayloadLen(f.Header(), uint32(len(context)+len(body)))
	f.WritePayload([]byte(context + body))
	f.WriteCRC(f.Header())
	if relay.Send(f) != nil {
		os.Exit(1)
	}
}

// realPool is RoadRunner's own pool with this binary as worker.
func realPool(t testing.TB, cfg pool.Config, env ...string) *staticPool.Pool {
	if cfg.Supervisor == nil {
		cfg.Supervisor = &pool.SupervisorConfig{ExecTTL: time.Minute}
	}
	p, err := staticPool.NewPool(context.Background(), func([]string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(append(os.Environ(), RrMode+"="+PluginName, "GORACE=atexit_sleep_ms=0"), env...)
		return cmd
	}, sdkpipe.NewPipeFactory(zap.NewNop()), &cfg, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		destroyAgain(ctx, p)  // takes all of that time where a test has destroyed the pool before
		if ctx.Err() != nil { // it has killed them, and lists them until they are gone
			require.Eventually(t, func() bool { return len(p.Workers()) == 0 }, 5*time.Second, time.Millisecond,
				"the pool did not get all its workers back")
		}
	})
	return p
}

// sections is a configuration: name of a section to what stands below it, as the config plugin would decode it.
type sections map[string]map[string]any

func (s sections) Has(name string) bool { return s[name] != nil }

var jsonKey = regexp.MustCompile(`"[^"]*":`)

func (s sections) UnmarshalKey(name string, out any) error {
	if m, ok := out.(*map[string]any); ok {
		*m = s[name]
		return nil
	}
	b, err := json.Marshal(s[name]) // good enough here: Go matches keys to fields in any case, without underscores
	if err != nil {
		return err
	}
	b = jsonKey.ReplaceAllFunc(b, func(key []byte) []byte {
		if string(key) == `"packet_size":` {
			return key // which has a tag of its own
		}
		return bytes.ReplaceAll(key, []byte("_"), nil)
	})
	return json.Unmarshal(b, out)
}
