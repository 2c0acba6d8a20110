package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// burst is a load with pauses: each connection sends its packets back to back, all at the same time. When all are answered, there
// is a pause. It shows what it costs to wake up, which a load without pauses hides.
type burst struct{ connections, packets int }

const (
	burstPause = 20 * time.Millisecond
	burstSize  = 64 // bytes of a packet
)

// burstFigures are those of one program under one burst.
type burstFigures struct {
	CPU      float64       // microseconds of the host's for each packet, in the pauses too
	P50, P99 time.Duration // from the first packet of a connection's burst to its last answer
}

// bursts prints what each burst costs, and how many times that of the pool alone.
func bursts(b *bench) error {
	fmt.Printf(`
| bursts, %s between them | connections | CPU | of the pool's | p50 | of the pool's | p99 | of the pool's |
|---|--:|--:|--:|--:|--:|--:|--:|
`, burstPause)
	for _, l := range b.bursts {
		var ours, pool []burstFigures
		for range b.rounds {
			o, err := b.burstRR(l)
			if err == nil {
				ours = append(ours, o)
				o, err = b.burstPool(l)
				pool = append(pool, o)
			}
			if err != nil {
				return fmt.Errorf("bursts of %d connections, %d packets: %w", l.connections, l.packets, err)
			}
		}
		byCPU := func(f burstFigures) float64 { return f.CPU }
		o, p := median(ours, byCPU), median(pool, byCPU)
		fmt.Printf("| %d at once | %d | %.1f | %.2f | %s | %.2f | %s | %.2f |\n", l.packets, l.connections, o.CPU, o.CPU/p.CPU,
			short(o.P50), float64(o.P50)/float64(p.P50), short(o.P99), float64(o.P99)/float64(p.P99))
	}
	return nil
}

func (b *bench) burstRR(l burst) (burstFigures, error) {
	p, err := b.startRR()
	if err != nil {
		return burstFigures{}, err
	}
	defer p.kill()
	conns, err := openAll(p.addresses["exact"], l.connections)
	defer closeAll(conns)
	if err != nil {
		return burstFigures{}, err
	}
	senders := make([]func() error, l.connections)
	for i, conn := range conns {
		c := newClient(load{size: burstSize, depth: l.packets}, i)
		senders[i] = func() error { return c.talk(conn, burstSize) }
	}
	return l.measure(p.cmd.Process.Pid, b.warmUp, b.window, senders)
}

// burstPool is burstRR of the pool alone: as many callers as there are connections.
func (b *bench) burstPool(l burst) (f burstFigures, err error) {
	err = runTask("bursts", poolTask{l.connections, l.packets, b.warmUp, b.window, echoWorker(b.rr)}, &f)
	return f, err
}

// serveBursts is the process that burstPool starts.
func serveBursts(t poolTask) error {
	p, err := newPool(t.Worker)
	if err != nil {
		return err
	}
	l := burst{t.Callers, t.Each}
	senders := make([]func() error, l.connections)
	for i := range senders {
		call := newCaller(p, burstSize)
		senders[i] = func() (err error) {
			for n := 0; n < l.packets && err == nil; n++ {
				err = call()
			}
			return err
		}
	}
	f, err := l.measure(os.Getpid(), t.WarmUp, t.Window, senders)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(f))
}

// measure repeats the burst while it looks at the CPU time of a process.
func (l burst) measure(pid int, warmUp, window time.Duration, senders []func() error) (f burstFigures, err error) {
	if _, err = repeat(warmUp, senders); err != nil {
		return f, err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return f, err
	}
	latencies, err := repeat(window, senders)
	if err != nil {
		return f, err
	}
	after, err := cpuTime(pid)
	slices.Sort(latencies)
	return burstFigures{
		CPU: micros(after-before) / float64(len(latencies)*l.packets), P50: quantile(latencies, .5), P99: quantile(latencies, .99),
	}, err
}

// repeat calls all senders at once, waits for them and pauses, again and again for that time. It returns how long each call took.
func repeat(window time.Duration, senders []func() error) (latencies []time.Duration, err error) {
	took, failed := make([]time.Duration, len(senders)), make([]error, len(senders))
	for end := time.Now().Add(window); err == nil && (latencies == nil || time.Now().Before(end)); time.Sleep(burstPause) {
		var sending sync.WaitGroup
		for i, send := range senders {
			sending.Add(1)
			go func() { // ends with the last answer
				defer sending.Done()
				begin := time.Now()
				failed[i] = send()
				took[i] = time.Since(begin)
			}()
		}
		sending.Wait()
		latencies, err = append(latencies, took...), errors.Join(failed...)
	}
	return latencies, err
}
