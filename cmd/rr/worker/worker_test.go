package worker

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Frames as RoadRunner and its workers send them: the header in hex, the payload as text.
const (
	pidFrame   = `13 09 0c000000 5f0c4673 00 00|{"pid":4242}`
	stopFrame  = `13 09 0d000000 3a6bfacb 00 00|{"stop":true}`
	errorFrame = `13 40 0c000000 6736a526 00 00|soft failure`
	chunkFrame = `14 04 05000000 dcb7dbeb 01 00 00000000|chunk`
	endStream  = `13 00 00000000 96d18034 02 00|`
)

func TestServe(t *testing.T) {
	tests := []struct {
		name    string
		in, out string
		err     string
	}{
		{"the pid is answered, stop ends", pidFrame + "\n" + stopFrame, ownPid(), ""},
		{"a closed pipe ends", pidFrame, ownPid(), ""},
		{"nothing at all ends", "", "", ""},
		{"what follows a stop is not read", stopFrame + "\n" + connected(), "", ""},
		{"CONNECTED is answered", connected(), answer("CONTINUE", ""), ""},
		{"DATA is answered with its body", data("hi\r\n"), answer("WRITE", "hi\r\n"), ""},
		{"an empty body is a body", data(""), answer("WRITE", ""), ""},
		{"a body that is a megabyte and more", data(long), answer("WRITE", long), ""},
		{
			"an error is an error frame, and the worker goes on",
			data("soft failure") + "\n" + data("x"),
			errorFrame + "\n" + answer("WRITE", "x"), "",
		},
		{"a frame without a context is not answered", endStream + "\n" + data("x"), answer("WRITE", "x"), ""},
		{"a key nobody knows is ignored", request(`{"event":"DATA","new":[1]}`, "x"), answer("WRITE", "x"), ""},
		{"a pipe closed within a header", "14 00", "", "receive: unexpected EOF"},
		{"a pipe closed before the payload", "13 00 05000000 a4215e03 00 00|", "", "receive: unexpected EOF"},
		{"a pipe closed within the payload", chunkFrame[:len(chunkFrame)-2], "", "unexpected EOF"},
		{"a checksum that is wrong", "13 00 00000000 00000000 00 00|", "", "receive: "},
		{"a context longer than the payload", frameOf(0, 99, "short"), "", "a context of 99 bytes in a payload of 5"},
		{"a context that is no JSON", "14 00 08000000 c1c931ec 00 00 03000000|ctxhello", "", "context: invalid character"},
		{"a control frame that is no JSON", frameOf(frame.CONTROL, -1, "no"), "", "control frame: invalid character"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, out := start(t, tt.in)
			err := w.Serve(echo)
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
			}
			require.Equal(t, decode(t, tt.out), out())
			require.LessOrEqual(t, cap(w.out), 1<<20, "one large answer is not held for ever")
		})
	}
}

// TestServeStandardPipes: what a handler prints must not get between the frames.
func TestServeStandardPipes(t *testing.T) {
	stdin, stdout, stderr := os.Stdin, os.Stdout, os.Stderr
	t.Cleanup(func() { os.Stdin, os.Stdout, os.Stderr = stdin, stdout, stderr })
	in, out, log := file(t, data("x")), file(t, ""), file(t, "")
	os.Stdin, os.Stdout, os.Stderr = in, out, log

	require.NoError(t, Serve(func(e Event) (Reply, error) {
		fmt.Print("debugging ", e.UUID)
		return Reply{Context: WriteClose, Body: e.Body}, nil
	}))
	require.Same(t, out, os.Stdout)
	require.Equal(t, decode(t, answer("WRITECLOSE", "x")), content(t, out))
	require.Equal(t, "debugging u-1", string(content(t, log)))

	os.Stdin = file(t, "14 00")
	require.ErrorContains(t, Serve(echo), "unexpected EOF")
}

func TestReceive(t *testing.T) {
	const context = `{"remote_addr":"127.0.0.1:5","server":"smtp","uuid":"u-1","event":"DATA","eof":true}`
	const last = `{"remote_addr":"127.0.0.1:5","server":"smtp","uuid":"u-1","event":"CLOSE","reason":"eof"}`
	w, _ := start(t, request(context, "tail")+"\n"+request(last, "")+"\n"+endStream)

	e, err := w.Receive()
	require.NoError(t, err)
	require.Equal(t, Event{
		RemoteAddr: "127.0.0.1:5", Server: "smtp", UUID: "u-1", Event: Data, EOF: true,
		Context: []byte(context), Body: []byte("tail"),
	}, e)

	e, err = w.Receive()
	require.NoError(t, err)
	require.Equal(t, Event{
		RemoteAddr: "127.0.0.1:5", Server: "smtp", UUID: "u-1", Event: Closed, Reason: "eof",
		Context: []byte(last), Body: []byte{},
	}, e)

	e, err = w.Receive()
	require.NoError(t, err)
	require.Empty(t, e)

	_, err = w.Receive()
	require.ErrorIs(t, err, io.EOF)
}

