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

// Of a unix socket the system counts the memory of what is unread: of small answers many times their bytes.
func TestMinRateCountsNoMemory(t *testing.T) {
	server, client := unixPair(t)
	w := Writer{WriterConfig: WriterConfig{MinRate: 1, Socket: NewSocket(server)}}
	for { // until the system is full
		n, err := w.Socket.writeNow([]byte("x"))
		require.NoError(t, err)
		if n == 0 {
			break
		}
		w.wrote(n)
	}
	require.Greater(t, w.Socket.untaken(), int(w.Total()))
	require.False(t, w.isTooSlow(), "the client has had no time yet")
	w.rate.waited = rateTime
	_, err := io.ReadFull(client, make([]byte, w.Total()))
	require.NoError(t, err)
	require.False(t, w.isTooSlow(), "it has taken everything")
	w.rate.waited = rateTime
	require.True(t, w.isTooSlow(), "it takes nothing")
}
