#!/usr/bin/env bash
# A cluster on loopback to play with: three NATS servers and two edges, the first with the control plane. Starts empty
# every time; Ctrl-C ends all of it. Logs are in target/cluster/.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly dir=$PWD/target/cluster
readonly nats=${NATS_SERVER:-$PWD/.tools/venv/bin/nats-server}
readonly fanfare=${FANFARE_BIN:-$PWD/target/debug/fanfare}
readonly urls=nats://127.0.0.1:4222,nats://127.0.0.1:4223,nats://127.0.0.1:4224
# The streams of two edges need no more; the default is for clusters that grow.
readonly shards=4
readonly patience_seconds=60

[ -n "${NATS_SERVER:-}" ] || deploy/dev/tools.sh nats
[ -n "${FANFARE_BIN:-}" ] || cargo build --bin fanfare

rm -rf "$dir"
mkdir -p "$dir"

edges=()
servers=()

# Edges first: they say goodbye to their clients, and need NATS for it.
finish() {
    trap - EXIT INT TERM
    echo
    echo "cluster: stopping"
    if [ "${#edges[@]}" -gt 0 ]; then
        kill -TERM "${edges[@]}" 2>/dev/null || true
        wait "${edges[@]}" 2>/dev/null || true
    fi
    if [ "${#servers[@]}" -gt 0 ]; then
        kill -TERM "${servers[@]}" 2>/dev/null || true
        wait "${servers[@]}" 2>/dev/null || true
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# In process groups of their own, Ctrl-C reaches only this script, which then ends them in order.
set -m

for n in 1 2 3; do
    routes=
    for other in 1 2 3; do
        [ "$other" -eq "$n" ] || routes+="${routes:+, }\"nats://127.0.0.1:$((6221 + other))\""
    done
    sed -e "s|@NAME@|nats-$n|; s|@CLIENT_PORT@|$((4221 + n))|; s|@MONITOR_PORT@|$((8221 + n))|" \
        -e "s|@ROUTE_PORT@|$((6221 + n))|; s|@ROUTES@|$routes|; s|@STORE@|$dir/nats-$n|" \
        deploy/nats/node.conf >"$dir/nats-$n.conf"
    "$nats" --config "$dir/nats-$n.conf" >"$dir/nats-$n.log" 2>&1 </dev/null &
    servers+=($!)
done

# Secrets are in files that only their owner reads: the environment of a process can be looked at, and a terminal, too.
(umask 077 && "$fanfare" config new-key >"$dir/cluster.key" && "$fanfare" config new-key >"$dir/admin.token")
export FANFARE_ADMIN_TOKEN_FILE=$dir/admin.token FANFARE_CLUSTER_KEY_FILE=$dir/cluster.key FANFARE_NATS_URLS=$urls FANFARE_BACKBONE_SHARDS=$shards
export FANFARE_DRAIN_GRACE=0s FANFARE_DRAIN_DURATION=1s

"$fanfare" run --role edge --role control --role worker --seed deploy/dev/apps.toml \
    --listen 127.0.0.1:6001 --control-listen 127.0.0.1:6002 --admin-listen 127.0.0.1:6003 \
    >"$dir/edge-1.log" 2>&1 </dev/null &
edges+=($!)
"$fanfare" run --role edge --listen 127.0.0.1:6011 --admin-listen 127.0.0.1:6013 \
    >"$dir/edge-2.log" 2>&1 </dev/null &
edges+=($!)

set +m

# is_ready PORT: whether an edge asks for clients.
is_ready() {
    python3 - "$1" <<'PYTHON' 2>/dev/null
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz", timeout=2)
PYTHON
}

SECONDS=0
echo "cluster: starting; logs are in target/cluster/"
for port in 6003 6013; do
    until is_ready "$port"; do
        for process in "${servers[@]}" "${edges[@]}"; do
            if ! kill -0 "$process" 2>/dev/null; then
                echo "cluster: a process ended early:" >&2
                tail -n 5 "$dir"/*.log >&2
                exit 1
            fi
        done
        if [ "$SECONDS" -ge "$patience_seconds" ]; then
            echo "cluster: not ready after $patience_seconds s:" >&2
            tail -n 5 "$dir"/*.log >&2
            exit 1
        fi
        sleep 0.3
    done
done

cat <<TEXT

  edges           http://127.0.0.1:6001   http://127.0.0.1:6011
  health          http://127.0.0.1:6003/readyz   http://127.0.0.1:6013/readyz
  control plane   127.0.0.1:6002
  admin token     in target/cluster/admin.token
  NATS            $urls
  app             id 1001, key app-key, secret app-secret

  publish at one edge, and subscribe at the other:
    BODY='{"name":"greeting","channel":"hello","data":"{\"text\":\"hi\"}"}'
    curl -d "\$BODY" "\$($fanfare token sign-request --url http://127.0.0.1:6011 \\
      --app 1001 --key app-key --secret app-secret --body "\$BODY")"

  look at it:
    $fanfare admin doctor --token-file target/cluster/admin.token

  Ctrl-C ends everything.

TEXT

wait -n "${servers[@]}" "${edges[@]}" || true
echo "cluster: a process ended; see target/cluster/" >&2
exit 1
