package wire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStateNext(t *testing.T) {
	worker, bad := Effect{End: ReasonWorker}, Effect{End: ReasonReply}
	last := Effect{Write: true, End: ReasonWorker}
	for _, st := range []State{Opening, Replying, Securing} {
		for r, want := range map[Reply]struct {
			state  State
			effect Effect
		}{
			ReplyWrite:      {Reading, Effect{Write: true}},
			ReplyContinue:   {Reading, Effect{}},
			ReplyWriteClose: {Closing, last},
			ReplyClose:      {Closing, worker},
			ReplyUnknown:    {Closing, bad},
		} {
			next, effect := st.Next(r)
			require.Equal(t, want.state, next, "state %d, reply %d", st, r)
			require.Equal(t, want.effect, effect, "state %d, reply %d", st, r)
		}
	}
	for r := ReplyUnknown; r <= ReplyClose; r++ {
		next, effect := Closing.Next(r)
		require.Equal(t, Closing, next, "an answer to CLOSE is accepted and ignored")
		require.Empty(t, effect)
	}
}

func TestParseWord(t *testing.T) {
	for text, want := range map[string]Reply{
		"WRITE": ReplyWrite, "CONTINUE": ReplyContinue, "WRITECLOSE": ReplyWriteClose, "CLOSE": ReplyClose,
		"": ReplyUnknown, "write": ReplyUnknown, "WRITE ": ReplyUnknown, "WRITEWRITE": ReplyUnknown, "CLOSED": ReplyUnknown,
		`{"stop":true}`: ReplyUnknown, "\x00": ReplyUnknown,
	} {
		require.Equal(t, want, parseWord([]byte(text)), "%q", text)
	}
}

func TestContextKeys(t *testing.T) {
	decode := func(context []byte) (m map[string]any) {
		require.NoError(t, json.Unmarshal(context, &m), "%s", context)
		return m
	}
	base := func(event string, more map[string]any) map[string]any {
		m := map[string]any{"remote_addr": "[::1]:5", "server": "s \"1\"\n\u2028", "uuid": "u", "event": event}
		for k, v := range more {
			m[k] = v
		}
		return m
	}

	c := NewContexts("[::1]:5", "s \"1\"\n\u2028", "u", DialectReleased)
	require.Equal(t, base("CONNECTED", map[string]any{"local_addr": "[::1]:25"}), decode(c.Connected(Beginning{LocalAddr: "[::1]:25"})))
	agreed := map[string]any{"local_addr": "[::1]:25", "tls": map[string]any{"version": "1.3"}, "starttls": true}
	require.Equal(t, base("CONNECTED", agreed),
		decode(c.Connected(Beginning{LocalAddr: "[::1]:25", TLS: []byte(`{"version":"1.3"}`), StartTLS: true})))
	require.Equal(t, base("SECURED", map[string]any{"tls": agreed["tls"]}), decode(c.Secured([]byte(`{"version":"1.3"}`))))
	require.Equal(t, base("DATA", nil), decode(c.Data()))
	require.Equal(t, base("DATA", map[string]any{"eof": true}), decode(c.Tail()))
	require.Equal(t, base("DATA", map[string]any{"truncated": true}), decode(c.Truncated()))
	end := Ending{Reason: ReasonEOF, BytesRead: 1 << 40, BytesWritten: 7, Duration: 1500 * time.Millisecond}
	said := map[string]any{"reason": "eof", "bytes_read": float64(1 << 40), "bytes_written": 7.0, "seconds": 1.5}
	require.Equal(t, base("CLOSE", said), decode(c.Closed(end)))
	end.Unfinished, said["unfinished"] = 3, 3.0
	require.Equal(t, base("CLOSE", said), decode(c.Closed(end)))
	end.Discarded, said["discarded"] = 2, 2.0
	require.Equal(t, base("CLOSE", said), decode(c.Closed(end)))

	c = NewContexts("[::1]:5", "s \"1\"\n\u2028", "u", DialectDocumented)
	said = map[string]any{"reason": "rpc", "bytes_read": 0.0, "bytes_written": 0.0, "seconds": 0.0}
	require.Equal(t, base("CLOSED", said), decode(c.Closed(Ending{Reason: ReasonRPC})))
}

func TestReasonNames(t *testing.T) {
	names := make(map[string]bool)
	for r := ReasonNone; int(r) < len(reasonNames); r++ {
		require.False(t, names[r.String()], "%d %q", r, r)
		names[r.String()] = true
	}
}

func TestReasonsDocumented(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "troubleshooting.md"))
	require.NoError(t, err)
	for _, name := range reasonNames[1:] {
		require.Contains(t, string(guide), "\n## `"+name+"`\n")
		require.Contains(t, string(guide), "(#"+name+")")
	}
}

func FuzzContexts(f *testing.F) {
	f.Add("127.0.0.1:1", "echo", "u")
	f.Add("@", "\xff\x00\"", "\\")
	f.Fuzz(func(t *testing.T, remote, server, id string) {
		c := NewContexts(remote, server, id, DialectReleased)
		for _, context := range [][]byte{c.Connected(Beginning{LocalAddr: remote}), c.Data(), c.Tail(), c.Closed(Ending{Reason: ReasonReset})} {
			var m map[string]any
			require.NoError(t, json.Unmarshal(context, &m), "%q", context)
		}
	})
}
