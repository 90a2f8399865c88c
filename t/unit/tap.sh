# shellcheck shell=bash
# What the tests in shell of t/unit have in common; each reads it after it has changed to the project's folder. $dir
# is a folder for the test, in which its commands leave what they say as "said"; it goes with the test.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tests=0

# ok NAME COMMAND...: a test, which the command passes by succeeding.
ok() {
    local name=$1
    shift
    tests=$((tests + 1))
    if "$@"; then echo "ok $tests - $name"; return; fi
    echo "not ok $tests - $name"
    [ ! -e "$dir/said" ] || sed 's/^/# /' "$dir/said"
}
