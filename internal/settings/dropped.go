package settings

import (
	"reflect"
	"strings"
)

// RoadRunner's config plugin expands variables by setting each leaf of the file again, and what it has set hides the file. Sections
// and lists without anything in them have no leaf: UnmarshalKey leaves them out, and the sections around them that have nothing
// else, but Has still knows them.

// restoreSections makes sections of the file that are empty, as in `proxy_protocol: {}`, empty structs, and decodes those that are missing
// for a value that can't be decoded. section points to the struct of the RoadRunner line.
func (c *Config) restoreSections(from Configurer, section any) {
	restoreSections(from, sectionName, reflect.ValueOf(section).Elem())
	for name, server := range c.Servers {
		if server != nil {
			restoreSections(from, "tcp.servers."+name, reflect.ValueOf(server).Elem())
		}
	}
}

func restoreSections(from Configurer, path string, section reflect.Value) {
	for i := range section.NumField() {
		field, value := section.Type().Field(i), section.Field(i)
		key := path + "." + KeyOf(field)
		switch {
		case !field.IsExported():
		case field.Anonymous:
			restoreSections(from, path, value)
		case isSection(field.Type) && (!value.IsNil() || from.Has(key)):
			if value.IsNil() {
				value.Set(reflect.New(field.Type.Elem()))
				_ = from.UnmarshalKey(key, value.Interface()) // what can be decoded of one with a value that can't; see restoreServers
			}
			restoreSections(from, key, value.Elem())
		}
	}
}

// dropped finds keys of a section, and below it, that are an empty list or an empty section in the file and can't be. Without them
// the defaults would hold.
func (v *validator) dropped(from Configurer, path string, section map[string]any, like reflect.Type) {
	known := Keys(like)
	for _, key := range SortedKeys(known) {
		full, field := path+"."+key, known[key]
		value, isSet := section[key]
		inner, _ := value.(map[string]any)
		switch {
		case isSection(field):
			if inner != nil || from.Has(full) && !strings.HasPrefix(full, poolKey) { // an empty pool means the defaults
				v.dropped(from, full, inner, field.Elem())
			}
		case isSet || field.Kind() == reflect.Map || !isEmpty(from, full) || full == poolKey+".command": // old files may have an empty one
		case field.Kind() == reflect.Slice:
			v.fail(full, "%s", emptyList(key))
		default:
			_, want := v.leaf(full, []any{}, field)
			v.fail(full, "is an empty list or section; want %s", want)
		}
	}
}

// emptyList is what is wrong with a list that has no items.
func emptyList(key string) string {
	if key == "events" {
		return "is empty; for DATA alone write [DATA], for all events leave it out"
	}
	return "is empty; want a list of at least one item, or leave it out"
}

// isEmpty reports whether a key of the file is an empty list or an empty section.
func isEmpty(from Configurer, key string) bool {
	if !from.Has(key) {
		return false
	}
	var value any
	if err := from.UnmarshalKey(key, &value); err != nil {
		return false
	}
	v := reflect.ValueOf(value)
	return (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
}
