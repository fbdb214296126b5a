#!/usr/bin/env bash
# Checks licences, advisories and bans of all dependencies by deny.toml.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v cargo-deny >/dev/null; then
    echo "deny: cargo-deny is not installed; run: cargo install --locked cargo-deny" >&2
    exit 1
fi
exec cargo deny --workspace check
