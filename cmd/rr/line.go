package main

import "log/slog"

const (
	// roadRunner is the release whose plugins these are. Workers see it as RR_VERSION.
	roadRunner = "2024.1.5"
	// endureLevel is the level at which Endure logs nothing: what it logs as an error comes back as an error, too.
	endureLevel = slog.LevelError + 1
)
