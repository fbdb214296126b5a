#!/usr/bin/env bash
# Builds the binary of the last release as target/previous/fanfare, for the tests in which it shares a cluster with the
# present one. deploy/dev/previous-release names its version and commit. Does nothing if it is there; where the history
# does not reach so far, says so and builds nothing, and those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly place=target/previous
read -r version commit <deploy/dev/previous-release

[ "$(cat "$place/commit" 2>/dev/null)" != "$commit" ] || exit 0
rm -rf "$place"
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "previous: no commit $commit ($version) here; its cluster with the present version is NOT tested (git fetch --unshallow)"
    exit 0
fi
mkdir -p "$place/src"
git archive "$commit" | tar -x -C "$place/src"
# In the same target directory, so that libraries are compiled once for both. That leaves this binary at
# target/debug/fanfare, until the present one is built.
cargo build --locked --workspace --bin fanfare --target-dir target --manifest-path "$place/src/Cargo.toml"
cp target/debug/fanfare "$place/fanfare"
"$place/fanfare" --version | grep -qF "$version"
echo "$commit" >"$place/commit"
