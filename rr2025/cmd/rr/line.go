package main

import "log/slog"

const (
	// roadRunner is the release whose plugins these are. Workers see it as RR_VERSION.
	roadRunner = "2025.1.15"
	// endureLevel is the level at which Endure logs the least: here it can't be told to log nothing.
	endureLevel = slog.LevelError
)
