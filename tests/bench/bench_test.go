package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleKey) != "" { // started by the test below
		main()
	}
	os.Exit(m.Run())
}

// TestEverythingRuns: every answer is checked on the way.
func TestEverythingRuns(t *testing.T) {
	if err := measure("smoke", ""); err != nil {
		t.Fatal(err)
	}
}
