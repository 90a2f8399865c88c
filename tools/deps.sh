#!/bin/bash
# Installs the Debian packages that a purpose needs and that are missing.
# usage: deps.sh build|run|test|browser|guards|bench|fuzz|sanitize|deb|lint|all   (SAMBA=1 adds Samba to "run")
set -euo pipefail

build="gcc make pkg-config libc6-dev apache2-bin apache2-dev libssl-dev libcurl4-openssl-dev libwbclient-dev libutf8proc-dev
       libhiredis-dev
       libkrb5-dev"
run="$build openssl curl"
samba="samba samba-common-bin smbclient"
tests="$run $samba clang libapache2-mod-perl2 libapache2-mod-perl2-dev libio-socket-ssl-perl libcryptx-perl
       groff-base mandoc bash-completion libwww-perl python3-samba python3-impacket procps freerdp2-x11 xvfb
       libapache2-mod-auth-gssapi libapache2-mod-auth-openidc gss-ntlmssp winbind libnss-wrapper
       krb5-kdc krb5-admin-server krb5-user libgssapi-perl
       samba-ad-provision samba-dsdb-modules samba-vfs-modules iproute2
       nginx-light haproxy squid libapache2-mod-security2 modsecurity-crs
       prometheus python3-prometheus-client python3-html5lib redis-server monitoring-plugins-basic"
browser="$run chromium fonts-dejavu-core"
guards="$run libapache2-mod-evasive apparmor semodule-utils sepol-utils selinux-policy-default"
bench="$run haproxy linux-perf strace valgrind"
fuzz="$build clang libclang-rt-14-dev"
sanitize="$fuzz libtsan2 valgrind util-linux"
deb="$build debhelper lintian debootstrap iproute2"
lint="git codespell shellcheck libperl-critic-perl"

case "${1:-all}" in
    build) want=$build ;;
    run)   want=$run; [ -z "${SAMBA:-}" ] || want="$want $samba" ;;
    test)  want=$tests ;;
    browser) want=$browser ;;
    guards) want=$guards ;;
    bench) want=$bench ;;
    fuzz)  want=$fuzz ;;
    sanitize) want=$sanitize ;;
    deb)   want=$deb ;;
    lint)  want=$lint ;;
    all)   want="$tests $bench $sanitize $lint" ;;
    *)     echo "usage: $0 build|run|test|browser|guards|bench|fuzz|sanitize|deb|lint|all" >&2; exit 2 ;;
esac

missing=()
for package in $want; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "These packages are missing; install them as root:" >&2
    echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
# The tests want promtool and start a Redis of their own; the servers of these packages are not to
# start.
for service in prometheus redis-server; do
    if [[ " ${missing[*]} " == *" $service "* && -d /etc/systemd/system ]]; then
        [ -e /etc/systemd/system/$service.service ] \
            || "${as_root[@]}" ln -s /dev/null /etc/systemd/system/$service.service
    fi
done
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
