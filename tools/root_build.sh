#!/bin/bash
# usage: root_build.sh RELEASE. Builds everything and runs the unit tests in a clean root of that Debian release, which
# debootstrap makes: as root, with the mirror that apt of this machine has (or MIRROR). What a newer compiler,
# httpd and OpenSSL say of the sources.
set -euo pipefail
cd "$(dirname "$0")/.."
release=$1
mirror=$(tools/mirror.sh "$release")
[ "$(id -u)" -eq 0 ] || { echo "root_build: a clean root wants root" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

debootstrap --variant=minbase "$release" "$root" "$mirror" >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
rm "$root.log"
mkdir "$root/src"
git ls-files -z | tar -c --null -T - | tar -x -C "$root/src"
unshare --pid --mount --fork sh -c 'mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && exec chroot "$@"' \
    - "$root" sh -c 'cd /src && tools/deps.sh build && make -s -j2 all unit && make -s check'
