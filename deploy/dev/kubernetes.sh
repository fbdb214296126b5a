#!/usr/bin/env bash
# Puts the chart into real API servers, of the oldest and of the newest Kubernetes that it is for: every object of every
# scene, installing, upgrading from the last release, going back. They are built here, from the Go module proxy: some 15
# minutes the first time, a minute later on. Needs Go; everything stays in .tools/kubernetes. The last line counts.
#
#   kubernetes.sh [VERSION]…
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly etcd=3.7.0 home=$PWD/.tools/kubernetes
# Where others keep the definitions of their kinds of objects: module and directory.
readonly crds=(
    "sigs.k8s.io/gateway-api@v1.6.3 config/crd/standard gateway.networking.k8s.io_httproutes.yaml"
    "github.com/kedacore/keda/v2@v2.21.0 config/crd/bases keda.sh_scaledobjects.yaml"
    "github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd monitoring.coreos.com_servicemonitors.yaml"
    "github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd monitoring.coreos.com_prometheusrules.yaml"
)

[ "$#" -gt 0 ] || set -- 1.31.0 1.37.2

command -v go >/dev/null || {
    echo "kubernetes: needs Go, to build API servers" >&2
    exit 1
}

# module VERSION: begins a module in $home/build/VERSION in which what is built can be named. Kubernetes takes its own
# parts from its source tree, which others find as modules of the same number.
module() {
    local dir=$home/build/$1 mod minor=${1#1.}
    mkdir -p "$dir"
    mod=$(cd "$dir" && go mod download -json "k8s.io/kubernetes@v$1" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
    {
        printf 'module fanfare.test/kubernetes\n\n'
        sed -n 's/^go \([0-9]*\.[0-9]*\).*/go \1.0\ngodebug default=go\1/p' "$mod"
        printf 'require k8s.io/kubernetes v%s\n' "$1"
        sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|replace \1 => \1 v0.$minor|p" "$mod"
    } >"$dir/go.mod"
}

# build DIRECTORY PACKAGE BINARY [LDFLAGS]
build() {
    [ -x "$3" ] && return
    echo "kubernetes: building $(basename "$(dirname "$3")")/$(basename "$3"), which takes minutes"
    (cd "$1" && nice -n 19 go build -mod=mod -ldflags "${4:-}" -o "$3" "$2" 2>"$3.log") || {
        tail -5 "$3.log" >&2
        return 1
    }
}

deploy/dev/tools.sh helm kubernetes-validate
mkdir -p "$home/crds" "$home/build/etcd"
printf 'module fanfare.test/etcd\n\ngo 1.26\n\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$etcd" >"$home/build/etcd/go.mod"
build "$home/build/etcd" go.etcd.io/etcd/server/v3 "$home/etcd-$etcd"
for crd in "${crds[@]}"; do
    read -r name dir file <<<"$crd"
    [ -s "$home/crds/$file" ] && continue
    source=$(cd "$home/build/etcd" && go mod download -json "$name" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    install -m 644 "$source/$dir/$file" "$home/crds/$file"
done

# The chart of the last release, to upgrade from.
export FANFARE_LAST_CHART=$home/last-chart
read -r _ last <deploy/dev/previous-release
rm -rf "$FANFARE_LAST_CHART"
mkdir -p "$FANFARE_LAST_CHART"
git archive "$last" helm/fanfare | tar x -C "$FANFARE_LAST_CHART" --strip-components=2

HELM_CACHE_HOME=$(mktemp -d)
export HELM_CACHE_HOME HELM_CONFIG_HOME=$HELM_CACHE_HOME HELM_DATA_HOME=$HELM_CACHE_HOME PYTHONDONTWRITEBYTECODE=1
trap 'rm -rf "$HELM_CACHE_HOME"' EXIT

failed=0
for version; do
    [ -e "$home/build/$version/go.mod" ] || module "$version"
    stamp="k8s.io/component-base/version"
    flags="-X $stamp.gitVersion=v$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(cut -d. -f2 <<<"$version")"
    build "$home/build/$version" k8s.io/kubernetes/cmd/kube-apiserver "$home/kube-apiserver-$version" "$flags"
    echo "kubernetes: $version"
    FANFARE_ETCD=$home/etcd-$etcd FANFARE_APISERVER=$home/kube-apiserver-$version FANFARE_CRDS=$home/crds \
        .tools/venv/bin/python helm/tests/run.py 'server_*.py' || failed=1
done
exit "$failed"
