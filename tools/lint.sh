#!/bin/bash
# usage: lint.sh. What `make lint` asks about the files that git knows: spelling (codespell), shell (shellcheck) and
# Perl (perlcritic at its mildest level, see .perlcriticrc). All are asked; any complaint fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=0

# CHECK COMMAND...: the files come at the end of the command, from the standard input. That is no pipe, behind which
# check() would set a variable of another shell.
check() {
    local name=$1
    shift
    if xargs -0 "$@" >&2; then
        echo "ok    $name"
    else
        echo "wrong $name"
        failed=1
    fi
}
# Files whose names match the one expression but not the other.
files() { git ls-files -z | grep -zE -- "$1" | grep -zvE -- "${2:-^$}"; }
scripts() { git grep -lzE -e '^#!/bin/(bash|sh)$'; }

# Words that are right: names of protocols (TE, lsat), of APR and of Perl, and the bullet of man(7).
check spelling codespell --ignore-words-list=te,lsat,bu,parms,upto,isnt,ordner,keep-alives \
    < <(files . '^fuzz/(corpus|regressions)/')
# apache2-maintscript-helper is only seen where apache2 is installed; and $ in single quotes is meant for others.
check shell shellcheck -x -e SC1091,SC2016 < <(scripts)
check perl perlcritic --quiet --gentle --profile .perlcriticrc < <(files '\.(pl|pm|t)$|^t/(TEST|SUITE)$')
exit "$failed"
