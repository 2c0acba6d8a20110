package linetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func touch(t *testing.T, file string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, nil, 0o600))
}

// mark is in the environment of the test's workers. This program may run several times at once.
func mark(t *testing.T) string { return fmt.Sprintf("RRTCP_TEST=%d %s", os.Getpid(), t.Name()) }

// children counts the processes that run of those which the test has started.
func children(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range files {
		environ, _ := os.ReadFile(file) // empty: it has ended
		if bytes.Contains(environ, []byte("\x00"+mark(t)+"\x00")) {
			n++
		}
	}
	return n
}
