package tcp

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// audit compares what the file says with what Config knows. Keys that nobody reads are warnings: old files must still
// start. Errors are what decoding hides or says badly.
func (c *Config) audit(section map[string]any) error {
	var a auditor
	a.section("tcp", section, reflect.TypeOf(*c))

	servers, _ := section["servers"].(map[string]any)
	for _, name := range sortedKeys(servers) {
		server, _ := servers[name].(map[string]any)
		if nested := nestedServer(server); nested != "" && c.Servers != nil {
			delete(c.Servers, name)
			c.Servers[name+"."+nested] = nil // for InitDefault to complain of
		}
		if delimiter, ok := server["delimiter"]; ok && (delimiter == "" || delimiter == nil) {
			a.errs = append(a.errs, fmt.Errorf(
				`tcp.servers.%s.delimiter: is empty; want the bytes that end a packet, such as "\r\n"`, name))
		}
	}
	c.warnings = append(c.warnings, a.warnings...)
	return errors.Join(a.errs...)
}

// nestedServer is the path to a server inside of what should be one: the configuration library may have taken a dot in
// its name for one more level of keys.
func nestedServer(server map[string]any) string {
	if _, ok := server["addr"]; ok {
		return ""
	}
	for _, key := range sortedKeys(server) {
		inner, _ := server[key].(map[string]any)
		if _, ok := inner["addr"]; ok {
			return key
		}
		if path := nestedServer(inner); path != "" {
			return key + "." + path
		}
	}
	return ""
}

type auditor struct {
	warnings []string
	errs     []error
}

func (a *auditor) section(path string, section map[string]any, like reflect.Type) {
	known := knownKeys(like)
	for _, key := range sortedKeys(section) {
		field, ok := known[strings.ToLower(key)]
		if !ok {
			a.warnings = append(a.warnings, fmt.Sprintf("%s.%s: unknown key, ignored; the nearest known one is %s",
				path, key, nearest(strings.ToLower(key), known)))
			continue
		}
		a.value(path+"."+key, section[key], field)
	}
}

// value checks a value as loosely as it will be decoded.
func (a *auditor) value(path string, value any, like reflect.Type) {
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	inner, isMap := value.(map[string]any)
	text := fmt.Sprint(value)
	var err error
	want := ""
	switch {
	case value == nil:
	case like.Kind() == reflect.Struct && isMap:
		if nestedServer(inner) == "" {
			a.section(path, inner, like)
		}
	case like.Kind() == reflect.Map && isMap:
		for _, name := range sortedKeys(inner) {
			a.value(path+"."+name, inner[name], like.Elem())
		}
	case like.Kind() == reflect.Struct, like.Kind() == reflect.Map:
		want = "keys of its own below it"
	case like == reflect.TypeOf(time.Duration(0)):
		if _, isText := value.(string); isText {
			_, err = time.ParseDuration(text)
		}
		want = `a duration such as "10s"`
	case like.Kind() == reflect.Bool:
		_, err = strconv.ParseBool(text)
		want = "true or false"
	case like.Kind() == reflect.Int:
		_, err = strconv.ParseFloat(text, 64)
		want = "a whole number"
	case like.Kind() == reflect.Uint64:
		_, err = strconv.ParseUint(text, 10, 64)
		want = "a whole number, not below zero"
	case like.Kind() == reflect.String && isMap:
		want = "a text"
	}
	if err != nil || (want != "" && (isMap || like.Kind() == reflect.Struct || like.Kind() == reflect.Map)) {
		a.errs = append(a.errs, fmt.Errorf("%s: %q can't be read; want %s", path, text, want))
	}
}

// knownKeys are a struct's keys as the configuration library matches them: tag or name, in any case.
func knownKeys(t reflect.Type) map[string]reflect.Type {
	known := make(map[string]reflect.Type)
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		if field.Anonymous {
			maps.Copy(known, knownKeys(field.Type))
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		if name == "" {
			name = field.Name
		}
		known[strings.ToLower(name)] = field.Type
	}
	return known
}

func nearest(key string, known map[string]reflect.Type) (best string) {
	least := -1
	for _, candidate := range sortedKeys(known) {
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

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
