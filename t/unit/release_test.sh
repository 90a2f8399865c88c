#!/bin/bash
# Does what is shipped agree with the sources: the version wherever it is written, and the options of rpcping in its
# page and its completion? (t/52-install.t has the directives in the other pages.)
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
rpcping=${RPCPING:-build/rpcping}
tests=0

# is NAME IS SHOULD_BE
is() {
    tests=$((tests + 1))
    if [ -n "$2" ] && [ "$2" = "$3" ]; then
        echo "ok $tests - $1"
    else
        echo "not ok $tests - $1"
        diff <(echo "$3") <(echo "$2") | sed -n 's/^</# missing: /p; s/^>/# too much: /p'
    fi
}

version=$(sed -n 's/^#define RPCPROXY_VERSION "\(.*\)"$/\1/p' base/version.h)
is 'the version has three numbers' "$(echo "$version" | grep -xE '[0-9]+\.[0-9]+\.[0-9]+')" "$version"
is 'CHANGES begins with this version' \
    "$(sed -n 's/^Changes with mod_rpcproxy //p' CHANGES | head -n 1)" "$version"
is 'debian/changelog begins with this version' \
    "$(sed -n '1s/^mod-rpcproxy (\([^)]*\)) .*/\1/p' debian/changelog)" "$version"
is 'rpcping --version' "$($rpcping --version)" "rpcping $version (mod_rpcproxy)"

options() { grep -oE -- '--[a-z-]+' | sort -u; }
help=$($rpcping --help | grep -E '^ +-' | options)
is 'rpcping(1) has each option' "$(grep '^\.It Fl' doc/man/rpcping.1 | sed 's/Fl \\-/--/g' | options)" "$help"
is 'the completion has each long option' \
    "$(sed -n '/local options=/,/"$/p' tools/rpcping.bash | options)" "$help"
complete_with() {
    bash -c '. tools/rpcping.bash; COMP_WORDS=(rpcping "$@"); COMP_CWORD=$#; _rpcping; echo "${COMPREPLY[*]}"' - "$@"
}
is 'completion of an option' "$(complete_with --pas)" --password-file
is 'completion of a scheme' "$(complete_with -a n)" 'ntlm negotiate'

for page in doc/man/*; do
    is "groff reads ${page##*/} without a complaint" \
        "$(LC_ALL=C groff -mandoc -ww -z "$page" 2>&1 && echo clean)" clean
done
echo "1..$tests"
