#!/usr/bin/env bash
# Builds the binary of the image as deploy/docker/Dockerfile does, without the image, says how large it is, and tries it in
# the image's layout: for who changes the Dockerfile and for releases. Takes a release build. Needs clang, llvm, rustup and
# the headers of the target's musl; the test, root; that of another architecture, qemu-user-static.
#
#   image.sh           for this machine
#   image.sh TARGET    for another, as aarch64-unknown-linux-musl
set -euo pipefail
cd "$(dirname "$0")/../.."

native="$(uname -m)-unknown-linux-musl"
readonly target=${1:-$native}
readonly architecture=${target%%-*}
readonly binary=target/$target/release/fanfare

if [ ! -d "/usr/include/$architecture-linux-musl" ]; then
    echo "$0: no headers of musl in /usr/include/$architecture-linux-musl; the Dockerfile shows how to unpack them" >&2
    exit 1
fi
deploy/dev/tools.sh yaml
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
# The variables that the Dockerfile sets for the build.
eval "$(.tools/venv/bin/python -B deploy/tests/dockerfile.py build-environment)"
cargo build --locked --release --bin fanfare --target "$target"
echo "$binary: $(stat --format %s "$binary") bytes, sha256 $(sha256sum "$binary" | cut -d ' ' -f 1)"

emulator=
if [ "$target" != "$native" ] && ! emulator=$(command -v "qemu-$architecture-static"); then
    echo "$0: built, but not tried: no qemu-$architecture-static" >&2
    exit 0
fi
FANFARE_STATIC=1 FANFARE_EMULATOR=$emulator FANFARE_BIN=$PWD/$binary .tools/venv/bin/python -B -m unittest discover \
    --verbose --start-directory deploy/tests --pattern test_docker.py -k Layout
