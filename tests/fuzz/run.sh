#!/usr/bin/env bash
# Builds the fuzzers (preset fuzz, needs clang) and runs each for its share of a time.
#
#   tests/fuzz/run.sh [SECONDS [SEED [FUZZER...]]]   all fuzzers (or these) together; default: 60,
#                                                    another way each time
#
# With a SEED each run goes the same way, as far as its time reaches: a change is judged by what it
# changed, not by luck. New ways are gone by night.
# A fuzzer that finds something fails: the input lies in build/fuzz/found/. Put it into
# tests/fuzz/corpus/<fuzzer>/ once it is mended. The grown corpus stays in build/fuzz/corpus/.
# build/fuzz/junit.xml has one test case per fuzzer, for tests/tools/summary.py.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$ROOT/build/fuzz
TOTAL_SECONDS=${1:-60}
# 0: libFuzzer takes the time.
SEED=${2:-0}
CHOSEN=("${@:3}")

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"

build() {
  say "configuring (fuzz)"
  mkdir -p "$BUILD"
  (cd "$ROOT" && cmake --preset fuzz >"$BUILD/configure.log" 2>&1) ||
    { tail -n 30 "$BUILD/configure.log" >&2 && die "configuring failed, see $BUILD/configure.log"; }
  say "building the fuzzers"
  cmake --build "$BUILD" --parallel "$(nproc)" --target fuzzers
}

# run_fuzzer NAME SECONDS: its output goes to a log of its own.
run_fuzzer() {
  local name=$1 dictionary=$ROOT/tests/fuzz/$1.dict grown=$BUILD/corpus/$1 arguments=()
  # What earlier runs found would lead another way.
  [ "$SEED" = 0 ] || { grown=$BUILD/seeded/$name && rm -rf "$grown"; }
  [ ! -e "$dictionary" ] || arguments+=("-dict=$dictionary")
  mkdir -p "$grown" "$BUILD/found" "$ROOT/tests/fuzz/corpus/$name"
  "$BUILD/fuzz-bin/$name" "-seed=$SEED" "-max_total_time=$2" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 \
    -max_len=1048576 "-artifact_prefix=$BUILD/found/$name-" "${arguments[@]}" \
    "$grown" "$ROOT/tests/fuzz/corpus/$name" >"$BUILD/$name.log" 2>&1
}

# report NAME STATUS: one line for people, one element for the report.
report() {
  local name=$1 status=$2
  if [ "$status" -eq 0 ]; then
    printf '<testcase name="fuzz %s" status="run"/>\n' "$name" >>"$BUILD/junit.xml"
    say "fuzz $name: $(grep -o 'Done [0-9]* runs in [0-9]* second(s)' "$BUILD/$name.log" | tail -n 1)"
    return 0
  fi
  printf '<testcase name="fuzz %s" status="run"><failure/></testcase>\n' "$name" >>"$BUILD/junit.xml"
  tail -n 40 "$BUILD/$name.log" >&2
  say "fuzz $name: failed, the input is in $BUILD/found"
}

main() {
  build
  local names=("${CHOSEN[@]}") name share pids=() status i failed=
  if [ "${#names[@]}" -eq 0 ]; then
    for name in "$BUILD"/fuzz-bin/*; do names+=("$(basename "$name")"); done
  fi
  for name in "${names[@]}"; do
    [ -x "$BUILD/fuzz-bin/$name" ] || die "there is no fuzzer '$name'"
  done
  # As many at a time as there are processors, so each gets its share of all of them.
  share=$((TOTAL_SECONDS * $(nproc) / ${#names[@]}))
  [ "$share" -le "$TOTAL_SECONDS" ] || share=$TOTAL_SECONDS
  [ "$share" -ge 1 ] || share=1
  echo '<testsuite name="fuzz">' >"$BUILD/junit.xml"
  say "running ${#names[@]} fuzzers, $share s each"
  local next=0
  while [ "$next" -lt "${#names[@]}" ]; do
    pids=()
    for ((i = next; i < next + $(nproc) && i < ${#names[@]}; i++)); do
      run_fuzzer "${names[i]}" "$share" &
      pids+=($!)
    done
    for i in "${!pids[@]}"; do
      status=0
      wait "${pids[i]}" || status=$?
      [ "$status" -eq 0 ] || failed=1
      report "${names[next + i]}" "$status"
    done
    next=$((next + ${#pids[@]}))
  done
  echo '</testsuite>' >>"$BUILD/junit.xml"
  [ -z "$failed" ]
}

main
