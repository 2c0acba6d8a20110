package tests

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
	"github.com/stretchr/testify/require"
)

// Frames in a document are a header in hexadecimal, a bar and the payload.
func TestDocumentedFrames(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, b := range blocks(t, repository+"/docs/worker-protocol.md") {
		if b.language != "" {
			continue
		}
		for _, line := range strings.Split(strings.TrimRight(b.text, "\n"), "\n") {
			header, payload, ok := strings.Cut(line, " |")
			require.True(t, ok, line)
			payload = strings.TrimPrefix(payload, " ")
			raw, err := hex.DecodeString(strings.ReplaceAll(header, " ", ""))
			require.NoError(t, err, line)
			relay := pipe.NewPipeRelay(io.NopCloser(strings.NewReader(string(raw)+payload)), nil)
			f := frame.NewFrame()
			if err := relay.Receive(f); !errors.Is(err, io.EOF) { // of a frame without a payload
				require.NoError(t, err, line)
			}
			require.Len(t, payload, int(f.ReadPayloadLen(f.Header())), line)
			require.True(t, f.VerifyCRC(f.Header()), line)
			if options := f.ReadOptions(f.Header()); len(options) > 0 {
				require.LessOrEqual(t, int(options[0]), len(payload), line)
			}
			checked++
		}
	}
	require.Equal(t, 13, checked)
}

func TestDocumentedPHP(t *testing.T) {
	t.Parallel()
	interpreter := php(t)
	for _, file := range append(documents(t), repository+"/php/README.md") {
		for _, b := range blocks(t, file) {
			if b.language != "php" {
				continue
			}
			lint := exec.Command(interpreter, "-l")
			lint.Stdin = strings.NewReader("<?php\n" + strings.TrimPrefix(b.text, "<?php\n"))
			out, err := lint.CombinedOutput()
			require.NoError(t, err, "%s: %s", b.where, out)
		}
	}
}

func TestREADMEWorkers(t *testing.T) {
	t.Parallel()
	for document, greeting := range map[string]string{"README.md": "hello 127.0.0.1", "php/README.md": ""} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			autoload, err := filepath.Abs("php/spiral/autoload.php")
			require.NoError(t, err)
			require.NoError(t, os.Mkdir(dir+"/vendor", 0o700))
			require.NoError(t, os.Symlink(autoload, dir+"/vendor/autoload.php"))
			code := "<?php\n" + strings.TrimPrefix(shown(t, document, "php", 0), "<?php\n")
			require.LessOrEqual(t, strings.Count(code, "\n"), 10, "it is short")
			save(t, dir+"/echo.php", []byte(code))
			h := startPHP(t, minimal, dir+"/echo.php")
			for i := range 4 { // more than there are workers
				c := h.dial("echo")
				if greeting != "" {
					require.Equal(t, greeting, c.receive())
				}
				require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
				require.NoError(t, c.Close())
			}
			require.Empty(t, h.ours("warn"))
			require.Empty(t, h.ours("error"))
		})
	}
}
