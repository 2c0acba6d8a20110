package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCutHead(t *testing.T) {
	head, body, ok := CutHead(append(AppendHead(nil, []byte(x(200))), "body"...))
	require.True(t, ok)
	require.Equal(t, x(200), string(head))
	require.Equal(t, "body", string(body))
	for _, message := range []string{"", "\x01", "\x80", "\x05head", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"} {
		_, _, ok := CutHead([]byte(message))
		require.False(t, ok, "%q", message)
	}
}

// Whatever comes, head and body are what stands behind the length, and can be put together again.
func FuzzCutHead(f *testing.F) {
	f.Add(append(AppendHead(nil, []byte(`{"op":"write"}`)), "body"...))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, message []byte) {
		head, body, ok := CutHead(message)
		if !ok {
			return
		}
		head2, body2, ok := CutHead(append(AppendHead(nil, head), body...))
		if !ok || string(head2) != string(head) || string(body2) != string(body) {
			t.Fatalf("%q and %q, then %q and %q", head, body, head2, body2)
		}
		if whole := string(head) + string(body); whole != string(message[len(message)-len(whole):]) {
			t.Fatalf("%q and %q of %q", head, body, message)
		}
	})
}
