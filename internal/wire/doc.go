// Package wire has the vocabulary of the plugin and its workers: events and replies as bytes, the life of a connection as a
// table, and the reasons why one ends. It does no I/O and knows neither sockets nor the pool.
package wire

// The two dialects. Released RoadRunners and PHP clients speak the first; the second is what RoadRunner's documents say.
const (
	DialectReleased   = "released"
	DialectDocumented = "documented"
)

// FlagStream is the flag of a goridge frame that more frames of the same answer follow: STREAM of goridge's package frame.
const FlagStream byte = 1
