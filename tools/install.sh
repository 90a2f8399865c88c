#!/bin/bash
# usage: install.sh install|uninstall. What `make install` and `make uninstall` call, with DESTDIR, PREFIX,
# LIBEXEC, SYSCONF, MODS_AVAILABLE and BUILD in the environment. Both walk the one list at the end, so that the
# second takes away what the first has put.
set -euo pipefail
cd "$(dirname "$0")/.."
action=$1
doc=$PREFIX/share/doc/libapache2-mod-rpcproxy

# FILE with the paths of the httpd that is there.
localized() {
    sed "s|/usr/lib/apache2/modules|$LIBEXEC|g; s|/etc/apache2|$SYSCONF|g" "$1"
}

# MODE FILE TO: a file of ours.
place() {
    local mode=$1 from=$2 to=$DESTDIR$3
    if [ "$action" = install ]; then
        install -D -m "$mode" "$from" "$to"
    else
        rm -f "$to"
    fi
}

# FILE TO: text that names folders of httpd.
place_text() {
    if [ "$action" = install ]; then
        localized "$1" | place 644 /dev/stdin "$2"
    else
        place 644 "$1" "$2"
    fi
}

# FILE TO: one that an administrator may have adapted, and which then stays.
place_config() {
    local to=$DESTDIR$2
    if [ -e "$to" ] && ! localized "$1" | cmp -s - "$to"; then
        echo "$to stays as it is"
    else
        place_text "$1" "$2"
    fi
}

# FILE of MODS_AVAILABLE: when it is gone, the link that a2enmod has made stops httpd's next start.
warn_of_link() {
    local link=$DESTDIR${MODS_AVAILABLE/%available/enabled}/$1
    if [ "$action" = uninstall ] && [ -L "$link" ]; then
        echo "$link leads nowhere now: a2dismod ${1%.load}"
    fi
}

place 644 "$BUILD/mod_rpcproxy.so" "$LIBEXEC/mod_rpcproxy.so"
place 644 "$BUILD/mod_auth_ntlm.so" "$LIBEXEC/mod_auth_ntlm.so"
place 644 "$BUILD/mod_rpc_backend_auth.so" "$LIBEXEC/mod_rpc_backend_auth.so"
place 755 "$BUILD/rpcping" "$PREFIX/bin/rpcping"
place 644 tools/rpcping.bash "$PREFIX/share/bash-completion/completions/rpcping"
for page in rpcping.1 mod_rpcproxy.8 mod_auth_ntlm.8 mod_rpc_backend_auth.8; do
    place 644 "$BUILD/man/$page" "$PREFIX/share/man/man${page##*.}/$page"
done
for text in README CHANGES SECURITY.md LICENSE; do
    place 644 "$text" "$doc/$text"
done
for text in doc/*.md doc/*.png; do
    place 644 "$text" "$doc/manual/${text##*/}"
done
# The samples, in the folders that they have in conf/.
while read -r sample; do
    place_text "$sample" "$doc/examples/${sample#conf/}"
done < <(find conf -type f ! -path 'conf/mods-available/*' | sort)
# For a2enmod.
if [ -n "$MODS_AVAILABLE" ]; then
    for config in conf/mods-available/*; do
        place_config "$config" "$MODS_AVAILABLE/${config##*/}"
        [ "${config%.load}" = "$config" ] || warn_of_link "${config##*/}"
    done
fi

[ "$action" = install ] || [ ! -d "$DESTDIR$doc" ] || find "$DESTDIR$doc" -depth -type d -empty -delete
