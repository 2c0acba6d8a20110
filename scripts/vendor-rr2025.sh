#!/usr/bin/env bash
# Writes rr2025 to a folder as a module that needs nothing else of this checkout, for a velox that knows only one replace
# for each plugin (before v2025.2): what rr2025 imports of the root module goes below it, under other import paths.
#
#     scripts/vendor-rr2025.sh DIR
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
if [ -n "$(ls -A "$target")" ]; then
    echo "$target is not empty" >&2
    exit 1
fi

module=github.com/rrtcp/tcp
cp "$root"/rr2025/*.go "$root"/rr2025/go.mod "$root"/rr2025/go.sum "$root"/LICENSE "$target"
[ ! -d "$root/internal" ] || cp -R "$root/internal" "$target/internal"
find "$target" -name '*_test.go' -delete # they need more modules than the plugin, as do the packages that only tests import
find "$target/internal" -name '*test' -type d -prune -exec rm -rf {} +
find "$target" -name testdata -type d -prune -exec rm -rf {} +
find "$target" -name '*.go' -exec sed -i.old "s#\"$module/internal/#\"$module/rr2025/internal/#" {} +
find "$target" -name '*.go.old' -delete

cd "$target"
export GOWORK=off
go mod edit -dropreplace=$module -droprequire=$module
if go list -deps ./... | grep -E "^$module(/internal/.*)?$"; then
    echo "the packages above still come from the root module" >&2
    exit 1
fi
go build ./... # go.mod lists the modules of all packages, those of the root's too
