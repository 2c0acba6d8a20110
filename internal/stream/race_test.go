//go:build race

package stream

func init() { isRace = true }
