#!/bin/bash
# usage: deb.sh FOLDER [VERSION]. Builds the Debian packages and looks at them with lintian. The folder gets a
# copy of the sources, for debhelper leaves its traces in them, and the packages beside it. With a VERSION they
# bear that number instead of their own: what an upgrade is tried with.
set -euo pipefail
cd "$(dirname "$0")/.."

own=$(sed -n 's/^#define RPCPROXY_VERSION "\(.*\)"$/\1/p' base/version.h)
version=${2:-$own}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
copy=$folder/mod-rpcproxy-$version

# What git knows, with what is not committed yet; outside of git all but what is built.
sources() {
    if [ -e .git ]; then
        git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' file; do
            [ ! -e "$file" ] || printf '%s\0' "$file"
        done
    else
        find . -name build -prune -o -type f -print0
    fi
}

rm -rf "${folder:?}"/*"$version"*
mkdir "$copy"
sources | tar -c --null -T - | tar -x -C "$copy"
cd "$copy"
if [ "$version" != "$own" ]; then
    sed -i "s/\"$own\"/\"$version\"/" base/version.h
    sed -i "1s/($own)/($version)/" debian/changelog
    sed -i "s/^Changes with mod_rpcproxy $own$/Changes with mod_rpcproxy $version/" CHANGES
fi
dpkg-buildpackage -us -uc >"$folder/build-$version.log" 2>&1 \
    || { tail -n 40 "$folder/build-$version.log" >&2; exit 1; }
lintian --fail-on error,warning,info --display-info --allow-root "$folder/mod-rpcproxy_${version}_"*.changes
echo "lintian has nothing to say about mod-rpcproxy $version"
ls "$folder"/*"_${version}"*.deb
