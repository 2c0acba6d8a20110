package stream

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the system has taken of an answer is the client's only when the client's system has it.
func TestSocketKnowsWhatIsUntaken(t *testing.T) {
	server, client := tcpPair(t)
	s := NewSocket(server)
	require.Zero(t, s.untaken())
	written := 0
	for { // until both systems are full
		n, err := s.writeNow(make([]byte, 1<<20))
		require.NoError(t, err)
		if n == 0 {
			break
		}
		written += n
	}
	require.Positive(t, s.untaken())
	require.Less(t, s.untaken(), written, "some has arrived")
	_, err := io.ReadFull(client, make([]byte, written))
	require.NoError(t, err)
	requireEventually(t, func() bool { return s.untaken() == 0 })
}
