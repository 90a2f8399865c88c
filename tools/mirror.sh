#!/bin/bash
# usage: mirror.sh [RELEASE]. Prints the mirror from which debootstrap makes a clean root: MIRROR, or else the one that
# apt of this machine has. Fails where there is none, or where it does not answer or has no such release.
set -euo pipefail
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    | grep -v -m 1 security || true)}
[ -n "$mirror" ] || { echo "apt has no mirror of Debian's: set MIRROR" >&2; exit 1; }
place=${mirror%/}/dists/${1:-stable}/Release
if [[ $mirror = http* ]]; then
    wget -q -T 20 -t 2 --spider "$place" || { echo "$place does not answer: set MIRROR" >&2; exit 1; }
fi
echo "$mirror"
