package telemetry

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rrtcp/tcp/internal/wire"
)

// recorder is a tracer that keeps its spans.
type recorder struct {
	trace.Tracer
	spans []*recorded
}

func (r *recorder) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	config := trace.NewSpanStartConfig(options...)
	s := &recorded{Span: trace.SpanFromContext(context.Background()), name: name, config: config, attributes: map[string]any{}}
	s.SetAttributes(config.Attributes()...)
	s.id[0] = byte(len(r.spans) + 1)
	r.spans = append(r.spans, s)
	return ctx, s
}

// recorded is a span.
type recorded struct {
	trace.Span
	name       string
	id         trace.SpanID
	config     trace.SpanConfig
	attributes map[string]any
	status     codes.Code
	err        error
	ended      int
}

func (s *recorded) SpanContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: s.id})
}

func (s *recorded) SetAttributes(attributes ...attribute.KeyValue) {
	for _, a := range attributes {
		s.attributes[string(a.Key)] = a.Value.AsInterface()
	}
}

func (s *recorded) SetStatus(code codes.Code, _ string)           { s.status = code }
func (s *recorded) RecordError(err error, _ ...trace.EventOption) { s.err = err }
func (s *recorded) End(...trace.SpanEndOption)                    { s.ended++ }

func TestSpansLinkToConnection(t *testing.T) {
	var r recorder
	s := NewSpans(&r, "smtp", "id", "127.0.0.1:1")
	exchange := s.Exchange(wire.Data, 7)
	exchange.End(3, wire.ReasonNone, nil)
	s.End(1, 7, 3, wire.ReasonEOF, nil)

	require.Len(t, r.spans, 2)
	connection, data := r.spans[0], r.spans[1]
	require.Equal(t, "tcp connection", connection.name)
	require.Equal(t, map[string]any{
		"tcp.server": "smtp", "tcp.uuid": "id", "tcp.remote": "127.0.0.1:1",
		"tcp.packets": int64(1), "tcp.bytes_read": int64(7), "tcp.bytes_written": int64(3), "tcp.reason": "eof",
	}, connection.attributes)
	require.Equal(t, "tcp DATA", data.name)
	require.Equal(t, map[string]any{
		"tcp.server": "smtp", "tcp.uuid": "id", "tcp.remote": "127.0.0.1:1",
		"tcp.event": "DATA", "tcp.bytes": int64(7), "tcp.bytes_written": int64(3),
	}, data.attributes, "no reason: the connection went on")
	require.Len(t, data.config.Links(), 1)
	require.Equal(t, connection.SpanContext(), data.config.Links()[0].SpanContext)
	for _, span := range r.spans {
		require.True(t, span.config.NewRoot(), span.name)
		require.Equal(t, trace.SpanKindServer, span.config.SpanKind(), span.name)
		require.Equal(t, codes.Unset, span.status, span.name)
		require.Equal(t, 1, span.ended, span.name)
	}
}

func TestSpansRecordFaults(t *testing.T) {
	fault := errors.New("the worker died")
	for why, want := range map[wire.Reason]error{
		wire.ReasonReply: fault, wire.ReasonError: fault, wire.ReasonReset: nil, wire.ReasonOverload: nil,
	} {
		var r recorder
		s := NewSpans(&r, "smtp", "id", "@")
		s.Exchange(wire.Connected, 0).End(0, why, fault)
		s.End(0, 0, 0, why, fault)
		for _, span := range r.spans {
			require.Equal(t, want, span.err, why)
			require.Equal(t, want != nil, span.status == codes.Error, why)
			require.Equal(t, why.String(), span.attributes["tcp.reason"])
		}
	}
}

func TestNilSpansRecordNothing(t *testing.T) {
	s := NewSpans(nil, "smtp", "id", "@")
	require.Nil(t, s)
	s.Exchange(wire.Data, 1).End(1, wire.ReasonError, errors.New("of a test"))
	s.End(1, 1, 1, wire.ReasonError, errors.New("of a test"))
}

// provider records the name of the tracer that is asked for.
type provider struct {
	trace.TracerProvider
	recorder
	asked string
}

func (p *provider) Tracer(name string, _ ...trace.TracerOption) trace.Tracer {
	p.asked = name
	return &p.recorder
}

func TestTracerNeedsProvider(t *testing.T) {
	require.Nil(t, NewTracer(), "nothing would record the spans")
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	var p provider
	otel.SetTracerProvider(&p)
	require.Same(t, &p.recorder, NewTracer())
	require.Equal(t, "github.com/rrtcp/tcp", p.asked)
}
