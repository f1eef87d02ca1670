#!/usr/bin/env bash
# Builds the control plane that the tests of the operator run on, from published Go modules, into the user's cache:
# etcd, kube-apiserver, kube-controller-manager, kubectl, helm; and unpacks promtool of Debian. What is there already is
# left alone, so a second run costs nothing; each file appears whole or not at all, so an interrupted run goes on.
# `build.sh --if-possible` says what is missing and ends with success.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kubernetes=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" {print $3}' "$here/kubernetes/go.mod")
etcd=$(awk '$1 == "require" && $2 == "go.etcd.io/etcd/server/v3" {print $3}' "$here/etcd/go.mod")
helm=v3.19.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/posthouse/kubernetes-${kubernetes#v}
programs=(etcd kube-apiserver kube-controller-manager kubectl helm)

missing() {
  local program
  for program in "${programs[@]}"; do [ -x "$folder/$program" ] || echo "$program"; done
}

# make PROGRAM COMMAND...: runs a command that makes the file $new, and moves that to its place.
make() {
  local program=$1 since=$SECONDS
  shift
  [ ! -x "$folder/$program" ] || return 0
  echo "control plane: building $program"
  new=$folder/.$program.$$
  "$@"
  mv "$new" "$folder/$program"
  echo "control plane: $program took $((SECONDS - since)) s"
}

build() { # build MODULE-FOLDER PACKAGE [LINKER-FLAGS]
  (cd "$here/$1" && go build -trimpath -ldflags "-s -w ${3:-}" -o "$new" "$2")
}

# Kubernetes tells its version from these; without them a server reports v0.0.0.
version=k8s.io/component-base/version
stamp="-X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$kubernetes")"

build_helm() {
  local into
  into=$(mktemp -d "$folder/.helm.XXXXXX")
  GOBIN=$into go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$helm"
  mv "$into/helm" "$new"
  rmdir "$into"
}

# From Debian's package, unpacked and not installed: no daemon is started by it.
unpack_promtool() {
  local into
  into=$(mktemp -d "$folder/.promtool.XXXXXX")
  (cd "$into" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .) >/dev/null 2>&1 || {
    rm -rf "$into"
    echo "control plane: promtool is not there and apt-get cannot download Debian's prometheus"
    return 0
  }
  mv "$into/usr/bin/promtool" "$folder/promtool"
  rm -rf "$into"
}

if [ "${1:-}" = --if-possible ]; then
  "$0" || echo "control plane: not all of it is there; tests that need it will say that they are skipped"
  exit 0
fi
if [ -n "$(missing)" ]; then
  if ! command -v go >/dev/null; then
    echo "control plane: Go is not installed, so there is nothing to build it with"
    exit 1
  fi
  echo "control plane: Kubernetes ${kubernetes#v} and etcd ${etcd#v} into $folder, once; 5 to 10 minutes on two cores"
  mkdir -p "$folder"
  export CGO_ENABLED=0
  make etcd build etcd .
  for program in kube-apiserver kube-controller-manager kubectl; do
    make "$program" build kubernetes "k8s.io/kubernetes/cmd/$program" "$stamp"
  done
  make helm build_helm
  echo "control plane: built in $SECONDS s"
fi
if [ ! -x "$folder/promtool" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
  unpack_promtool
fi
