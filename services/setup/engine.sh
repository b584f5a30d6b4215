# Sourced (after common.sh and packages.sh): a Docker Engine, this machine's or a private one.
# shellcheck shell=bash

# engine_answers: true when the engine that DOCKER_HOST names (default: the machine's) answers.
engine_answers() { timeout 10 docker info >/dev/null 2>&1; }

# engine_up STATE_DIR: uses the engine that answers, else starts a private one whose images and pid
# file are in STATE_DIR, and exports its DOCKER_HOST. The private engine lives until engine_down.
# Fails, with the engine's last words, when none can run here.
engine_up() {
  local state=$1
  if command -v docker >/dev/null && engine_answers; then
    say "Docker Engine: ${DOCKER_HOST:-the one of this machine}"
    return 0
  fi
  [ -z "${DOCKER_HOST:-}" ] || die "DOCKER_HOST=$DOCKER_HOST does not answer"
  if [ -f "$state/socket-dir" ]; then
    export DOCKER_HOST="unix://$(cat "$state/socket-dir")/docker.sock"
    if process_is "$(cat "$state/pid" 2>/dev/null)" "$state/pid" && engine_answers; then
      say "Docker Engine: the private one that runs already"
      return 0
    fi
    unset DOCKER_HOST
    engine_down "$state"
  fi
  if ! has_root; then
    say "a private Docker Engine needs root rights: run as root, or install sudo"
    return 1
  fi
  command -v dockerd >/dev/null && command -v docker >/dev/null || install_packages docker.io iptables
  engine_start "$state"
}

engine_answers_or_gone() { engine_answers || { [ -n "${ENGINE_PID:-}" ] && ! kill -0 "$ENGINE_PID" 2>/dev/null; }; }

# engine_start STATE_DIR: starts a private engine and waits until it answers.
engine_start() {
  local state=$1 socket_dir
  mkdir -p "$state"
  # Sockets of the engine and its containerd: a Unix socket's path ends at 108 bytes, and STATE_DIR
  # may be long.
  socket_dir=$(mktemp -d /tmp/dstack-engine-XXXXXX)
  echo "$socket_dir" >"$state/socket-dir"
  say "starting a private Docker Engine, state in $state"
  # setsid: an interrupt at the terminal must not reach the engine before the tests have ended.
  as_root setsid dockerd \
    --data-root "$state/data" --exec-root "$socket_dir/exec" --pidfile "$state/pid" \
    --host "unix://$socket_dir/docker.sock" --group "$(id -gn)" \
    >"$state/dockerd.log" 2>&1 </dev/null &
  ENGINE_PID=$!
  as_root chmod 711 "$socket_dir"
  export DOCKER_HOST="unix://$socket_dir/docker.sock"
  if ! wait_until 60 engine_answers_or_gone || ! engine_answers; then
    tail -n 20 "$state/dockerd.log" >&2
    engine_down "$state"
    unset DOCKER_HOST
    say "the private Docker Engine did not start, its last words are above"
    return 1
  fi
}

# engine_use STATE_DIR: exports the DOCKER_HOST of the private engine, if it runs.
engine_use() {
  if [ -z "${DOCKER_HOST:-}" ] && [ -f "$1/socket-dir" ]; then
    export DOCKER_HOST="unix://$(cat "$1/socket-dir")/docker.sock"
  fi
}

# unmount_below DIR: what an engine left mounted there; deleting would stop at it.
unmount_below() {
  local target
  findmnt -rno TARGET | { grep -F -- "$1/" || true; } | sort -r | while read -r target; do
    as_root umount -l -- "$target" || true
  done
}

# engine_down STATE_DIR: ends the private engine, if it runs; its images stay.
engine_down() {
  local state=$1
  if [ -f "$state/pid" ]; then
    stop_process "$(cat "$state/pid")" "$state/pid" 30
    as_root rm -f "$state/pid"
  fi
  if [ -f "$state/socket-dir" ]; then
    local socket_dir
    socket_dir=$(cat "$state/socket-dir")
    # The name is checked because root removes it.
    case $socket_dir in
      /tmp/dstack-engine-??????)
        unmount_below "$socket_dir"
        remove_trees "$socket_dir"
        ;;
    esac
    rm -f "$state/socket-dir"
  fi
}

# engine_purge STATE_DIR: engine_down, and its images and containers are deleted.
engine_purge() {
  engine_down "$1"
  unmount_below "$1"
  remove_trees "$1"
}
