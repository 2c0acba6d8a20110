package telemetry

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rrtcp/tcp/internal/wire"
)

// defaultProvider is the provider of a process that has set none. RoadRunner's otel plugin sets one in its Init.
var defaultProvider = otel.GetTracerProvider()

// NewTracer returns the tracer of the process; nil where nothing would record its spans.
func NewTracer() trace.Tracer {
	provider := otel.GetTracerProvider()
	if provider == defaultProvider {
		return nil
	}
	return provider.Tracer("github.com/rrtcp/tcp")
}

// Spans makes the spans of one connection: one for the connection, and one for each exchange. An exchange is a trace of its
// own that links to the connection's span, since a connection may live for days. A nil Spans makes none, at no cost.
type Spans struct {
	tracer     trace.Tracer
	connection trace.Span
	common     []attribute.KeyValue
}

// NewSpans begins the span of a connection; nil where tracer is nil.
func NewSpans(tracer trace.Tracer, server, uuid, remote string) *Spans {
	if tracer == nil {
		return nil
	}
	s := &Spans{tracer: tracer, common: []attribute.KeyValue{
		attribute.String("tcp.server", server), attribute.String("tcp.uuid", uuid), attribute.String("tcp.remote", remote),
	}}
	_, s.connection = tracer.Start(context.Background(), "tcp connection", trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(s.common...))
	return s
}

// Exchange begins the span of an exchange, whose event has a body of so many bytes.
func (s *Spans) Exchange(e wire.Event, bytes int) Span {
	if s == nil {
		return Span{}
	}
	_, span := s.tracer.Start(context.Background(), "tcp "+e.String(), trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithLinks(trace.Link{SpanContext: s.connection.SpanContext()}), trace.WithAttributes(s.common...),
		trace.WithAttributes(attribute.String("tcp.event", e.String()), attribute.Int("tcp.bytes", bytes)))
	return Span{span}
}

// End ends the span of the connection. The numbers are those of its whole life; read and written are bytes.
func (s *Spans) End(packets, read, written int64, why wire.Reason, err error) {
	if s == nil {
		return
	}
	s.connection.SetAttributes(attribute.Int64("tcp.packets", packets),
		attribute.Int64("tcp.bytes_read", read), attribute.Int64("tcp.bytes_written", written))
	end(s.connection, why, err)
}

// Span is the span of an exchange; its zero value records nothing.
type Span struct{ span trace.Span }

// End ends the span. written is the number of bytes sent to the client; why is ReasonNone where the connection goes on.
func (s Span) End(written int64, why wire.Reason, err error) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.Int64("tcp.bytes_written", written))
	end(s.span, why, err)
}

func end(s trace.Span, why wire.Reason, err error) {
	if why != wire.ReasonNone {
		s.SetAttributes(attribute.String("tcp.reason", why.String()))
	}
	if why.IsFault() {
		s.SetStatus(codes.Error, why.String())
		s.RecordError(err)
	}
	s.End()
}
