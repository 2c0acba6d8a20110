package hosttest

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/cmd/rr/program"
	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// work is a worker: it appends every event to DIR/events and sends packets back, but for those that are commands:
//
//	!hang         it never answers
//	!hang later   it answers, but not CLOSE
//	!gate         it waits until the test lets it answer
//	!error        it answers with an error
func work() int {
	dir := os.Getenv("RRTCP_HOST")
	events, err := os.OpenFile(dir+"/events", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		err = worker.Serve(func(e worker.Event) (worker.Reply, error) {
			_, _ = fmt.Fprintf(events, "%s %s %s\n", e.Event, e.UUID, e.Reason)
			return answer(dir, e)
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var hangsLater bool // the worker has got "!hang later"

func answer(dir string, e worker.Event) (worker.Reply, error) {
	if e.Event == worker.Closed && hangsLater {
		select {}
	}
	if e.Event != worker.Data {
		return worker.Reply{Context: worker.Continue}, nil
	}
	switch strings.TrimSpace(string(e.Body)) {
	case "!hang":
		select {}
	case "!hang later":
		hangsLater = true
	case "!error":
		return worker.Reply{}, io.ErrUnexpectedEOF
	case "!gate":
		conn, err := net.Dial("unix", dir+"/gate")
		if err != nil {
			return worker.Reply{}, err
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	return worker.Reply{Context: worker.Write, Body: e.Body}, nil
}

// gate is where workers that were told !gate wait, in turn, until the function that comes back is called.
func (h *host) gate() (next func() (release func())) {
	h.t.Helper()
	l, err := net.Listen("unix", h.dir+"/gate")
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = l.Close() })
	return func() func() {
		require.NoError(h.t, l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)))
		conn, err := l.Accept()
		require.NoError(h.t, err, "no worker comes to the gate")
		h.t.Cleanup(func() { _ = conn.Close() })
		return func() { _ = conn.Close() }
	}
}

func sourceOf(yaml string, grace time.Duration) program.Source {
	return program.Source{YAML: []byte(yaml), Stop: grace}
}
