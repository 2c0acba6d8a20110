package program

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/rrtcp/tcp/internal/settings"
)

// changed finds values of the section tcp that the config plugin turns into others before a plugin sees them. Only the file has
// them as they were written: a config plugin that reads it from memory expands nothing.
func (l Line) changed(c Config, from Source) (found []string) {
	content := from.YAML
	if from.Path != "" {
		content, _ = os.ReadFile(from.Path) // the config plugin has read it
	}
	file := l.Config(Source{YAML: content})
	if file.Init() != nil {
		return nil
	}
	var written map[string]any
	_ = yaml.Unmarshal(content, &written) // the config plugin has read it
	return append(oneForTwo(tcpSection, written[tcpSection]), compare(tcpSection, file.Get(tcpSection), c.Get(tcpSection))...)
}

// oneForTwo finds keys that differ in capitals alone: for the config plugin they are the same, and it keeps one of them.
func oneForTwo(path string, value any) (found []string) {
	section, _ := value.(map[string]any)
	others := make(map[string]string)
	for _, key := range settings.SortedKeys(section) {
		name := strings.ToLower(key)
		if other, ok := others[name]; ok {
			found = append(found, fmt.Sprintf("%s: RoadRunner takes %s and %s for the same name, and drops one; rename one of them", path, other, key))
		}
		others[name] = key
		found = append(found, oneForTwo(path+"."+name, section[key])...)
	}
	return found
}

// compare returns what is wrong with what was delivered of a value of the file.
func compare(path string, file, delivered any) (found []string) {
	switch file := file.(type) {
	case map[string]any:
		return compareSections(path, file, delivered)
	case []any:
		return compareLists(path, file, delivered)
	case string:
		return compareTexts(path, file, delivered)
	}
	return nil
}

func compareSections(path string, file map[string]any, delivered any) (found []string) {
	section, _ := delivered.(map[string]any)
	for _, name := range settings.SortedKeys(file) {
		value, ok := section[name]
		if inner, isSection := file[name].(map[string]any); isSection && len(inner) == 0 && !ok && path == tcpSection+".servers" {
			found = append(found, fmt.Sprintf("%s.%s: is empty, and RoadRunner leaves it out; name an addr", path, name))
		}
		found = append(found, compare(path+"."+name, file[name], value)...)
	}
	return found
}

// compareLists finds items that are gone: of a list with texts the config plugin keeps only these.
func compareLists(path string, file []any, delivered any) (found []string) {
	list := reflect.ValueOf(delivered)
	if list.Kind() != reflect.Slice || list.Len() == 0 {
		return nil
	}
	if list.Len() < len(file) {
		for _, item := range file {
			if _, isText := item.(string); !isText {
				found = append(found, fmt.Sprintf("%s: %v is no text, as others of the list are, and RoadRunner drops it; put it in quotes", path, item))
			}
		}
		return found
	}
	for i, item := range file {
		found = append(found, compare(path, item, list.Index(i).Interface())...)
	}
	return found
}

// texts of bytes: what they hold is hardly ever meant to be a variable, unless they are nothing else.
var (
	textsOfBytes = []string{"delimiter", "delimiters", "until"}
	variable     = regexp.MustCompile(`^\$(\{[^{}]+\}|[A-Za-z_][A-Za-z0-9_]*)$`)
)

func compareTexts(path, file string, delivered any) []string {
	key := path[strings.LastIndex(path, ".")+1:]
	if file == delivered || !slices.Contains(textsOfBytes, key) || variable.MatchString(file) {
		return nil
	}
	return []string{fmt.Sprintf(`%s: %q becomes %q, because RoadRunner replaces $name; for what the file has write %s_hex: "%x"`,
		path, file, fmt.Sprint(delivered), key, file)}
}
