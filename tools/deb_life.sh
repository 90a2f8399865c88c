#!/bin/bash
# The life of the packages, in the clean root that deb_test.sh has made: installed, upgraded while channels are
# open, removed, purged. TAP. usage: deb_life.sh VERSION-BEFORE VERSION ARCHITECTURE
# shellcheck disable=SC2317   # ok() calls what it is given
set -uo pipefail
before=$1 version=$2 architecture=$3
export DEBIAN_FRONTEND=noninteractive
cd /root || exit
tests=0 failed=0
modules=/usr/lib/apache2/modules
error_log=/var/log/apache2/error.log

# ok NAME COMMAND...
ok() {
    local name=$1
    shift
    tests=$((tests + 1))
    if "$@" >said 2>&1; then
        echo "ok $tests - $name"
    else
        echo "not ok $tests - $name"
        sed 's/^/# /' said
        failed=1
    fi
}
not() { ! "$@"; }
await() {
    local i
    for ((i = 0; i < 200; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    return 1
}
# apt_install VERSION. All that is to be fetched has been, for here is no network.
apt_install() {
    apt-get install -q -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold --allow-downgrades \
        "/root/libapache2-mod-rpcproxy_$1_$architecture.deb" "/root/rpcping_$1_$architecture.deb"
}
# What belongs to no package but may be left behind.
inventory() {
    find /etc /usr /var/lib/apache2 /run /var/log -xdev ! -type d \
        ! -path '/var/log/*' ! -path '/run/*.pid' ! -name '*.pyc' | sort
}
serves() { rpcping -u alice:secret --cacert cert.pem https://localhost:18444 localhost:6001 "$@"; }
server_version() { tac "$error_log" | grep -m 1 'resuming normal operations' | grep -F "$1/$2"; }
# The status of a page of the server at 18445, with Basic of alice and this password.
page_status() {
    local answer
    exec 3<>/dev/tcp/127.0.0.1/18445
    printf 'GET /behind/ HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' "$(printf 'alice:%s' "$1" | base64)" >&3
    read -r _ answer _ <&3
    exec 3>&-
    echo "$answer"
}
behind_serves() { [ "$(page_status secret)" = 200 ] && [ "$(page_status wrong)" = 401 ]; }

mkdir -p /run/apache2 /run/lock
service apache2 start >/dev/null 2>&1
ok 'httpd runs before' await pgrep -x apache2
inventory >before

# ---- installed ----
ok 'installed' apt_install "$before"
[ "$failed" -eq 0 ] || { echo 'Bail out!'; exit 1; }
ok 'it depends on the interface of httpd that it is built for' \
    sh -c "dpkg-query -W -f='\${Depends}' libapache2-mod-rpcproxy | grep -w apache2-api-20120211"
ok 'and dpkg does not take that interface away' \
    sh -c 'dpkg --simulate --remove apache2-bin 2>&1 | grep "libapache2-mod-rpcproxy depends on apache2-api"'
for module in rpcproxy auth_ntlm; do
    ok "$module is enabled" a2query -m "$module"
done
ok 'httpd has accepted it' apache2ctl configtest
ok 'and has it' await server_version mod_rpcproxy "$before"
ok 'the third module waits for a2enmod' not a2query -m rpc_backend_auth

# ---- a site ----
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout key.pem -out cert.pem 2>/dev/null
./rpcdemo 127.0.0.1:16001 >rpcdemo.log 2>&1 &
echo "alice:$(openssl passwd -apr1 secret)" >/etc/apache2/rpc.users
cp /usr/share/doc/libapache2-mod-rpcproxy/examples/rpcproxy.conf /etc/apache2/conf-available/
cat >/etc/apache2/sites-available/try.conf <<CONF
Listen 127.0.0.1:18444 https
<VirtualHost 127.0.0.1:18444>
    ServerName localhost
    SSLEngine On
    SSLCertificateFile    /root/cert.pem
    SSLCertificateKeyFile /root/key.pem
    <Location /rpc/rpcproxy.dll>
        RpcValidPorts      localhost:6001
        RpcBackend         localhost:6001 ncacn_ip_tcp:127.0.0.1[16001]
        RpcAllowInterfaces 6001 mgmt
    </Location>
</VirtualHost>

# A server behind mod_proxy, which asks for the password itself.
Listen 127.0.0.1:18445
Listen 127.0.0.1:18446
<VirtualHost 127.0.0.1:18445>
    <Location /behind>
        AuthType       Basic
        AuthName       front
        AuthUserFile   /etc/apache2/rpc.users
        Require        valid-user
        ProxyPass      http://127.0.0.1:18446
        RpcBackendAuth basic
    </Location>
</VirtualHost>
<VirtualHost 127.0.0.1:18446>
    DocumentRoot /var/www/html
    <Location />
        AuthType     Basic
        AuthName     behind
        AuthUserFile /etc/apache2/rpc.users
        Require      user alice
    </Location>
</VirtualHost>
CONF
(a2enmod -q ssl proxy_http rpc_backend_auth && a2enconf -q rpcproxy && a2ensite -q try && service apache2 restart) \
    >/dev/null 2>&1
ok 'the sample site serves' await serves
ok 'a2enmod has enabled the third module' server_version mod_rpc_backend_auth "$before"
ok 'which logs on to the server behind' await behind_serves

# ---- upgraded under load ----
# 20 virtual connections with 400 calls each, ten a second; and one new connection after the other.
graceful_restarts() { grep -c 'SIGUSR1 received' "$error_log"; }
parent=$(cat /run/apache2/apache2.pid)
restarts=$(graceful_restarts)
clients=()
for i in {1..20}; do
    serves -n 400 -i 0.1 >"held.$i" 2>&1 &
    clients+=($!)
done
all_open() { [ "$(grep -lE '^ *virtual connection +ok' held.* | wc -l)" -eq 20 ]; }
all_there() { local pid; for pid in "${clients[@]}"; do kill -0 "$pid" || return; done; }
all_served() { local pid; for pid in "${clients[@]}"; do wait "$pid" || { tail -n 3 held.*; return 1; }; done; }
ok '20 virtual connections are open' await all_open
touch going
(while [ -e going ]; do serves -q || touch missed; done) >new.log 2>&1 &
newcomers=$!
ok 'upgraded' apt_install "$version"
for module in rpcproxy auth_ntlm rpc_backend_auth; do
    ok "httpd runs the new version of $module" await server_version "mod_$module" "$version"
done
ok 'it has been restarted gracefully: the process is the same' test "$(cat /run/apache2/apache2.pid)" = "$parent"
ok 'once for all modules' test "$(graceful_restarts)" -eq $((restarts + 1))
ok 'the 20 clients are still there' all_there
sleep 1
rm going
wait "$newcomers"
ok 'those who connected meanwhile have been served' not test -e missed
ok "there were some: $(grep -c . new.log)" test -s new.log
ok 'all calls of the 20 have been answered' all_served

# ---- open files ----
# The drop-in of systemd, of which there is none here: apache2ctl gets the variable that it sets, with a smaller number
# where the one who runs this may not have so many.
drop_in=/usr/share/doc/libapache2-mod-rpcproxy/examples/systemd/apache2.service.d/rpcproxy.conf
variable=$(sed -n 's/^Environment="\(.*\)"$/\1/p' $drop_in)
wanted=${variable##* }
(ulimit -n "$wanted") 2>/dev/null || wanted=$(ulimit -Hn)
apache2ctl stop >/dev/null 2>&1 && await not pgrep -x apache2
env "${variable% *} $wanted" apache2ctl start >/dev/null 2>&1
open_files() { grep -E "^Max open files +$1 " "/proc/$(cat /run/apache2/apache2.pid)/limits"; }
ok "the drop-in sets the limit of open files: $variable" await open_files "$wanted"
ok 'with which the site serves' await serves

# ---- disabled by the administrator ----
a2dismod -q auth_ntlm >/dev/null
ok 'installed once more' apt_install "$before"
ok 'what the administrator has disabled stays so' not a2query -m auth_ntlm
ok 'what has been enabled, too' a2query -m rpc_backend_auth
ok 'and the other one serves' await serves
a2enmod -q auth_ntlm >/dev/null

# ---- removed, purged ----
(a2dissite -p -q try && a2disconf -p -q rpcproxy) >/dev/null
ok 'removed' apt-get remove -q -y libapache2-mod-rpcproxy rpcping
ok 'no module is left' not sh -c "ls $modules | grep -E 'rpc|ntlm'"
ok 'nothing loads them' not sh -c 'ls /etc/apache2/mods-enabled | grep -E "rpc|ntlm"'
ok 'httpd goes on' apache2ctl configtest
ok 'with its processes' await pgrep -x apache2
ok 'the configuration is still there' test -e /etc/apache2/mods-available/rpcproxy.conf
ok 'installed after that' apt_install "$version"
ok 'it is enabled again' a2query -m rpcproxy
ok 'purged' apt-get purge -q -y libapache2-mod-rpcproxy rpcping
rm -f /etc/apache2/{rpc.users,conf-available/rpcproxy.conf,sites-available/try.conf}
ok 'httpd runs after' pgrep -x apache2
inventory >after
ok 'nothing of it is left' sh -c 'diff before after | grep -iE "rpc|ntlm"; ! diff before after | grep -qiE "rpc|ntlm"'
service apache2 stop >/dev/null
echo "1..$tests"
exit "$failed"
