#!/usr/bin/env bash
# Checks that everything that names the version names the same, and that the CHANGELOG has it; says what does not, and ends with 1.
#
#     scripts/check-release.sh [VERSION]    of VERSION, as 1.2.3; of the version in internal/server/version.go if not given
#     scripts/check-release.sh --notes      prints what the CHANGELOG says about that version
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
wrong() {
    echo "$1" >&2
    bad=1
}

version=$(sed -n 's/^const Version = "\(.*\)"$/\1/p' internal/server/version.go)
if [ "${1:-}" = --notes ]; then
    awk -v heading="## $version " 'index($0, heading) == 1 { in_it = 1; next } /^## / { in_it = 0 } in_it' CHANGELOG.md
    exit
fi
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || wrong "internal/server/version.go: no version like 1.2.3: \"$version\""
[ "$version" = "${1:-$version}" ] || wrong "internal/server/version.go: $version, not $1"

# The modules that are tagged together ask for each other's tags of this version.
for mod in rr2025/go.mod next/go.mod rr2025/cmd/rr/go.mod rr2025/cmd/rr/v2024.3.5.mod; do
    asked=$(sed -n 's#.*github.com/rrtcp/tcp v\([^ ]*\).*#\1#p' "$mod")
    [ "$asked" = "$version" ] || wrong "$mod: github.com/rrtcp/tcp v$asked, not v$version"
done

grep -q "\"\$id\": \"[^\"]*/refs/tags/v$version/schema.json\"" schema.json || wrong "schema.json: \$id is not that of v$version"

headings=$(grep '^## ' CHANGELOG.md | head -n2)
[ "$(head -n1 <<<"$headings")" = "## Unreleased" ] || wrong "CHANGELOG.md: does not begin with \"## Unreleased\""
grep -Eqx "## $version - [0-9]{4}-[0-9]{2}-[0-9]{2}" <<<"$(tail -n1 <<<"$headings")" ||
    wrong "CHANGELOG.md: the section after Unreleased is not \"## $version - YYYY-MM-DD\""
if [ -n "${1:-}" ] && [ -n "$(awk '/^## / { n++; next } n == 1 && NF' CHANGELOG.md)" ]; then
    wrong "CHANGELOG.md: Unreleased is not empty"
fi

# velox files say which tag to build from.
for toml in examples/velox/*.toml; do
    tag=$(sed -nE 's#^\# From a tag: .*(ref|tag) = "([a-z0-9]+/)?v([0-9.]+)".*#\3#p' "$toml")
    [ "$tag" = "$version" ] || wrong "$toml: \"From a tag\" names \"$tag\", not $version"
done

# Documents name the newest version: as a module's, an image's, an archive's, or as that which is to be published.
while IFS=: read -r file line named; do
    [ "$named" = "$version" ] || wrong "$file:$line: $named, not $version"
done < <(grep -noE '(rrtcp/tcp(/rr2025|/next)?@v|ghcr\.io/rrtcp/rrtcp:|rrtcp_|once )[0-9]+\.[0-9]+\.[0-9]+' README.md docs/*.md |
    sed -E 's/:[^:]*[^0-9.]([0-9]+\.[0-9]+\.[0-9]+)$/:\1/')

[ "$bad" = 0 ] || exit 1
echo "everything names $version"
