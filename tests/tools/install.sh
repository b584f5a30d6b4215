#!/usr/bin/env bash
# Installs tools that only tests and generators need, at pinned versions, into build/tools.
#   tests/tools/install.sh generators   buf, protoc-gen-es, protoc-gen-go, protoc-gen-go-grpc
#   tests/tools/install.sh helm         helm
# Needs node with npm, and go. Exits 3 with a line "missing: ..." when one of them is not on the machine.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tools="$root/build/tools"
readonly protoc_gen_go=v1.36.12 protoc_gen_go_grpc=v1.6.2 helm=v3.19.0

need() {
  command -v "$1" > /dev/null && return
  echo "missing: $1" >&2
  exit 3
}

# A go tool at a version: installed once per version.
go_tool() {
  local name=$1 package=$2 version=$3
  [[ -e $tools/bin/.$name-$version ]] && return
  need go
  echo "installing $name $version" >&2
  GOBIN="$tools/bin" go install "$package@$version"
  touch "$tools/bin/.$name-$version"
}

mkdir -p "$tools/bin"
exec 9> "$tools/.lock"
flock 9
case ${1:-} in
  generators)
    need npm
    if ! cmp -s "$root/tests/tools/package-lock.json" "$tools/package-lock.json"; then
      cp "$root/tests/tools/package.json" "$root/tests/tools/package-lock.json" "$tools/"
      (cd "$tools" && npm ci --no-audit --no-fund --ignore-scripts --silent) || { rm -f "$tools/package-lock.json"; exit 1; }
    fi
    go_tool protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go $protoc_gen_go
    go_tool protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc $protoc_gen_go_grpc
    ;;
  helm)
    go_tool helm helm.sh/helm/v3/cmd/helm $helm
    ;;
  *)
    echo "usage: $0 generators|helm" >&2
    exit 2
    ;;
esac
