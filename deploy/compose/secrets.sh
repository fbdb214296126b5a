#!/usr/bin/env bash
# Makes the secrets of compose.yml, once: what is there is left as it is, since a new cluster key could not open what
# the old one sealed.
set -euo pipefail
cd "$(dirname "$0")"

mkdir -p -m 700 secrets
cd secrets

# Containers run as somebody else, so the files can be read by all; the directory lets in its owner alone.
umask 022
random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }
for name in cluster.key admin.token nats.password; do
    [ -e "$name" ] || random >"$name"
done
[ -e nats-password.conf ] || printf 'PASSWORD: "%s"\n' "$(cat nats.password)" >nats-password.conf
