package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what clients do: each sends packets and waits for all the answers before it goes on.
type load struct {
	connections int
	size        int  // of a packet, in bytes
	depth       int  // packets sent at once; 0: one
	batch       bool // to the server that hands over all that have arrived
	churn       bool // a connection for each packet
}

func (l load) String() string {
	switch {
	case l.churn:
		return "connect, packet, close"
	case l.batch:
		return fmt.Sprintf("%d at once, batch", l.packets())
	case l.depth > 1:
		return fmt.Sprintf("%d at once", l.depth)
	default:
		return "ping-pong"
	}
}

func (l load) packets() int { return max(1, l.depth) }

func (l load) server() string {
	if l.batch {
		return "batch"
	}
	return "exact"
}

// clients are the goroutines of a load that runs.
type clients struct {
	load
	address string
	stopped atomic.Bool
	timed   atomic.Bool // latencies count
	running sync.WaitGroup

	each []*client
}

type client struct {
	packets   atomic.Int64 // answered
	latencies []time.Duration
	out, in   []byte
	sequence  uint64
	err       error
}

// startClients connects all of them before any begins.
func startClients(l load, address string) (*clients, error) {
	c := &clients{load: l, address: address}
	conns := make([]net.Conn, l.connections)
	for i := range conns {
		c.each = append(c.each, newClient(l, i))
		if l.churn {
			continue
		}
		var err error
		if conns[i], err = net.Dial("tcp", address); err != nil {
			return nil, err
		}
	}
	for i, one := range c.each {
		c.running.Add(1)
		go c.work(one, conns[i]) // ends when stopped, or with an error
	}
	return c, nil
}

func newClient(l load, number int) *client {
	c := &client{out: make([]byte, l.packets()*l.size), in: make([]byte, l.packets()*l.size)}
	for i := range c.out {
		c.out[i] = 'a' + byte((i+number)%23)
	}
	for end := l.size; end <= len(c.out); end += l.size {
		copy(c.out[end-2:], "\r\n")
	}
	c.sequence = uint64(number) << 32
	return c
}

func (c *clients) work(one *client, conn net.Conn) {
	defer c.running.Done()
	for !c.stopped.Load() && one.err == nil {
		begin := time.Now()
		if c.churn {
			one.err = one.visit(c.address, c.size)
		} else {
			one.err = one.talk(conn, c.size)
		}
		if c.timed.Load() {
			one.latencies = append(one.latencies, time.Since(begin))
		}
		one.packets.Add(int64(c.packets()))
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func (c *client) visit(address string, size int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return errors.Join(c.talk(conn, size), conn.Close())
}

// talk sends packets no two of which are the same, and wants exactly them back.
func (c *client) talk(conn net.Conn, size int) error {
	for at := 0; at < len(c.out); at += size {
		c.sequence++
		for i := range 16 {
			c.out[at+i] = "0123456789abcdef"[c.sequence>>(4*i)&15]
		}
	}
	if _, err := conn.Write(c.out); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, c.in); err != nil {
		return err
	}
	if !bytes.Equal(c.in, c.out) {
		return errors.New("the answer is not what was sent")
	}
	return nil
}

func (c *clients) answered() (n int64) {
	for _, one := range c.each {
		n += one.packets.Load()
	}
	return n
}

// stop ends the load and returns its latencies, sorted.
func (c *clients) stop() (latencies []time.Duration, err error) {
	c.stopped.Store(true)
	c.running.Wait()
	for _, one := range c.each {
		if one.err != nil {
			err = one.err
		}
		latencies = append(latencies, one.latencies...)
	}
	slices.Sort(latencies)
	return latencies, err
}

// quantile is that of sorted latencies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
