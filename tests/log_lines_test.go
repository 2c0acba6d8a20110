package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/troubleshooting.md has every warning and error that the plugin logs, and none that it does not log.
func TestLogLinesDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/docs/troubleshooting.md")
	require.NoError(t, err)
	_, chapter, ok := strings.Cut(string(content), "\n## Log lines\n")
	require.True(t, ok)
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(chapter, -1) {
		documented = append(documented, row[1])
	}

	logged := logLines(t)
	require.Greater(t, len(logged), 20)
	isAbout := func(row, line string) bool { return row == line || len(row) >= 15 && strings.Contains(line, row) }
	for _, line := range logged {
		isDocumented := slices.ContainsFunc(documented, func(row string) bool { return isAbout(row, line) })
		require.True(t, isDocumented, "not in docs/troubleshooting.md: %s", line)
	}
	for _, row := range documented {
		isLogged := slices.ContainsFunc(logged, func(line string) bool { return isAbout(row, line) })
		require.True(t, isLogged, "docs/troubleshooting.md has a line that nothing logs: %s", row)
	}
}

// logLines returns the texts in the plugin's code that are logged at a level above info, those about the configuration included.
func logLines(t *testing.T) (lines []string) {
	t.Helper()
	for _, dir := range []string{"internal/cluster", "internal/dispatch", "internal/server", "internal/settings"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(repository, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					lines = append(lines, logLine(call)...)
				}
				return true
			})
			return nil
		}))
	}
	return lines
}

// logLine returns the text of a call that logs, or that adds a warning about the configuration.
func logLine(call *ast.CallExpr) []string {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident:
		name = f.Name
	}
	at := 0
	switch name {
	case "Warn", "Error", "warn":
	case "LogAttrs": // context, level, text
		if level, ok := call.Args[1].(*ast.SelectorExpr); ok && level.Sel.Name == "LevelDebug" {
			return nil
		}
		at = 2
	case "append": // v.warnings, fmt.Sprintf(text, …)
		if list, ok := call.Args[0].(*ast.SelectorExpr); !ok || list.Sel.Name != "warnings" {
			return nil
		}
		inner, ok := call.Args[1].(*ast.CallExpr)
		if !ok {
			return nil
		}
		call = inner
	default:
		return nil
	}
	if len(call.Args) <= at {
		return nil
	}
	if text := literal(call.Args[at]); text != "" {
		return []string{text}
	}
	return nil
}

// literal returns what a text of literals and names has of the former.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return literal(e.X) + literal(e.Y)
	}
	return ""
}
