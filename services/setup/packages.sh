# Sourced: the Debian 12 packages that dstack is built from and runs on, and their installation.
# shellcheck shell=bash

# To build.
DSTACK_BUILD_PACKAGES=(
  build-essential cmake ninja-build ccache mold pkg-config python3 patchelf file
  protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libprotoc-dev libgrpc++-dev grpc-proto
  libabsl-dev libpq-dev libpqxx-dev libyaml-cpp-dev libyaml-dev libspdlog-dev libfmt-dev
  prometheus-cpp-dev catch2 libcli11-dev nlohmann-json3-dev libssl-dev libarchive-dev
  libzstd-dev libboost1.81-dev libc-ares-dev libre2-dev zlib1g-dev
)

# To run a server and a host on this machine.
DSTACK_RUN_PACKAGES=(
  bash-static busybox-static ca-certificates curl git iproute2 iptables openssh-client openssh-server postgresql procps util-linux
)

# To run the tests: small images without a registry, a registry of their own, a checker of JSON
# Schema, a client that copies into jobs.
DSTACK_TEST_PACKAGES=(
  apache2-utils debootstrap docker-registry python3-jsonschema python3-yaml rsync
)

# To build the fuzzers.
DSTACK_FUZZ_PACKAGES=(clang libclang-rt-14-dev)

# missing_packages NAME...: those that are not installed, one a line.
missing_packages() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null)" = "ii " ] || echo "$name"
  done
}

# install_packages NAME...: installs what is missing; asks the network for nothing when all is there.
install_packages() {
  [ -r /etc/debian_version ] || die "this script needs Debian 12 or a derivative (no /etc/debian_version)"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d made_policy=
  # dstack starts its own PostgreSQL, sshd and Docker Engine with private state; the packages must
  # not start theirs beside them.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made_policy=1
  fi
  local failed=
  as_root apt-get update -q || say "the package lists could not be refreshed, using the present ones"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    "${missing[@]}" || failed=1
  [ -z "$made_policy" ] || as_root rm -f "$policy"
  [ -z "$failed" ] || die "the packages could not be installed, see above"
}
