package linetest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func touch(t *testing.T, file string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, nil, 0o600))
}

// children counts the processes that run of those which the test has started.
func children(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	mark := []byte("\x00" + envTest + "=" + t.Name() + "\x00")
	for _, file := range files {
		environ, _ := os.ReadFile(file) // empty: it has ended
		if bytes.Contains(environ, mark) {
			n++
		}
	}
	return n
}
