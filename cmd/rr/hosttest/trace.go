package hosttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// provider keeps the spans that have ended.
type provider struct {
	trace.TracerProvider // nil: Tracer is all that is called
	mu                   sync.Mutex
	spans                []*span
	last                 byte // of the identifiers
}

func (p *provider) Tracer(string, ...trace.TracerOption) trace.Tracer { return &tracer{provider: p} }

func (p *provider) ended() []*span {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*span(nil), p.spans...)
}

type tracer struct {
	trace.Tracer // nil
	provider     *provider
}

type span struct {
	trace.Span // for what is not recorded
	provider   *provider
	name       string
	context    trace.SpanContext
	parent     trace.SpanContext
	links      []trace.Link
	attributes map[string]any
	status     codes.Code
	begin, end time.Time
}

func (t *tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	config := trace.NewSpanStartConfig(options...)
	t.provider.mu.Lock()
	t.provider.last++
	id := t.provider.last
	t.provider.mu.Unlock()
	s := &span{Span: trace.SpanFromContext(context.Background()), provider: t.provider, name: name, links: config.Links()}
	s.attributes, s.begin = make(map[string]any), config.Timestamp()
	if s.begin.IsZero() {
		s.begin = time.Now()
	}
	if !config.NewRoot() {
		s.parent = trace.SpanContextFromContext(ctx)
	}
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: [16]byte{id}, SpanID: [8]byte{id}, TraceFlags: trace.FlagsSampled})
	s.SetAttributes(config.Attributes()...)
	return trace.ContextWithSpan(ctx, s), s
}

func (s *span) SpanContext() trace.SpanContext      { return s.context }
func (s *span) IsRecording() bool                   { return true }
func (s *span) SetStatus(code codes.Code, _ string) { s.status = code }

func (s *span) SetAttributes(all ...attribute.KeyValue) {
	for _, a := range all {
		s.attributes[string(a.Key)] = a.Value.AsInterface()
	}
}

func (s *span) End(options ...trace.SpanEndOption) {
	config := trace.NewSpanEndConfig(options...)
	if s.end = config.Timestamp(); s.end.IsZero() {
		s.end = time.Now()
	}
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	s.provider.spans = append(s.provider.spans, s)
}

func testTraces(t *testing.T, l Line) {
	none, traced := otel.GetTracerProvider(), new(provider)
	otel.SetTracerProvider(traced)
	h := start(t, l, minimal)
	otel.SetTracerProvider(none)

	c := h.dial()
	require.Equal(t, "hello", c.ask("hello"))
	c.send("!error")
	require.Empty(t, c.rest())
	eventually(t, "CONNECTED, DATA twice, CLOSE, and the connection itself", func() bool { return len(traced.ended()) == 5 })

	spans := traced.ended()
	connection := spans[4]
	require.Equal(t, "tcp connection", connection.name)
	require.Equal(t, codes.Error, connection.status)
	require.Equal(t, "echo", connection.attributes["tcp.server"])
	require.Equal(t, c.LocalAddr().String(), connection.attributes["tcp.remote"])
	require.Equal(t, "error", connection.attributes["tcp.reason"])
	for key, want := range map[string]int64{"tcp.packets": 2, "tcp.bytes_read": 15, "tcp.bytes_written": 7} {
		require.Equal(t, want, connection.attributes[key], key)
	}
	for uuid := range h.sentences() {
		require.Equal(t, uuid, connection.attributes["tcp.uuid"])
	}

	for i, want := range []struct {
		event          string
		bytes, written int64
		reason         any
	}{
		{"CONNECTED", 0, 0, nil}, {"DATA", 7, 7, nil}, {"DATA", 8, 0, "error"}, {"CLOSE", 0, 0, "error"},
	} {
		s := spans[i]
		require.Equal(t, "tcp "+want.event, s.name)
		require.Len(t, s.links, 1)
		require.Equal(t, connection.context.SpanID(), s.links[0].SpanContext.SpanID())
		require.False(t, s.parent.IsValid(), "a trace of its own")
		require.Equal(t, "echo", s.attributes["tcp.server"])
		require.Equal(t, connection.attributes["tcp.uuid"], s.attributes["tcp.uuid"])
		require.Equal(t, want.event, s.attributes["tcp.event"])
		require.Equal(t, want.bytes, s.attributes["tcp.bytes"])
		require.Equal(t, want.written, s.attributes["tcp.bytes_written"])
		require.Equal(t, want.reason, s.attributes["tcp.reason"])
		require.True(t, s.end.After(s.begin))
		require.False(t, s.begin.Before(connection.begin) || s.end.After(connection.end))
	}

	other := start(t, l, minimal) // without a provider
	require.Equal(t, "hello", other.dial().ask("hello"))
	other.stop()
	require.Len(t, traced.ended(), 5)
}
