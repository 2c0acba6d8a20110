package settings

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Keys whose value is bytes, and all those of Goodbye are: as a text, or under a key with _hex in hexadecimal digits. The
// configuration library turns numbers into texts, which are surely other bytes than those that were meant.
var textKeys = []string{"delimiter", "delimiters", "starts", "until"}

// bytes finds values of such keys that decoding hides. It reports whether it has said all there is to say.
func (v *validator) bytes(path, key string, value any, like reflect.Type) bool {
	isHex := strings.HasSuffix(key, "_hex")
	if !isHex && !slices.Contains(textKeys, key) && like != reflect.TypeOf(Goodbye{}) {
		return false
	}
	text, isText := value.(string)
	switch isList := strings.HasPrefix(key, "delimiters"); {
	case key == "delimiter" && (value == "" || value == nil): // decoded it could not be told from one that is not set
		v.fail(path, `is empty; want the bytes that end a packet, such as "\r\n"`)
	case value == "":
		v.fail(path, "is empty; want bytes, or leave it out")
	case isList && isText && strings.Contains(text, ","):
		v.fail(path, "is a text, which is split at its commas; want a list, such as %s", listExample(isHex))
	default:
		return v.numbers(path, key, value, isHex)
	}
	return true
}

func listExample(isHex bool) string {
	if isHex {
		return `["0d0a", "0a"]`
	}
	return `["\r\n", "\n"]`
}

// numbers finds numbers that are to be bytes.
func (v *validator) numbers(path, key string, value any, isHex bool) bool {
	items := []any{value}
	if list := reflect.ValueOf(value); list.Kind() == reflect.Slice {
		items = nil
		for i := range list.Len() {
			items = append(items, list.Index(i).Interface())
		}
	}
	for _, item := range items {
		number, isNumber := toFloat(item)
		if !isNumber {
			continue
		}
		if isHex {
			v.fail(path, "%v is a number, and YAML reads 0010 as 8 and 1e5 as 100000; put the digits in quotes, such as \"0d0a\"", item)
			return true
		}
		cure := ""
		if isByte := number >= 0 && number < 256 && number == math.Trunc(number); isByte {
			cure = fmt.Sprintf("for the byte 0x%02x write %s_hex: \"%02[1]x\", ", int(number), key)
		}
		v.fail(path, "%v is a number; %sfor its digits put it in quotes: %q", item, cure, fmt.Sprint(item))
		return true
	}
	return false
}

// escapes are those that YAML reads in double quotes and keeps in single ones.
var escapes = regexp.MustCompile(`\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[abefnrtv0])`)

// warnOfEscapes warns of a text that has them.
func (c *Config) warnOfEscapes(key, text string) {
	meant := escapes.ReplaceAllStringFunc(text, unescape)
	if meant == text {
		return
	}
	name := key[strings.LastIndex(key, ".")+1:]
	write := fmt.Sprintf("%q was meant, write %q", meant, meant)
	if strings.ContainsFunc(meant, func(r rune) bool { return r >= 0x80 }) {
		write = fmt.Sprintf("the bytes %x were meant, write %s_hex: \"%[1]x\"", meant, name)
	}
	c.warn("%s: is the %d characters %s, a backslash among them; YAML reads escapes in double quotes only: if %s",
		key, len(text), text, write)
}

func unescape(escape string) string {
	switch escape {
	case `\0`:
		return "\x00"
	case `\e`:
		return "\x1b"
	}
	if text, err := strconv.Unquote(`"` + escape + `"`); err == nil {
		return text // \xff is the byte
	}
	return escape
}
