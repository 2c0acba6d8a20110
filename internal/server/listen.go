package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// listen opens the listening socket of an address. Clients may connect from then on; they wait until it is accepted from.
func listen(network, address string, shared bool) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1} // set for each connection, with the system's number of probes
	config.SetMultipathTCP(false)             // for which Linux has no TCP_USER_TIMEOUT; with Go 1.24 it is the default
	if shared && network != "unix" {
		config.Control = reusePort
	}
	socket, err := config.Listen(context.Background(), network, address)
	if network != "unix" {
		return socket, err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(address); err != nil {
			return nil, err
		}
		socket, err = config.Listen(context.Background(), network, address)
	}
	if err != nil {
		return nil, err
	}
	file, _ := os.Lstat(address)
	return &unixListener{socket.(*net.UnixListener), address, file}, nil
}

// unixListener removes, when it is closed, the file of its own socket, not that of another process which has taken the path since.
type unixListener struct {
	*net.UnixListener
	path string
	file os.FileInfo // nil: none
}

// Close closes the socket.
func (l *unixListener) Close() error {
	now, err := os.Lstat(l.path)
	l.SetUnlinkOnClose(err == nil && os.SameFile(l.file, now))
	return l.UnixListener.Close()
}

// removeStale removes a socket file that a process which has ended left behind. Anything else at path is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is a file that is no socket; remove it or choose another path", path)
	}

	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: another process listens there", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// clientAddress is an address as RoadRunner has always written it: ip:port, and @ for the nameless peer of a unix socket.
func clientAddress(a net.Addr) string {
	if a != nil {
		if name := a.String(); name != "" {
			return name
		}
	}
	return "@"
}

func networkAddress(a net.Addr) string { return a.Network() + "://" + a.String() }
