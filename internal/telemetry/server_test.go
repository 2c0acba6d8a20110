package telemetry

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/wire"
)

func TestServersAreFoundByName(t *testing.T) {
	servers := NewServers([]string{"a", "b"})
	require.Len(t, servers, 2)
	require.Same(t, servers[1], servers.Of("b"))
	require.Equal(t, "b", servers.Of("b").Name)
	require.Nil(t, servers.Of("c"))
}

func TestServerCountsConnections(t *testing.T) {
	var s Server
	s.Opened.Add(5)
	s.Closed(wire.ReasonEOF)
	s.Closed(wire.ReasonEOF)
	s.Closed(wire.ReasonHandshake)
	open, closed := s.Connections()
	require.EqualValues(t, 2, open)
	require.Equal(t, [wire.NumReasons]int64{wire.ReasonEOF: 2, wire.ReasonHandshake: 1}, closed)
}

func TestServerCountsFailures(t *testing.T) {
	var s Server
	s.Failed(FailureNone)
	s.Failed(FailureOverload)
	s.Refused(RefusedPerIP)
	require.Zero(t, s.Failures(FailureNone), "the connection ended before the reply: that is no failure")
	require.EqualValues(t, 1, s.Failures(FailureOverload))
	require.EqualValues(t, 1, s.Refusals(RefusedPerIP))
	require.Zero(t, s.Refusals(RefusedTLS))
}

func TestNilServerCountsNothing(*testing.T) {
	var s *Server
	s.Failed(FailureError)
	s.Exchanged(wire.Data, time.Second)
}

func TestCountingAllocatesNothing(t *testing.T) {
	var s Server
	var none *Spans
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		s.Received.Add(1)
		s.Closed(wire.ReasonEOF)
		s.Failed(FailureError)
		s.Refused(RefusedTLS)
		s.Exchanged(wire.Connected, time.Millisecond)
		none.Exchange(wire.Data, 1).End(1, wire.ReasonNone, nil)
	}))
	count, sum, _ := s.Exchanges(wire.Connected).buckets()
	require.EqualValues(t, 1001, count)
	require.InDelta(t, 1.001, sum, 1e-9)
	count, _, _ = s.Exchanges(wire.Data).buckets()
	require.Zero(t, count)
}

func TestHistogramCountsByBound(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, bounds[0], bounds[0] + 1, time.Second, time.Hour} {
		h.Observe(d)
	}
	count, sum, upTo := h.buckets()
	require.EqualValues(t, 5, count)
	require.InDelta(t, 3601.000200001, sum, 1e-9)
	require.Len(t, upTo, len(bounds))
	require.EqualValues(t, 2, upTo[bounds[0].Seconds()])
	require.EqualValues(t, 3, upTo[bounds[1].Seconds()])
	require.EqualValues(t, 4, upTo[1])
	require.EqualValues(t, 4, upTo[bounds[len(bounds)-1].Seconds()], "the last duration is over every bound")

	counts := h.Counts()
	require.Len(t, counts, len(HistogramBounds())+1)
	require.Equal(t, []uint64{2, 1}, counts[:2])
	require.EqualValues(t, 1, counts[len(bounds)])
	require.EqualValues(t, 1, counts[slices.Index(HistogramBounds(), 1)])
}

// Many events at once, which all take as long as their worker, add up to centuries within months.
func TestHistogramAddsUpCenturies(t *testing.T) {
	var h Histogram
	const century = 100 * 365 * 24 * time.Hour
	for range 5 {
		h.Observe(century)
	}
	h.Observe(time.Millisecond)
	_, sum, _ := h.buckets()
	require.InDelta(t, 5*century.Seconds()+0.001, sum, 1e-5)
}
