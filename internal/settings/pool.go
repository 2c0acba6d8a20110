package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// CheckPool returns the durations of the pool's section that are negative: a pool would take them for over already. pool is
// a pointer to the section of any RoadRunner line.
func CheckPool(pool any) []error {
	errs := checkDurations(poolKey, reflect.ValueOf(pool))
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

func checkDurations(key string, v reflect.Value) (errs []error) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if d, ok := v.Interface().(time.Duration); ok && d < 0 {
		return []error{fmt.Errorf("%s: %s is negative; want a duration such as \"60s\"", key, d)}
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				errs = append(errs, checkDurations(key+"."+KeyOf(field), v.Field(i))...)
			}
		}
	}
	return errs
}
