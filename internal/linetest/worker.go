package linetest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
)

// What the environment tells a worker.
const (
	envOnce = "RRTCP_TEST_ONCE" // a file that the first worker creates, which then can't be sent anything; later ones work
	envBoot = "RRTCP_TEST_BOOT" // how long it takes to start: a duration, or a file to wait for
)

// work answers DATA with its own packet, unless that says what to do instead, and everything else with CONTINUE.
func work() {
	boot()
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
			closeOnce()
			continue
		}
		if f.Header()[10]&frame.STOP != 0 {
			continue // of a stream that has ended already
		}
		split := f.ReadOptions(f.Header())[0]
		answer(relay, string(f.Payload()[:split]), string(f.Payload()[split:]))
	}
}

func boot() {
	value := os.Getenv(envBoot)
	if d, err := time.ParseDuration(value); err == nil {
		time.Sleep(d)
		return
	}
	for value != "" {
		if _, err := os.Stat(value); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func closeOnce() {
	once := os.Getenv(envOnce)
	if once == "" {
		return
	}
	if _, err := os.OpenFile(once, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = os.Stdin.Close()
		_ = os.WriteFile(once+".closed", nil, 0o600)
		hang()
	}
}

func hang() { time.Sleep(10 * time.Minute) }

func answer(relay *pipe.Relay, context, body string) {
	command, argument, _ := strings.Cut(strings.TrimRight(body, "\r\n"), " ")
	switch {
	case strings.Contains(context, `"hang"`), command == "hang":
		hang()
	case strings.Contains(context, `"CONNECTED"`), strings.Contains(context, `"CLOSE"`):
		send(relay, 0, 0, "CONTINUE", "")
	case command == "until": // a file exists
		for {
			if _, err := os.Stat(argument); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		send(relay, 0, 0, "WRITE", body)
	case command == "reply":
		send(relay, 0, 0, argument, body)
	case command == "error":
		send(relay, frame.ERROR, 0, "", "no good")
	case command == "exit":
		os.Exit(3)
	case command == "stream":
		for range 5 {
			send(relay, 0, frame.STREAM, "WRITE", body)
		}
		send(relay, 0, 0, "WRITE", body)
	case command == "silent": // after the first frame
		send(relay, 0, frame.STREAM, "WRITE", body)
		hang()
	case command == "break":
		send(relay, 0, frame.STREAM, "WRITE", body)
		os.Exit(3)
	default:
		send(relay, 0, 0, "WRITE", body)
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
