# shellcheck shell=bash disable=SC2034,SC2154
# Part of run.sh: a private stand-alone Samba as the RPC server. Only samba-dcerpcd runs, the
# part that serves DCE/RPC; all its files lie in the private folder, its sockets on a
# loopback address of their own. Reads $home, $build, $port and sets what start_rpcdemo sets.

samba_dir=
samba_address=
samba_ports=()
samba_target=
samba_low=24600     # the range of ports that Samba may take
samba_high=24649

samba_listens() { (exec 3<> "/dev/tcp/$samba_address/$1") 2>/dev/null; }

# Port 135 must be free there, for the endpoint mapper.
choose_samba_address() {
    local i
    for ((i = 9; i < 255; i++)); do
        samba_address=127.0.$i.1
        samba_listens 135 || samba_listens "$samba_low" || return 0
    done
    die "no loopback address with a free port 135"
}

make_samba_config() {
    samba_dir=$home/samba
    mkdir -p "$samba_dir"/{cache,lock,log,ncalrpc,pid,state,winbindd}
    (umask 077 && mkdir "$samba_dir/private")
    cat > "$samba_dir/smb.conf" <<CONF
[global]
    netbios name = RPCDEMO
    workgroup = RPCDEMO
    server role = standalone server
    passdb backend = tdbsam
    interfaces = $samba_address/8
    bind interfaces only = yes
    disable netbios = yes
    rpc start on demand helpers = no
    rpc server dynamic port range = $samba_low-$samba_high
    allow dcerpc auth level connect = yes
    private dir = $samba_dir/private
    state directory = $samba_dir/state
    cache directory = $samba_dir/cache
    lock directory = $samba_dir/lock
    pid directory = $samba_dir/pid
    ncalrpc dir = $samba_dir/ncalrpc
    winbindd socket directory = $samba_dir/winbindd
    binddns dir = $samba_dir/state
    usershare path =
    log file = $samba_dir/log/%m.log
    max log size = 0
    load printers = no
    printing = bsd
    printcap name = /dev/null
    disable spoolss = yes
CONF
}

# A user for the RPC level; Samba wants it to be one of the machine too.
make_samba_user() {
    printf 'demo\ndemo\n' | pdbedit -s "$samba_dir/smb.conf" -l "$samba_dir/log" -a -t -u "$(id -un)" \
        > "$samba_dir/log/pdbedit.out" 2>&1 || say "no Samba user: see $samba_dir/log/pdbedit.out"
}

find_samba() {
    local dir
    for dir in /usr/libexec/samba /usr/lib/*/samba /usr/lib/samba; do
        if [ -x "$dir/samba-dcerpcd" ]; then
            echo "$dir/samba-dcerpcd"
            return
        fi
    done
    die "samba-dcerpcd is missing (package samba)"
}

# In its own folder; it writes a NUL to the pipe when it is ready.
run_samba() {
    cd "$samba_dir" || exit
    exec "$1" -F --no-process-group --libexec-rpcds --ready-signal-fd=3 -l "$samba_dir/log" \
        "--configfile=$samba_dir/smb.conf" 3> "$2" > "$samba_dir/log/stdout" 2>&1
}

# It listens, in order, on 135 where it may, and on the first ports of the range.
find_samba_ports() {
    local p
    samba_ports=()
    if samba_listens 135; then
        samba_ports=(135)
    else
        say "not root: without port 135, so without the endpoint mapper; ask for the ports below"
    fi
    for ((p = samba_low; p <= samba_high; p++)); do
        samba_listens "$p" || break
        samba_ports+=("$p")
    done
}

start_samba() {
    local program ready=$home/samba-ready p
    program=$(find_samba)
    choose_samba_address
    make_samba_config
    make_samba_user
    mkfifo "$ready"
    start_group run_samba "$program" "$ready"
    backend_pid=$started
    if ! read -r -d '' -t 20 < "$ready"; then
        cat "$samba_dir"/log/{stdout,log.samba-dcerpcd} >&2 || true
        die "Samba did not start"
    fi
    find_samba_ports
    [ ${#samba_ports[@]} -gt 0 ] || die "Samba does not listen; see $samba_dir/log"
    for p in "${samba_ports[@]}"; do
        valid_ports="${valid_ports:+$valid_ports;}localhost:$p"
    done
    backends="    RpcBackend localhost ncacn_ip_tcp:${samba_address}[]"
    samba_target=localhost:${samba_ports[-1]}
}

# Asked through the proxy, which is what this is about.
print_samba_ports() {
    local p names
    echo
    echo "Samba listens on $samba_address; through the proxy:"
    for p in "${samba_ports[@]}"; do
        names=$("$build/rpcping" -u demo:demo --cacert "$home/cert.pem" \
            "https://localhost:$port" "localhost:$p" | sed -n 's/^      [-0-9a-f]\{36\} [0-9.]* *//p' | tr '\n' ' ')
        echo "    localhost:$p  $names"
    done
    echo "For authentication at the RPC level: user $(id -un), password demo, domain RPCDEMO."
}
