package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shown is the n-th block of a language in a document.
func shown(t *testing.T, document, language string, n int) string {
	t.Helper()
	for _, b := range blocks(t, repository+"/"+document) {
		if b.language != language {
			continue
		}
		if n == 0 {
			return b.text
		}
		n--
	}
	require.Fail(t, "no such block", "%s: %s", document, language)
	return ""
}

// Everything that documents tell people to type or to write into a file is here, with who runs it. YAML is not: the tests of
// the configurations find it by themselves.
func TestDocumentedCommandsAreTested(t *testing.T) {
	t.Parallel()
	runs := map[string]map[string]int{
		"README.md":     {"sh": 3 /* two in .ci/run */},
		"operations.md": {"sh": 2, "ini": 2, "haproxy": 1, "nginx": 1},
		"chat.md":       {"sh": 3},
		"cluster.md":    {"sh": 1},
		"devices.md":    {"sh": 3},
		"smtp.md":       {"sh": 2},
		"quickstart.md": {"sh": 4},
	}
	inProse := map[string]bool{"yaml": true, "json": true, "php": true, "go": true, "mermaid": true, "": true}
	for _, file := range documents(t) {
		found := make(map[string]int)
		for _, b := range blocks(t, file) {
			if !inProse[b.language] {
				found[b.language]++
			}
		}
		want := runs[filepath.Base(file)]
		if want == nil {
			want = map[string]int{}
		}
		require.Equal(t, want, found, file)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\w\- ]`)
	fences  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// anchors are what the headings of a document can be linked by.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	found := map[string]bool{"": true}
	for _, h := range heading.FindAllStringSubmatch(fences.ReplaceAllString(string(content), ""), -1) {
		found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return found
}

// sources are the files of the repository whose names match, those that are not committed yet included.
func sources(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := exec.Command("git", "-C", repository, "ls-files", "--cached", "--others", "--exclude-standard", pattern).Output()
	require.NoError(t, err)
	return strings.Fields(string(files))
}

func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range sources(t, "*.md") {
		file := filepath.Join(repository, name)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, l := range link.FindAllStringSubmatch(fences.ReplaceAllString(string(content), ""), -1) {
			path, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			checked++
			target := filepath.Join(filepath.Dir(file), path)
			if path == "" {
				target = file
			}
			_, err := os.Stat(target)
			require.NoErrorf(t, err, "%s: %s", file, l[1])
			if strings.HasSuffix(target, ".md") {
				require.Truef(t, anchors(t, target)[anchor], "%s: %s", file, l[1])
			}
		}
	}
	require.Greater(t, checked, 200)
}

func TestREADMELinksDocuments(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/README.md")
	require.NoError(t, err)
	for _, file := range documents(t) {
		name := "(docs/" + filepath.Base(file) + ")"
		require.True(t, strings.Contains(string(content), name) || filepath.Base(file) == "README.md", name)
	}
}

// The promises name tests, and what a reader would look for is there.
func TestPromisesNameTests(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/docs/promises.md")
	require.NoError(t, err)
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(content), -1)
	require.Greater(t, len(names), 30)
	var code strings.Builder
	for _, file := range sources(t, "*_test.go") {
		text, err := os.ReadFile(filepath.Join(repository, file))
		require.NoError(t, err)
		code.Write(text)
	}
	for _, name := range names {
		require.Contains(t, code.String(), "\nfunc "+name[1]+"(", "docs/promises.md names a test")
	}
}

func TestREADMEIsShort(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/README.md")
	require.NoError(t, err)
	require.Less(t, strings.Count(string(content), "\n"), 120)
}

// README says how to find out which plugin a binary has.
func TestWhichPlugin(t *testing.T) {
	t.Parallel()
	find := exec.Command("bash", "-euo", "pipefail", "-c", shown(t, "README.md", "sh", 2))
	find.Env = append(os.Environ(), "PATH="+filepath.Dir(buildPlainProgram(t))+":"+os.Getenv("PATH"))
	out, err := find.Output()
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(out)), thisLine().plugin)
	require.NotContains(t, string(out), "roadrunner-server")
}

func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	analyze := installed(t, "systemd-analyze")
	unit := shown(t, "docs/operations.md", "ini", 1)
	require.Equal(t, 2, strings.Count(unit, "/usr/local/bin/rr "))
	require.NotContains(t, unit, "validate", "a RoadRunner from velox has no such command")
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "rrtcp.service"), filepath.Join(dir, "rr") // a path without a space
	require.NoError(t, os.Symlink(buildProgram(t), binary))
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/rr ", binary+" ")), 0o600))
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "rrtcp.service:", "%s", out)
}

// They are not set: that would be the whole machine's.
func TestDocumentedKernelSettings(t *testing.T) {
	t.Parallel()
	for _, line := range strings.Split(strings.TrimSpace(shown(t, "docs/operations.md", "ini", 0)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		require.True(t, ok, line)
		require.Regexp(t, `^\d+( \d+)?$`, value)
		set, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
		require.NoError(t, err)
		require.Len(t, strings.Fields(string(set)), len(strings.Fields(value)), line)
	}
}
