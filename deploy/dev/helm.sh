#!/usr/bin/env bash
# Tests the chart in helm/: lint, every value, every guard, the schemas of Kubernetes, and what the binary says of the
# configuration. Needs no network once the tools are there. The last line counts.
#
#   FANFARE_BLESS=1 helm.sh    writes values.schema.json and the copies of rules and dashboards anew
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/dev/tools.sh helm kubernetes-validate
export FANFARE_BIN="${FANFARE_BIN:-$PWD/target/debug/fanfare}"
# Whatever Helm would otherwise keep in the home directory.
HELM_CACHE_HOME=$(mktemp -d)
export HELM_CACHE_HOME HELM_CONFIG_HOME=$HELM_CACHE_HOME HELM_DATA_HOME=$HELM_CACHE_HOME PYTHONDONTWRITEBYTECODE=1
trap 'rm -rf "$HELM_CACHE_HOME"' EXIT

.tools/venv/bin/python helm/tests/run.py
