package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// work is a worker process: FILE [KEY=VALUE]…
//
//	boot=DURATION          it takes that long to start; boot=gate: it waits at the gate before
//	broken=PATH            it does not start while there is such a file
//	stuck=PATH             it hangs when it starts while there is such a file
//	gate=PATH              where the command gate waits
//	connected=COMMAND      what it does about CONNECTED; answer CONTINUE if not given
//	close=COMMAND          what it does about CLOSE; answer CONTINUE if not given
//	bulk=COMMAND           how it answers several events at once, see answerBulk; rightly, in one frame, if not given
//	connected.SERVER=…, close.SERVER=…  the same for one server
//
// To DATA it does the command that follows an exclamation mark in the packet, and sends back every other packet:
//
//	answer CONTEXT [TEXT]  answers so, with a line as the body; - is the empty context
//	bytes CONTEXT N        answers so, with N bytes
//	hello                  tells the client its uuid
//	error TEXT             answers with an error frame
//	stream N               answers in N frames
//	frames N BYTES CONTEXT answers in N frames of so many bytes; the last one has this context
//	begin COMMAND          sends a first frame, and goes on with the command
//	twice FIRST SECOND     answers WRITE FIRST, and then WRITE SECOND
//	print N                writes the packet, which is no frame, N times
//	garbage                writes what is no frame
//	exit, kill             dies
//	hang                   never answers
//	deaf                   sends the packet back, after it has closed its standard input; then it hangs
//	sleep DURATION COMMAND waits before the command
//	gate COMMAND           waits at the gate before the command
//
// It appends a line of JSON to FILE when it starts, when it has an event and before it answers it.
func work(args []string) int {
	file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	w := &recorder{file: file, out: worker.New(os.Stdin, os.Stdout), options: make(map[string]string)}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		w.options[key] = value
	}
	w.write(entry{Boot: true})
	if exists(w.options["broken"]) {
		return 1
	}
	for exists(w.options["stuck"]) {
		time.Sleep(10 * time.Millisecond)
	}
	if w.options["boot"] == "gate" {
		_ = w.wait(worker.Event{Event: "BOOT", UUID: "-"})
	}
	if boot, err := time.ParseDuration(w.options["boot"]); err == nil {
		time.Sleep(boot)
	}

	switch err := w.serve(); {
	case errors.Is(err, io.EOF):
		return 0
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

type recorder struct {
	file    *os.File
	out     *worker.Worker
	options map[string]string
	events  int
	bulk    *worker.BulkReplies // replies that are to go together; nil: each goes by itself
	last    int                 // the number of the last event that came together with the one at hand
}

// entry is one line of the record.
type entry struct {
	At       int64           `json:"at"` // nanoseconds
	Pid      int             `json:"pid"`
	N        int             `json:"n"` // the worker's how manieth event
	Boot     bool            `json:"boot,omitempty"`
	Bulk     int             `json:"bulk,omitempty"`     // with how many events it came
	Answered bool            `json:"answered,omitempty"` // the answer to event N is about to be sent
	Context  json.RawMessage `json:"context,omitempty"`
	Body     []byte          `json:"body,omitempty"`
}

func (w *recorder) serve() error {
	for {
		e, err := w.out.Receive()
		if err != nil {
			return err
		}
		if len(e.Context) == 0 {
			continue // RoadRunner wants a stream to stop, one that is over already
		}
		if e.Event == worker.Bulk {
			if err := w.receiveBulk(e); err != nil {
				return err
			}
			continue
		}
		w.events++
		w.write(entry{Context: e.Context, Body: e.Body})
		if err := w.do(e, w.command(e)); err != nil {
			return err
		}
	}
}

// write appends one line with one write: lines of several processes stay whole and in order.
func (w *recorder) write(e entry) {
	e.At, e.Pid, e.N = time.Now().UnixNano(), os.Getpid(), w.events
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (w *recorder) command(e worker.Event) string {
	key := map[string]string{worker.Connected: "connected", worker.Closed: "close", "CLOSED": "close"}[e.Event]
	if key == "" {
		command, _ := bytes.CutPrefix(e.Body, []byte("!"))
		if len(command) == len(e.Body) {
			return "echo"
		}
		return strings.TrimRight(string(command), "\r\n")
	}
	if command, ok := w.options[key+"."+e.Server]; ok {
		return command
	}
	if command, ok := w.options[key]; ok {
		return command
	}
	return "answer CONTINUE"
}

func (w *recorder) do(e worker.Event, command string) error {
	name, rest, _ := strings.Cut(command, " ")
	first, text, _ := strings.Cut(rest, " ")
	if first == "-" {
		first = ""
	}

	switch name {
	case "answer":
		if text != "" {
			text += "\r\n"
		}
		return w.answer(first, []byte(text))
	case "bytes":
		n, _ := strconv.Atoi(text)
		return w.answer(first, pattern(n))
	case "hello":
		return w.answer(worker.Write, []byte(e.UUID+"\r\n"))
	case "error":
		dropped := w.dropBulk()
		w.write(entry{Answered: true})
		return errors.Join(w.out.Send(frame.ERROR, nil, []byte(rest)), dropped)
	case "stream":
		return w.stream(first)
	case "frames":
		return w.frames(first, text)
	case "begin":
		if err := w.out.SendStream([]byte(worker.Write), []byte("begun\r\n")); err != nil {
			return err
		}
		return w.do(e, rest)
	case "twice":
		if err := w.answer(worker.Write, []byte(first+"\r\n")); err != nil {
			return err
		}
		return w.answer(worker.Write, []byte(text+"\r\n"))
	case "print":
		n, err := strconv.Atoi(first)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(bytes.Repeat(e.Body, n))
		return err
	case "garbage":
		dropped := w.dropBulk()
		_, err := io.WriteString(os.Stdout, "this is no frame, it is what somebody printed\n")
		return errors.Join(err, dropped)
	case "exit":
		os.Exit(3)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		select {}
	case "deaf":
		_ = os.Stdin.Close()
		_ = w.answer(worker.Write, e.Body)
		select {}
	case "sleep":
		pause, err := time.ParseDuration(first)
		if err != nil {
			return err
		}
		time.Sleep(pause)
		return w.do(e, text)
	case "gate":
		if err := w.wait(e); err != nil {
			return err
		}
		return w.do(e, rest)
	default:
		return w.answer(worker.Write, e.Body)
	}
	return nil
}

func (w *recorder) answer(context string, body []byte) error {
	w.write(entry{Answered: true})
	if w.bulk != nil {
		return w.addReply(context, body)
	}
	return w.out.Send(frame.CodecRaw, []byte(context), body)
}

func (w *recorder) stream(frames string) error {
	n, _ := strconv.Atoi(frames)
	w.write(entry{Answered: true})
	for range n - 1 {
		if err := w.out.SendStream([]byte(worker.Write), []byte("part\r\n")); err != nil {
			return err
		}
	}
	return w.out.Send(frame.CodecRaw, []byte(worker.Write), []byte("end\r\n"))
}

func (w *recorder) frames(count, rest string) error {
	var size int
	var last string
	n, _ := strconv.Atoi(count)
	_, _ = fmt.Sscan(rest, &size, &last)
	w.write(entry{Answered: true})
	for range n - 1 {
		if err := w.out.SendStream([]byte(worker.Write), pattern(size)); err != nil {
			return err
		}
	}
	return w.out.Send(frame.CodecRaw, []byte(last), pattern(size))
}

func (w *recorder) wait(e worker.Event) error {
	conn, err := net.Dial("unix", w.options["gate"])
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	reason := e.Reason
	if reason == "" {
		reason = "-"
	}
	fmt.Fprintln(conn, os.Getpid(), e.Event, e.UUID, reason)
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

// patternBlock is what pattern repeats.
var patternBlock = sync.OnceValue(func() []byte {
	block := make([]byte, 10007) // no multiple of any buffer's size
	for i := range block {
		n := uint32(i + 1)
		block[i] = 'a' + byte(n*n*2654435761>>24)%26
	}
	return block
})

// pattern is n bytes in which what is lost, doubled or moved shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += len(patternBlock()) {
		copy(b[i:], patternBlock())
	}
	return b
}
