#!/bin/bash
# Runs unit tests and suite with the module built for AddressSanitizer and UBSan inside the
# packaged httpd; any report fails. usage: sanitize.sh [t/FILE.t ...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Clang has one runtime for both sanitizers; of gcc's two, the second finds no way to its reports.
runtime=$(clang -print-file-name=libclang_rt.asan-x86_64.so)
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
chmod 1777 "$reports"

# APR's rings take their offsets from a null pointer, unless offsetof() is known before APR is.
# UBSan lets a program go on, and end well: only its reports tell.
export UBSAN_OPTIONS="print_stacktrace=1"
export ASAN_OPTIONS="log_path=$reports/report"
make -s CC=clang SAN=address,undefined BUILD=build/sanitize all load unit \
    CPPFLAGS="-include stddef.h" LDFLAGS="-shared-libasan -Wl,-rpath,$(dirname "$runtime")"

# httpd's own start-up memory is not ours to judge, so leaks are looked for in the unit tests.
export ASAN_OPTIONS="detect_leaks=0:$ASAN_OPTIONS"
# A second libc, which nss_wrapper would load for itself, has no sanitizer.
export NSS_WRAPPER_DISABLE_DEEPBIND=1
# All takes several times as long.
export RPCH_TIMEOUT="${RPCH_TIMEOUT:-60}" RPCH_ALARM="${RPCH_ALARM:-900}"
LD_PRELOAD="$runtime" RPCPROXY_SO=build/sanitize/mod_rpcproxy.so perl t/SUITE "${@:-${MPM:-event}}"

# A warning, that malloc() said no as it should, is no report.
if grep -qrE 'ERROR: |runtime error: ' "$reports"; then
    cat "$reports"/*
    exit 1
fi
echo "no report from AddressSanitizer or UBSan"
