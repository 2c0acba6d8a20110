#!/usr/bin/env bash
# Builds rrtcp, the program of rr2025/cmd/rr, for each target and writes archives and their checksums to a folder:
#
#     scripts/build-release.sh DIR [OS/ARCH]...
#
# The targets are those of a release if none is given. An archive is DIR/rrtcp_VERSION_OS_ARCH.tar.gz; beside it stays the folder
# that it holds. CGO_ENABLED and GOFLAGS are 0 and -trimpath unless they are set.
set -euo pipefail
export CGO_ENABLED=${CGO_ENABLED-0} GOFLAGS=${GOFLAGS--trimpath}
if [ $# -lt 1 ]; then
    echo "usage: $0 DIR [OS/ARCH]..." >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
version=$(sed -n 's/^const Version = "\(.*\)"$/\1/p' "$root/internal/server/version.go")
[ -n "$version" ] || { echo "internal/server/version.go names no version" >&2; exit 1; }

archives=()
for target in "$@"; do
    name=rrtcp_${version}_${target%/*}_${target#*/}
    mkdir -p "$out/$name"
    (cd "$root/rr2025/cmd/rr" && GOWORK=off GOOS=${target%/*} GOARCH=${target#*/} \
        go build -ldflags="-s -w" -o "$out/$name/rrtcp" .)
    cp "$root/LICENSE" "$root/README.md" "$root/CHANGELOG.md" "$out/$name"
    tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner -czf "$out/$name.tar.gz" "$name"
    archives+=("$name.tar.gz")
done
cd "$out"
sha256sum "${archives[@]}" >checksums.txt
