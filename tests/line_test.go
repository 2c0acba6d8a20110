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

// rr is the line's program, built when the first test wants it.
var rr struct {
	once sync.Once
	dir  string
	err  error
}

// buildProgram returns the path of the line's program, which holds a space.
func buildProgram(t *testing.T) string {
	t.Helper()
	rr.once.Do(func() {
		if rr.dir, rr.err = os.MkdirTemp("", "rr test"); rr.err != nil {
			return
		}
		l := thisLine()
		args := append([]string{"build", "-modfile=" + l.mod}, buildFlags...)
		build := exec.Command("go", append(args, "-o", rr.dir+"/rr", ".")...)
		build.Dir = filepath.Join(repository, l.folder)
		build.Env = append(os.Environ(), "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			rr.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, rr.err)
	return rr.dir + "/rr"
}

func removePrograms() {
	if rr.dir != "" {
		_ = os.RemoveAll(rr.dir)
	}
}
