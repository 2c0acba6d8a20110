package cluster

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// listening wraps the connections of the listener.
func listening(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &redisConn{Conn: conn}, nil
	}
}

// redisConn is a connection whose loss go-redis leaves to us: it would print a line on stderr and connect again by itself. Its logger
// is one for the whole process, which belongs to the host.
//
// A connection to a Sentinel is one, too. It may be silent: nothing comes there but answers and failovers.
type redisConn struct {
	net.Conn
	listens bool // it waits for messages; touched by the reader alone
}

// SetReadDeadline comes before each read of an answer or a message: one for a message is redisForever away. It never fails: Read does.
func (c *redisConn) SetReadDeadline(t time.Time) error {
	c.listens = time.Until(t) > redisSilence
	_ = c.Conn.SetReadDeadline(t)
	return nil
}

// Read waits for a byte of a message, for redisSilence at most. A deadline for the whole message would cut a large one in two.
func (c *redisConn) Read(b []byte) (int, error) {
	if c.listens {
		_ = c.Conn.SetReadDeadline(time.Now().Add(redisSilence)) // an error: it is closed, as Read says
	}
	n, err := c.Conn.Read(b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = lostError{errRedisSilent}
	case err != nil:
		err = lostError{err}
	}
	return n, err
}

// SetWriteDeadline and Write never fail: the reader does.
func (c *redisConn) SetWriteDeadline(t time.Time) error {
	_ = c.Conn.SetWriteDeadline(t)
	return nil
}

func (c *redisConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(b); err != nil {
		_ = c.Close()
	}
	return len(b), nil
}

// lostError looks like a timeout, which go-redis returns without a word.
type lostError struct{ error }

var _ net.Error = lostError{}

func (e lostError) Unwrap() error { return e.error }
func (lostError) Timeout() bool   { return true }
func (lostError) Temporary() bool { return false }
