# Sourced (after common.sh and engine.sh): the image of tasks that name none, made from packages of this machine.
# shellcheck shell=bash

# Name of the image. It has bash and busybox; tasks that need more name an `image`.
DSTACK_BASE_IMAGE=dstack/base:local

# base_image_up: makes the image in the engine that DOCKER_HOST names, unless it is there.
base_image_up() {
  docker image inspect "$DSTACK_BASE_IMAGE" >/dev/null 2>&1 && return 0
  say "making the base image $DSTACK_BASE_IMAGE"
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{bin,dev,etc,proc,root,run,sys,tmp,usr/bin,usr/local/bin,var}
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/busybox"
  cp /bin/bash-static "$root/bin/bash"
  local applet
  for applet in $(busybox --list); do
    [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  tar -C "$root" --owner=0 --group=0 -c . | docker import - "$DSTACK_BASE_IMAGE" >/dev/null
  rm -rf -- "$root"
}
