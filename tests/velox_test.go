package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const pluginModule = "github.com/rrtcp/tcp"

// veloxPlugins is the file that velox writes: a plugin is known by its module alone, its alias is random.
const veloxPlugins = `package main

import (
	"github.com/roadrunner-server/config/v4"
	"github.com/roadrunner-server/logger/v4"
	rpc "github.com/roadrunner-server/rpc/v4"
	"github.com/roadrunner-server/server/v4"
	ALIAS "github.com/rrtcp/tcp"
)

func plugins(file string) []any {
	return []any{
		&config.Plugin{Path: file, Prefix: "rr", Version: "VERSION"},
		&logger.Plugin{},
		&server.Plugin{},
		&rpc.Plugin{},
		&ALIAS.Plugin{},
	}
}
`

// veloxMain stands for the rest of RoadRunner.
const veloxMain = `package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/roadrunner-server/endure/v2"
)

func main() {
	container := endure.New(slog.LevelError)
	all := plugins(os.Args[3])
	must(container.RegisterAll(all...))
	must(container.Init())
	_, err := container.Serve()
	must(err)
	listens := all[len(all)-1].(interface{ Addr(string) net.Addr })
	fmt.Fprintln(os.Stderr, "rr: echo listens on tcp://"+listens.Addr("echo").String())

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	must(container.Stop())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// buildWithVelox does to a RoadRunner's go.mod and plugins.go what velox does, with a checkout of this plugin.
func buildWithVelox(t *testing.T) (binary string) {
	t.Helper()
	dir := t.TempDir()
	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	host := filepath.Join("..", "cmd", "rr") // of its modules it needs fewer
	lists, err := filepath.Glob(host + "/*.mod")
	require.NoError(t, err)
	for _, mod := range lists {
		for _, file := range []string{mod, strings.TrimSuffix(mod, ".mod") + ".sum"} {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o600))
		}
		run(t, dir, "go", "mod", "edit", "-module=example.test/roadrunner", "-dropreplace="+pluginModule,
			"-replace="+pluginModule+"="+checkout, filepath.Base(mod))
	}

	letters := []byte("abcdefghijklmnopqrstuvwxyz")
	rand.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
	plugins := strings.NewReplacer("ALIAS", string(letters[:5]), "VERSION", roadRunner).Replace(veloxPlugins)
	require.NoError(t, os.WriteFile(dir+"/plugins.go", []byte(plugins), 0o600))
	require.NoError(t, os.WriteFile(dir+"/main.go", []byte(veloxMain), 0o600))
	run(t, dir, "go", append(append([]string{"build"}, buildFlags...), "-mod=mod", "-o", "rr", ".")...)
	return dir + "/rr"
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir, command.Env = dir, append(os.Environ(), "GOWORK=off")
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

func TestVelox(t *testing.T) {
	t.Parallel()
	p := startProgramOf(t, buildWithVelox(t), 1, minimal)
	for i := range 3 {
		c := p.dial("echo")
		require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
		require.NoError(t, c.Close())
	}
	p.terminate()
	p.requireExit(grace)
}
