package telemetry

import (
	"fmt"
	"strings"
	"unicode"
)

// maxErrorText is how much of an error that quotes others goes to the log, in bytes.
const maxErrorText = 256

// beforeOutput are the words in errors of the pool behind which comes, as it is, what a worker has written: megabytes at times,
// and packets of clients where the worker prints those.
var beforeOutput = []string{"invalid message: ", "bad payload "}

// ErrorText returns the text of an error of the pool, or of TLS, for the log: without what a worker has written, in one printable line.
func ErrorText(err error) string {
	text := err.Error()
	for _, words := range beforeOutput {
		if before, output, ok := strings.Cut(text, words); ok {
			text = fmt.Sprintf("%s%s%d bytes, which are not logged", before, words, len(output))
		}
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), maxErrorText)])
}
