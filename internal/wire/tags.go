package wire

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Limits of the tags of one connection.
const (
	MaxTags    = 32
	MaxTagSize = 128 // bytes of each
)

// CheckTags returns an error that begins with key where a tag is empty, too long or not UTF-8, or there are too many.
func CheckTags(key string, tags []string) error {
	if err := CheckTagTexts(key, tags); err != nil {
		return err
	}
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

var errNotUTF8 = errors.New("is not UTF-8")

// CheckTagTexts returns an error that begins with key where a tag is not UTF-8: in JSON, as workers and other nodes have it, it would be
// another one.
func CheckTagTexts(key string, tags []string) error {
	for i, tag := range tags {
		if !utf8.ValidString(tag) {
			return fmt.Errorf("%s[%d]: %w", key, i, errNotUTF8)
		}
	}
	return nil
}

// CheckTagText is CheckTagTexts for one tag.
func CheckTagText(key, tag string) error {
	if !utf8.ValidString(tag) {
		return fmt.Errorf("%s: %w", key, errNotUTF8)
	}
	return nil
}

// DistinctTags returns a sorted copy without duplicates.
func DistinctTags(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return slices.Clip(slices.Compact(tags))
}
