//go:build race

package tcp

func init() { raced = true }
