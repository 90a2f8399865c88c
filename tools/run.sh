#!/bin/bash
# A demonstration proxy, in the foreground: httpd with the module on https://localhost:8443,
# a throw-away certificate, the user demo (password demo), and an RPC server behind it that
# speaks ncacn_ip_tcp: rpcdemo, or a private Samba. Ctrl-C ends it all. What `make run` calls.
#
#   PORT=9443 tools/run.sh     another HTTPS port
#   SAMBA=1 tools/run.sh       Samba instead of rpcdemo; its endpoint mapper only for root
#   VERBOSE=1 tools/run.sh     httpd's log at debug level, rpcdemo's PDUs
#   BUILD=folder  APXS=path  HTTPD=path
#   MODULES=folder  RPCPING=path  what is installed, instead of what has been built
# shellcheck disable=SC2317   # end_all and what it calls are reached by a trap
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build}
[ "${build#/}" != "$build" ] || build=$top/$build
modules=${MODULES:-$build}
rpcping=${RPCPING:-$build/rpcping}
port=${PORT:-8443}
apxs=${APXS:-$(command -v apxs || command -v apxs2 || true)}
web_user=www-data   # when this is root
id "$web_user" > /dev/null 2>&1 || web_user=nobody
web_group=$(id -gn "$web_user")
home=               # the private folder
httpd_pid=
backend_pid=
valid_ports=
backends=

die() { echo "run: $*" >&2; exit 1; }
say() { echo "run: $*"; }

