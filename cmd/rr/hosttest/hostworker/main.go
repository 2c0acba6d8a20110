// Command hostworker is the worker of the suite in hosttest: a small program, since the test itself takes long to start.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// main appends every event to DIR/events and sends packets back, but for those that are commands:
//
//	!hang         it never answers
//	!hang later   it answers, but not CLOSE
//	!gate         it waits until the test lets it answer
//	!error        it answers with an error
func main() {
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
		os.Exit(1)
	}
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
