#!/usr/bin/env bash
# Installs the client libraries that tests use from npm, as the lock file says. Does nothing if they are there.
set -euo pipefail
cd "$(dirname "$0")/../../services/fanfare/tests/clients"

cmp -s package-lock.json node_modules/.fanfare-lock && exit 0
npm ci --no-audit --no-fund --ignore-scripts
cp package-lock.json node_modules/.fanfare-lock
