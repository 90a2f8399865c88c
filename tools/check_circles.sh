#!/bin/bash
# Do the objects named need each other in a circle? An object needs another whose symbol it uses;
# the record of a module (..._module) is what httpd's macros ask for and does not count.
# usage: check_circles.sh build/*/*.o
set -euo pipefail

needs() {
    nm -A -g "$@" | awk '
        { object = $1; sub(/:[^:]*$/, "", object); sub(/^build\/([^\/]*san\/|clang\/)?/, "", object); symbol = $NF }
        symbol ~ /_module$/ { next }
        $(NF - 1) == "U" { uses[object, symbol]; next }
        { home[symbol] = object }
        END {
            for (use in uses) {
                split(use, part, SUBSEP)
                if (part[2] in home && home[part[2]] != part[1])
                    print part[1], home[part[2]]
            }
        }' | sort -u
}

if ! circles=$(needs "$@" | tsort 2>&1 >/dev/null); then
    echo "these objects need each other in a circle:"
    sed -n 's/^tsort: \([^ ]*\.o\)$/    \1/p' <<< "$circles"
    exit 1
fi
