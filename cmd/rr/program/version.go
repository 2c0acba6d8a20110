package program

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/rrtcp/tcp/internal/server"
)

func (l Line) version() string {
	info, _ := debug.ReadBuildInfo()
	return fmt.Sprintf("%s %s (RoadRunner %s, %s, %s, %s/%s)", name(), server.Version, l.Release, release(info), runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
}

// release is what the program was built from: a tag, or a commit, or "dev".
func release(info *debug.BuildInfo) string {
	if info == nil {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}

	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" {
		return "dev"
	}
	if settings["vcs.modified"] == "true" {
		commit += ", modified"
	}
	return "commit " + commit
}
