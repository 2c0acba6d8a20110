package tests

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
)

// veloxConfig is what velox reads: GitHub has the plugins in the format up to v2025.1, Plugins in that of later versions.
type veloxConfig struct {
	RoadRunner struct{ Ref string }
	GitHub     struct {
		Plugins map[string]struct{ Ref, Owner, Repository, Folder, Replace string }
	} `toml:"github"`
	Plugins map[string]struct {
		Tag    string
		Module string `toml:"module_name"`
	}
	Replaces []struct{ Old, New string }
}

// veloxBuild is the RoadRunner that velox makes of a configuration.
type veloxBuild struct {
	ref      string
	plugins  map[string]string // versions by module
	replaces map[string]string // folders by module
}

// readVelox reads a configuration of examples/velox.
func readVelox(t *testing.T, file string) (config veloxConfig) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository, "examples/velox", file))
	require.NoError(t, err)
	require.NoError(t, toml.Unmarshal(raw, &config))
	return config
}

// resolve finds the modules. The configuration's /src is the checkout; /plugin is what scripts/vendor-rr2025.sh makes.
func (config veloxConfig) resolve(t *testing.T) veloxBuild {
	t.Helper()
	checkout, err := filepath.Abs(repository)
	require.NoError(t, err)
	b := veloxBuild{config.RoadRunner.Ref, make(map[string]string), make(map[string]string)}
	for _, p := range config.GitHub.Plugins {
		major, _, _ := strings.Cut(p.Ref, ".")
		module := fmt.Sprintf("github.com/%s/%s/%s", p.Owner, p.Repository, cmp.Or(p.Folder, major))
		if p.Replace != "" {
			folder := strings.Replace(p.Replace, "/src", checkout, 1)
			if p.Replace == "/plugin" {
				folder = t.TempDir()
				run(t, checkout, "scripts/vendor-rr2025.sh", folder)
			}
			module = moduleIn(t, folder)
			b.replaces[module] = folder
		}
		b.plugins[module] = p.Ref
	}
	for _, p := range config.Plugins {
		b.plugins[p.Module] = p.Tag
	}
	for _, r := range config.Replaces {
		b.replaces[r.Old] = strings.Replace(r.New, "/src", checkout, 1)
	}
	return b
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

func moduleIn(t *testing.T, folder string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	require.NoError(t, err)
	return moduleLine.FindStringSubmatch(string(raw))[1]
}

// source is the file plugins.go that velox writes: the plugins that it adds itself, and those of the configuration, each under a
// random name.
func (b veloxBuild) source() string {
	modules := b.bundled()
	for module := range b.plugins {
		modules = append(modules, module)
	}
	imports, list := "", ""
	for _, module := range modules {
		alias := make([]byte, 5)
		for i := range alias {
			alias[i] = 'a' + byte(rand.IntN(26))
		}
		imports += fmt.Sprintf("\t%s %q\n", alias, module)
		list += fmt.Sprintf("\t\t&%s.Plugin{},\n", alias)
	}
	return "package main\n\nimport (\n" + imports + ")\n\nfunc plugins() []any {\n\treturn []any{\n" + list + "\t}\n}\n"
}

// bundled are the plugins that velox adds itself. Up to v2024.3 these are v4.
func (b veloxBuild) bundled() []string {
	major := "/v4"
	if strings.HasPrefix(b.ref, "v2025") {
		major = "/v5"
	}
	return []string{"github.com/roadrunner-server/informer" + major, "github.com/roadrunner-server/resetter" + major}
}

// newestV4 are the versions of what velox asks for as "latest" up to v2024.3, whatever RoadRunner's own go.mod has.
var newestV4 = []string{
	"github.com/roadrunner-server/informer/v4@v4.5.5",
	"github.com/roadrunner-server/resetter/v4@v4.3.5",
	"github.com/roadrunner-server/config/v4@v4.9.3",
}

// veloxMain stands for the rest of RoadRunner, which registers the configuration behind the plugins of plugins.go.
const veloxMain = `package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/roadrunner-server/config/MAJOR"
	"github.com/roadrunner-server/endure/v2"
)

func main() {
	container := endure.New(slog.LevelError)
	all := plugins()
	must(container.RegisterAll(append(all, &config.Plugin{Path: os.Args[3], Prefix: "rr", Version: "RELEASE"})...))
	must(container.Init())
	_, err := container.Serve()
	must(err)
	for _, p := range all {
		if tcp, ok := p.(interface{ Addr(string) net.Addr }); ok {
			fmt.Fprintln(os.Stderr, "rr: echo listens on tcp://"+tcp.Addr("echo").String())
		}
	}

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

// build does to the line's go.mod what velox does to RoadRunner's.
func (b veloxBuild) build(t *testing.T) (binary string) {
	t.Helper()
	dir, l := t.TempDir(), thisLine()
	host := filepath.Join(repository, l.folder, strings.TrimSuffix(l.mod, ".mod")) // of RoadRunner's modules it needs fewer
	content, err := os.ReadFile(host + ".mod")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/go.mod", content, 0o600))
	var sums [][]byte
	for _, file := range []string{host + ".sum", repository + "/cmd/rr/go.sum"} { // the second one has the plugins v4
		sum, err := os.ReadFile(file)
		require.NoError(t, err)
		sums = append(sums, sum)
	}
	require.NoError(t, os.WriteFile(dir+"/go.sum", bytes.Join(sums, nil), 0o600))

	edit := []string{"mod", "edit", "-module=example.test/roadrunner"}
	for _, module := range []string{"github.com/rrtcp/tcp", "github.com/rrtcp/tcp/cmd/rr", "github.com/rrtcp/tcp/rr2025"} {
		edit = append(edit, "-dropreplace="+module, "-droprequire="+module)
	}
	for module, version := range b.plugins {
		if b.replaces[module] != "" {
			version = "v0.0.0"
		}
		edit = append(edit, "-require="+module+"@"+version)
	}
	for module, folder := range b.replaces {
		edit = append(edit, "-replace="+module+"="+folder)
	}
	if !strings.HasPrefix(b.ref, "v2025") {
		for _, module := range newestV4 {
			edit = append(edit, "-require="+module)
		}
	}
	run(t, dir, "go", edit...)
	require.NoError(t, os.WriteFile(dir+"/plugins.go", []byte(b.source()), 0o600))
	main := strings.NewReplacer("MAJOR", l.major, "RELEASE", l.release).Replace(veloxMain)
	require.NoError(t, os.WriteFile(dir+"/main.go", []byte(main), 0o600))
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

// Every configuration for the line makes a RoadRunner that starts, serves and lists its workers.
func TestVelox(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(repository + "/examples/velox/*.toml")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		file = filepath.Base(file)
		config := readVelox(t, file)
		if config.RoadRunner.Ref != lineName() {
			continue
		}
		found++
		t.Run(file, func(t *testing.T) {
			b := config.resolve(t)
			require.Contains(t, b.plugins, thisLine().plugin)
			h := newHost(t, shortDir(t))
			h.serveProgram(b.build(t), minimal, h.command(nil)...)
			for i := range 3 {
				c := h.dial("echo")
				require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
				require.NoError(t, c.Close())
			}
			if lineName() != "v2024.3.5" { // the file says why
				require.Len(t, h.workers(), 2)
			}
			h.stop()
		})
	}
	require.Positive(t, found)
}

// The Dockerfile says how to build from each configuration.
func TestVeloxDockerfile(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/examples/velox/Dockerfile")
	require.NoError(t, err)
	var named []string
	for _, line := range regexp.MustCompile(`LINE=(\S+)`).FindAllSubmatch(content, -1) {
		named = append(named, fmt.Sprintf("%s/examples/velox/velox-%s.toml", repository, line[1]))
	}
	files, err := filepath.Glob(repository + "/examples/velox/*.toml")
	require.NoError(t, err)
	require.ElementsMatch(t, files, named)
}

// README says which velox reads which configuration, and which module that has.
func TestREADMEVelox(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/README.md")
	require.NoError(t, err)
	files, err := filepath.Glob(repository + "/examples/velox/*.toml")
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var config veloxConfig
		require.NoError(t, toml.Unmarshal(raw, &config))
		p := config.GitHub.Plugins["tcp"]
		module := cmp.Or(config.Plugins["tcp"].Module, path.Join("github.com", p.Owner, p.Repository, p.Folder))
		velox := regexp.MustCompile(`^# RoadRunner.*, for velox (?:of )?([^:,]+)[:,]`).FindSubmatch(raw)
		require.NotNil(t, velox, file)
		name := filepath.Base(file)
		require.Contains(t, string(content), fmt.Sprintf("| `%s` | %s | [%s](examples/velox/%s) |\n", module, velox[1], name, name))
	}
}

// The other plugins of RoadRunner's next major can't be had yet. What the plugin needs, the file's replaces give.
func TestVeloxNextMajor(t *testing.T) {
	t.Parallel()
	const plugin = "github.com/rrtcp/tcp/next"
	b := readVelox(t, "velox-next.toml").resolve(t)
	require.Contains(t, b.plugins, plugin)

	dir := t.TempDir()
	sums, err := os.ReadFile(repository + "/next/go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/go.sum", sums, 0o600))
	main := "package main\n\nimport tcp \"" + plugin + "\"\n\nfunc main() { _ = []any{&tcp.Plugin{}} }\n"
	require.NoError(t, os.WriteFile(dir+"/main.go", []byte(main), 0o600))
	run(t, dir, "go", "mod", "init", "example.test/roadrunner")
	edit := []string{"mod", "edit", "-require=" + plugin + "@v0.0.0"}
	for module, folder := range b.replaces {
		edit = append(edit, "-replace="+module+"="+folder)
	}
	run(t, dir, "go", edit...)
	run(t, dir, "go", "build", "-mod=mod", "-o", "rr", ".")
}
