#!/bin/bash
# Do `make lint` and `make ci-matrix` notice what they are for? One fault of each kind is planted in a small tree of
# its own.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
. t/unit/tap.sh
not() { ! "$@"; }
lint() { (cd "$dir/tree" && git add -A && tools/lint.sh > "$dir/said" 2>&1); }
# CHECK FILE: this check alone complains, and names the file.
complains() { ! lint && grep -qx "wrong $1" "$dir/said" && grep -qF "$2" "$dir/said" && [ "$(grep -c '^wrong' "$dir/said")" -eq 1 ]; }
# CHECK FILE TEXT
plant() {
    printf '%s\n' "$3" > "$dir/tree/$2"
    ok "$1: a fault in $2" complains "$1" "$2"
    rm "$dir/tree/$2"
}

mkdir -p "$dir/tree/tools"
git init -q "$dir/tree"
cp tools/lint.sh "$dir/tree/tools"
cp .perlcriticrc "$dir/tree"
printf 'package Sound;\nuse strict;\nuse warnings;\n1;\n' > "$dir/tree/Sound.pm"
ok 'nothing is wrong' lint
# The word is taken apart, so that it is none here.
plant spelling notes.txt "rec""ieve"
plant shell bad.sh $'#!/bin/bash\ncd $1'
plant perl bad.pl $'#!/usr/bin/perl\n$x = 1;'

# A step that fails is told, does not keep the next from running, and fails the whole.
matrix() { (cd "$dir/tree" && tools/matrix.sh "$@" > "$dir/said" 2>&1); }
row() { grep -qE "^$1 +$2 " "$dir/said"; }
cp tools/matrix.sh "$dir/tree/tools"
printf 'check: ; @echo a fault; false\nlint: ;\n' > "$dir/tree/Makefile"
ok 'a step of the matrix that passes' matrix lint
ok 'one that fails' not matrix check lint
ok 'is in the table' row check FAILED
ok 'with what it said' grep -qx 'a fault' "$dir/said"
ok 'the next one runs' row lint ok
ok 'a step that does not exist' not matrix cellar
# Nobody listens at port 9: there is no mirror, or else this is not root.
cp tools/mirror.sh "$dir/tree/tools"
printf '#!/bin/sh\n' > "$dir/tree/tools/deps.sh"
chmod 755 "$dir/tree/tools/deps.sh"
no_proxy=127.0.0.1 MIRROR=http://127.0.0.1:9/debian ok 'without a mirror of Debian a clean root' not matrix trixie lint
ok 'is not built, and the table says so' row trixie 'not run'
ok 'and why' grep -qE '127\.0\.0\.1:9/.* does not answer|wants root' "$dir/said"
ok 'other steps run' row lint ok
echo "1..$tests"
