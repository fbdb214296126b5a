#!/usr/bin/env bash
# Runs Pusher's and Ably's libraries for Java, and Ably's for Go, against two edges over NATS. Builds what is needed; wants a
# JDK, Maven and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly sdks=services/fanfare/tests/sdks

for program in java mvn go npm; do
    if ! command -v "$program" >/dev/null; then
        echo "sdks: $program is not installed; needed are JDK 17 or newer, Maven, Go and node" >&2
        exit 1
    fi
done

[ -n "${NATS_SERVER:-}" ] || deploy/dev/tools.sh nats
deploy/dev/clients.sh
[ -n "${FANFARE_BIN:-}" ] || cargo build --bin fanfare
mvn --quiet --batch-mode --file "$sdks/java/pom.xml" package dependency:copy-dependencies \
    -DoutputDirectory="$PWD/target/sdks-java/lib" -DincludeScope=runtime
go build -C "$sdks/go" -o "$PWD/target/sdks-go/sdks" .

exec node --test --test-reporter=spec "$sdks/sdks.test.js"
