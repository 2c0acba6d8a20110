package server

// Version is that of the plugin, on every RoadRunner line. scripts/check-release.sh checks what else names it.
const Version = "0.9.0"
