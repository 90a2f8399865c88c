#!/bin/bash
# usage: deb_test.sh FOLDER. Tries the packages that deb.sh has put into FOLDER, in a clean root that debootstrap
# makes there: what `make deb-test` calls, as root. KEEP=1 leaves the root for a look. First the packages' life, then
# the manual's way from them to a site of each kind, and debian/tests.
#
# MIRROR and RELEASE say where from and which Debian; by default what apt of this machine uses. Only fetching
# packages needs a network: what the packages do they do in network and process namespaces of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(cd "$1" && pwd)
root=$folder/root
version=$(sed -n 's/^#define RPCPROXY_VERSION "\(.*\)"$/\1/p' base/version.h)
before=0.9.9
[ "$(id -u)" -eq 0 ] || { echo "deb_test: a clean root wants root" >&2; exit 1; }

# Of each source of Debian's packages: its place, release and component.
sources() { apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u; }
release=${RELEASE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
mirror=$(tools/mirror.sh "$release")

# COMMAND... in the root: with the network, and nothing that is installed may start.
fetching() {
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    unshare --pid --mount --fork sh -c "$enter" - "$root" env DEBIAN_FRONTEND=noninteractive "$@"
}

# COMMAND... in the root: without the network, and services start. All processes end with the command. Addresses of
# the loopback alone are no targets of the proxy, so it has those of the manual's examples, too.
apart() {
    # Where there is no init, invoke-rc.d does nothing unless this says so.
    printf '#!/bin/sh\nexit 0\n' >"$root/usr/sbin/policy-rc.d"
    unshare --net --pid --mount --fork sh -c "ip link set lo up && ip address add 10.0.0.1/24 dev lo && $enter" - "$root" "$@"
}
enter='mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && exec chroot "$@"'

# The root, with httpd and what the packages need.
make_root() {
    debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$mirror"
    if [ -z "${MIRROR:-}" ]; then
        sources | sed 's/^/deb /' >"$root/etc/apt/sources.list"
    fi
    fetching apt-get update -q
    fetching apt-get install -q -y --no-install-recommends apache2 openssl procps curl haproxy
    cp "$folder"/*_"$version"_*.deb "$folder/$before"/*_"$before"_*.deb build/rpcdemo tools/deb_{life.sh,walk.pl} "$root/root/"
    install -D -m 644 -t "$root/root/RPCH" t/lib/RPCH/{File,Manual}.pm
    install -D -m 644 -t "$root/root/manual" doc/*.md
    fetching apt-get install -q -y --no-install-recommends --download-only "${packages[@]}"
}

# The sources, and what debian/tests and their runner need.
make_tests() {
    dpkg-source -x "$folder/mod-rpcproxy_$version.dsc" "$root/root/source"
    fetching apt-get build-dep -q -y --no-install-recommends /root/source
    fetching apt-get install -q -y --no-install-recommends apache2-utils autopkgtest "${packages[@]}"
}

# COMMAND...: its output goes to a log, whose end is shown if it fails.
quietly() { "$@" >"$folder/root.log" 2>&1 || { tail -n 30 "$folder/root.log" >&2; return 1; }; }

architecture=$(dpkg --print-architecture)
packages=("/root/libapache2-mod-rpcproxy_${version}_$architecture.deb" "/root/rpcping_${version}_$architecture.deb")
[ -n "${KEEP:-}" ] || trap 'rm -rf --one-file-system "$root"' EXIT
rm -rf --one-file-system "$root"
DEB_BUILD_OPTIONS=nocheck tools/deb.sh "$folder/$before" "$before"
make -s build/rpcdemo
quietly make_root
apart /root/deb_life.sh "$before" "$version" "$architecture"
apart sh -c 'cd /root && perl -I. deb_walk.pl manual'
quietly make_tests
# debian/tests, by Debian's own runner. The root is what isolation-container asks for.
apart autopkgtest --ignore-restrictions=isolation-container "${packages[@]}" /root/source -- null
echo 'All packages have passed.'
