#!/usr/bin/env bash
# renew.sh 1.34.1: writes go.mod and go.sum anew. k8s.io/kubernetes requires its staging modules as v0.0.0 and replaces
# them by directories, which only count in its own tree; here they are replaced by the same modules as published.
set -euo pipefail
cd "$(dirname "$0")"
printf 'module cluster\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v%s\n' "$1" >go.mod
dir=$(go mod download -json "k8s.io/kubernetes@v$1" | awk -F'"' '$2 == "Dir" {print $4}')
awk '$2 == "=>" && $3 ~ /^\.\/staging\// {print $1}' "$dir/go.mod" | while read -r module; do
  echo "replace $module => $module v0.${1#1.}"
done >>go.mod
go mod tidy
