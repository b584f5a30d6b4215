#!/usr/bin/env bash
# Starts an arm64 runner under emulation: arm64_smoke.sh RUNNER. It is static, so nothing of an arm64 system is needed. More than its
# start cannot be seen here: it executes itself, which user emulation without binfmt does not do.
set -euo pipefail

runner=$1
file "$runner" | grep -q 'ARM aarch64.*statically linked' || { echo "$runner is no static arm64 program" >&2; exit 1; }
version=$(qemu-aarch64-static "$runner" --version)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || { echo "--version printed: $version" >&2; exit 1; }

# A task's directory without a token: read, refused in words, with the status of a job that never ran.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0
said=$(qemu-aarch64-static "$runner" supervise --task-dir "$dir" 2>&1) || status=$?
[[ $status -eq 125 && $said == *"$dir/token is missing"* ]] || { echo "supervise ended with $status: $said" >&2; exit 1; }
echo "arm64 runner $version starts"
