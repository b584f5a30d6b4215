#!/usr/bin/env bash
# From a fresh Debian 12 to a running dstack server with this machine as its first host.
#
#   services/quickstart.sh [--port N]         install, build, start (safe to run again)
#   services/quickstart.sh --down [--purge]   stop; --purge also deletes what was stored
#
# State is kept in $DSTACK_HOME (default ~/.dstack).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=${DSTACK_HOME:-$HOME/.dstack}
BIN=$ROOT/build/release/bin
PORT=3000
ACTION=up
PURGE=

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

parse_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --down) ACTION=down ;;
      --purge) PURGE=1 ;;
      --port)
        [[ ${2:-} =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge 1 ] && [ "$2" -le 65535 ] ||
          die "--port needs a number from 1 to 65535, not '${2:-}'"
        PORT=$2
        shift
        ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && die "unknown argument '$1'" ;;
    esac
    shift
  done
  [ -z "$PURGE" ] || [ "$ACTION" = down ] || die "--purge goes with --down"
}

build() {
  say "building (release)"
  (cd "$ROOT" && cmake --preset release >"$STATE/cmake.log" 2>&1) ||
    { tail -n 30 "$STATE/cmake.log" >&2 && die "configuring failed, see $STATE/cmake.log"; }
  cmake --build "$ROOT/build/release" --parallel "$(nproc)"
}

server_is_healthy() { curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$PORT/healthz" 2>/dev/null; }

server_pid() { cat "$STATE/quickstart/server.pid" 2>/dev/null || true; }

start_server() {
  [ -x "$BIN/dstack" ] && [ -x "$BIN/dstack-server" ] ||
    die "the build left no dstack and dstack-server in $BIN"
  if process_is "$(server_pid)" dstack-server; then
    say "the server runs already (pid $(server_pid))"
    return 0
  fi
  say "starting the server, log in $STATE/quickstart/server.log"
  DSTACK_SERVER_PORT=$PORT setsid "$BIN/dstack-server" --local-host \
    >>"$STATE/quickstart/server.log" 2>&1 </dev/null &
  echo $! >"$STATE/quickstart/server.pid"
  wait_until 60 server_is_healthy || {
    tail -n 30 "$STATE/quickstart/server.log" >&2
    die "the server is not healthy after 60 s, its last words are above"
  }
}

stop_server() {
  stop_process "$(server_pid)" dstack-server 30
  rm -f "$STATE/quickstart/server.pid"
}

up() {
  mkdir -p -m 700 "$STATE"
  mkdir -p "$STATE/quickstart"
  install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}"
  build
  engine_up "$STATE/quickstart/engine"
  start_server
  say "dstack is up: http://127.0.0.1:$PORT (stop it with services/quickstart.sh --down)"
}

down() {
  stop_server
  if [ -n "$PURGE" ]; then
    engine_purge "$STATE/quickstart/engine"
    # Only what a server stored: the directory also holds the command line's configuration.
    as_root rm -rf --one-file-system -- "$STATE/server" "$STATE/quickstart"
    say "stopped, and the server's data in $STATE is deleted"
  else
    engine_down "$STATE/quickstart/engine"
    say "stopped; what was stored stays in $STATE"
  fi
}

parse_arguments "$@"
"$ACTION"
