#!/usr/bin/env bash
# Regenerates the committed descriptor set and the stubs for Python, TypeScript and Go from protos/.
#   gen/generate.sh          writes gen/
#   gen/generate.sh --check  writes nothing; exits 1 and shows the difference when gen/ is stale
# Needs: Debian's protobuf-compiler and protobuf-compiler-grpc, node with npm, go. The generators are installed at pinned versions
# into build/tools (tests/tools/install.sh).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out="$root/gen"
if [[ ${1:-} == --check ]]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
"$root/tests/tools/install.sh" generators
export PATH="$root/build/tools/bin:$root/build/tools/node_modules/.bin:$PATH"

for language in python ts go descriptors; do
  rm -rf "${out:?}/$language"
  mkdir -p "$out/$language"
done
cp "$root/gen/files/go.mod" "$out/go/"
cp "$root/gen/files/__init__.py" "$out/python/"
(cd "$root/protos" && buf generate . --path dstack --template "$root/gen/buf.gen.yaml" --output "$out")
mapfile -t files < <(cd "$root/protos" && find dstack -name '*.proto' | LC_ALL=C sort)
protoc -I"$root/protos" --include_imports --include_source_info \
  --descriptor_set_out="$out/descriptors/dstack.binpb" "${files[@]/#/$root/protos/}"

if [[ $out != "$root/gen" ]]; then
  for language in python ts go descriptors; do
    diff -r -q -x __pycache__ "$root/gen/$language" "$out/$language" || {
      echo "gen/$language is stale: run gen/generate.sh and commit the result" >&2
      exit 1
    }
  done
  echo "gen/ is up to date"
fi
