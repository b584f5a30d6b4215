#!/usr/bin/env bash
# From a fresh Debian 12 to a first task on this machine: installs, builds, starts a server with its own PostgreSQL, makes this
# machine a host, runs an example. Safe to run again.
#
#   services/quickstart.sh [--port N]         port of the server, default 3000
#   services/quickstart.sh --down [--purge]   stops all that it started; --purge also deletes what was stored
#
# State is kept in $DSTACK_HOME (default ~/.dstack). DSTACK_BUILD_PRESET builds another preset than release.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=${DSTACK_HOME:-$HOME/.dstack}
RUN=$STATE/quickstart
PRESET=${DSTACK_BUILD_PRESET:-release}
BIN=$ROOT/build/$PRESET/bin
EXAMPLE=$ROOT/services/setup/hello.dstack.yml
PORT=
ACTION=up
PURGE=

# shellcheck source=services/setup/common.sh
source "$ROOT/services/setup/common.sh"
# shellcheck source=services/setup/packages.sh
source "$ROOT/services/setup/packages.sh"
# shellcheck source=services/setup/engine.sh
source "$ROOT/services/setup/engine.sh"
# shellcheck source=services/setup/base_image.sh
source "$ROOT/services/setup/base_image.sh"

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

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
  say "building ($PRESET)"
  mkdir -p "$ROOT/build/$PRESET"
  # Later on the build itself notices when it has to be configured again.
  [ -f "$ROOT/build/$PRESET/build.ninja" ] ||
    (cd "$ROOT" && cmake --preset "$PRESET" >"$ROOT/build/$PRESET/configure.log" 2>&1) ||
    { tail -n 30 "$ROOT/build/$PRESET/configure.log" >&2 && die "configuring failed, see build/$PRESET/configure.log"; }
  cmake --build "$ROOT/build/$PRESET" --parallel "$(nproc)" --target dstack dstack-server dstack-shim dstack-runner ssh_bundle
}

# engine_or_processes: a Docker Engine where one can run, else tasks become plain processes.
engine_or_processes() {
  if engine_up "$RUN/engine"; then
    base_image_up
    SERVER_ARGUMENTS+=(--base-image "$DSTACK_BASE_IMAGE")
  else
    say "no Docker Engine can run here: tasks become plain processes of this machine, and images cannot be used"
  fi
}

server_is_healthy() { curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$PORT/healthz" 2>/dev/null; }
server_pid() { cat "$RUN/server.pid" 2>/dev/null || true; }
server_runs() { process_is "$(server_pid)" "$BIN/dstack-server"; }
port_is_taken() { (: <>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }
server_is_healthy_or_gone() { server_is_healthy || ! server_runs; }

start_server() {
  say "starting the server on port $PORT, log in $RUN/server.log"
  setsid "$BIN/dstack-server" --port "$PORT" --home "$STATE/server" --local-host --yes "${SERVER_ARGUMENTS[@]}" \
    >>"$RUN/server.log" 2>&1 </dev/null &
  echo $! >"$RUN/server.pid"
  echo "$PORT" >"$RUN/port"
  wait_until 60 server_is_healthy_or_gone || true
  if ! server_runs || ! server_is_healthy; then
    tail -n 5 "$RUN/server.log" >&2
    rm -f "$RUN/server.pid"
    die "the server did not start, its last words are above; --port takes another port than $PORT"
  fi
}

# The first start says 3000, later ones keep the port of the first.
choose_port() {
  local last
  last=$(cat "$RUN/port" 2>/dev/null || echo 3000)
  if server_runs; then
    [ -z "$PORT" ] || [ "$PORT" = "$last" ] ||
      die "the server runs on port $last already; stop it first: $ROOT/services/quickstart.sh --down"
    PORT=$last
  fi
  PORT=${PORT:-$last}
  # Another server's answers would be taken for those of ours, which cannot start.
  server_runs || ! port_is_taken || die "port $PORT is in use by another program; choose another one with --port N"
}

host_is_idle() { "$BIN/dstack" fleet list 2>/dev/null | grep -q 'instance=0 .* idle '; }
host_is_in_use() { "$BIN/dstack" fleet list 2>/dev/null | grep -q 'instance=0 .* busy '; }
host_is_ready() { host_is_idle || host_is_in_use; }

run_example() {
  say "waiting until this machine is a host"
  wait_until 60 host_is_ready || {
    "$BIN/dstack" fleet list -v >&2 || true
    die "this machine did not become a host within 60 s, see $RUN/server.log"
  }
  say "running $EXAMPLE"
  printf '$ dstack apply -f %s -y\n' "$EXAMPLE"
  local status=0
  "$BIN/dstack" apply -f "$EXAMPLE" -y || status=$?
  say "the task ended with exit status $status"
  return "$status"
}

tell_what_next() {
  local server="the private PostgreSQL, the server (pid $(server_pid)) and this machine's shim"
  cat <<TEXT

Running      $server at http://127.0.0.1:$PORT
Data         $STATE/server   (server log: $RUN/server.log)
Stop         $ROOT/services/quickstart.sh --down      (with --purge: and delete the data)

Try next     export PATH="$BIN:\$PATH"${DSTACK_HOME:+ DSTACK_HOME="$DSTACK_HOME"}
             dstack ps --all
             dstack logs hello
             dstack fleet get local --json
TEXT
}

up() {
  mkdir -p -m 700 "$STATE" "$RUN"
  install_packages "${DSTACK_BUILD_PACKAGES[@]}" "${DSTACK_RUN_PACKAGES[@]}"
  build
  SERVER_ARGUMENTS=()
  choose_port
  engine_or_processes
  if server_runs; then
    say "the server runs already (pid $(server_pid), port $PORT)"
  else
    start_server
  fi
  local status=0
  run_example || status=$?
  tell_what_next
  return "$status"
}

down() {
  local was
  was=$(server_pid)
  stop_process "$was" dstack-server 60
  rm -f "$RUN/server.pid"
  engine_use "$RUN/engine"
  stop_host
  if [ -n "$PURGE" ]; then
    engine_purge "$RUN/engine"
    # The directory also holds the command line's configuration, of which only our entry is ours.
    "$BIN/dstack" project delete --name main -y >/dev/null 2>&1 || true
    remove_trees "$STATE/server" "$RUN"
    grep -qs 'name:' "$STATE/config.yml" || rm -f "$STATE/config.yml"
    rmdir "$STATE" 2>/dev/null || true
    say "stopped, and all that was stored is deleted"
  else
    engine_down "$RUN/engine"
    say "stopped; left on disk: $STATE (data) and $ROOT/build (programs)"
  fi
}

# The home of the agents that the server installed on this machine.
host_home() { ls -d "$STATE"/server/host/.dstack/hosts/*/ 2>/dev/null | head -n 1; }

# stop_host: ends the agents of this machine and what they run. A server that stops leaves them alone, as it must.
stop_host() {
  local home pid
  home=$(host_home)
  [ -n "$home" ] || return 0
  stop_process "$(cat "$home/shim.pid" 2>/dev/null || true)" "$home" 20
  for pid in $(pgrep -f -- "$home" || true); do
    stop_process "$pid" "$home" 10
  done
  if [ -s "$home/shim_id" ] && command -v docker >/dev/null && engine_answers; then
    docker ps -aq --filter "label=ai.dstack.shim.id=$(cat "$home/shim_id")" | xargs -r docker rm -f >/dev/null
  fi
}

parse_arguments "$@"
"$ACTION"
