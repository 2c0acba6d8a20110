package wire

import (
	"fmt"
	"slices"
)

// Limits of the tags of one connection.
const (
	MaxTags    = 32
	MaxTagSize = 128 // bytes of each
)

// CheckTags returns an error that begins with key where a tag is empty or too long, or there are too many.
func CheckTags(key string, tags []string) error {
	for i, tag := range tags {
		if tag == "" || len(tag) > MaxTagSize {
			return fmt.Errorf("%s[%d]: has %d bytes; want 1 to %d", key, i, len(tag), MaxTagSize)
		}
	}
	if n := len(DistinctTags(tags)); n > MaxTags {
		return fmt.Errorf("%s: are %d; want %d at most", key, n, MaxTags)
	}
	return nil
}

// DistinctTags returns a sorted copy without duplicates.
func DistinctTags(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return slices.Clip(slices.Compact(tags))
}
