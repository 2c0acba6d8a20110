package settingstest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
)

// key is what schema.json, or a table of docs/configuration.md, says of a key. Paths begin below tcp: "servers.<name>.rules[].starts".
type key struct {
	kind     string // as a table has it: "size", "list of strings"; the values of an enumeration in backquotes
	preset   string // the default; empty: none
	required bool
}

// RequireReference requires that the tables of docs/configuration.md have the keys of the schema and no others, each with the
// schema's type and default.
func (s Schema) RequireReference(t *testing.T, repository string) {
	t.Helper()
	described := make(map[string]key)
	s.describe("", s.root, described)
	require.NotEmpty(t, described)
	documented := tables(t, s.reference)
	require.ElementsMatch(t, settings.SortedKeys(described), settings.SortedKeys(documented), "schema.json and the tables of docs/configuration.md have the same keys")
	for path, want := range described {
		got := documented[path]
		require.Equal(t, want.preset, got.preset, "the default of %s", path)
		require.Equal(t, want.required, got.required, "whether %s is required", path)
		if elsewhere := oneOf.FindStringSubmatch(got.kind); elsewhere != nil && strings.HasPrefix(want.kind, "`") {
			s.requireValues(t, filepath.Join(repository, "docs", elsewhere[1]), want.kind)
			continue
		}
		kind, _, _ := strings.Cut(got.kind, ", ")
		if strings.HasPrefix(want.kind, "`") {
			kind = got.kind
		}
		require.Equal(t, want.kind, kind, "the type of %s", path)
	}
}

// describe collects the keys below a section of the schema.
func (s Schema) describe(path string, n node, found map[string]key) {
	n = n.resolve(s.root)
	required, _ := n["required"].([]any)
	for name, child := range n.children("properties") {
		here := strings.TrimPrefix(path+"."+name, ".")
		found[here] = key{s.kind(child), preset(child.resolve(s.root)["default"]), slices.Contains(required, any(name))}
		s.describe(here, child, found)
	}
	for _, child := range n.children("patternProperties") {
		s.describe(path+".<name>", child, found)
	}
	if items, ok := n["items"].(map[string]any); ok {
		s.describe(path+"[]", items, found)
	}
}

// kind returns the type of a key in the words of docs/configuration.md.
func (s Schema) kind(n node) string {
	for here := n; here["$ref"] != nil; {
		name := strings.TrimPrefix(here["$ref"].(string), "#/$defs/")
		if slices.Contains([]string{"Size", "Rate", "Duration", "Hex"}, name) {
			return strings.ToLower(name)
		}
		here = s.root.children("$defs")[name]
	}
	n = n.resolve(s.root)
	if values, ok := n["enum"].([]any); ok {
		var quoted []string
		for _, v := range values {
			quoted = append(quoted, "`"+fmt.Sprint(v)+"`")
		}
		return strings.Join(quoted, ", ")
	}
	if n["const"] == true {
		return "`true`"
	}
	if choices, ok := n["oneOf"].([]any); ok && n["type"] == nil {
		var kinds []string
		for _, choice := range choices {
			kinds = append(kinds, s.kind(choice.(map[string]any)))
		}
		return strings.Join(kinds, " or ")
	}
	items, _ := n["items"].(map[string]any)
	list := map[string]string{"section": "list of sections", "hex": "list of hex"}[s.kindOfItems(items)]
	if list == "" {
		list = "list of strings"
	}
	if types, ok := n["type"].([]any); ok && slices.Contains(types, any("array")) {
		return "string or " + list
	}
	switch n["type"] {
	case "array":
		return list
	case "boolean":
		return "bool"
	case "object":
		return "section"
	}
	return fmt.Sprint(n["type"])
}

func (s Schema) kindOfItems(items node) string {
	if items == nil {
		return ""
	}
	return s.kind(items)
}

// preset returns a default as a table has it.
func preset(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		if strings.ContainsAny(v, "\r\n") {
			quoted, _ := json.Marshal(v)
			return string(quoted)
		}
		return v
	case []any:
		return strings.ReplaceAll(fmt.Sprint(v), " ", ", ")
	}
	return fmt.Sprint(value)
}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	oneOf  = regexp.MustCompile(`^one of \[[^\]]+\]\(([^()]+)\)$`)
)

// tables returns the keys in the tables whose first column is "key, below …". Several keys in a row have one type, or as many
// separated by semicolons. A default is the first word in backquotes at the beginning of its column.
func tables(t *testing.T, document string) map[string]key {
	t.Helper()
	found := make(map[string]key)
	var below []string
	for _, line := range strings.Split(document, "\n") {
		if !strings.HasPrefix(line, "|") {
			below = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if paths, ok := strings.CutPrefix(cells[0], "key, below "); ok && cells[1] == "type" {
			below = firsts(quoted.FindAllStringSubmatch(paths, -1))
			continue
		}
		names := firsts(quoted.FindAllStringSubmatch(cells[0], -1))
		if len(below) == 0 || len(names) == 0 {
			continue
		}
		kinds := strings.Split(cells[1], "; ")
		for _, section := range below {
			for i, name := range names {
				path := strings.TrimPrefix(strings.TrimPrefix(section+"."+name, "tcp."), ".")
				require.NotContains(t, found, path, "twice")
				found[path] = key{kinds[min(i, len(kinds)-1)], presetOf(cells[2]), cells[2] == "required"}
			}
		}
	}
	return found
}

func presetOf(cell string) string {
	if !strings.HasPrefix(cell, "`") {
		return ""
	}
	return strings.Trim(quoted.FindStringSubmatch(cell)[1], " ")
}

func firsts(matches [][]string) (found []string) {
	for _, m := range matches {
		found = append(found, m[1])
	}
	return found
}

// requireValues requires the values of an enumeration where a table says that they are: in a document, or below a heading of this one.
func (s Schema) requireValues(t *testing.T, target, values string) {
	t.Helper()
	file, anchor, _ := strings.Cut(target, "#")
	text := s.reference
	if strings.HasSuffix(file, ".md") {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		text = string(content)
	}
	if anchor != "" {
		_, rest, ok := strings.Cut(strings.ToLower(text), "\n## "+strings.ReplaceAll(anchor, "-", " ")+"\n")
		require.True(t, ok, target)
		text, _, _ = strings.Cut(rest, "\n## ")
	}
	for _, value := range strings.Split(values, ", ") {
		require.Contains(t, text, value, target)
	}
}
