package tests

import "log/slog"

const (
	roadRunner = "2024.1.5"
	repository = ".."
	// quiet is the level at which Endure logs nothing.
	quiet = slog.LevelError + 1
	// drained is how many connections are open when RoadRunner stops.
	drained = 500
	// hostDestroysPool says that RoadRunner destroys the pool, while the plugin stops. Else Stop does it at the end.
	hostDestroysPool = true
)
