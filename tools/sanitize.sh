#!/bin/bash
# Runs unit tests and suite with the module built for AddressSanitizer and UBSan inside the
# packaged httpd; any report fails. usage: sanitize.sh [t/FILE.t ...]
set -euo pipefail
cd "$(dirname "$0")/.."

make -s SAN=address,undefined BUILD=build/asan all load unit
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
chmod 1777 "$reports"

# httpd's own start-up memory is not ours to judge, so leaks are looked for in the unit tests.
export ASAN_OPTIONS="detect_leaks=0:log_path=$reports/asan"
export UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    RPCPROXY_SO=build/asan/mod_rpcproxy.so perl t/SUITE "${@:-${MPM:-event}}"

if [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    exit 1
fi
echo "no report from AddressSanitizer or UBSan"
