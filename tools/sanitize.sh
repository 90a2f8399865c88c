#!/bin/bash
# Runs unit tests and suite with the modules under a sanitizer, inside the packaged httpd. Any report
# fails, and so does any test. usage:
#
#   SANITIZER=address|thread|memcheck FILES="t/FILE.t ..." sanitize.sh [t/FILE.t ...]
#
# address     AddressSanitizer and UBSan, by clang; all tests, if no FILES are named
# thread      ThreadSanitizer, by gcc; all tests
# memcheck    valgrind; a test of each thing that a channel meets, since all would take hours
#
# The unit tests come first, unless FILES are named.
# All takes several times as long, so tests are more patient: RPCH_TIMEOUT, seconds for an event, and
# RPCH_ALARM, for a file. SHARDS test files run at a time. Reports are kept in build/sanitize-reports.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizer=${SANITIZER:-address}
build=build/sanitize-$sanitizer
kept=build/sanitize-reports
read -ra files <<<"${*:-${FILES:-}}"
unit=unit
[ ${#files[@]} = 0 ] || unit=
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
chmod 1777 "$reports"       # httpd's children are another user

export RPCH_SANITIZER=$sanitizer   # has allocations of its own, which no test can make fail
export RPCH_TIMEOUT="${RPCH_TIMEOUT:-90}" RPCH_ALARM="${RPCH_ALARM:-1800}" SHARDS="${SHARDS:-2}"
export APACHE_TEST_STARTUP_TIMEOUT="${APACHE_TEST_STARTUP_TIMEOUT:-300}"
# A second libc, which nss_wrapper would load for itself, has no sanitizer.
export NSS_WRAPPER_DISABLE_DEEPBIND=1

# suite COMMAND: httpd runs by this text of a shell, with the modules of $build.
suite() {
    local httpd=${HTTPD:-$(apxs -q SBINDIR)/$(apxs -q PROGNAME)}
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$1" "$httpd" >"$reports/httpd"
    chmod 755 "$reports/httpd"
    [ ${#files[@]} -gt 0 ] || files=("${MPM:-event}")
    HTTPD="$reports/httpd" RPCPROXY_SO="$PWD/$build/mod_rpcproxy.so" perl t/SUITE "${files[@]}"
}

# preload LIBRARY: a command that has it loaded first, before the libraries of tests.
preload() {
    echo "env LD_PRELOAD=$1\${LD_PRELOAD:+:\$LD_PRELOAD}"
}

# Clang has one runtime for both sanitizers; of gcc's two, the second finds no way to its reports.
# UBSan lets a program go on, and end well: only its reports tell.
address() {
    local runtime
    runtime=$(clang -print-file-name=libclang_rt.asan-x86_64.so)
    export UBSAN_OPTIONS="print_stacktrace=1" ASAN_OPTIONS="log_path=$reports/report"
    # APR's rings take their offsets from a null pointer, unless offsetof() is known before APR is.
    make -s CC=clang SAN=address,undefined BUILD="$build" all load $unit \
        CPPFLAGS="-include stddef.h" LDFLAGS="-shared-libasan -Wl,-rpath,$(dirname "$runtime")"
    # httpd's own start-up memory is not ours to judge, so leaks are looked for in the unit tests.
    ASAN_OPTIONS="detect_leaks=0:$ASAN_OPTIONS" suite "$(preload "$runtime")"
}

# Its memory needs addresses that are not chosen at random (setarch). Handlers of signals in httpd
# allocate memory; and its runtime does not know pthread_clockjoin_np(), which joins a thread.
thread() {
    local runtime
    runtime=$(gcc -print-file-name=libtsan.so.2)
    export TSAN_OPTIONS="log_path=$reports/report report_signal_unsafe=0 report_thread_leaks=0 \
suppressions=$PWD/tools/sanitize.tsan"
    setarch -R make -s CC=gcc SAN=thread BUILD="$build" all load $unit
    gcc -shared -fPIC -o "$reports/pools.so" tools/sanitize_pools.c -ldl
    suite "setarch -R $(preload "$runtime:$reports/pools.so")"
}

# The usual build. Leaks are looked for in the unit tests: a child of httpd would take seconds to look
# through its shared memory when it ends, and be killed meanwhile.
memcheck() {
    local build=build program valgrind="valgrind -q --leak-check=no --num-callers=30 --fair-sched=yes \
--suppressions=$PWD/tools/sanitize.memcheck --log-file=$reports/report.%p"
    [ ${#files[@]} -gt 0 ] || files=(t/02-connect.t t/05-ends.t t/06-endpoint.t t/09-recycle.t
        t/30-ntlm.t t/35-kerberos.t t/82-relays.t t/83-status.t t/90-farm.t)
    make -s BUILD="$build" all load $unit
    for program in ${unit:+"$build"/unit/*_test}; do
        $valgrind --leak-check=full --show-leak-kinds=definite "$program" >/dev/null
    done
    cc -shared -fPIC -o "$reports/valgrind.so" tools/sanitize_valgrind.c
    suite "$(preload "$reports/valgrind.so") $valgrind"
}

case $sanitizer in
address | thread | memcheck) ;;
*) echo "sanitize: SANITIZER is address, thread or memcheck, not $sanitizer" >&2; exit 2 ;;
esac
make -s all load            # tests run programs of the usual build
set +e
(set -e; "$sanitizer")
passed=$?
set -e

rm -rf $kept
mkdir -p $kept
find "$reports" -name 'report*' -size +0 -exec cp {} $kept \;
# A warning, that malloc() said no as it should, is no report.
if grep -rqE 'ERROR: |runtime error: |WARNING: ThreadSanitizer|^==[0-9]+== [A-Z]' $kept; then
    cat $kept/*
    echo "$sanitizer: there are reports, see $kept" >&2
    exit 1
fi
[ $passed = 0 ] || { echo "$sanitizer: no report, but not all tests have passed" >&2; exit 1; }
echo "$sanitizer: all tests have passed, and there is no report"
