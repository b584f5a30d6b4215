#!/usr/bin/env bash
# Installs what is missing, builds the release preset with the benchmarks and runs them.
#
#   tests/bench/run.sh [BENCH...]     benches: system store runner spool shim match config; none: all
#
# Standard output has one line per figure, "name value unit", also kept in build/release/bench.txt;
# everything else goes to standard error. Figures are never judged: the exit status is 0 unless
# something went wrong, for example a line that was lost. Use a quiet machine.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$ROOT/build/release
# Shared with tests/run.sh: the same images.
ENGINE_STATE=$ROOT/build/engine
REPORT=$BUILD/bench.txt

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"

choose() {
  BENCHES=("$@")
  [ "${#BENCHES[@]}" -gt 0 ] || BENCHES=(config match spool runner shim store system)
  local bench
  for bench in "${BENCHES[@]}"; do
    case $bench in
      system | store | runner | spool | shim | match | config) ;;
      *) die "unknown benchmark '$bench' (system, store, runner, spool, shim, match, config)" ;;
    esac
  done
}

build() {
  say "configuring (release, with tests)"
  mkdir -p "$BUILD"
  (cd "$ROOT" && cmake --preset release -DDSTACK_TESTS=ON >"$BUILD/configure.log" 2>&1) ||
    { tail -n 30 "$BUILD/configure.log" && die "configuring failed, see $BUILD/configure.log"; }
  say "building (release)"
  # The rest of the tests is not built.
  cmake --build "$BUILD" --parallel "$(nproc)" --target "${BENCHES[@]/%/_bench}"
}

start_engine() {
  local was_running=
  process_is "$(cat "$ENGINE_STATE/pid" 2>/dev/null)" "$ENGINE_STATE/pid" && was_running=1
  # Set before the start, so that an interrupt during it leaves nothing behind.
  [ -n "$was_running" ] || trap 'engine_down "$ENGINE_STATE" >&2' EXIT
  engine_up "$ENGINE_STATE"
}

# run_bench NAME: its figures to standard output and the report, the rest to standard error.
run_bench() {
  local program=$BUILD/test-bin/$1_bench
  say "running $1_bench" >&2
  "$program" 2>&1 | awk -v report="$REPORT" '
    /^[a-z0-9_]+ -?[0-9.]+ [^ ]+$/ { print; print >> report; fflush(); next }
    { print > "/dev/stderr" }'
}

main() {
  choose "$@"
  {
    install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}"
    build
    start_engine
  } >&2
  : >"$REPORT"
  local bench failed=()
  for bench in "${BENCHES[@]}"; do
    run_bench "$bench" || failed+=("$bench")
  done
  [ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
}

main "$@"
