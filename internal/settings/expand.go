package settings

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rrtcp/tcp/internal/framing"
)

// Expand returns the framing of every server, with what its protocol and the defaults have filled in, as YAML. Check must have found
// no mistake.
func (c *Config) Expand() string {
	var b strings.Builder
	b.WriteString("tcp:\n  servers:\n")
	for _, name := range c.Names() {
		s := c.Servers[name]
		fmt.Fprintf(&b, "    %s:\n      addr: %s\n", quoted(name), quoted(s.Addr))
		eachSet(reflect.ValueOf(s.Packets), func(key, value string) { fmt.Fprintf(&b, "      %s: %s\n", key, value) })
	}
	return b.String()
}

// eachSet calls f for the keys of a struct that are set.
func eachSet(v reflect.Value, f func(key, value string)) {
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.IsExported() && !v.Field(i).IsZero() {
			f(KeyOf(field), flow(v.Field(i)))
		}
	}
}

// flow returns a value in one line of YAML.
func flow(v reflect.Value) string {
	if l, ok := v.Interface().(framing.Length); ok && l.ASCII == 1 && l.Until+l.UntilHex != "" {
		l.ASCII = framing.DigitsUntil // which the configuration library has decoded as 1
		v = reflect.ValueOf(l)
	}
	switch {
	case v.Kind() == reflect.Pointer:
		return flow(v.Elem())
	case v.Kind() == reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, flow(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.Kind() == reflect.Struct:
		var items []string
		eachSet(v, func(key, value string) { items = append(items, key+": "+value) })
		return "{" + strings.Join(items, ", ") + "}"
	case v.Kind() == reflect.String:
		return quoted(v.String())
	case v.Interface() == any(framing.DigitsUntil):
		return "true"
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String()
	}
	return fmt.Sprint(v.Interface())
}

// quoted returns a text in double quotes, or bytes that are none in base64. YAML knows the escapes of Go.
func quoted(text string) string {
	if !utf8.ValidString(text) {
		return fmt.Sprintf("!!binary %q", base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return strconv.Quote(text)
}
