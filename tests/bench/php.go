package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// phpRound are the figures of what is compared, taken one after the other.
type phpRound struct {
	off, bulk figures // workers in PHP, without and with tcp.bulk
	loop      figures // as many processes, each an event loop in PHP
	pool      float64 // exchanges of the pool alone in a second, with the same workers
}

// phpRows prints what PHP brings: as workers of cmd/rr, without and with tcp.bulk, and as a server of its own.
func phpRows(b *bench) error {
	version, err := exec.Command("php", "-r", "echo PHP_VERSION;").Output()
	if err != nil {
		if os.Getenv("RRTCP_REQUIRE_PHP") == "1" {
			return fmt.Errorf("php: %w", err)
		}
		fmt.Println("\nPHP: php is missing.")
		return nil
	}
	packages := "the stand-ins in tests/php/spiral"
	if os.Getenv("RRTCP_PHP_VENDOR") != "" {
		packages = "the packages of RRTCP_PHP_VENDOR"
	}
	fmt.Printf(`
PHP %s, %s, %d workers or processes

| PHP | conns | bytes | off/s | bulk/s | loop/s | pool/s | bulk of off | bulk of loop | off of loop | p99 off | p99 bulk | p99 loop | p99, bulk of off |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`, version, packages, workers)
	for _, l := range b.php {
		var rounds []phpRound
		for range b.rounds {
			r, err := b.phpRound(l)
			if err != nil {
				return fmt.Errorf("php, %s, %d connections, %d bytes: %w", l, l.connections, l.size, err)
			}
			rounds = append(rounds, r)
		}
		printPHP(l, rounds)
	}
	return nil
}

// printPHP prints medians. Those of ratios are of what was measured one after the other.
func printPHP(l load, rounds []phpRound) {
	of := func(what func(phpRound) float64) float64 { return medianOf(rounds, what) }
	p99 := func(what func(phpRound) figures) string {
		return short(medianOf(rounds, func(r phpRound) time.Duration { return what(r).p99 }))
	}
	fmt.Printf("| %s | %d | %s | %.0f | %.0f | %.0f | %.0f | %.2f | %.2f | %.2f | %s | %s | %s | %.2f |\n",
		l, l.connections, size(int64(l.size)),
		of(func(r phpRound) float64 { return r.off.rate }),
		of(func(r phpRound) float64 { return r.bulk.rate }),
		of(func(r phpRound) float64 { return r.loop.rate }),
		of(func(r phpRound) float64 { return r.pool }),
		of(func(r phpRound) float64 { return r.bulk.rate / r.off.rate }),
		of(func(r phpRound) float64 { return r.bulk.rate / r.loop.rate }),
		of(func(r phpRound) float64 { return r.off.rate / r.loop.rate }),
		p99(func(r phpRound) figures { return r.off }),
		p99(func(r phpRound) figures { return r.bulk }),
		p99(func(r phpRound) figures { return r.loop }),
		of(func(r phpRound) float64 { return float64(r.bulk.p99) / float64(r.off.p99) }))
}

func medianOf[T any, N cmp.Ordered](of []T, what func(T) N) N {
	var all []N
	for _, one := range of {
		all = append(all, what(one))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (b *bench) phpRound(l load) (r phpRound, err error) {
	worker, err := phpScript("echo.php")
	if err != nil {
		return r, err
	}
	start := func(section string) func() (*process, error) {
		return func() (*process, error) { return b.startHost(worker, section) }
	}
	if r.off, err = b.measureProcess(l, start("")); err != nil {
		return r, err
	}
	if r.bulk, err = b.measureProcess(l, start("bulk: {}")); err != nil {
		return r, err
	}
	if r.loop, err = b.measureProcess(l, startLoop); err != nil {
		return r, err
	}
	c, err := b.measurePool(l, worker)
	r.pool = c.rate(l)
	return r, err
}

// startLoop runs as many event loops in PHP as there would be workers, on one address.
func startLoop() (*process, error) {
	var first *process
	address := "127.0.0.1:0"
	for range workers {
		command, err := phpScript("loop.php", address)
		if err != nil {
			return nil, err
		}
		p, err := listening(exec.Command(command[0], command[1:]...), 1)
		if err != nil {
			if first != nil {
				first.kill()
			}
			return nil, err
		}
		p.next, first = first, p
		address = p.addresses["exact"]
	}
	return first, nil
}

// phpScript is the command that runs a script of the folder php.
func phpScript(name string, args ...string) ([]string, error) {
	file, err := filepath.Abs(filepath.Join("php", name))
	return append([]string{"php", file}, args...), err
}