func TestSend(t *testing.T) {
	tests := []struct {
		name string
		send func(*Worker) error
		out  string
	}{
		{"an answer", func(w *Worker) error {
			return w.Send(frame.CodecRaw, []byte("WRITE"), []byte("hi"))
		}, `14 04 07000000 577fd241 00 00 05000000|WRITEhi`},
		{"an error", func(w *Worker) error {
			return w.Send(frame.ERROR, nil, []byte("soft failure"))
		}, errorFrame},
		{"a part of a stream", func(w *Worker) error {
			return w.SendStream(nil, []byte("chunk"))
		}, chunkFrame},
		{"a request to stop", func(w *Worker) error {
			return w.Send(0, []byte(`{"stop":true}`), nil)
		}, frameOf(0, 13, `{"stop":true}`)},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, out := start(t, "")
			require.NoError(t, tt.send(w))
			require.Equal(t, decode(t, tt.out), out())
		})
	}
}

func TestSendToNobody(t *testing.T) {
	r, out, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	t.Cleanup(func() { _ = out.Close() })

	for name, in := range map[string]string{
		"an answer":             data("x"),
		"an error":              data("soft failure"),
		"the pid":               pidFrame,
		"the answers to a bulk": request(threeEvents, "onetwo"),
		"an error of a bulk":    request(`{"event":"BULK"}`, ""),
	} {
		require.ErrorContains(t, New(file(t, in), out).Serve(echo), "worker: send: ", name)
	}
	require.ErrorContains(t, New(nil, out).SendBulk(BulkReplies{}, false), "worker: send: ")
}

func BenchmarkServe(b *testing.B) {
	in, toWorker, _ := os.Pipe()
	fromWorker, out, _ := os.Pipe()
	done := make(chan error, 1)
	go func() { done <- New(in, out).Serve(echo) }()

	question := decode(b, data("hello\r\n"))
	reply := make([]byte, len(decode(b, answer("WRITE", "hello\r\n"))))
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		_, _ = toWorker.Write(question)
		_, _ = io.ReadFull(fromWorker, reply)
	}
	_ = toWorker.Close()
	require.NoError(b, <-done)
}

func echo(e Event) (Reply, error) {
	switch {
	case e.Event != Data:
		return Reply{Context: Continue}, nil
	case string(e.Body) == "soft failure":
		return Reply{}, errors.New("soft failure")
	default:
		return Reply{Context: Write, Body: e.Body}, nil
	}
}

var long = strings.Repeat("0123456789abcdef", 100_000)

func connected() string         { return request(`{"uuid":"u-1","event":"CONNECTED"}`, "") }
func data(body string) string   { return request(`{"uuid":"u-1","event":"DATA"}`, body) }
func answer(c, b string) string { return frameOf(frame.CodecRaw, len(c), c+b) }
func ownPid() string {
	return frameOf(frame.CONTROL|frame.CodecJSON, -1, fmt.Sprintf(`{"pid":%d}`, os.Getpid()))
}
func request(context, body string) string { return frameOf(0, len(context), context+body) }

// frameOf writes a frame in the notation above; a context below zero leaves the option out.
func frameOf(flags byte, context int, payload string) string {
	f := frame.NewFrame()
	f.WriteVersion(f.Header(), frame.Version1)
	f.WriteFlags(f.Header(), flags)
	if context >= 0 {
		f.WriteOptions(f.HeaderPtr(), uint32(context))
	}
	f.WritePayloadLen(f.Header(), uint32(len(payload)))
	f.WriteCRC(f.Header())
	return hex.EncodeToString(f.Header()) + "|" + payload
}

// decode makes bytes of frames, one in a line. A payload may hold no "\n" unless it follows a "\r".
func decode(t testing.TB, frames string) []byte {
	t.Helper()
	b := []byte{}
	for _, f := range strings.Split(strings.ReplaceAll(frames, "\r\n", "\x00"), "\n") {
		header, payload, _ := strings.Cut(f, "|")
		h, err := hex.DecodeString(strings.ReplaceAll(header, " ", ""))
		require.NoError(t, err)
		b = append(append(b, h...), strings.ReplaceAll(payload, "\x00", "\r\n")...)
	}
	return b
}

// start makes a worker that is sent these frames and then the end of file. What it has written is told, once, by the
// function.
func start(t *testing.T, frames string) (*Worker, func() []byte) {
	t.Helper()
	in, toWorker, err := os.Pipe()
	require.NoError(t, err)
	fromWorker, out, err := os.Pipe()
	require.NoError(t, err)

	sent := decode(t, frames)
	var answers bytes.Buffer
	written, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		_, _ = toWorker.Write(sent) // fails when the worker ends before it has read all
		_ = toWorker.Close()
	}()
	go func() {
		defer close(read)
		_, _ = answers.ReadFrom(fromWorker)
	}()
	end := func() []byte {
		_ = in.Close()
		_ = out.Close()
		<-written
		<-read
		_ = fromWorker.Close()
		return append([]byte{}, answers.Bytes()...)
	}
	t.Cleanup(func() { end() })
	return New(in, out), end
}

func file(t *testing.T, frames string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.Write(decode(t, frames))
	require.NoError(t, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	return f
}

func content(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return b
}
