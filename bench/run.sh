#!/bin/bash
# make bench: mod_rpcproxy beside HAProxy, in front of one server, in one run; then with a
# firewall beside without one.
# usage: [N=1000] [HOLD=2] [ROUNDS=7] [PINGS=5000] [MB=200] [BUILD=build] [EXTRA='directives'] bench/run.sh
# N: idle virtual connections (0: none), held for HOLD seconds; EXTRA: more lines for
# httpd.conf; KEEP=1: keeps the logs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
PATH=$PATH:/usr/sbin:/sbin

n=${N:-1000}
export BENCH_BUILD=${BUILD:-build} BENCH_MAX_MEM_FREE=${MAX_MEM_FREE:-64}
[[ $BENCH_BUILD = /* ]] || BENCH_BUILD=$PWD/$BENCH_BUILD
apxs=${APXS:-$(command -v apxs apxs2 | head -n 1)}
httpd=${HTTPD:-$("$apxs" -q SBINDIR)/$("$apxs" -q progname)}
BENCH_MODULES=$("$apxs" -q LIBEXECDIR)
BENCH_DIR=$(mktemp -d "${TMPDIR:-/tmp}/rpcproxy-bench.XXXXXX")
export BENCH_MODULES BENCH_DIR
chmod 755 "$BENCH_DIR"

pids=()
clean_up() {
    status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        echo "bench failed; the last lines of the logs:" >&2
        tail -n 20 "$BENCH_DIR"/*.log >&2 || true
    fi
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    if [ -n "${KEEP:-}" ]; then echo "logs in $BENCH_DIR"; else rm -rf "$BENCH_DIR"; fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

die() { echo "bench: $*" >&2; exit 1; }

# A port that is free now; both proxies want to be told theirs.
free_port() {
    perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# await port pid: until somebody listens there.
await() {
    for _ in $(seq 600); do
        kill -0 "$2" 2>/dev/null || return 1
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.05
    done
    return 1
}

# Each virtual connection needs four descriptors in a proxy.
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $((4 * n + 200)) ]; then
    die "$n virtual connections need $((4 * n + 200)) open files, the limit is $(ulimit -n)"
fi

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -keyout "$BENCH_DIR/key.pem" -out "$BENCH_DIR/cert.pem" 2>"$BENCH_DIR/openssl.log"
cat "$BENCH_DIR/cert.pem" "$BENCH_DIR/key.pem" >"$BENCH_DIR/server.pem"
# A hash that costs next to nothing: this is no benchmark of bcrypt.
printf 'bench:{SHA}%s\n' "$(printf bench | openssl dgst -sha1 -binary | openssl base64)" >"$BENCH_DIR/users"
printf '%s\n' "${EXTRA:-}" >"$BENCH_DIR/extra.conf"

"$BENCH_BUILD/rpcserver" >"$BENCH_DIR/server.port" 2>"$BENCH_DIR/server.log" &
server=$!
pids+=("$server")
until [ -s "$BENCH_DIR/server.port" ]; do
    kill -0 "$server" || die "the server does not start"
    sleep 0.02
done
BENCH_SERVER_PORT=$(cat "$BENCH_DIR/server.port")
BENCH_HTTPD_PORT=$(free_port)
BENCH_FIREWALL_PORT=$(free_port)
BENCH_HAPROXY_PORT=$(free_port)
# Suspended connections count against event's limit (see the README on MPM limits).
BENCH_ASYNC_FACTOR=$((4 * n / 25 + 40))
BENCH_MAXCONN=$((2 * n + 100))
BENCH_USER=www-data BENCH_GROUP=www-data
export BENCH_SERVER_PORT BENCH_HTTPD_PORT BENCH_FIREWALL_PORT BENCH_HAPROXY_PORT BENCH_ASYNC_FACTOR BENCH_MAXCONN
export BENCH_USER BENCH_GROUP

as_root=()
[ "$(id -u)" -ne 0 ] || as_root=(-D AsRoot)
"$httpd" -f "$here/httpd.conf" "${as_root[@]}" -D FOREGROUND >"$BENCH_DIR/httpd.log" 2>&1 &
parent=$!
pids+=("$parent")
haproxy -db -f "$here/haproxy.cfg" >"$BENCH_DIR/haproxy.log" 2>&1 &
haproxy=$!
pids+=("$haproxy")
await "$BENCH_HTTPD_PORT" "$parent" || die "httpd does not start"
await "$BENCH_HAPROXY_PORT" "$haproxy" || die "HAProxy does not start"
child() { cut -d ' ' -f 1 "/proc/$parent/task/$parent/children"; }
until [ -n "$(child)" ]; do
    kill -0 "$parent" 2>/dev/null || die "httpd does not start"
    sleep 0.05
done
before=$(child)

echo "$("$httpd" -v | sed -n 's/^Server version: //p'), event; $(haproxy -v | sed -n '1s/ *-.*//p'), 1 thread;" \
     "TLS, $(nproc) CPUs, MaxMemFree $BENCH_MAX_MEM_FREE"
load() {
    "$BENCH_BUILD/rpcload" -u "$(printf bench:bench | openssl base64)" -t "localhost:$BENCH_SERVER_PORT" \
        -s "${HOLD:-2}" -r "${ROUNDS:-7}" -p "${PINGS:-5000}" -m "${MB:-200}" "$@"
}
load -n "$n" "http:mod_rpcproxy:$BENCH_HTTPD_PORT:$before" "tcp:HAProxy:$BENCH_HAPROXY_PORT:$haproxy"
echo
echo "The same httpd with a firewall (RpcProfile, RpcAllowInterfaces) and without"
load -n 0 "http:firewall:$BENCH_FIREWALL_PORT:$before" "http:none:$BENCH_HTTPD_PORT:$before"
echo
"$BENCH_BUILD/firewall_cost"
[ "$(child)" = "$before" ] || die "httpd's child has been replaced"
if grep -qiE 'segmentation|assert|panic' "$BENCH_DIR/error.log"; then die "see error.log"; fi
