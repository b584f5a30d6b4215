# Sourced by the scripts that people run: messages, root rights, waiting.
# shellcheck shell=bash

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command with root rights: directly as root, else through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root rights are needed for: $* (run as root, or install sudo)"
  fi
}

# has_root: true when as_root would work; asks for sudo's password if it must.
has_root() { [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -v 2>/dev/null; }; }

# remove_trees DIR...: root rights are used only for what another user owns.
remove_trees() {
  local dir
  for dir in "$@"; do
    rm -rf --one-file-system -- "$dir" 2>/dev/null || as_root rm -rf --one-file-system -- "$dir"
  done
}

# wait_until SECONDS COMMAND...: true as soon as the command succeeds.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# process_is PID TEXT: true when the process lives and TEXT is part of its command line. Protects
# against a pid that was reused after a reboot.
process_is() {
  # It may end between the two looks.
  [ -n "$1" ] && [ -r "/proc/$1/cmdline" ] &&
    { tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$2"; } 2>/dev/null
}

# stop_process PID TEXT SECONDS: SIGTERM, then SIGKILL after SECONDS.
stop_process() {
  process_is "$1" "$2" || return 0
  signal_process TERM "$1"
  if ! wait_until "$3" process_is_gone "$1" "$2"; then
    signal_process KILL "$1"
    wait_until 5 process_is_gone "$1" "$2" || true
  fi
}

# signal_process SIGNAL PID: root rights are used only for another user's process.
signal_process() {
  kill "-$1" "$2" 2>/dev/null || { [ ! -d "/proc/$2" ] || as_root kill "-$1" "$2" 2>/dev/null || true; }
}

process_is_gone() { ! process_is "$1" "$2"; }
