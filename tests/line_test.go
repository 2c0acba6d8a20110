package tests

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// line is a RoadRunner line: where its program is, and what its RoadRunner does differently.
type line struct {
	folder  string // of the program
	mod     string // its go.mod
	plugin  string // the plugin's module
	release string // as the program tells it
	major   string // of the host plugins' modules

	quietEndure bool // Endure can be told to log nothing
	dynamic     bool // the pool has a dynamic_allocator
}

var lines = map[string]line{
	"v2023.3.12": {
		folder: "cmd/rr", mod: "v2023.3.12.mod", plugin: "github.com/rrtcp/tcp", release: "2024.1.5", major: "v4", quietEndure: true,
	},
	"v2024.1.5": {
		folder: "cmd/rr", mod: "go.mod", plugin: "github.com/rrtcp/tcp", release: "2024.1.5", major: "v4", quietEndure: true,
	},
	"v2024.3.5": {
		folder: "rr2025/cmd/rr", mod: "v2024.3.5.mod", plugin: "github.com/rrtcp/tcp/rr2025", release: "2025.1.15", major: "v5",
		dynamic: true,
	},
	"v2025.1.15": {
		folder: "rr2025/cmd/rr", mod: "go.mod", plugin: "github.com/rrtcp/tcp/rr2025", release: "2025.1.15", major: "v5",
		dynamic: true,
	},
}

func lineName() string { return cmp.Or(os.Getenv("RR"), "v2024.1.5") }

func thisLine() line { return lines[lineName()] }

var buildFlags []string // -race, if these tests have it

// program is one that is built when the first test wants it.
type program struct {
	once sync.Once
	path string // holds a space
	err  error
}

var (
	rr      program // the line's, with buildFlags
	plainRR program // the line's, as its users have it: for what the race detector would change, such as memory
	workers program // the workers: this program, without the race detector
)

// buildProgram returns the path of the line's program.
func buildProgram(t *testing.T) string {
	t.Helper()
	return rr.build(t, buildProgramHere(buildFlags...))
}

// buildPlainProgram returns the path of the line's program without the race detector.
func buildPlainProgram(t *testing.T) string {
	t.Helper()
	if len(buildFlags) == 0 {
		return buildProgram(t)
	}
	return plainRR.build(t, buildProgramHere())
}

func buildProgramHere(flags ...string) *exec.Cmd {
	build := exec.Command("go", append([]string{"build", "-modfile=" + thisLine().mod}, flags...)...)
	build.Dir = filepath.Join(repository, thisLine().folder)
	build.Env = append(os.Environ(), "GOWORK=off")
	return build
}

// buildWorker returns the path of the program whose main is TestMain.
func buildWorker(t *testing.T) string {
	t.Helper()
	if len(buildFlags) == 0 {
		self, err := os.Executable()
		require.NoError(t, err)
		return self
	}
	return workers.build(t, exec.Command("go", "test", "-c"))
}

func (p *program) build(t *testing.T, build *exec.Cmd) string {
	t.Helper()
	p.once.Do(func() {
		var dir string
		if dir, p.err = os.MkdirTemp("", "rr test"); p.err != nil {
			return
		}
		p.path = dir + "/rr"
		build.Args = append(build.Args, "-o", p.path, ".")
		if out, err := build.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, p.err)
	return p.path
}

func removePrograms() {
	for _, p := range []*program{&rr, &plainRR, &workers} {
		if p.path != "" {
			_ = os.RemoveAll(filepath.Dir(p.path))
		}
	}
}
