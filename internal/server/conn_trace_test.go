package server

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/rrtcp/tcp/internal/wire"
)

// recorder is a tracer that keeps what its spans say.
type recorder struct {
	trace.Tracer
	spans []*recordedSpan
	ended []string // names, in the order in which the spans ended
}

type recordedSpan struct {
	trace.Span
	recorder   *recorder
	name       string
	attributes map[string]any
}

func (r *recorder) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	config := trace.NewSpanStartConfig(options...)
	s := &recordedSpan{trace.SpanFromContext(context.Background()), r, name, make(map[string]any)}
	s.SetAttributes(config.Attributes()...)
	r.spans = append(r.spans, s)
	return ctx, s
}

func (s *recordedSpan) SetAttributes(attributes ...attribute.KeyValue) {
	for _, a := range attributes {
		s.attributes[string(a.Key)] = a.Value.AsInterface()
	}
}

func (s *recordedSpan) End(...trace.SpanEndOption) {
	s.recorder.ended = append(s.recorder.ended, s.name)
}

func TestExchangesAreTraced(t *testing.T) {
	w := newScript()
	l := testListener(w)
	r := new(recorder)
	l.tracer = r
	server, client := tcpPair(t)
	c, ended := l.serveConn(server)
	receive(t, w.events)
	w.replies(reply("CONTINUE", ""))
	for _, a := range []struct{ word, body string }{{"WRITE", "hello"}, {"CLOSE", ""}} {
		_, err := client.Write([]byte("packet\r\n"))
		require.NoError(t, err)
		receive(t, w.events)
		w.replies(reply(a.word, a.body))
	}
	require.Equal(t, "CLOSE", receive(t, w.events).context["event"])
	client.Close()
	receive(t, ended)

	require.Equal(t, []string{"tcp CONNECTED", "tcp DATA", "tcp DATA", "tcp CLOSE", "tcp connection"}, r.ended)
	common := map[string]any{"tcp.server": "s", "tcp.uuid": c.uuid, "tcp.remote": client.LocalAddr().String()}
	for i, want := range []map[string]any{
		{"tcp.packets": int64(2), "tcp.bytes_read": int64(16), "tcp.bytes_written": int64(5), "tcp.reason": "worker"},
		{"tcp.event": wire.EventConnected, "tcp.bytes": int64(0), "tcp.bytes_written": int64(0)},
		{"tcp.event": wire.EventData, "tcp.bytes": int64(8), "tcp.bytes_written": int64(5)},
		{"tcp.event": wire.EventData, "tcp.bytes": int64(8), "tcp.bytes_written": int64(0), "tcp.reason": "worker"},
		{"tcp.event": wire.EventClose, "tcp.bytes": int64(0), "tcp.bytes_written": int64(0), "tcp.reason": "worker"},
	} {
		for k, v := range common {
			want[k] = v
		}
		require.Equal(t, want, r.spans[i].attributes, r.spans[i].name)
	}
}
