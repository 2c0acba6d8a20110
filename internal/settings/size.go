package settings

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Size is an amount of memory as it stands in the configuration: a number of MB, or a number with a unit: "64KiB",
// "4MB". As everywhere in RoadRunner 1 KB is 1024 bytes.
type Size string

func (s Size) bytes() (int64, error) {
	n, err := strconv.ParseFloat(string(s), 64)
	text := string(s)
	if err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "MB"
	}
	b, err := units.RAMInBytes(text)
	if err != nil || b < 0 || b == 0 && strings.ContainsAny(text, "123456789") {
		return 0, fmt.Errorf(`%q is no size; want a number of MB, such as 4, or one with a unit, such as "64KiB"`, string(s))
	}
	return b, nil
}

func checkSize(key string, s Size) error {
	if s == "" {
		return nil
	}
	if _, err := s.bytes(); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// checkRate checks what is meant in bytes a second: MB, which a number without a unit would be, are hardly ever meant.
func checkRate(key string, s Size) error {
	if n, err := strconv.ParseFloat(string(s), 64); err == nil && n > 0 {
		return fmt.Errorf(`%s: %s has no unit; want bytes a second with one, such as "16KiB", or 0 for none`, key, s)
	}
	return checkSize(key, s)
}

// sizeOr returns the first size that is set, in bytes. checkSize has reported those that can't be read: they are 0.
func sizeOr(otherwise int64, sizes ...Size) int64 {
	for _, s := range sizes {
		if s != "" {
			n, _ := s.bytes()
			return n
		}
	}
	return otherwise
}

// intOr is sizeOr for what is counted in an int, which has 32 bits on some machines: a larger size is the most that there is.
func intOr(otherwise int64, sizes ...Size) int {
	return int(min(sizeOr(otherwise, sizes...), math.MaxInt))
}
