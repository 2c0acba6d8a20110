// Package telemetry counts what the servers do and shows it: Prometheus metrics, OpenTelemetry traces, and logs that stay
// short when one thing happens thousands of times a second. It does not decide anything, and it knows neither the pool nor
// sockets: numbers come in as values or from functions.
package telemetry
