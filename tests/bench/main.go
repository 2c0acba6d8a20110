// Command bench measures cmd/rr as a process of its own, with real workers and real sockets, and prints Markdown tables.
// Beside it, in the same run, stand the pool without TCP and TCP without a pool: what the plugin adds is what counts.
// It runs in its own folder, from which it builds cmd/rr.
//
//	BENCH=quick       ends within a minute; BENCH=smoke tries everything once and measures nothing
//	BENCH=php         PHP alone: workers without and with tcp.bulk, beside an event loop in PHP; ends within five minutes
//	BENCH_RR          another program in place of cmd/rr, which is built otherwise
//	RRTCP_PHP_VENDOR  where the Spiral packages are, if PHP's workers shall run on these and not on the stand-ins
//
// taskset -c 0 puts all of it on one core, where figures are easiest to compare.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// roleKey in the environment says which part of the measurement a process is; without it, it is the one that measures.
const roleKey = "RRTCP_BENCH_ROLE"

func main() { os.Exit(run()) }

func run() int {
	var err error
	switch role := os.Getenv(roleKey); role {
	case "pool":
		err = inTask(servePool)
	case "bursts":
		err = inTask(serveBursts)
	case "bare":
		err = serveBare(os.Args[1:])
	case "floor":
		err = serveFloor()
	default:
		err = measure(os.Getenv("BENCH"), os.Getenv("BENCH_RR"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench is one run of this program.
type bench struct {
	plan
	dir string // for configurations and what is built
	rr  string // the program to measure
}

func measure(mode, rr string) error {
	p, ok := plans[mode]
	if !ok {
		return fmt.Errorf("BENCH=%s: want php, quick, smoke or nothing", mode)
	}
	dir, err := os.MkdirTemp("", "rrtcp")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	b := &bench{plan: p, dir: dir, rr: rr}
	if b.rr == "" {
		b.rr = filepath.Join(dir, "rr")
		build := exec.Command("go", "build", "-o", b.rr, ".")
		build.Dir, build.Env = "../../cmd/rr", append(os.Environ(), "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build cmd/rr: %w: %s", err, out)
		}
	}
	debug.SetGCPercent(400) // of the load: it shares the cores

	fmt.Printf("%s, %s/%s, %d cores, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		time.Now().UTC().Format(time.DateOnly))
	for _, part := range p.parts {
		if err := part(b); err != nil {
			return err
		}
	}
	return nil
}

// plan says what is measured, how long and how often.
type plan struct {
	parts   []func(*bench) error
	window  time.Duration // of one measurement
	warmUp  time.Duration // before it
	rounds  int           // of which the median counts
	loads   []load
	bursts  []burst
	traced  []load
	idle    []int         // connections; 0: as many as the limit of descriptors allows
	rest    time.Duration // in which a process that has nothing to do gives memory back
	stopped int           // connections that are open when it is stopped
	php     []load
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

var everything = []func(*bench) error{throughput, bursts, systemCalls, idle, startAndStop, phpRows}

// pingPong are loads of packets of that size, each with so many connections.
func pingPong(size int, connections ...int) (loads []load) {
	for _, n := range connections {
		loads = append(loads, load{connections: n, size: size})
	}
	return loads
}

var phpLoads = slices.Concat(pingPong(64, 1, 16, 64, 256, 1024), pingPong(4*kib, 1, 16, 64, 256, 1024), []load{
	{connections: 16, size: 64, churn: true}, {connections: 64, size: 64, churn: true},
})

var plans = map[string]plan{
	"": {
		parts: everything, window: time.Second, warmUp: 200 * time.Millisecond, rounds: 3,
		loads: slices.Concat(pingPong(64, 1, 16, 64, 256, 1024), pingPong(4*kib, 1, 16, 64, 256, 1024),
			pingPong(64*kib, 1, 16, 64, 256, 1024), pingPong(mib, 1, 16, 64), []load{
				{connections: 16, size: 64, depth: 16}, {connections: 16, size: 64, depth: 64},
				{connections: 16, size: 64, depth: 16, batch: true}, {connections: 16, size: 64, depth: 64, batch: true},
				{connections: 16, size: 64, churn: true},
			}),
		bursts:  []burst{{1, 1}, {1, 16}, {16, 1}, {16, 16}, {64, 4}, {256, 1}},
		traced:  append(pingPong(64, 1, 64), pingPong(64*kib, 1)...),
		idle:    []int{1000, 10000, 0},
		rest:    time.Second,
		stopped: 10000,
		php:     phpLoads,
	},
	"quick": {
		parts: everything, window: 500 * time.Millisecond, warmUp: 200 * time.Millisecond, rounds: 1,
		loads: append(pingPong(64, 1, 16, 64, 256), []load{
			{connections: 1, size: 64 * kib}, {connections: 16, size: 64, depth: 64, batch: true}, {connections: 16, size: 64, churn: true},
		}...),
		bursts:  []burst{{1, 1}, {16, 16}, {256, 1}},
		traced:  pingPong(64, 1, 64),
		idle:    []int{1000, 10000},
		rest:    time.Second,
		stopped: 1000,
		php:     pingPong(64, 64),
	},
	"php": {
		parts: []func(*bench) error{phpRows}, window: 400 * time.Millisecond, warmUp: 250 * time.Millisecond, rounds: 5,
		php: phpLoads,
	},
	"smoke": {
		parts: everything, window: 20 * time.Millisecond, warmUp: 5 * time.Millisecond, rounds: 1,
		loads: []load{
			{connections: 2, size: 64}, {connections: 1, size: mib}, {connections: 2, size: 64, depth: 16},
			{connections: 2, size: 64, depth: 64, batch: true}, {connections: 2, size: 64, churn: true},
		},
		bursts:  []burst{{2, 3}},
		traced:  []load{{connections: 2, size: 64}},
		idle:    []int{10, 20},
		stopped: 10,
		php:     []load{{connections: 2, size: 64}, {connections: 2, size: 4 * kib}, {connections: 2, size: 64, churn: true}},
	},
}
