#!/usr/bin/env bash
# services/quickstart.sh from nothing to a first task, again, and down to nothing, in a home of its own; then where no Docker
# Engine can run.
# Usage: quickstart_test.sh PRESET; the preset is built already, so that the script has little to do.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export DSTACK_BUILD_PRESET=$1
# What there is to build comes from the cache of the person's own home.
if command -v ccache >/dev/null; then CCACHE_DIR=$(ccache --get-config cache_dir) && export CCACHE_DIR; fi
unset DSTACK_HOME DSTACK_SERVER_URL DSTACK_TOKEN DSTACK_PROJECT
HOME=$(mktemp -d /tmp/dq-XXXXXX)
export HOME
OUTPUT=$HOME/output

fail() {
  echo "FAILED: $*" >&2
  tail -n 40 "$OUTPUT" "$HOME/.dstack/quickstart/server.log" >&2 2>/dev/null || true
  exit 1
}

cleanup() {
  "$ROOT/services/quickstart.sh" --down --purge >/dev/null 2>&1 || true
  rm -rf -- "$HOME"
}
trap cleanup EXIT

# quickstart ARGUMENT...: its output is in $OUTPUT.
quickstart() { "$ROOT/services/quickstart.sh" "$@" >"$OUTPUT" 2>&1 || fail "quickstart $*"; }
shows() { grep -qF -- "$1" "$OUTPUT" || fail "the output does not show '$1'"; }
# ours: processes whose command line names the home, one a line.
ours() { pgrep -f -- "$HOME/.dstack" || true; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

port=$(free_port)
# A file of the person's that must stay.
mkdir -p "$HOME/.dstack" && echo mine >"$HOME/.dstack/mine"

quickstart --port "$port"
shows "the task ended with exit status 0"
shows "http://127.0.0.1:$port"
dstack=$ROOT/build/$DSTACK_BUILD_PRESET/bin/dstack
# Files, not pipes: grep -q leaves early, and then the writer's end is a failure.
"$dstack" ps --all >"$OUTPUT" || fail "ps"
shows 'exited (0)'
"$dstack" logs hello >"$OUTPUT" || fail "logs"
shows 'step 3 of 3'

quickstart
shows "no work to do"
shows "the server runs already"
shows "the task ended with exit status 0"

if DSTACK_HOME=$HOME/second "$ROOT/services/quickstart.sh" --port "$port" >"$OUTPUT" 2>&1; then fail "a taken port is accepted"; fi
shows "port $port is in use by another program; choose another one with --port"

quickstart --down
[ -z "$(ours)" ] || fail "processes are left: $(ours)"
[ -d "$HOME/.dstack/server" ] || fail "--down deleted the data"

quickstart --down --purge
[ -z "$(ours)" ] || fail "processes are left: $(ours)"
left=$(cd "$HOME/.dstack" && find . -mindepth 1 ! -name mine ! -name config.yml)
[ -z "$left" ] || fail "files are left: $left"
[ "$(cat "$HOME/.dstack/mine")" = mine ] || fail "a file of the person is gone"
! grep -q "127.0.0.1:$port" "$HOME/.dstack/config.yml" 2>/dev/null || fail "the project is left in config.yml"

if "$ROOT/services/quickstart.sh" --port 99999 >"$OUTPUT" 2>&1; then fail "--port 99999 is accepted"; fi
shows "--port needs a number from 1 to 65535"

# An engine that does not start: tasks become processes.
mkdir "$HOME/bin"
printf '#!/bin/sh\necho "this kernel runs no containers" >&2\nexit 1\n' >"$HOME/bin/docker"
cp "$HOME/bin/docker" "$HOME/bin/dockerd"
chmod 755 "$HOME/bin/docker" "$HOME/bin/dockerd"
(
  unset DOCKER_HOST
  export PATH=$HOME/bin:$PATH
  quickstart --port "$(free_port)"
  shows "this kernel runs no containers"
  shows "tasks become plain processes"
  shows "step 3 of 3"
  shows "the task ended with exit status 0"
  quickstart --down --purge
)
[ -z "$(ours)" ] || fail "processes are left: $(ours)"
echo "from nothing to a first task, and back"
