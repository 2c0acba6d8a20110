package tcp

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
)

// audit compares what the file says with what Config knows. Keys that nobody reads are warnings: old files must still
// start. Errors are what decoding hides or says badly. said are the keys that are spoken for.
func (c *Config) audit(section map[string]any) (errs []error, said []string) {
	var a auditor
	a.section("tcp", section, reflect.TypeOf(*c))

	servers, _ := section["servers"].(map[string]any)
	for _, name := range sortedKeys(servers) {
		server, _ := servers[name].(map[string]any)
		if delimiter, ok := server["delimiter"]; ok && (delimiter == "" || delimiter == nil) {
			a.fail("tcp.servers."+name+".delimiter", `is empty; want the bytes that end a packet, such as "\r\n"`)
		}
		for _, key := range []string{"tls", "proxy_protocol"} { // empty they would be none at all
			if inner, ok := server[key]; ok && inner == nil {
				a.fail("tcp.servers."+name+"."+key, "is empty; want keys of its own below it, or leave it out")
			}
		}
	}
	c.warnings = append(c.warnings, a.warnings...)
	return a.errs, a.said
}

type auditor struct {
	warnings []string
	errs     []error
	said     []string
}

func (a *auditor) fail(key, format string, args ...any) {
	a.errs = append(a.errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	a.said = append(a.said, key)
}

func (a *auditor) section(path string, section map[string]any, like reflect.Type) {
	known := knownKeys(like)
	if like == reflect.TypeOf(Server{}) {
		section = a.dottedNames(path, section, known)
	}
	for _, key := range sortedKeys(section) {
		if field, ok := known[strings.ToLower(key)]; ok {
			a.value(path+"."+key, section[key], field)
			continue
		}
		a.warnings = append(a.warnings, fmt.Sprintf("%s.%s: unknown key, ignored; the nearest known one is %s",
			path, key, nearest(strings.ToLower(key), known)))
	}
}

// dottedNames finds servers inside of a server: few keys of its own have keys below them, but the configuration library takes
// a dot in a name for one more level of them. It returns the rest.
func (a *auditor) dottedNames(path string, server map[string]any, known map[string]reflect.Type) map[string]any {
	rest := make(map[string]any)
	for _, key := range sortedKeys(server) {
		inner, ok := server[key].(map[string]any)
		if ok && !isSection(known[strings.ToLower(key)]) {
			full := path + "." + key + levelsBelow(inner, known)
			a.fail(full, "%s", dotted(strings.TrimPrefix(full, "tcp.servers.")))
			continue
		}
		rest[key] = server[key]
	}
	if len(rest) == 0 && len(server) > 0 {
		a.said = append(a.said, path) // there is no such server
	}
	return rest
}

func isSection(t reflect.Type) bool {
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

// levelsBelow is the path to the first keys of a server.
func levelsBelow(inner map[string]any, known map[string]reflect.Type) string {
	for _, key := range sortedKeys(inner) {
		if _, ok := known[key]; ok {
			return ""
		}
		if deeper, ok := inner[key].(map[string]any); ok {
			return "." + key + levelsBelow(deeper, known)
		}
	}
	return ""
}

// value checks a value as loosely as it will be decoded, but for what is surely a mistake.
func (a *auditor) value(path string, value any, like reflect.Type) {
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	inner, isMap := value.(map[string]any)
	number, isNumber := numberOf(value)
	text, isText := value.(string)
	_, isBool := value.(bool)
	ok, want := true, ""
	switch {
	case value == nil:
	case like.Kind() == reflect.Struct && isMap:
		a.section(path, inner, like)
	case like.Kind() == reflect.Map && isMap:
		for _, name := range sortedKeys(inner) {
			a.value(path+"."+name, inner[name], like.Elem())
		}
	case like.Kind() == reflect.Struct, like.Kind() == reflect.Map:
		ok, want = false, "keys of its own below it"
	case like == reflect.TypeOf(time.Duration(0)):
		ok, want = a.duration(path, value), `a duration with its unit, such as "10s"`
	case like.Kind() == reflect.Bool:
		_, err := strconv.ParseBool(text)
		ok, want = isBool || isNumber || isText && err == nil, "true or false"
	case like.Kind() == reflect.Int:
		ok, want = isWhole(number, value), "a whole number"
	case like.Kind() == reflect.Uint64:
		ok, want = isWhole(number, value) && !(number < 0) && !strings.HasPrefix(text, "-"), "a whole number, not below zero"
	case like == reflect.TypeOf(Size("")):
		ok, want = isText || isNumber, `a number of MB, such as 4, or a size with its unit, such as "64KiB"`
	case like.Kind() == reflect.String:
		ok, want = isText || isNumber, "a text"
	case like.Kind() == reflect.Slice && like.Elem().Kind() == reflect.Struct:
		ok, want = a.sections(path, value, like.Elem()), "a list, with keys of its own in each of its items"
	case like.Kind() == reflect.Slice:
		ok, want = isText || isTexts(value), "a text, or a list of texts"
	}
	if !ok {
		a.fail(path, "%q can't be read; want %s", fmt.Sprint(value), want)
	}
}

// sections audits a list of sections, whose keys are those of the list with a number.
func (a *auditor) sections(path string, value any, like reflect.Type) bool {
	list := reflect.ValueOf(value)
	if list.Kind() != reflect.Slice {
		return false
	}
	for i := range list.Len() {
		item, ok := list.Index(i).Interface().(map[string]any)
		if !ok {
			return false
		}
		a.section(path+"."+strconv.Itoa(i), item, like)
	}
	return true
}

// duration reports whether a duration will be what it seems. A bare number is one of nanoseconds, which nobody means; in
// the pool's part, which is older than this check, it is a warning.
func (a *auditor) duration(path string, value any) bool {
	if text, ok := value.(string); ok {
		_, err := time.ParseDuration(text)
		return err == nil
	}
	_, isDuration := value.(time.Duration)
	number, isNumber := numberOf(value)
	switch {
	case !isNumber:
		return false
	case isDuration || number == 0:
		return true
	case strings.HasPrefix(path, "tcp.pool."):
		a.warnings = append(a.warnings, fmt.Sprintf(
			"%s: %v without a unit is a number of nanoseconds; write a duration such as \"10s\"", path, value))
		return true
	}
	return false
}

func numberOf(value any) (float64, bool) {
	v := reflect.ValueOf(value)
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}

// isWhole reports whether a number, or the number in a text, is whole and fits.
func isWhole(number float64, value any) bool {
	if text, ok := value.(string); ok {
		_, err := strconv.ParseInt(text, 0, 64)
		return err == nil
	}
	_, isNumber := numberOf(value)
	return isNumber && number == math.Trunc(number) && math.Abs(number) < 1<<63
}

func isTexts(value any) bool {
	list := reflect.ValueOf(value)
	if list.Kind() != reflect.Slice {
		return false
	}
	for i := range list.Len() {
		item := list.Index(i).Interface()
		_, isText := item.(string)
		if _, isNumber := numberOf(item); !isText && !isNumber {
			return false
		}
	}
	return true
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