# Until the process (or, by a negative number, the group) is gone, at most $2 tenths of a second.
await_end() {
    local i
    for ((i = 0; i < $2; i++)); do
        kill -0 -- "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

# Ends a process, which ends its children; then what is left of its group.
end_group() {
    [ -n "$1" ] || return 0
    kill -TERM -- "$1" 2>/dev/null || true
    await_end "$1" 50 || true
    kill -TERM -- "-$1" 2>/dev/null || return 0
    await_end "-$1" 10 || kill -KILL -- "-$1" 2>/dev/null || true
}

end_all() {
    trap '' INT TERM HUP
    end_group "$httpd_pid"
    end_group "$backend_pid"
    case $home in
        "$build"/*|'') ;;
        *) rm -rf "$home" ;;
    esac
}

# Starts a command in a process group of its own, so that the terminal's Ctrl-C reaches only
# this script and end_group reaches all it starts. Leaves its pid in $started.
start_group() {
    set -m
    "$@" &
    started=$!
    set +m
}

# httpd's children run as another user when this is root, and must be able to look in; and a
# Unix socket's path is short. Otherwise the folder is moved out of the build folder.
readable_by_httpd() {
    [ "$(id -u)" -ne 0 ] \
        || setpriv --reuid "$web_user" --regid "$web_group" --clear-groups test -r "$1" -a -x "$1"
}

choose_home() {
    home=$build/run
    rm -rf "$home"
    mkdir -p "$home"
    if [ ${#home} -gt 70 ] || ! readable_by_httpd "$home"; then
        home=$(mktemp -d "${TMPDIR:-/tmp}/rpcproxy-run.XXXXXX")
        say "the files of this run are in $home"
    fi
    chmod 755 "$home"
    mkdir "$home/runtime" "$home/htdocs"
}

make_certificate() {
    cat > "$home/openssl.cnf" <<CNF
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
commonName = localhost
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
CNF
    (umask 077 && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -sha256 -config "$home/openssl.cnf" \
        -keyout "$home/key.pem" -out "$home/cert.pem" 2> "$home/openssl.log") \
        || { cat "$home/openssl.log" >&2; die "openssl made no certificate"; }
    chmod 644 "$home/cert.pem"
}

make_users() {
    echo "demo:$(openssl passwd -apr1 demo)" > "$home/users"
    chmod 644 "$home/users"
}

# Which loopback addresses there are.
listen_lines() {
    echo "Listen 127.0.0.1:$port https"
    if grep -qs '^0\{31\}1 ' /proc/net/if_inet6; then
        echo "Listen [::1]:$port https"
    fi
}

# Modules that this httpd has not compiled in.
load_lines() {
    local dir name
    dir=$("$apxs" -q LIBEXECDIR)
    for name in mpm_event unixd log_config authn_core authn_file authz_core authz_user auth_basic ssl; do
        echo "<IfModule !${name}_module>"
        echo "    LoadModule ${name}_module \"$dir/mod_$name.so\""
        echo "</IfModule>"
    done
    echo "LoadModule rpcproxy_module \"$modules/mod_rpcproxy.so\""
}

identity_lines() {
    if [ "$(id -u)" -eq 0 ]; then
        echo "User $web_user"
        echo "Group $web_group"
    fi
}

make_config() {
    local level=info
    [ -z "${VERBOSE:-}" ] || level=debug
    cat > "$home/httpd.conf" <<CONF
$(load_lines)
ServerRoot "$home"
ServerName localhost:$port
DefaultRuntimeDir "$home/runtime"
PidFile "$home/runtime/httpd.pid"
$(identity_lines)
$(listen_lines)
LogLevel warn rpcproxy:$level
ErrorLog "$home/error.log"
LogFormat "%t %h %u \"%r\" %>s %I %O %{RPC_TARGET}e %{RPC_REASON}e" rpc
CustomLog "$home/access.log" rpc

# One child holds all channels; see conf/rpcproxy.conf.
StartServers 1
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
MinSpareThreads 1
MaxSpareThreads 25
MaxConnectionsPerChild 0
RpcMaxChannels 1000

DocumentRoot "$home/htdocs"
SSLEngine On
SSLCertificateFile "$home/cert.pem"
SSLCertificateKeyFile "$home/key.pem"
SSLSessionCache none

<LocationMatch "(?i)^/rpc(withcert)?/rpcproxy\.dll$">
    SetHandler rpcproxy
    AuthType Basic
    AuthName "RPC over HTTP"
    AuthUserFile "$home/users"
    Require valid-user
    RpcValidPorts "$valid_ports"
    RpcTargetNetworks loopback
$backends
</LocationMatch>
CONF
}

# The embedded server, on port 6001 or, when that is taken, on one the system picks.
start_rpcdemo() {
    local options=() address
    [ -z "${VERBOSE:-}" ] || options=(-v)
    for address in 127.0.0.1:6001 127.0.0.1:0; do
        : > "$home/rpcdemo.out"
        start_group "$build/rpcdemo" "${options[@]}" "$address" > "$home/rpcdemo.out" 2> "$home/rpcdemo.log"
        backend_pid=$started
        if await "grep -qs '^listening' '$home/rpcdemo.out'" "$backend_pid"; then
            backend_port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$home/rpcdemo.out")
            break
        fi
        backend_pid=
    done
    [ -n "$backend_pid" ] || { cat "$home/rpcdemo.log" >&2; die "rpcdemo did not start"; }
    [ "$backend_port" = 6001 ] || say "port 6001 is taken; rpcdemo listens on port $backend_port"
    valid_ports="localhost:6001;127.0.0.1:6001"
    backends="    RpcBackend localhost:6001 ncacn_ip_tcp:127.0.0.1[$backend_port]
    RpcBackend 127.0.0.1:6001 ncacn_ip_tcp:127.0.0.1[$backend_port]"
}

# Until the condition $1 holds; not when the process $2 has ended, nor after ten seconds.
await() {
    local i
    for ((i = 0; i < 200; i++)); do
        if eval "$1"; then
            return 0
        fi
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

start_httpd() {
    local httpd=${HTTPD:-$("$apxs" -q SBINDIR)/$("$apxs" -q PROGNAME)}
    "$httpd" -t -f "$home/httpd.conf" > "$home/configtest.log" 2>&1 \
        || { cat "$home/configtest.log" >&2; die "httpd does not accept the configuration"; }
    start_group "$httpd" -DFOREGROUND -f "$home/httpd.conf"
    httpd_pid=$started
    await "[ -s '$home/runtime/httpd.pid' ]" "$httpd_pid" \
        || { cat "$home/error.log" >&2 || true; die "httpd did not start; is port $port taken? (PORT=...)"; }
}

print_examples() {
    local target=$1
    cat <<TEXT

The proxy is at https://localhost:$port/rpc/rpcproxy.dll - user demo, password demo.
Servers that may be asked for: $valid_ports
Logs and configuration: $home

Layer by layer:
    $rpcping -u demo:demo --cacert $home/cert.pem https://localhost:$port $target

An echo request; 20 bytes of an RPC PDU come back:
    curl -s -u demo:demo --cacert $home/cert.pem -X RPC_IN_DATA --data-binary 1234 \\
        'https://localhost:$port/rpc/rpcproxy.dll?$target' | od -An -tx1

With impacket (package python3-impacket):
    /usr/bin/python3 -c "
    from impacket.dcerpc.v5 import transport, mgmt
    t = transport.DCERPCTransportFactory('ncacn_http:${target%:*}[${target##*:}]')
    t.set_rpc_proxy_url('https://localhost:$port/rpc/rpcproxy.dll')
    t.set_credentials('demo', 'demo', ''); t.set_auth_type('Basic')
    d = t.get_dce_rpc(); d.connect(); d.bind(mgmt.MSRPC_UUID_MGMT)
    mgmt.hinq_if_ids(d).dump()"
TEXT
}

[ -n "$apxs" ] || die "apxs is missing (package apache2-dev)"
[ -e "$modules/mod_rpcproxy.so" ] || die "there is no $modules/mod_rpcproxy.so; run make first"
trap end_all EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM HUP

choose_home
make_certificate
make_users
if [ -n "${SAMBA:-}" ]; then
    # shellcheck source=tools/run_samba.sh
    . "$top/tools/run_samba.sh"
    start_samba
    target=$samba_target
else
    start_rpcdemo
    target=localhost:6001
fi
make_config
start_httpd
print_examples "$target"
[ -z "${SAMBA:-}" ] || print_samba_ports
echo
echo "Ctrl-C ends it all."

# Whichever ends first ends the other.
wait -n "$httpd_pid" "$backend_pid" || true
if kill -0 "$httpd_pid" 2>/dev/null; then
    die "the RPC server has ended; its log is in $home"
fi
tail -n 5 "$home/error.log" >&2
die "httpd has ended"
