package cluster

import (
	"context"
	"net"
	"time"
)

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// dial wraps the connections of the listener.
func (e *redisEngine) dial(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		e.heard.Store(time.Now().UnixNano())
		return &redisConn{conn, e}, nil
	}
}

// redisConn is a connection whose loss go-redis leaves to us: it would print a line on stderr and connect again by itself. Its logger
// is one for the whole process, which belongs to the host.
type redisConn struct {
	net.Conn
	engine *redisEngine
}

func (c *redisConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.engine.heard.Store(time.Now().UnixNano())
	}
	if err != nil {
		err = lostError{err}
	}
	return n, err
}

// Write never fails: the reader does.
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
