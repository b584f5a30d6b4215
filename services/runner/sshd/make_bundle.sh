#!/bin/bash
# Copies this machine's OpenSSH and git with their libraries, their loader and the certificates of
# public authorities to DIRECTORY, so that they run on any Linux of the same architecture, whatever C
# library it has. Two ways to run a program of it:
#   mounted at /opt/dstack/ssh       by itself (its loader is named by that path)
#   anywhere                         lib/ld-linux-*.so.* --library-path lib sbin/sshd -r ...
#
# LIBRARY is what sshd loads where accounts cannot be added to the system (accounts_preload.cc).
#
# Usage: make_bundle.sh DIRECTORY LIBRARY
set -euo pipefail

readonly MOUNT=/opt/dstack/ssh
readonly PROGRAMS=(
  /usr/sbin/sshd:sbin
  /usr/bin/ssh:bin
  /usr/bin/ssh-keygen:bin
  /usr/bin/git:bin
  /usr/lib/openssh/sftp-server:libexec
  /usr/lib/git-core/git-remote-http:libexec
)
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

fail() {
  echo "make_bundle.sh: $*" >&2
  exit 1
}

[[ $# -eq 2 ]] || fail "usage: make_bundle.sh DIRECTORY LIBRARY"
target=$1
accounts=$2
command -v patchelf >/dev/null || fail "patchelf is missing (Debian package patchelf)"
[[ -r $CERTIFICATES ]] || fail "$CERTIFICATES is missing (Debian package ca-certificates)"

# Built beside and moved: nobody sees half a bundle.
work=$(mktemp -d "$(dirname "$target")/.ssh-bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/lib" "$work/etc" "$work/copyright"

copy_libraries() {
  local program=$1 library
  while read -r library; do
    cp --dereference --no-clobber "$library" "$work/lib/"
  done < <(ldd "$program" | grep --only-matching '/[^ ]*')
}

for entry in "${PROGRAMS[@]}"; do
  program=${entry%%:*}
  folder=${entry##*:}
  [[ -x $program ]] || fail "$program is missing (Debian packages openssh-server, openssh-client, git)"
  mkdir -p "$work/$folder"
  cp --dereference "$program" "$work/$folder/"
  copy_libraries "$program"
done

cp "$accounts" "$work/lib/"
loader=$(basename "$(compgen -G "$work/lib/ld-linux*")")
for library in "$work"/lib/*; do
  [[ $(basename "$library") == "$loader" ]] || patchelf --set-rpath "$MOUNT/lib" "$library"
done
for program in "$work"/{sbin,bin,libexec}/*; do
  patchelf --set-interpreter "$MOUNT/lib/$loader" --set-rpath "$MOUNT/lib" --force-rpath "$program"
done
cp --dereference "$CERTIFICATES" "$work/etc/"
for package in openssh-server git ca-certificates; do
  cp "/usr/share/doc/$package/copyright" "$work/copyright/$package"
done
chmod -R u=rwX,go=rX "$work"

rm -rf "$target"
mv "$work" "$target"
