#!/usr/bin/env bash
# Tests what operators use: alerts, dashboards, runbooks, NATS configuration, systemd unit, Dockerfile, compose file.
# Needs no network once the tools are there. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly prometheus=.tools/prometheus

# Debian's package, unpacked rather than installed: it would start a server.
unpack_promtool() {
    ! command -v promtool >/dev/null || return 0
    [ ! -x "$prometheus/usr/bin/promtool" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "ops: found no promtool; install Prometheus, or name it in PROMTOOL" >&2
        return 1
    fi
    [ "$(id -u)" -ne 0 ] || apt-get update -qq
    local dir
    dir=$(mktemp -d)
    # As whoever fetches it, since apt's own user may not write there.
    (cd "$dir" && apt-get -o APT::Sandbox::User=root download -qq prometheus)
    mkdir -p "$prometheus"
    dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb | tar -x -C "$prometheus" ./usr/bin/promtool
    rm -rf "$dir"
}

deploy/dev/tools.sh yaml hadolint
[ -n "${NATS_SERVER:-}" ] || deploy/dev/tools.sh nats
[ -n "${PROMTOOL:-}" ] || unpack_promtool
export FANFARE_BIN="${FANFARE_BIN:-$PWD/target/debug/fanfare}" PYTHONDONTWRITEBYTECODE=1

.tools/venv/bin/python deploy/tests/run.py
