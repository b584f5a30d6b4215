#pragma once

// Shell scripts that run on hosts. They take all data as arguments ($1, $2, ...) or on standard
// input and are never put together from data. POSIX sh with coreutils or busybox.
namespace dstack::server::scripts {

// $1 server id, $2 versioned shim, $3 versioned runner, $4 versioned ssh bundle or "", $5 public
// key without comment or "", $6 settings line, $7 unit name. Prints name=value lines. Adds the key
// when it is missing.
inline constexpr const char* kProbe = R"sh(
set -u
dir="$HOME/.dstack/hosts/$1"
umask 077
mkdir -p "$dir/bin" || exit 1
chmod 700 "$dir"
echo "uname=$(uname -s) $(uname -m)"
echo "dir=$dir"
[ -x "$dir/bin/$2" ] && echo "has_shim=1"
[ -x "$dir/bin/$3" ] && echo "has_runner=1"
[ -n "$4" ] && [ -d "$dir/$4" ] && echo "has_ssh=1"
command -v gzip >/dev/null 2>&1 && echo "has_gzip=1"
for tool in sha256sum tar; do
  command -v $tool >/dev/null 2>&1 || echo "missing=$tool"
done
if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
  echo "has_systemd=1"
fi
is_running() {
  systemctl is-active --quiet "$1" 2>/dev/null && return
  pid="$(cat "$dir/shim.pid" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -qsF -- "$dir" "/proc/$pid/cmdline"
}
if [ "$(head -n 1 "$dir/start-shim" 2>/dev/null)" = "$6" ] && is_running "$7"; then
  echo "is_running=1"
fi
if [ -n "$5" ]; then
  keys="$HOME/.ssh/authorized_keys"
  mkdir -p "$HOME/.ssh" || exit 1
  [ -L "$keys" ] && keys="$(readlink -f "$keys")"
  if ! grep -qsF -- "$5" "$keys"; then
    new="$keys.dstack.$$"
    if [ -e "$keys" ]; then cp -p "$keys" "$new" || exit 1; else : >"$new"; fi
    [ -s "$new" ] && [ -n "$(tail -c 1 "$new")" ] && echo >>"$new"
    echo "$5 dstack-$1" >>"$new" && mv -f "$new" "$keys" || exit 1
  fi
fi
exit 0
)sh";

// $1 directory, $2 final name, $3 SHA-256, $4 gzip or cat. The content comes on standard input.
inline constexpr const char* kUpload = R"sh(
set -eu
umask 077
tmp="$1/bin/.$2.$$"
trap 'rm -f "$tmp"' EXIT
if [ "$4" = gzip ]; then gzip -dc >"$tmp"; else cat >"$tmp"; fi
echo "$3  $tmp" | sha256sum -c - >/dev/null || { echo "the uploaded file is damaged" >&2; exit 1; }
chmod 755 "$tmp"
mv -f "$tmp" "$1/bin/$2"
)sh";

// As kUpload, but a tar archive that becomes the directory $1/$2.
inline constexpr const char* kUploadTree = R"sh(
set -eu
umask 022
tmp="$1/.$2.$$"
trap 'rm -rf "$tmp" "$tmp.tar"' EXIT
if [ "$4" = gzip ]; then gzip -dc >"$tmp.tar"; else cat >"$tmp.tar"; fi
echo "$3  $tmp.tar" | sha256sum -c - >/dev/null || { echo "the uploaded archive is damaged" >&2; exit 1; }
mkdir "$tmp"
tar -xf "$tmp.tar" -C "$tmp"
chmod 755 "$tmp"
[ -d "$1/$2" ] || mv "$tmp" "$1/$2"
)sh";

// Makes the shim run as the start script on standard input says. $1 directory, $2 unit name or ""
// without systemd. A shim that runs with the same script is left alone; another one is stopped
// first, which its jobs do not notice.
inline constexpr const char* kStart = R"sh(
set -eu
umask 077
dir="$1"
cat >"$dir/start-shim.new"
is_running() {
  if [ -n "$1" ]; then systemctl is-active --quiet "$1"; return; fi
  pid="$(cat "$dir/shim.pid" 2>/dev/null)" || return 1
  [ -n "$pid" ] && grep -qsF -- "$dir" "/proc/$pid/cmdline"
}
if cmp -s "$dir/start-shim.new" "$dir/start-shim" && is_running "$2"; then
  rm -f "$dir/start-shim.new"
  exit 0
fi
if is_running ""; then
  kill "$pid"
  n=0
  while [ -d "/proc/$pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
fi
# What an upgrade over the session chose is out of date.
rm -f "$dir/shim.pid" "$dir/release.json"
mv -f "$dir/start-shim.new" "$dir/start-shim"
if [ -n "$2" ]; then
  cat >"/etc/systemd/system/$2" <<UNIT
[Unit]
Description=dstack shim
After=network-online.target docker.service
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh "$dir/start-shim"
Restart=always
RestartSec=1
KillMode=process
StandardOutput=append:$dir/shim.log
StandardError=append:$dir/shim.log
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet "$2"
  systemctl restart "$2"
else
  if [ -s "$dir/shim.log" ]; then mv -f "$dir/shim.log" "$dir/shim.log.1"; fi
  setsid sh "$dir/start-shim" </dev/null >>"$dir/shim.log" 2>&1 &
  echo $! >"$dir/shim.pid"
fi
)sh";

// $1 server id. The last lines of the shim's log.
inline constexpr const char* kDiagnose = R"sh(
tail -n 3 "$HOME/.dstack/hosts/$1/shim.log" 2>/dev/null
exit 0
)sh";

// $1 server id, $2 unit name, $3 public key without comment or "".
inline constexpr const char* kUninstall = R"sh(
set -u
dir="$HOME/.dstack/hosts/$1"
if [ "$(id -u)" = 0 ] && [ -e "/etc/systemd/system/$2" ]; then
  systemctl disable --quiet --now "$2" 2>/dev/null
  rm -f "/etc/systemd/system/$2"
  systemctl daemon-reload 2>/dev/null
fi
pid="$(cat "$dir/shim.pid" 2>/dev/null)"
if [ -n "$pid" ] && grep -qsF -- "$dir" "/proc/$pid/cmdline"; then
  kill "$pid"
  n=0
  while [ -d "/proc/$pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
fi
rm -rf "$dir"
rmdir "$HOME/.dstack/hosts" 2>/dev/null
if [ -n "$3" ]; then
  keys="$HOME/.ssh/authorized_keys"
  [ -L "$keys" ] && keys="$(readlink -f "$keys")"
  if grep -qsF -- "$3 dstack-$1" "$keys"; then
    new="$keys.dstack.$$"
    cp -p "$keys" "$new" && { grep -vF -- "$3 dstack-$1" "$keys" >"$new"; mv -f "$new" "$keys"; }
  fi
fi
exit 0
)sh";

}  // namespace dstack::server::scripts
