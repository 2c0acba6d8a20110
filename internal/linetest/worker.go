package linetest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// What the environment tells a worker.
const (
	envOnce = "RRTCP_TEST_ONCE" // a file that the first worker creates, which then can't be sent anything; later ones work
	envBoot = "RRTCP_TEST_BOOT" // how long it takes to start: a duration, or a file to wait for
	envDies = "RRTCP_TEST_DIES" // set: it ends when it has come up
	envEnds = "RRTCP_TEST_ENDS" // a file that it creates, after a second, when it is told to end
	envStop = "RRTCP_TEST_STOP" // a file; who creates it answers CLOSE with the wish to be replaced, and takes stopTime to end
)

const stopTime = 4 * time.Second

// work answers DATA with its own packet, unless that says what to do instead, and everything else with CONTINUE.
func work() {
	boot()
	in := bufio.NewReader(os.Stdin)
	for {
		f, err := receiveFrame(in)
		switch {
		case err != nil, f.flags&flagControl != 0 && strings.Contains(f.body, "stop"):
			end()
			return
		case f.flags&flagControl != 0:
			send(flagControl|flagJSON, 0, "", fmt.Sprintf(`{"pid":%d}`, os.Getpid()))
			if os.Getenv(envDies) != "" {
				os.Exit(3)
			}
			closeOnce()
		case f.stream&streamStop == 0: // else a stream is to stop that has ended already
			answer(f.context, f.body)
		}
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
	if once := os.Getenv(envOnce); createsFile(once) {
		_ = os.Stdin.Close()
		_ = os.WriteFile(once+".closed", nil, 0o600)
		hang()
	}
}

// createsFile reports whether this process is the first one to create a file that has a name.
func createsFile(name string) bool {
	if name == "" {
		return false
	}
	_, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
	return err == nil
}

func end() {
	if name := os.Getenv(envEnds); name != "" {
		time.Sleep(time.Second)
		_ = os.WriteFile(name, nil, 0o600)
	}
}

func hang() { time.Sleep(10 * time.Minute) }

func answer(context, body string) {
	command, argument, _ := strings.Cut(strings.TrimRight(body, "\r\n"), " ")
	switch {
	case strings.Contains(context, `"hang"`), command == "hang":
		hang()
	case strings.Contains(context, `"BULK"`): // silent after the first frame
		send(0, streamMore, `{"replies":["CONTINUE"],"sizes":[0]}`, "")
		hang()
	case strings.Contains(context, `"stream"`):
		for range 3 {
			send(0, streamMore, "CONTINUE", "")
			time.Sleep(100 * time.Millisecond) // the pool is asked to end the answer meanwhile
		}
		send(0, 0, "CONTINUE", "")
	case strings.Contains(context, `"CLOSE"`) && createsFile(os.Getenv(envStop)):
		send(0, 0, `{"stop":true}`, "")
		time.Sleep(stopTime)
	case strings.Contains(context, `"CONNECTED"`), strings.Contains(context, `"CLOSE"`):
		send(0, 0, "CONTINUE", "")
	case command == "until": // a file exists
		for {
			if _, err := os.Stat(argument); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		send(0, 0, "WRITE", body)
	case command == "reply":
		send(0, 0, argument, body)
	case command == "error":
		send(flagError, 0, "", "no good")
	case command == "exit":
		os.Exit(3)
	case command == "stream":
		for range 5 {
			send(0, streamMore, "WRITE", body)
		}
		send(0, 0, "WRITE", body)
	case command == "silent": // after the first frame
		send(0, streamMore, "WRITE", body)
		hang()
	case command == "twice":
		send(0, 0, "WRITE", body)
		send(0, 0, "WRITE", body)
	case command == "break":
		send(0, streamMore, "WRITE", body)
		os.Exit(3)
	default:
		send(0, 0, "WRITE", body)
	}
}
