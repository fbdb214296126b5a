#!/usr/bin/env bash
# Tests what operators use: alerts, dashboards, runbooks, NATS configuration, balancers, systemd unit, Dockerfile, compose
# file. Needs no network once the tools are there. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly prometheus=.tools/prometheus balancers=.tools/balancers

# fetch FOLDER WORD...: has apt-get put packages of Debian's into a folder, by the words of a command of its own. They
# are unpacked rather than installed, since they would start servers.
fetch() {
    local folder=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "ops: found no ${*: -1}; install it, or name it in a variable as deploy/tests/support.py has them" >&2
        return 1
    fi
    [ "$(id -u)" -ne 0 ] || apt-get update -qq
    # As whoever fetches them, since apt's own user may not write there.
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root "$@")
}

unpack_prometheus() {
    ! hash promtool prometheus 2>/dev/null || return 0
    [ ! -x "$prometheus/usr/bin/prometheus" ] || return 0
    local dir
    dir=$(mktemp -d)
    fetch "$dir" download prometheus
    mkdir -p "$prometheus"
    dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb | tar -x -C "$prometheus" ./usr/bin/promtool ./usr/bin/prometheus
    rm -rf "$dir"
}

# With the libraries that this machine has not: a download of what would be installed.
unpack_balancers() {
    ! hash haproxy nginx caddy 2>/dev/null || return 0
    [ ! -e "$balancers/.unpacked" ] || return 0
    local dir package
    dir=$(mktemp -d)
    mkdir "$dir/partial"
    fetch "$dir" -y --no-install-recommends --download-only -o Debug::NoLocking=1 -o Dir::Cache::archives="$dir" \
        install haproxy nginx libnginx-mod-stream caddy
    rm -rf "$balancers"
    mkdir -p "$balancers"
    for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$balancers"; done
    touch "$balancers/.unpacked"
    rm -rf "$dir"
}

deploy/dev/tools.sh yaml hadolint cyclonedx cargo-deny pusher websocket
# cargo-deny looks at the crates of other systems, too, and a build leaves those out.
cargo fetch --locked --quiet
[ -n "${NATS_SERVER:-}" ] || deploy/dev/tools.sh nats
[ -n "${PROMTOOL:+${PROMETHEUS:-}}" ] || unpack_prometheus
[ -n "${HAPROXY:+${NGINX:+${CADDY:-}}}" ] || unpack_balancers
export FANFARE_BIN="${FANFARE_BIN:-$PWD/target/debug/fanfare}" PYTHONDONTWRITEBYTECODE=1

.tools/venv/bin/python deploy/tests/run.py
