package settings

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/rrtcp/tcp/internal/framing"
)

// validator compares a section as the file has it with the struct that it is decoded into.
type validator struct {
	warnings []string // keys that nothing reads; old files must still start, so they are no errors
	errs     []error  // values that decoding hides, or says badly
	reported []string // the keys of errs
	root     reflect.Type
}

// validateKeys validates the section tcp; like is the type of its struct.
func validateKeys(section map[string]any, like reflect.Type) *validator {
	v := &validator{root: like}
	v.section(sectionName, section, like)
	return v
}

func (v *validator) fail(key, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	v.reported = append(v.reported, key)
}

// haveBytes are the sections with keys whose value is bytes.
var haveBytes = []reflect.Type{
	reflect.TypeOf(Server{}), reflect.TypeOf(framing.Rule{}), reflect.TypeOf(framing.Length{}), reflect.TypeOf(Goodbye{}),
}

func (v *validator) section(path string, section map[string]any, like reflect.Type) {
	known := Keys(like)
	hasBytes := slices.Contains(haveBytes, like)
	if like == reflect.TypeOf(Server{}) {
		section = v.dottedNames(path, section, known)
	}
	for _, key := range SortedKeys(section) {
		full, name := path+"."+key, strings.ToLower(key)
		field, ok := known[name]
		switch {
		case !ok:
			v.warnings = append(v.warnings, fmt.Sprintf("%s: unknown key, ignored; %s", full, v.suggest(name, known)))
		case section[key] == nil && isSection(field) && !canBeNull(full):
			v.fail(full, "is empty; want keys of its own below it, or leave it out")
		case section[key] == nil && field.Kind() == reflect.Slice && !canBeNull(full):
			v.fail(full, "%s", emptyList(name))
		case section[key] == "" && canBeEmpty(full, name, field):
			v.warnings = append(v.warnings, fmt.Sprintf("%s: is empty, and the default is taken; write a value, or leave the key out", full))
		case hasBytes && v.bytes(full, name, section[key], like):
		default:
			v.value(full, section[key], field)
		}
	}
}

// canBeNull reports whether a section without a value is as good as none. Old files may have such a pool, or sections of it; a length
// that is missing is a mistake of its own.
func canBeNull(key string) bool {
	return strings.HasPrefix(key, poolKey) || strings.HasSuffix(strings.ToLower(key), ".length")
}

// canBeEmpty reports whether a number or a bool may be an empty text, as where a variable is not set. Old files may have such ones: the
// configuration library takes the text for 0 or false, which mean the default in these keys.
func canBeEmpty(path, key string, field reflect.Type) bool {
	switch field.Kind() {
	case reflect.Int, reflect.Uint64, reflect.Bool:
		return key == "read_buf_size" || strings.HasPrefix(path, poolKey+".")
	}
	return false
}

// dottedNames finds servers inside of a server: the configuration library takes a dot in a name for one more level of keys. Other
// sections that are not known are misspelt where the server has an address of its own. It returns the other keys.
func (v *validator) dottedNames(path string, server map[string]any, known map[string]reflect.Type) map[string]any {
	rest := make(map[string]any)
	_, isServer := server["addr"]
	for _, key := range SortedKeys(server) {
		inner, ok := server[key].(map[string]any)
		if field := known[strings.ToLower(key)]; ok && !isSection(field) && (field == nil && !isServer || hasAddr(inner)) {
			full := path + "." + key + pathToServer(inner, known)
			v.fail(full, "%s", dotInName(strings.TrimPrefix(full, "tcp.servers.")))
			continue
		}
		rest[key] = server[key]
	}
	if len(rest) == 0 && len(server) > 0 {
		v.reported = append(v.reported, path) // no server has this name
	}
	return rest
}

// hasAddr reports whether keys of a server are somewhere below inner.
func hasAddr(inner map[string]any) bool {
	for key, value := range inner {
		deeper, _ := value.(map[string]any)
		if strings.EqualFold(key, "addr") || hasAddr(deeper) {
			return true
		}
	}
	return false
}

func isSection(t reflect.Type) bool {
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

// pathToServer returns the rest of a name with dots: the path to the first map that has keys of a server.
func pathToServer(inner map[string]any, known map[string]reflect.Type) string {
	for _, key := range SortedKeys(inner) {
		if _, ok := known[key]; ok {
			return ""
		}
		if deeper, ok := inner[key].(map[string]any); ok {
			return "." + key + pathToServer(deeper, known)
		}
	}
	return ""
}

// Keys returns the types of a struct's fields by the keys with which the configuration library finds them, in lower case. The
// fields of embedded structs are among them.
func Keys(t reflect.Type) map[string]reflect.Type {
	keys := make(map[string]reflect.Type)
	for i := range t.NumField() {
		field := t.Field(i)
		switch {
		case !field.IsExported():
		case field.Anonymous:
			maps.Copy(keys, Keys(field.Type))
		default:
			keys[KeyOf(field)] = field.Type
		}
	}
	return keys
}

// KeyOf returns the key of a field in lower case: its tag, or its name.
func KeyOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
	if name == "" {
		name = field.Name
	}
	return strings.ToLower(name)
}

// suggest says what an unknown key of a section may have been meant for: a key that is much like it, or the same in another section.
func (v *validator) suggest(key string, known map[string]reflect.Type) string {
	like := nearest(key, known)
	if section := sectionOf(key, v.root); section != "" && 2*editDistance(key, like) > max(len(key), len(like)) {
		return "it is a key of " + section
	}
	return "the nearest known one is " + like
}

// sectionOf returns the section that has the key, the uppermost of several, or "".
func sectionOf(key string, root reflect.Type) string {
	type section struct {
		path string
		like reflect.Type
	}
	for queue := []section{{sectionName, root}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		known := Keys(at.like)
		if _, ok := known[key]; ok {
			return at.path
		}
		for _, name := range SortedKeys(known) {
			switch field := known[name]; {
			case isSection(field):
				queue = append(queue, section{at.path + "." + name, field.Elem()})
			case field.Kind() == reflect.Map && isSection(field.Elem()):
				queue = append(queue, section{at.path + "." + name + ".<name>", field.Elem().Elem()})
			}
		}
	}
	return ""
}

// nearest returns the known key that is most like key.
func nearest(key string, known map[string]reflect.Type) (best string) {
	least := -1
	for _, candidate := range SortedKeys(known) {
		if d := editDistance(key, candidate); least < 0 || d < least {
			best, least = candidate, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, remove or change between a and b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// SortedKeys returns the keys of a map, sorted.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
