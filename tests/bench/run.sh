#!/usr/bin/env bash
# Builds the release programs and measures them; prints "name value unit" lines. Asserts no times:
# compare with another run on the same quiet machine.
#
#   tests/bench/run.sh [cluster|runner|spool|store ...]     none: cluster
#
# A Docker Engine is started when none answers, and stopped afterwards.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$ROOT/build/bench
ENGINE_STATE=$ROOT/build/engine

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"

main() {
  local name benches=("$@")
  [ $# -gt 0 ] || benches=(cluster)
  for name in "${benches[@]}"; do
    case $name in
      cluster | runner | spool | store) ;;
      *) die "unknown bench '$name' (cluster, runner, spool, store)" ;;
    esac
  done
  install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}" >&2
  mkdir -p "$BUILD"
  (cd "$ROOT" && cmake --preset release -B "$BUILD" -DDSTACK_TESTS=ON) >"$BUILD/configure.log" 2>&1 ||
    { tail -n 30 "$BUILD/configure.log" >&2 && die "configuring failed, see $BUILD/configure.log"; }
  cmake --build "$BUILD" --parallel "$(nproc)" --target "${benches[@]/%/_bench}" >&2
  if ! process_is "$(cat "$ENGINE_STATE/pid" 2>/dev/null)" "$ENGINE_STATE/pid"; then
    trap 'engine_down "$ENGINE_STATE"' EXIT
  fi
  engine_up "$ENGINE_STATE" >&2
  for name in "${benches[@]}"; do
    "$BUILD/test-bin/${name}_bench"
  done
}

main "$@"
