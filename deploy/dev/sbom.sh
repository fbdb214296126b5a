#!/usr/bin/env bash
# Lists what the binary is made of: writes a CycloneDX file for each image into target/sbom/, checked against the schema.
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/dev/tools.sh cyclonedx
for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
    .tools/venv/bin/python deploy/dev/sbom.py "$target" "target/sbom/fanfare-$target.cdx.json"
done
