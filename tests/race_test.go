//go:build race

package tests

import "os"

func init() {
	buildFlags = []string{"-race"}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=10") // by default every program ends a second late
}
