package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// What runs elsewhere can only be read here: that it is YAML, and that the scripts it calls are there.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	type job struct {
		RunsOn  string `yaml:"runs-on"`
		Timeout int    `yaml:"timeout-minutes"`
		Steps   []struct{ Uses, Run string }
	}
	files, err := filepath.Glob(repository + "/.github/workflows/*.yml")
	require.NoError(t, err)
	runs := make(map[string]string)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]job
		}
		require.NoError(t, yaml.Unmarshal(content, &workflow), file)
		require.Equal(t, map[string]string{"contents": "read"}, workflow.Permissions, "no more than a job asks for")
		for name, j := range workflow.Jobs {
			require.NotEmpty(t, j.RunsOn, name)
			require.NotZero(t, j.Timeout, name)
			for _, step := range j.Steps {
				runs[filepath.Base(file)] += step.Run + "\n"
			}
		}
	}
	require.Contains(t, runs["ci.yml"], ".ci/run")
	for _, all := range runs {
		for _, script := range regexp.MustCompile(`(scripts|\.ci)/[\w.-]+`).FindAllString(all, -1) {
			info, err := os.Stat(filepath.Join(repository, script))
			require.NoError(t, err)
			require.NotZero(t, info.Mode()&0o100, "%s can be run", script)
		}
	}
	for _, file := range []string{"dependabot.yml", "ISSUE_TEMPLATE/bug.yml", "ISSUE_TEMPLATE/feature.yml", "ISSUE_TEMPLATE/config.yml"} {
		content, err := os.ReadFile(repository + "/.github/" + file)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(content, new(map[string]any)), file)
	}
}

// The script that refuses a release finds what does not fit.
func TestCheckRelease(t *testing.T) {
	t.Parallel()
	copied := t.TempDir()
	for _, path := range []string{
		"scripts/check-release.sh", "internal/server/version.go", "rr2025/go.mod", "next/go.mod", "rr2025/cmd/rr/go.mod",
		"rr2025/cmd/rr/v2024.3.5.mod", "schema.json", "CHANGELOG.md", "README.md", "docs/push.md", "docs/quickstart.md",
		"examples/velox/velox-v2024.1.toml", "examples/velox/velox-v2025.1.toml", "examples/velox/velox-next.toml",
	} {
		content, err := os.ReadFile(filepath.Join(repository, path))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(copied, path)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(copied, path), content, 0o700))
	}
	check := func(args ...string) (string, error) {
		cmd := exec.Command(copied+"/scripts/check-release.sh", args...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := check()
	require.NoError(t, err, out)
	version := regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(out)
	require.NotEmpty(t, version)
	notes, err := check("--notes")
	require.NoError(t, err)
	require.Contains(t, notes, "### ")
	require.NotContains(t, notes, "\n## ")
	out, err = check("77.0.0")
	require.Error(t, err)
	require.Contains(t, out, "not 77.0.0")

	other := regexp.MustCompile(regexp.QuoteMeta(version))
	for path, broken := range map[string]func(string) string{
		"internal/server/version.go":        func(s string) string { return other.ReplaceAllString(s, "next") },
		"rr2025/go.mod":                     func(s string) string { return strings.Replace(s, "rrtcp/tcp v"+version, "rrtcp/tcp v77.0.0", 1) },
		"next/go.mod":                       func(s string) string { return strings.Replace(s, "rrtcp/tcp v"+version, "rrtcp/tcp v77.0.0", 1) },
		"schema.json":                       func(s string) string { return other.ReplaceAllString(s, "77.0.0") },
		"CHANGELOG.md":                      func(s string) string { return strings.Replace(s, "## "+version+" - ", "## "+version+", ", 1) },
		"README.md":                         func(s string) string { return s + "\ngo get github.com/rrtcp/tcp@v77.0.0\n" },
		"examples/velox/velox-v2024.1.toml": func(s string) string { return other.ReplaceAllString(s, "77.0.0") },
		"examples/velox/velox-v2025.1.toml": func(s string) string { return other.ReplaceAllString(s, "77.0.0") },
		"examples/velox/velox-next.toml":    func(s string) string { return strings.Replace(s, "From a tag", "From one", 1) },
		"docs/push.md":                      func(s string) string { return s + "\ndocker run ghcr.io/rrtcp/rrtcp:77.0.0\n" },
		"docs/quickstart.md":                func(s string) string { return s + "\nWithout Go, once 77.0.0 is published, unpack an archive.\n" },
	} {
		content, err := os.ReadFile(filepath.Join(copied, path))
		require.NoError(t, err)
		require.NotEqual(t, string(content), broken(string(content)), path)
		require.NoError(t, os.WriteFile(filepath.Join(copied, path), []byte(broken(string(content))), 0o700))
		out, err := check()
		require.Error(t, err, path)
		require.Contains(t, out, path)
		require.NoError(t, os.WriteFile(filepath.Join(copied, path), content, 0o700))
	}
	unreleased, err := os.ReadFile(copied + "/CHANGELOG.md")
	require.NoError(t, err)
	more := strings.Replace(string(unreleased), "## Unreleased\n", "## Unreleased\n\n- more\n", 1)
	require.NoError(t, os.WriteFile(copied+"/CHANGELOG.md", []byte(more), 0o700))
	_, err = check()
	require.NoError(t, err, "it may go on after a release")
	out, err = check(version)
	require.Error(t, err)
	require.Contains(t, out, "Unreleased is not empty")
}

// The archive of this platform, as a release has it but for two flags: with these nothing that other tests compile could be used again.
func TestReleaseArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run(t, repository, "env", "CGO_ENABLED=1", "GOFLAGS=", "scripts/build-release.sh", dir, runtime.GOOS+"/"+runtime.GOARCH)
	archives, err := filepath.Glob(dir + "/rrtcp_*.tar.gz")
	require.NoError(t, err)
	require.Len(t, archives, 1)
	run(t, dir, "sha256sum", "--check", "--strict", "checksums.txt")
	unpacked := t.TempDir()
	run(t, unpacked, "tar", "-xzf", archives[0])
	name := strings.TrimSuffix(filepath.Base(archives[0]), ".tar.gz")
	out, err := exec.Command(filepath.Join(unpacked, name, "rrtcp"), "version").Output()
	require.NoError(t, err)
	version := strings.Fields(string(out))[1]
	require.True(t, strings.HasPrefix(string(out), "rrtcp "), "%s", out)
	require.Equal(t, fmt.Sprintf("rrtcp_%s_%s_%s", version, runtime.GOOS, runtime.GOARCH), name)
}

// There is no daemon to build it: what is checked is that what it copies and runs is there, and that its configuration is good.
func TestImage(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(repository + "/Dockerfile")
	require.NoError(t, err)
	copied := regexp.MustCompile(`(?m)^COPY (\S+) `).FindAllStringSubmatch(string(file), -1)
	require.NotEmpty(t, copied)
	for _, path := range copied {
		if !strings.HasPrefix(path[1], "--from=") {
			_, err := os.Stat(filepath.Join(repository, path[1]))
			require.NoError(t, err)
		}
	}
	require.Contains(t, string(file), `RUN scripts/build-release.sh /out `)
	config, err := os.ReadFile(repository + "/examples/docker/.rr.yaml")
	require.NoError(t, err)
	require.Empty(t, mistakes(t, string(config)))
}
