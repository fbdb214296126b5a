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
# For the servers, which fill in no variable inside of an address.
password=$(cat nats.password)
{
    echo "PASSWORD: \"$password\""
    printf 'ROUTES: ['
    printf "nats://route:$password@nats-%s:6222, " 1 2 3
    echo ']'
} >nats-password.conf
