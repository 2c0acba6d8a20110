package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// figures are those of one program under one load.
type figures struct {
	rate           float64 // packets in a second
	cpu            float64 // microseconds of the host's for each packet
	switches       float64 // voluntary ones for each packet
	p50, p99, p999 time.Duration
	rss            int64
}

// throughput prints what each load brings, beside what the pool and TCP alone would.
func throughput(b *bench) error {
	fmt.Printf(`
| load | connections | bytes | packets/s | pool/s | ratio | p50 | p99 | p99.9 | CPU | CPU, pool | CPU, plugin | CPU, minimal plugin | CPU, TCP echo | RSS | switches |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`)
	for _, l := range b.loads {
		var ours, pool, bare, floor []figures
		for range b.rounds {
			o, p, m, f, err := b.compare(l)
			if err != nil {
				return fmt.Errorf("%s, %d connections, %d bytes: %w", l, l.connections, l.size, err)
			}
			ours, pool, bare, floor = append(ours, o), append(pool, p), append(bare, m), append(floor, f)
		}
		byCPU := func(f figures) float64 { return f.cpu }
		o, p, m, f := median(ours, byCPU), median(pool, byCPU), median(bare, byCPU), median(floor, byCPU)
		fmt.Printf("| %s | %d | %s | %.0f | %.0f | %.2f | %s | %s | %s | %.1f | %.1f | %.1f | %.1f | %.1f | %s | %.2f |\n",
			l, l.connections, size(int64(l.size)), o.rate, p.rate, o.rate/p.rate, short(o.p50), short(o.p99), short(o.p999),
			o.cpu, p.cpu, o.cpu-p.cpu, m.cpu-p.cpu, f.cpu, size(o.rss), o.switches)
	}
	fmt.Println("\nBENCHMARKS.md explains the columns.")
	return nil
}

func median[T any](of []T, by func(T) float64) T {
	slices.SortFunc(of, func(a, b T) int { return cmp.Compare(by(a), by(b)) })
	return of[len(of)/2]
}

func (b *bench) compare(l load) (ours, pool, bare, floor figures, err error) {
	if ours, err = b.measureProcess(l, b.startRR); err != nil {
		return ours, pool, bare, floor, err
	}
	c, err := b.measurePool(l, echoWorker(b.rr))
	if err != nil {
		return ours, pool, bare, floor, err
	}
	pool = figures{rate: c.rate(l)}
	pool.cpu = micros(c.CPU) / (pool.rate * c.Elapsed.Seconds())
	l.batch = false // one server does for both
	if bare, err = b.measureProcess(l, b.startBare); err != nil {
		return ours, pool, bare, floor, err
	}
	floor, err = b.measureProcess(l, startFloor)
	return ours, pool, bare, floor, err
}

func (b *bench) measureProcess(l load, start func() (*process, error)) (figures, error) {
	p, err := start()
	if err != nil {
		return figures{}, err
	}
	defer p.kill()
	c, err := startClients(l, p.addresses[l.server()])
	if err != nil {
		return figures{}, err
	}

	time.Sleep(b.warmUp)
	c.timed.Store(true)
	before, err := p.usage()
	if err != nil {
		return figures{}, err
	}
	begin, packets := time.Now(), c.answered()
	time.Sleep(b.window)
	after, err := p.usage()
	if err != nil {
		return figures{}, err
	}
	n, elapsed, rss := float64(c.answered()-packets), time.Since(begin), p.rss()
	latencies, err := c.stop()
	return figures{
		rate: n / elapsed.Seconds(), cpu: micros(after.cpu-before.cpu) / n, switches: float64(after.switches-before.switches) / n,
		p50: quantile(latencies, .5), p99: quantile(latencies, .99), p999: quantile(latencies, .999), rss: rss,
	}, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// short is a duration in three digits.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(time.Microsecond).String()
	default:
		return d.Round(100 * time.Microsecond).String()
	}
}

// size is a number of bytes in a unit that suits it.
func size(n int64) string {
	switch {
	case n >= mib:
		return fmt.Sprintf("%.4gM", float64(n)/mib)
	case n >= kib:
		return fmt.Sprintf("%.3gK", float64(n)/kib)
	default:
		return fmt.Sprint(n)
	}
}
