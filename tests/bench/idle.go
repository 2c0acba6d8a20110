package main

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// memory is the host's while connections wait.
type memory struct {
	connections                int
	none, unused, used, closed int64 // bytes; before, when they are new, after a packet each, and when they have gone
}

// idle prints what waiting connections cost.
func idle(b *bench) error {
	fmt.Printf("\n| idle connections | RSS before | new | after a packet each | each, new | each, used | when gone |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|\n")
	var all []memory
	for _, n := range b.idle {
		if n == 0 {
			n = mostConnections()
		}
		m, err := b.measureIdle(n)
		if err != nil {
			return fmt.Errorf("%d idle connections: %w", n, err)
		}
		all = append(all, m)
		fmt.Printf("| %d | %s | %s | %s | %s | %s | %s |\n", n, size(m.none), size(m.unused), size(m.used),
			size((m.unused-m.none)/int64(n)), size((m.used-m.none)/int64(n)), size(m.closed))
	}

	first, last := all[0], all[len(all)-1]
	slope := (last.used - first.used) / int64(last.connections-first.connections)
	fmt.Printf("\nOne more costs %s after use; 100,000 would take %s.\n", size(slope), size(last.none+100_000*slope))
	return nil
}

// mostConnections is what the limit of descriptors leaves to this program, and so to the host.
func mostConnections() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1000
	}
	return int(min(limit.Cur, 25_000)) - 100 // the system gives a client address some 28,000 ports
}

func (b *bench) measureIdle(n int) (m memory, err error) {
	p, err := b.startRR()
	if err != nil {
		return m, err
	}
	defer p.kill()
	look := func(at *int64) {
		if err == nil {
			err = p.settle()
		}
		time.Sleep(b.rest)
		*at = p.rss()
	}

	m.connections = n
	if err = visit(p.addresses["exact"]); err != nil {
		return m, err
	}
	look(&m.none)
	conns, err := openAll(p.addresses["exact"], n)
	defer closeAll(conns)
	if err != nil {
		return m, err
	}
	look(&m.unused)
	for i, conn := range conns {
		if err := newClient(load{size: 64}, i).talk(conn, 64); err != nil {
			return m, err
		}
	}
	look(&m.used)
	closeAll(conns)
	look(&m.closed)
	return m, err
}

func visit(address string) error { return newClient(load{size: 64}, 0).visit(address, 64) }

func openAll(address string, n int) ([]net.Conn, error) {
	var conns []net.Conn
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// startAndStop prints how long both take.
func startAndStop(b *bench) error {
	fmt.Printf("\n| | time | pool alone, or without connections |\n|---|--:|--:|\n")
	begin := time.Now()
	p, err := b.startRR()
	if err != nil {
		return err
	}
	started := time.Since(begin)
	p.kill()
	c, err := b.measurePool(load{connections: 1, size: 64}, echoWorker(b.rr))
	if err != nil {
		return err
	}
	fmt.Printf("| from start to listening | %s | %s |\n", short(started), short(c.Start))

	var took [2]time.Duration
	for i, n := range []int{b.stopped, 0} {
		if took[i], err = b.measureStop(n); err != nil {
			return err
		}
	}
	fmt.Printf("| stop with %s idle connections | %s | %s |\n", strconv.Itoa(b.stopped), short(took[0]), short(took[1]))
	return nil
}

func (b *bench) measureStop(n int) (time.Duration, error) {
	p, err := b.startRR()
	if err != nil {
		return 0, err
	}
	defer p.kill()
	conns, err := openAll(p.addresses["exact"], n)
	defer closeAll(conns)
	if err != nil {
		return 0, err
	}
	if err := p.settle(); err != nil {
		return 0, err
	}

	var reading sync.WaitGroup
	for _, conn := range conns {
		reading.Add(1)
		go func() { // ends when the host closes its side, as clients do
			defer reading.Done()
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}()
	}
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	err = p.cmd.Wait()
	took := time.Since(begin)
	reading.Wait()
	return took, err
}
