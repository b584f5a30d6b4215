#!/bin/bash
# Makes DIRECTORY the root of an arm64 Debian with what the agents are linked against, for the preset
# `arm64`. The packages come from this machine's sources of packages, through a state of their own:
# nothing of the machine is changed. Compilers and protoc stay those of this machine.
#
# Usage: arm64_sysroot.sh DIRECTORY
# Needs: g++-aarch64-linux-gnu; to run the result: qemu-user-static
set -euo pipefail

readonly PACKAGES=(
  libc6-dev libabsl-dev libarchive-dev libc-ares-dev libgrpc++-dev libgrpc-dev libprotobuf-dev libprotoc-dev libre2-dev libssl-dev zlib1g-dev
  libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev catch2 prometheus-cpp-dev libyaml-cpp-dev libpq-dev libpqxx-dev libzstd-dev
  libboost1.81-dev libacl1-dev liblzma-dev libbz2-dev liblz4-dev libxml2-dev nettle-dev
)

[[ $# -eq 1 ]] || { echo "usage: arm64_sysroot.sh DIRECTORY" >&2; exit 2; }
root=$1
[[ -e $root/.complete ]] && exit 0
rm -rf "$root"
mkdir -p "$root/.apt/state/lists/partial" "$root/.apt/cache/archives/partial"
root=$(cd "$root" && pwd)
: > "$root/.apt/status"
apt_options=(
  -q -y
  -o "Dir::State=$root/.apt/state" -o "Dir::State::status=$root/.apt/status" -o "Dir::Cache=$root/.apt/cache"
  -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
)
apt-get "${apt_options[@]}" update
apt-get "${apt_options[@]}" install --download-only --no-install-recommends "${PACKAGES[@]}"
for package in "$root"/.apt/cache/archives/*.deb; do
  dpkg -x "$package" "$root"
done
rm -rf "$root/.apt"

# Absolute links lead out of it.
while IFS= read -r -d '' link; do
  target=$(readlink "$link")
  [[ $target == /* ]] && ln -sfn "$root$target" "$link"
done < <(find "$root" -type l -print0)
for tool in protoc grpc_cpp_plugin; do
  ln -sfn "$(command -v $tool)" "$root/usr/bin/$tool"
done
# Named by CMake files of packages, not needed to link.
for plugin in csharp node objective_c php python ruby; do
  ln -sfn /bin/true "$root/usr/bin/grpc_${plugin}_plugin"
done
touch "$root/.complete"
