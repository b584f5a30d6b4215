#!/usr/bin/env bash
# Lints the contracts and sees that gen/ was made from them.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
"$root/tests/tools/install.sh" generators ||
  { status=$?; [ $status -ne 3 ] || echo "SKIPPED: node with npm and go are needed for the generators"; exit $status; }
export PATH="$root/build/tools/node_modules/.bin:$PATH"
(cd "$root/protos" && buf lint .)
echo "buf lint is clean"
"$root/gen/generate.sh" --check
