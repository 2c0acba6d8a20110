//go:build race

package main

import "os"

func init() {
	buildFlags = append(buildFlags, "-race")
	_ = os.Setenv("GORACE", "atexit_sleep_ms=10") // by default every program ends a second late
}
