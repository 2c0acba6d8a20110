package tests

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Not parallel: like RoadRunner's otel plugin, it sets the provider of the whole process.
func TestExchangesAreTraced(t *testing.T) {
	none := otel.GetTracerProvider()
	exported := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSyncer(exported)))
	h := start(t, minimal)
	otel.SetTracerProvider(none)

	c := h.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	c.send("!error no")
	c.requireEnd()
	eventually(t, "CONNECTED, DATA twice, CLOSE, and the connection itself", func() bool { return len(exported.GetSpans()) == 5 })

	spans := exported.GetSpans()
	connection := spans[4]
	require.Equal(t, "tcp connection", connection.Name)
	require.Equal(t, codes.Error, connection.Status.Code)
	seen := h.record.of(t, c)
	about := attributes(connection)
	require.Equal(t, "echo", about["tcp.server"])
	require.Equal(t, seen.UUID, about["tcp.uuid"])
	require.Equal(t, c.LocalAddr().String(), about["tcp.remote"])
	require.Equal(t, "error", about["tcp.reason"])
	require.Equal(t, []any{int64(2), int64(18), int64(7)}, []any{about["tcp.packets"], about["tcp.bytes_read"], about["tcp.bytes_written"]})

	for i, want := range []struct {
		event          string
		bytes, written int64
		reason         any
	}{
		{"CONNECTED", 0, 0, nil}, {"DATA", 7, 7, nil}, {"DATA", 11, 0, "error"}, {"CLOSE", 0, 0, "error"},
	} {
		s := spans[i]
		require.Equal(t, "tcp "+want.event, s.Name)
		require.Len(t, s.Links, 1)
		require.Equal(t, connection.SpanContext.SpanID(), s.Links[0].SpanContext.SpanID())
		require.NotEqual(t, connection.SpanContext.TraceID(), s.SpanContext.TraceID(), "a trace of its own")
		require.False(t, s.Parent.IsValid())
		about := attributes(s)
		require.Equal(t, "echo", about["tcp.server"])
		require.Equal(t, seen.UUID, about["tcp.uuid"])
		require.Equal(t, want.event, about["tcp.event"])
		require.Equal(t, want.bytes, about["tcp.bytes"])
		require.Equal(t, want.written, about["tcp.bytes_written"])
		require.Equal(t, want.reason, about["tcp.reason"])
		require.True(t, s.EndTime.After(s.StartTime))
		require.False(t, s.StartTime.Before(connection.StartTime) || s.EndTime.After(connection.EndTime))
	}

	other := start(t, minimal) // nobody has set a provider
	require.Equal(t, "hello", other.dial("echo").ask("hello"))
	other.stop()
	require.Len(t, exported.GetSpans(), 5)
}

func attributes(s tracetest.SpanStub) map[string]any {
	found := make(map[string]any)
	for _, a := range s.Attributes {
		switch a.Value.Type() {
		case attribute.INT64:
			found[string(a.Key)] = a.Value.AsInt64()
		default:
			found[string(a.Key)] = a.Value.AsString()
		}
	}
	return found
}
