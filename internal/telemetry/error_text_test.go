package telemetry

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
	"github.com/stretchr/testify/require"
)

func TestErrorText(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"the worker died":                      "the worker died",
		"Über\x00\r\nb\xffc":                   "Über   b c",
		"x: bad payload secret":                "x: bad payload 6 bytes, which are not logged",
		"a: invalid message: b\nc":             "a: invalid message: 3 bytes, which are not logged",
		strings.Repeat("x", 255) + "\u00fc yz": strings.Repeat("x", 255) + " ",
		strings.Repeat("x", 1<<20):             strings.Repeat("x", 256),
	} {
		require.Equal(t, want, ErrorText(errors.New(text)))
	}
}

// stdout is what a worker has written.
type stdout struct{ *bytes.Reader }

func (stdout) Close() error { return nil }

// What goridge says of a worker that prints something has what it printed.
func TestErrorTextHidesOutput(t *testing.T) {
	err := pipe.NewPipeRelay(stdout{bytes.NewReader([]byte(strings.Repeat("secret packet", 100)))}, nil).Receive(frame.NewFrame())
	require.ErrorContains(t, err, "secret")
	require.NotContains(t, ErrorText(err), "secret")
	require.Contains(t, ErrorText(err), "STDOUT")
}
