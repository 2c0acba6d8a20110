package tcp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryReplyInEveryState(t *testing.T) {
	worker, bad := effect{end: reasonWorker}, effect{end: reasonReply}
	last := effect{write: true, end: reasonWorker}
	for _, st := range []state{opening, replying} {
		for r, want := range map[reply]struct {
			state  state
			effect effect
		}{
			replyWrite:      {reading, effect{write: true}},
			replyContinue:   {reading, effect{}},
			replyWriteClose: {closing, last},
			replyClose:      {closing, worker},
			replyUnknown:    {closing, bad},
		} {
			next, effect := st.next(r)
			require.Equal(t, want.state, next, "state %d, reply %d", st, r)
			require.Equal(t, want.effect, effect, "state %d, reply %d", st, r)
		}
	}
	for r := replyUnknown; r <= replyClose; r++ {
		next, effect := closing.next(r)
		require.Equal(t, closing, next, "an answer to CLOSE is accepted and ignored")
		require.Empty(t, effect)
	}
}

func TestOnlyTheFourWordsAreReplies(t *testing.T) {
	for text, want := range map[string]reply{
		"WRITE": replyWrite, "CONTINUE": replyContinue, "WRITECLOSE": replyWriteClose, "CLOSE": replyClose,
		"": replyUnknown, "write": replyUnknown, "WRITE ": replyUnknown, "WRITEWRITE": replyUnknown, "CLOSED": replyUnknown,
		`{"stop":true}`: replyUnknown, "\x00": replyUnknown,
	} {
		require.Equal(t, want, word([]byte(text)), "%q", text)
	}
}

func TestContextsHaveExactlyTheirKeys(t *testing.T) {
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

	c := newContexts("[::1]:5", "s \"1\"\n\u2028", "u", dialectReleased)
	require.Equal(t, base("CONNECTED", m{"local_addr": "[::1]:25"}), decode(c.connected("[::1]:25")))
	require.Equal(t, base("DATA", nil), decode(c.data))
	require.Equal(t, base("DATA", map[string]any{"eof": true}), decode(c.tail()))
	end := ending{why: reasonEOF, read: 1 << 40, written: 7, lived: 1500 * time.Millisecond}
	said := m{"reason": "eof", "bytes_read": float64(1 << 40), "bytes_written": 7.0, "seconds": 1.5}
	require.Equal(t, base("CLOSE", said), decode(c.closed(end)))
	end.unfinished, said["unfinished"] = 3, 3.0
	require.Equal(t, base("CLOSE", said), decode(c.closed(end)))

	c = newContexts("[::1]:5", "s \"1\"\n\u2028", "u", dialectDocumented)
	said = m{"reason": "rpc", "bytes_read": 0.0, "bytes_written": 0.0, "seconds": 0.0}
	require.Equal(t, base("CLOSED", said), decode(c.closed(ending{why: reasonRPC})))
}

func TestEveryReasonHasANameOfItsOwn(t *testing.T) {
	names := make(map[string]bool)
	for r := reasonNone; int(r) < len(reasonNames); r++ {
		require.False(t, names[r.String()], "%d %q", r, r)
		names[r.String()] = true
	}
}

func TestEveryReasonIsExplainedToWhoLooksForTrouble(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(filepath.Dir(schemaFile), "docs", "troubleshooting.md"))
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
		c := newContexts(remote, server, id, dialectReleased)
		for _, context := range [][]byte{c.connected(remote), c.data, c.tail(), c.closed(ending{why: reasonReset})} {
			var m map[string]any
			require.NoError(t, json.Unmarshal(context, &m), "%q", context)
		}
	})
}
