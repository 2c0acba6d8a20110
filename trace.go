package tcp

import (
	"context"
	"net"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap/zapcore"
)

// untraced is the provider of a process in which nobody has set one: RoadRunner's otel plugin does in Init.
var untraced = otel.GetTracerProvider()

// newTracer returns nil where nobody would see the spans.
func newTracer() trace.Tracer {
	provider := otel.GetTracerProvider()
	if provider == untraced {
		return nil
	}
	return provider.Tracer("github.com/rrtcp/tcp")
}

// spans are those of one connection: one for itself, and one for each exchange, a trace of its own that links to the
// former, for a connection may live for days. Nil makes none, at no cost.
type spans struct {
	tracer     trace.Tracer
	connection trace.Span
	common     []attribute.KeyValue
}

func newSpans(tracer trace.Tracer, server, uuid string, remote net.Addr) *spans {
	if tracer == nil {
		return nil
	}
	s := &spans{tracer: tracer, common: []attribute.KeyValue{
		attribute.String("tcp.server", server), attribute.String("tcp.uuid", uuid), attribute.String("tcp.remote", addrOf(remote)),
	}}
	_, s.connection = tracer.Start(context.Background(), "tcp connection", trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(s.common...))
	return s
}

// span is one of an exchange; its zero value is none.
type span struct{ trace.Span }

// exchange begins one: an event with so many bytes.
func (s *spans) exchange(kind eventKind, bytes int) span {
	if s == nil {
		return span{}
	}
	_, made := s.tracer.Start(context.Background(), "tcp "+kindNames[kind], trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithLinks(trace.Link{SpanContext: s.connection.SpanContext()}), trace.WithAttributes(s.common...),
		trace.WithAttributes(attribute.String("tcp.event", kindNames[kind]), attribute.Int("tcp.bytes", bytes)))
	return span{made}
}

// end is told how many bytes were written to the client, and why the connection ends, where it does.
func (s span) end(written int64, why reason, err error) {
	if s.Span == nil {
		return
	}
	s.SetAttributes(attribute.Int64("tcp.bytes_written", written))
	finish(s.Span, why, err)
}

// end ends the span of the connection itself.
func (s *spans) end(packets, read, written int64, why reason, err error) {
	if s == nil {
		return
	}
	s.connection.SetAttributes(attribute.Int64("tcp.packets", packets),
		attribute.Int64("tcp.bytes_read", read), attribute.Int64("tcp.bytes_written", written))
	finish(s.connection, why, err)
}

func finish(s trace.Span, why reason, err error) {
	if why != reasonNone {
		s.SetAttributes(attribute.String("tcp.reason", why.String()))
	}
	if why.level() >= zapcore.ErrorLevel {
		s.SetStatus(codes.Error, why.String())
		s.RecordError(err)
	}
	s.End()
}
