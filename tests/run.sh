#!/usr/bin/env bash
# Installs what is missing, builds the dev preset and runs the tests.
#
#   tests/run.sh [LABEL...]     labels: unit contract component e2e fault; none: all of them, and a
#                               minute of the fuzzers
#
# A Docker Engine is started for the tests when none answers, and stopped afterwards. The last line
# is "N passed, N failed, N skipped". With CI=true a skipped test counts as failed, unless its reason
# begins with "kernel:" (the machine's kernel refuses a capability).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build/dev
ENGINE_STATE=$ROOT/build/engine

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"

# label_pattern LABEL...: a regular expression for ctest -L, empty for all.
label_pattern() {
  local label pattern=
  for label in "$@"; do
    case $label in
      unit | contract | component | e2e | fault) pattern+="${pattern:+|}$label" ;;
      *) die "unknown label '$label' (unit, contract, component, e2e, fault)" ;;
    esac
  done
  [ -z "$pattern" ] || printf '^(%s)$' "$pattern"
}

build() {
  say "configuring (dev)"
  mkdir -p "$BUILD"
  (cd "$ROOT" && cmake --preset dev >"$BUILD/configure.log" 2>&1) ||
    { tail -n 30 "$BUILD/configure.log" >&2 && die "configuring failed, see $BUILD/configure.log"; }
  say "building (dev)"
  cmake --build "$BUILD" --parallel "$(nproc)"
}

# run_tests PATTERN: ctest's own exit status is not used, summary.py judges by the report.
run_tests() {
  local report=$BUILD/junit.xml fuzz_report=$ROOT/build/fuzz/junit.xml arguments=()
  [ -z "$1" ] || arguments+=(-L "$1")
  rm -f "$report"
  say "running the tests"
  ctest --test-dir "$BUILD" --parallel "$(nproc)" --output-on-failure --no-tests=error \
    --output-junit "$report" "${arguments[@]}" || true
  local reports=("$report")
  if [ -z "$1" ]; then
    rm -f "$fuzz_report"
    bash "$ROOT/tests/fuzz/run.sh" 60 1 || true
    reports+=("$fuzz_report")
  fi
  python3 "$ROOT/tests/tools/summary.py" "${reports[@]}"
}

main() {
  local pattern
  pattern=$(label_pattern "$@")
  install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}" \
    "${DSTACK_TEST_PACKAGES[@]}"
  [ -n "$pattern" ] || install_packages "${DSTACK_FUZZ_PACKAGES[@]}"
  build
  local was_running=
  process_is "$(cat "$ENGINE_STATE/pid" 2>/dev/null)" "$ENGINE_STATE/pid" && was_running=1
  # Set before the start, so that an interrupt during it leaves nothing behind.
  [ -n "$was_running" ] || trap 'engine_down "$ENGINE_STATE"' EXIT
  # Unit tests need no engine.
  [ "$pattern" = '^(unit)$' ] || engine_up "$ENGINE_STATE"
  run_tests "$pattern"
}

main "$@"
