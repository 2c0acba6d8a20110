// Package streamtest is for tests of connections: one in memory whose time testing/synctest moves.
package streamtest

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one end of a connection in memory that buffers, half-closes and breaks as a socket does.
type Conn struct {
	in, out *direction
	closes  atomic.Int32
}

var _ net.Conn = (*Conn)(nil)

// Pair returns both ends of a connection. toClient is how many bytes the server can send without the client reading them.
func Pair(toClient int) (server, client *Conn) {
	in, out := newDirection(1<<30), newDirection(toClient)
	return &Conn{in: in, out: out}, &Conn{in: out, out: in}
}

// Read reads what has arrived, or waits.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write writes all of p, or waits.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// LocalAddr is that of a unix socket without a name.
func (c *Conn) LocalAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// RemoteAddr is that of a unix socket without a name.
func (c *Conn) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// CloseWrite ends what the other side reads.
func (c *Conn) CloseWrite() error {
	c.out.set(func() { c.out.eof = true })
	return nil
}

// CloseRead drops what has arrived and ends what this side reads.
func (c *Conn) CloseRead() error {
	c.in.set(func() { c.in.eof, c.in.bytes = true, nil })
	return nil
}

// Close ends both directions.
func (c *Conn) Close() error {
	c.closes.Add(1)
	c.in.set(func() { c.in.gone = true })
	_ = c.SetDeadline(time.Time{}) // no timer stays behind
	return c.CloseWrite()
}

// Closes returns how often Close was called on this end.
func (c *Conn) Closes() int { return int(c.closes.Load()) }

// Buffered returns how many bytes were written by this end and are not read yet.
func (c *Conn) Buffered() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return len(c.out.bytes)
}

// Reset breaks both directions; what is on its way still arrives.
func (c *Conn) Reset() {
	broken := os.NewSyscallError("read", syscall.ECONNRESET)
	c.in.set(func() { c.in.err = broken })
	c.out.set(func() { c.out.err = broken })
}

// StallRead makes nothing arrive on this end any more, not even the end.
func (c *Conn) StallRead() { c.in.set(func() { c.in.stalled = true }) }

// StallWrite makes the other end take nothing any more.
func (c *Conn) StallWrite() { c.out.set(func() { c.out.size = 0 }) }

// SetReadDeadline sets when Read gives up.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, &c.in.readTimer, t)
	return nil
}

// SetWriteDeadline sets when Write gives up.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, &c.out.writeTimer, t)
	return nil
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// direction is what one end writes and the other one reads.
type direction struct {
	mu      sync.Mutex
	changed *sync.Cond // of mu; signaled whenever anything below changes, and at deadlines
	size    int        // bytes it holds at most
	bytes   []byte
	eof     bool  // the writer has closed it
	gone    bool  // the reader has closed it
	stalled bool  // nothing comes out
	err     error // it is broken, once what it holds is read

	readBy, writeBy       time.Time // deadlines
	readTimer, writeTimer *time.Timer
}

func newDirection(size int) *direction {
	d := &direction{size: size}
	d.changed = sync.NewCond(&d.mu)
	return d
}

func isPast(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (d *direction) read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.gone:
			return 0, net.ErrClosed
		case isPast(d.readBy):
			return 0, os.ErrDeadlineExceeded
		case d.stalled:
		case len(d.bytes) > 0:
			n := copy(p, d.bytes)
			d.bytes = d.bytes[n:]
			d.changed.Broadcast()
			return n, nil
		case d.err != nil:
			return 0, d.err
		case d.eof:
			return 0, io.EOF
		}
		d.changed.Wait()
	}
}

func (d *direction) write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.eof:
			return n, net.ErrClosed
		case d.err != nil:
			return n, d.err
		case d.gone:
			return n, os.NewSyscallError("write", syscall.EPIPE)
		case isPast(d.writeBy):
			return n, os.ErrDeadlineExceeded
		}
		some := max(0, min(len(p)-n, d.size-len(d.bytes)))
		d.bytes = append(d.bytes, p[n:n+some]...)
		if some > 0 {
			d.changed.Broadcast()
		}
		if n += some; n == len(p) {
			return n, nil
		}
		d.changed.Wait()
	}
}

// set changes something that readers and writers look at.
func (d *direction) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.changed.Broadcast()
}

func (d *direction) setDeadline(by *time.Time, timer **time.Timer, t time.Time) {
	d.set(func() {
		if *timer != nil {
			(*timer).Stop()
			*timer = nil
		}
		if *by = t; !t.IsZero() {
			*timer = time.AfterFunc(time.Until(t), func() { d.set(func() {}) })
		}
	})
}
