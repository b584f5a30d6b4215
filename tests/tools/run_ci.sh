#!/usr/bin/env bash
# One flavour of the build, as the nightly workflow runs it; works on a laptop just as well.
#
#   tests/tools/run_ci.sh dev                 the same as tests/run.sh
#   tests/tools/run_ci.sh release|clang|tidy  builds; warnings and findings fail it
#   tests/tools/run_ci.sh asan                builds, then runs the unit, contract and component tests
#   tests/tools/run_ci.sh fuzz [SECONDS]      builds the fuzzers and runs them, an hour by default
#   tests/tools/run_ci.sh arm64               cross-compiles the runner and starts it under emulation
#   tests/tools/run_ci.sh tsan                builds, then runs the unit tests of the libraries without gRPC
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PRESET=${1:-}

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"

build() {
  install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}" "${DSTACK_TEST_PACKAGES[@]}" "$@"
  cmake -S "$ROOT" --preset "$PRESET"
  cmake --build "$ROOT/build/$PRESET" --parallel "$(nproc)"
}

# run_tests ARGUMENT...: of ctest. By the preset, which names the suppressions.
run_tests() {
  (cd "$ROOT" && ctest --preset "$PRESET" --parallel "$(nproc)" --no-tests=error "$@")
}

case $PRESET in
  dev) exec bash "$ROOT/tests/run.sh" ;;
  release) build ;;
  clang) build clang ;;
  tidy) build clang clang-tidy ;;
  asan)
    build clang libclang-rt-14-dev
    trap 'engine_down "$ROOT/build/engine"' EXIT
    engine_up "$ROOT/build/engine"
    run_tests -L '^(unit|contract|component)$'
    ;;
  tsan)
    build clang libclang-rt-14-dev
    # gRPC, Abseil and protobuf come uninstrumented: code that is called from their threads cannot be judged.
    run_tests -L '^unit$' -R '^(base|exec|fsm|failpoint|process|net|spool|telemetry|testing)_test'
    ;;
  arm64)
    install_packages "${DSTACK_BUILD_PACKAGES[@]}" g++-aarch64-linux-gnu qemu-user-static
    "$ROOT/services/setup/arm64_sysroot.sh" "$ROOT/build/arm64-sysroot"
    cmake -S "$ROOT" --preset arm64
    cmake --build "$ROOT/build/arm64" --parallel "$(nproc)" --target dstack-runner
    bash "$ROOT/tests/tools/arm64_smoke.sh" "$ROOT/build/arm64/bin/dstack-runner"
    ;;
  fuzz)
    install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}" "${DSTACK_TEST_PACKAGES[@]}" \
      "${DSTACK_FUZZ_PACKAGES[@]}"
    exec bash "$ROOT/tests/fuzz/run.sh" "${2:-3600}"
    ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
