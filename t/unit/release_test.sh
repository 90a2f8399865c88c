#!/bin/bash
# Does what is built agree with the sources: the version of rpcping, its options in its page and its completion, and
# the manual pages? (tools/check_release.pl has what is written of the version; t/52-install.t has the directives.)
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=${BUILD:-build}
rpcping=$build/rpcping
. t/unit/tap.sh

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
is 'rpcping --version' "$($rpcping --version)" "rpcping $version (mod_rpcproxy)"

options() { grep -oE -- '--[a-z-]+' | sort -u; }
help=$($rpcping --help | grep -E '^ +-' | options)
is 'rpcping(1) has each option' "$(grep '^- `-' doc/rpcping.md | sed 's/`: .*//' | options)" "$help"
is 'the completion has each long option' \
    "$(sed -n '/local options=/,/"$/p' tools/rpcping.bash | options)" "$help"
complete_with() {
    bash -c '. tools/rpcping.bash; COMP_WORDS=(rpcping "$@"); COMP_CWORD=$#; _rpcping; echo "${COMPREPLY[*]}"' - "$@"
}
is 'completion of an option' "$(complete_with --pas)" --password-file
is 'completion of a scheme' "$(complete_with -a n)" 'ntlm negotiate'

# The page is loaded by bash-completion when rpcping is completed for the first time.
loaded=/usr/share/bash-completion/bash_completion
[ ! -e $loaded ] || is 'bash-completion knows rpcping by the name of the file' "$(bash -c '
    . "$0"
    mkdir -p "$1/completions" && cp tools/rpcping.bash "$1/completions/rpcping"
    BASH_COMPLETION_USER_DIR=$1 _completion_loader rpcping
    complete -p rpcping' $loaded "$dir")" 'complete -F _rpcping rpcping'

# Of mandoc only what it warns of: links to pages that are not installed here, and long lines, are not faults.
for page in "$build"/man/*.[18]; do
    is "groff reads ${page##*/} without a complaint" \
        "$(LC_ALL=C groff -man -ww -z "$page" 2>&1 && echo clean)" clean
    ! command -v mandoc >/dev/null || is "and so does mandoc" "$(mandoc -Tlint -Wwarning "$page" 2>&1 && echo clean)" clean
    is 'it bears the version' "$(sed -n 's/^\.TH .*"mod_rpcproxy \(.*\)"$/\1/p' "$page")" "$version"
done
echo "1..$tests"
