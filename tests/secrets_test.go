package tests

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/stretchr/testify/require"
)

// What clients send is in no log, though the worker prints it where frames should be: goridge's error has all of that.
func TestPacketsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	h := start(t, minimal)
	for range 3 {
		c := h.dial("echo")
		write(c, "!print 50000 "+secret+"\r\n")
		c.requireEnd()
		require.Equal(t, "error", h.record.of(t, c).Reason)
	}
	eventually(t, "it is logged", func() bool { return len(h.logged("tcp", "connection ended")) == 3 })
	log, err := os.ReadFile(h.log)
	require.NoError(t, err)
	require.False(t, strings.Contains(string(log), secret)) // the log would be in the message of NotContains
	require.Less(t, len(log), 100_000)
	require.True(t, strings.Contains(string(log), "which are not logged"))
}

// However long an argument is, the error about it is short.
func TestErrorsOfRPCAreShort(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC)
	long := strings.Repeat("x", 1<<20)
	for method, argument := range map[string]any{
		"tcp.Close": long, "tcp.Write": map[string]any{"uuid": long}, "tcp.Tag": map[string]any{long: 1},
		"tcp.Broadcast": map[string]any{"uuids": []string{long}}, "tcp.Connections": map[string]any{"server": long},
	} {
		encoded, err := json.Marshal(argument)
		require.NoError(t, err)
		_, text := h.callFrame(frame.CodecJSON, method, encoded)
		require.NotEmpty(t, text, method)
		require.Less(t, len(text), 1000, method)
	}
	for _, almost := range []string{"x" + stranger + "y", "{" + stranger + "y", stranger + " ", "urn:uuix:" + stranger} {
		var done bool
		require.ErrorContains(t, h.call("tcp.Close", almost, &done), "want the uuid of a connection", almost)
	}
	for _, form := range []string{stranger, strings.ToUpper(stranger), "{" + stranger + "}", "urn:uuid:" + stranger} {
		var done bool
		require.NoError(t, h.call("tcp.Close", form, &done), form)
	}
}
