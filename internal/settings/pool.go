package settings

import (
	"fmt"
	"reflect"
	"time"
)

// InitPool fills in the defaults of the pool's section, which is that of any RoadRunner line, and returns its mistakes. maxWorkers is
// the most that the line's pool starts; 0: no limit.
func (c *Config) InitPool(pool interface{ InitDefaults() }, maxWorkers uint64) (errs []error) {
	set, inForce := make(map[string]any), make(map[string]any)
	addValues(set, poolKey, reflect.ValueOf(pool))
	pool.InitDefaults()
	addValues(inForce, poolKey, reflect.ValueOf(pool))
	for _, key := range SortedKeys(set) {
		value := set[key]
		switch d, _ := value.(time.Duration); {
		case d < 0 && value == inForce[key]: // a pool would take it for over already
			errs = append(errs, fmt.Errorf("%s: %s is negative; want a duration such as \"60s\"", key, d))
		case !reflect.ValueOf(value).IsZero() && value != inForce[key]: // an error would stop old files
			c.warn("%s: %v is out of range, and the pool takes %v; docs/configuration.md has the range", key, value, inForce[key])
		}
	}
	if n, _ := inForce[poolKey+".num_workers"].(uint64); maxWorkers > 0 && n > maxWorkers {
		errs = append(errs, fmt.Errorf("%s.num_workers: %d is over %d, the most that this RoadRunner starts; want fewer", poolKey, n, maxWorkers))
	}
	return errs
}

// addValues adds the numbers, durations and the like of a section by their keys.
func addValues(values map[string]any, key string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		addValues(values, key, v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				addValues(values, key+"."+KeyOf(field), v.Field(i))
			}
		}
	case v.Comparable():
		values[key] = v.Interface()
	}
}
