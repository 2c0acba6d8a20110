// Package hosttest tests the tcp plugin inside of a RoadRunner in the test's own process: what a black box can't show. That
// is the Go API, the order of Init, Serve and Stop, all plugins stopping at once, spans, and goroutines that are left. The
// program of each RoadRunner line runs it with its own plugins; it imports none.
package hosttest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/cmd/rr/program"
	"github.com/rrtcp/tcp/internal/linetest"
)

// Plugin is the tcp plugin's Go API, as far as it is the same on all lines.
type Plugin interface {
	program.TCP
	Close(uuid string) error
	Reset() error
	AddWorker() error
	RemoveWorker(ctx context.Context) error
}

// Line is what the suite is run with.
type Line struct {
	program.Line
	// HostDestroysPool says that RoadRunner destroys the pool while the plugin stops, and not the plugin itself.
	HostDestroysPool bool
}

const inParallel = "4" // tests mostly wait; more would take the processor from workers that have to start in time

// workerProgram is the path of hostworker, which Main builds.
var workerProgram string

// Main is the TestMain of a program: it fails if goroutines are left.
func Main(m *testing.M) {
	dir, err := buildWorker()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	_ = flag.Set("test.parallel", inParallel) // the command line, which is read later, may have another
	linetest.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// buildWorker returns the directory that has it.
func buildWorker() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "rrtcp"); err != nil {
		return "", err
	}
	workerProgram = filepath.Join(dir, "worker")
	out, err := exec.Command("go", "build", "-o", workerProgram, "github.com/rrtcp/tcp/cmd/rr/hosttest/hostworker").CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("the worker is not built: %w: %s", err, out)
	}
	return dir, nil
}

// Run runs the suite.
func Run(t *testing.T, l Line) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Line)
	}{
		{"TracedExchanges", testTraces}, // first, and not parallel: it sets the provider of the whole process
		{"MissingSection", testMissingSection},
		{"EmptySections", testEmptySections},
		{"DroppedSections", testDroppedSections},
		{"BeforeServe", testBeforeServe},
		{"StopBeforeServe", testStopBeforeServe},
		{"StopTwice", testStopTwice},
		{"StopWithEndedContext", testStopWithEndedContext},
		{"StopCutsHungWorkers", testStopCutsHungWorkers},
		{"StopOfAllPlugins", testStopOfAllPlugins},
		{"StopHandsOverClose", testStopHandsOverClose},
		{"StopDuringReset", testStopDuringReset},
		{"NoGoroutineLeft", testNoGoroutineLeft},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, l) })
	}
}
