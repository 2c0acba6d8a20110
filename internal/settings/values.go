package settings

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
)

// value checks that a value of the file can be decoded into the type like. It accepts what the configuration library converts,
// except for conversions that are surely a mistake.
func (v *validator) value(path string, value any, like reflect.Type) {
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	if value == nil {
		return
	}
	inner, isMap := value.(map[string]any)
	switch {
	case like.Kind() == reflect.Struct && isMap:
		v.section(path, inner, like)
		if like == reflect.TypeOf(framing.Length{}) {
			v.digits(path, inner)
		}
	case like.Kind() == reflect.Map && isMap:
		for _, name := range SortedKeys(inner) {
			v.value(path+"."+name, inner[name], like.Elem())
		}
	default:
		if ok, want := v.leaf(path, value, like); !ok {
			v.fail(path, "%q can't be read; want %s", fmt.Sprint(value), want)
		}
		v.numberAsText(path, value, like)
	}
}

// numberAsText warns of a text below cluster, such as a password, that is a number: it may be another text than the file has. It was
// accepted before this check existed, and may be right.
func (v *validator) numberAsText(path string, value any, like reflect.Type) {
	_, isNumber := toFloat(value)
	if isNumber && like.Kind() == reflect.String && strings.HasPrefix(path, clusterKey+".") {
		v.warnings = append(v.warnings, path+": is a number, and YAML reads 0123 as 83; put it in quotes")
	}
}

// leaf reports whether a value that is not a section can be decoded, and what could be.
func (v *validator) leaf(path string, value any, like reflect.Type) (ok bool, want string) {
	_, isNumber := toFloat(value)
	text, isText := value.(string)
	switch {
	case like == reflect.TypeOf(time.Duration(0)):
		return v.isDuration(path, value), `a duration with its unit, such as "10s"`
	case like == reflect.TypeOf(framing.DigitsUntil):
		return isWhole(value, strconv.IntSize) || value == true, "a number of digits, or true beside until"
	case like == reflect.TypeOf(Size("")):
		return isText || isNumber, `a number of MB, such as 4, or a size with its unit, such as "64KiB"`
	}
	switch like.Kind() {
	case reflect.Struct, reflect.Map:
		return false, "keys of its own below it"
	case reflect.Bool:
		_, isBool := value.(bool)
		_, err := strconv.ParseBool(text)
		number, _ := toFloat(value)
		return isBool || isNumber && (number == 0 || number == 1) || isText && err == nil, "true or false"
	case reflect.Int:
		return isWhole(value, strconv.IntSize), "a whole number"
	case reflect.Uint64:
		return isUnsigned(value), "a whole number, not below zero"
	case reflect.String:
		return isText || isNumber, "a text"
	case reflect.Slice:
		if like.Elem().Kind() == reflect.Struct {
			return v.sections(path, value, like.Elem()), "a list, with keys of its own in each of its items"
		}
		return isText || isTexts(value), "a text, or a list of texts"
	}
	return true, ""
}

// digits finds a length.ascii of true without until, or of a number beside it: decoded true could not be told from 1, nor 0 from
// one that is not set.
func (v *validator) digits(path string, length map[string]any) {
	ascii, isUntil := length["ascii"], length["until"] != nil || length["until_hex"] != nil
	switch {
	case ascii == true && !isUntil:
		v.fail(path+".ascii", `is true; want the number of digits, such as 4, or beside it the byte that ends them, such as until: " "`)
	case isWhole(ascii, 64) && isUntil:
		v.fail(path+".ascii", "is %v, but until ends the digits, however many; write ascii: true", ascii)
	}
}

// sections validates a list of sections. The key of an item is the list's with the item's number.
func (v *validator) sections(path string, value any, like reflect.Type) bool {
	list := reflect.ValueOf(value)
	if list.Kind() != reflect.Slice {
		return false
	}
	for i := range list.Len() {
		item, ok := list.Index(i).Interface().(map[string]any)
		if !ok {
			return false
		}
		v.section(path+"."+strconv.Itoa(i), item, like)
	}
	return true
}

// isDuration reports whether a value is a duration. A number without a unit would be nanoseconds, which is hardly ever meant.
// Below pool it is a warning, since it was accepted there before this check existed.
func (v *validator) isDuration(path string, value any) bool {
	if text, ok := value.(string); ok {
		_, err := time.ParseDuration(text)
		return err == nil
	}
	_, isDuration := value.(time.Duration)
	number, isNumber := toFloat(value)
	switch {
	case !isNumber:
		return false
	case isDuration || number == 0:
		return true
	case strings.HasPrefix(path, poolKey+"."):
		v.warnings = append(v.warnings, fmt.Sprintf(
			"%s: %v without a unit is a number of nanoseconds; write a duration such as \"10s\"", path, value))
		return true
	}
	return false
}

// toFloat returns a value of any numeric type.
func toFloat(value any) (number float64, ok bool) {
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

// isWhole reports whether a number, or the number in a text, is whole and fits into so many bits.
func isWhole(value any, bits int) bool {
	if text, ok := value.(string); ok {
		_, err := strconv.ParseInt(text, 0, bits)
		return err == nil
	}
	number, isNumber := toFloat(value)
	return isNumber && number == math.Trunc(number) && math.Abs(number) < math.Ldexp(1, bits-1)
}

// isUnsigned reports whether a number, or the number in a text, is whole, not below zero, and fits into 64 bits.
func isUnsigned(value any) bool {
	switch value := value.(type) {
	case uint64: // over 2^63, too
		return true
	case string:
		_, err := strconv.ParseUint(value, 0, 64)
		return err == nil
	}
	number, _ := toFloat(value)
	return isWhole(value, 64) && number >= 0
}

func isTexts(value any) bool {
	list := reflect.ValueOf(value)
	if list.Kind() != reflect.Slice {
		return false
	}
	for i := range list.Len() {
		item := list.Index(i).Interface()
		_, isText := item.(string)
		if _, isNumber := toFloat(item); !isText && !isNumber {
			return false
		}
	}
	return true
}
