#!/usr/bin/env bash
# Measures every goal beside its floor, as docs/performance.md explains: builds releases, installs the NATS server, prints
# the table and leaves it in target/bench/. Arguments go to `loadtest bench`, as in: bench.sh --only fanout-1000
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly out=target/bench

[ -n "${NATS_SERVER:-}" ] || deploy/dev/tools.sh nats
cargo build --release -p fanfare -p loadtest

mkdir -p "$out"
exec target/release/loadtest bench --markdown "$out/bench.md" --json "$out/bench.json" "$@"
