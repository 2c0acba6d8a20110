package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// veloxPlugins is the file that velox writes: a plugin is known by its module alone, its alias is random.
const veloxPlugins = `package main

import (
	"github.com/roadrunner-server/config/MAJOR"
	"github.com/roadrunner-server/logger/MAJOR"
	"github.com/roadrunner-server/rpc/MAJOR"
	"github.com/roadrunner-server/server/MAJOR"
	ALIAS "PLUGIN"
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

// buildWithVelox does to a RoadRunner's go.mod and plugins.go what velox does: replaces are modules and where they are.
func buildWithVelox(t *testing.T, replaces map[string]string) (binary string) {
	t.Helper()
	dir, l := t.TempDir(), thisLine()
	host := filepath.Join(repository, l.folder, strings.TrimSuffix(l.mod, ".mod")) // of RoadRunner's modules it needs fewer
	for _, ext := range []string{".mod", ".sum"} {
		content, err := os.ReadFile(host + ext)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(dir+"/go"+ext, content, 0o600))
	}
	edit := []string{"mod", "edit", "-module=example.test/roadrunner"}
	for _, module := range []string{"github.com/rrtcp/tcp", "github.com/rrtcp/tcp/cmd/rr", "github.com/rrtcp/tcp/rr2025"} {
		edit = append(edit, "-dropreplace="+module)
		if module != l.plugin {
			edit = append(edit, "-droprequire="+module)
		}
	}
	for module, folder := range replaces {
		edit = append(edit, "-replace="+module+"="+folder)
	}
	run(t, dir, "go", edit...)

	letters := []byte("abcdefghijklmnopqrstuvwxyz")
	rand.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
	plugins := strings.NewReplacer("ALIAS", string(letters[:5]), "VERSION", l.release, "MAJOR", l.major, "PLUGIN", l.plugin)
	require.NoError(t, os.WriteFile(dir+"/plugins.go", []byte(plugins.Replace(veloxPlugins)), 0o600))
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
	checkout, err := filepath.Abs(repository)
	require.NoError(t, err)
	ways := map[string]map[string]string{"from a checkout": {"github.com/rrtcp/tcp": checkout}}
	if thisLine().plugin == "github.com/rrtcp/tcp/rr2025" {
		ways["from a checkout"]["github.com/rrtcp/tcp/rr2025"] = checkout + "/rr2025"
		vendored := t.TempDir()
		run(t, checkout, "scripts/vendor-rr2025.sh", vendored)
		ways["from a module of its own"] = map[string]string{"github.com/rrtcp/tcp/rr2025": vendored}
	}
	for name, replaces := range ways {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, shortDir(t))
			h.serveProgram(buildWithVelox(t, replaces), minimal, h.command(nil)...)
			for i := range 3 {
				c := h.dial("echo")
				require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
				require.NoError(t, c.Close())
			}
			h.stop()
		})
	}
}

var veloxReplace = regexp.MustCompile(`(?m)^\[\[replaces\]\]\nold = "(.*)"\nnew = "(.*)"$`)

// The other plugins of RoadRunner's next major can't be had yet. What the plugin needs, the file's replaces give.
func TestVeloxNextMajor(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs(repository)
	require.NoError(t, err)
	config, err := os.ReadFile(repository + "/examples/velox/velox-next.toml")
	require.NoError(t, err)
	const plugin = "github.com/rrtcp/tcp/next"
	require.Contains(t, string(config), `module_name = "`+plugin+`"`)

	dir := t.TempDir()
	sums, err := os.ReadFile(repository + "/next/go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/go.sum", sums, 0o600))
	main := "package main\n\nimport tcp \"" + plugin + "\"\n\nfunc main() { _ = []any{&tcp.Plugin{}} }\n"
	require.NoError(t, os.WriteFile(dir+"/main.go", []byte(main), 0o600))
	run(t, dir, "go", "mod", "init", "example.test/roadrunner")
	edit := []string{"mod", "edit", "-require=" + plugin + "@v0.0.0"}
	for _, r := range veloxReplace.FindAllStringSubmatch(string(config), -1) {
		edit = append(edit, "-replace="+r[1]+"="+strings.Replace(r[2], "/src", checkout, 1))
	}
	run(t, dir, "go", edit...)
	run(t, dir, "go", "build", "-mod=mod", "-o", "rr", ".")
}
