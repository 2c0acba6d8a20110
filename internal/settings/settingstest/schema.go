// Package settingstest compares schema.json with the structs of a RoadRunner line.
package settingstest

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
)

// Schema is schema.json.
type Schema struct {
	root      node
	reference string // docs/configuration.md
}

// ReadSchema reads schema.json, and the document about all keys, in the root of the repository.
func ReadSchema(t *testing.T, repository string) Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository, "schema.json"))
	require.NoError(t, err)
	var root node
	require.NoError(t, json.Unmarshal(raw, &root))
	require.Equal(t, "https://json-schema.org/draft/2019-09/schema", root["$schema"])
	reference, err := os.ReadFile(filepath.Join(repository, "docs", "configuration.md"))
	require.NoError(t, err)
	return Schema{root, string(reference)}
}

// RequireKeys requires that the schema has the keys of a section, which is a struct, and no others. absent are the keys of the
// schema that the struct does not have.
func (s Schema) RequireKeys(t *testing.T, section any, absent ...string) {
	t.Helper()
	s.requireKeys(t, "tcp", s.root, reflect.TypeOf(section), absent)
}

func (s Schema) requireKeys(t *testing.T, path string, n node, like reflect.Type, absent []string) {
	t.Helper()
	n = n.resolve(s.root)
	require.NotEmpty(t, n["description"], path)
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	switch {
	case like.Kind() == reflect.Struct:
		require.Equal(t, false, n["additionalProperties"], path)
		known, described := settings.Keys(like), n.children("properties")
		maps.DeleteFunc(described, func(key string, _ node) bool { return slices.Contains(absent, path+"."+key) })
		require.ElementsMatch(t, settings.SortedKeys(known), settings.SortedKeys(described), path)
		for key, field := range known {
			s.requireKeys(t, path+"."+key, described[key], field, absent)
		}
	case like.Kind() == reflect.Map:
		require.Equal(t, false, n["additionalProperties"], path)
		require.Len(t, n.children("patternProperties"), 1, path)
		for _, child := range n.children("patternProperties") {
			s.requireKeys(t, path+".<name>", child, like.Elem(), absent)
		}
	case like.Kind() == reflect.Slice && like.Elem().Kind() == reflect.Struct:
		items, _ := n["items"].(map[string]any)
		s.requireKeys(t, path+".<item>", items, like.Elem(), absent)
	default:
		s.requireExplained(t, path, n)
	}
}

// withoutDefault are keys that have no default and explain themselves.
var withoutDefault = []string{
	"tcp.servers.<name>.read_buf_size", // that of tcp
}

// requireExplained requires that a key is in the document, and has a default or an example.
func (s Schema) requireExplained(t *testing.T, path string, n node) {
	t.Helper()
	key := path[strings.LastIndex(path, ".")+1:]
	require.Regexp(t, `[.\x60]`+key+`[\x60: ]`, s.reference, "%s: not in docs/configuration.md", path)
	hasDefault := n["default"] != nil || n["examples"] != nil || n["enum"] != nil
	require.True(t, hasDefault || slices.Contains(withoutDefault, path), "%s: neither a default nor an example", path)
}

// RequireDefaults requires that the schema has the defaults in want, which are by path: "pool.allocate_timeout". Those of every
// server are below "servers".
func (s Schema) RequireDefaults(t *testing.T, want map[string]any) {
	t.Helper()
	for path, value := range want {
		got := s.Default(t, path)
		if _, ok := value.(time.Duration); ok {
			var err error
			got, err = time.ParseDuration(got.(string))
			require.NoError(t, err, path)
		}
		require.EqualValues(t, value, got, path)
	}
}

// RequireSection requires that the schema has the values of a section, which is a pointer to a struct with its defaults, and
// of the sections below it that are not nil. Lists are not compared.
func (s Schema) RequireSection(t *testing.T, path string, section any) {
	t.Helper()
	v := reflect.ValueOf(section).Elem()
	for i := range v.NumField() {
		field := v.Field(i)
		key := path + "." + settings.KeyOf(v.Type().Field(i))
		switch field.Kind() {
		case reflect.Slice:
		case reflect.Pointer:
			if !field.IsNil() {
				s.RequireSection(t, key, field.Interface())
			}
		default:
			s.RequireDefaults(t, map[string]any{key: field.Interface()})
		}
	}
}

// Default returns the default of a key.
func (s Schema) Default(t *testing.T, path string) any {
	t.Helper()
	n := s.root
	for _, key := range strings.Split(path, ".") {
		n = n.children("properties")[key].resolve(s.root)
		for _, server := range n.children("patternProperties") {
			n = server.resolve(s.root)
		}
	}
	require.Contains(t, n, "default", path)
	return n["default"]
}

// node is a schema in the schema.
type node map[string]any

// resolve returns n with what its $ref adds; what stands beside $ref comes first.
func (n node) resolve(root node) node {
	all := make(node)
	for here := n; here != nil; {
		for key, value := range here {
			if _, ok := all[key]; !ok {
				all[key] = value
			}
		}
		ref, _ := here["$ref"].(string)
		here = root.children("$defs")[strings.TrimPrefix(ref, "#/$defs/")]
	}
	return all
}

// children returns the schemas in the map that stands under key.
func (n node) children(key string) map[string]node {
	found := make(map[string]node)
	inner, _ := n[key].(map[string]any)
	for name, child := range inner {
		found[name], _ = child.(map[string]any)
	}
	return found
}
