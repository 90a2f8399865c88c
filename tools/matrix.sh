#!/bin/bash
# usage: matrix.sh [STEP...]. What `make ci-matrix` runs, one step after the other, each with a log of its own in
# build/matrix; then a table. A step that fails keeps no other from running. FUZZ_TIME are the seconds for each
# fuzzer.
#
# Spelling, shell and Perl (codespell, shellcheck, perlcritic) are in lint, lintian is in deb, the links of the
# manual are in test (t/92-manual.t). The steps deb, bookworm and trixie make clean roots: as root, with the mirror
# that apt of this machine has (or MIRROR). Where that is not to be had, the table says "not run" and why, and the
# matrix fails, unless STEPS leave them out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
logs=build/matrix
fuzz_time=${FUZZ_TIME:-60}

# NAME COMMAND, in the order in which they tell most soonest.
steps() {
    cat <<STEPS
check          make -s check
lint           make -s lint
gcc            make -s BUILD=build/gcc CC=gcc all load unit
clang          make -s BUILD=build/clang CC=clang all load unit
oldest         tools/oldest.sh
test           make -s test
browser        make -s test-browser
guards         make -s test-guards
sanitize       make -s sanitize
tsan           make -s sanitize SANITIZER=thread FILES='t/02-connect.t t/07-lifecycle.t t/09-recycle.t t/82-relays.t t/90-farm.t'
memcheck       make -s sanitize SANITIZER=memcheck
fuzz           make -s fuzz FUZZ_TIME=$fuzz_time
deb            make -s deb-test
bookworm       tools/root_build.sh bookworm
trixie         tools/root_build.sh trixie
STEPS
}

# Why a step cannot be run here, or nothing.
hindrance() {
    case $1 in
    deb | bookworm | trixie)
        [ "$(id -u)" -eq 0 ] || { echo 'a clean root wants root'; return; }
        tools/deps.sh deb >"$logs/$1.log" 2>&1 || { echo 'packages are missing: tools/deps.sh deb'; return; }
        { tools/mirror.sh "${1#deb}" >>"$logs/$1.log"; } 2>&1 || true
        ;;
    esac
}

# NAME COMMAND: 1 if it fails. Its row goes into the table.
step() {
    local begin=$SECONDS said=ok why
    why=$(hindrance "$1")
    if [ -n "$why" ]; then
        said='not run'
    else
        sh -c "$2" >"$logs/$1.log" 2>&1 || said=FAILED
    fi
    printf '%-14s %-7s %5d s   %s\n' "$1" "$said" $((SECONDS - begin)) "${why:-$2}" | tee -a "$logs/table"
    [ "$said" = ok ]
}

mkdir -p "$logs"
: >"$logs/table"
failed=0
known=" $(steps | awk '{ printf "%s ", $1 }')"
for name; do
    [[ $known = *" $name "* ]] || { echo "matrix: there is no step $name; there are$known" >&2; exit 2; }
done
while read -r name command; do
    [ $# -eq 0 ] || [[ " $* " = *" $name "* ]] || continue
    step "$name" "$command" </dev/null || { failed=1; tail -n 20 "$logs/$name.log" >&2; }
done < <(steps)
echo
cat "$logs/table"
exit "$failed"
