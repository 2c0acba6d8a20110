package program

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const callTimeout = 10 * time.Second // where -t is not given

// call sends a line to any server and prints what the server sends until it closes the connection. It needs no configuration. The
// client's side is closed behind the line: a server that answers and then sees the end of the stream closes its own.
func call(address, text string, within time.Duration, out io.Writer) error {
	network, target, err := callTarget(address)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(within)
	conn, err := net.DialTimeout(network, target, within)
	if err != nil {
		return fmt.Errorf("call: %w: does a server listen there?", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("call: %w", err)
	}

	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // where the server has closed already, what it sent before can still be read
	}
	n, err := io.Copy(out, conn)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("call: %s has not closed the connection within %s (-t); it sent %d bytes", address, within, n)
	case err != nil:
		return fmt.Errorf("call: after %d bytes: %w", n, err)
	case n == 0:
		return fmt.Errorf("call: %s closed the connection without an answer", address)
	}
	return nil
}

// callTarget is where call connects to: HOST:PORT, tcp://HOST:PORT or unix://PATH.
func callTarget(address string) (network, target string, err error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		return "unix", path, nil
	}
	target = strings.TrimPrefix(address, "tcp://")
	if _, port, err := net.SplitHostPort(target); err != nil || port == "" {
		return "", "", fmt.Errorf("call: %q is no address: want HOST:PORT or unix://PATH", address)
	}
	return "tcp", target, nil
}
