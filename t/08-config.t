# What configtest says about a faulty directive, how settings are merged, and which warnings httpd
# logs when it starts.

use strict;
use warnings;
use Test::More;
use RPCH::Compile qw(preload);
use RPCH::Httpd;
use RPCH::Status;
use RPCH::Test;

my $httpd = RPCH::Httpd->new;

# Names are looked up in a hosts file of this test.
my $hosts = vars('serverroot') . '/config-hosts';
open my $names, '>', $hosts or die "$hosts: $!\n";
print $names "192.0.2.1 known.contoso.test\n2001:db8::1 known6.contoso.test\n";
close $names or die "$hosts: $!\n";
END { unlink $hosts if defined $hosts }
$ENV{LD_PRELOAD} = preload('libnss_wrapper.so');
$ENV{NSS_WRAPPER_HOSTS} = $hosts;

sub configtest {
    my ($conf) = @_;
    my ($status, $out) = $httpd->configure($conf)->configtest;
    return ($status, $out);
}

# ---- accepted ----
my @good = (
    'RpcValidPorts "server:6001-6002;server.domain:6001-6002;server:6004"',
    'RpcValidPorts " a:1 ; b:2-3 ; "', 'RpcValidPorts "[2001:db8::1]:6001;::1:593;*@contoso.com:6001;data*:4000-8000;*:443"',
    'RpcValidPorts "guid-1234@contoso.com:6001"', 'RpcValidPorts none',
    'RpcBackend dc1:135 ncacn_ip_tcp:dc1.samdom.example.com[135]', 'RpcBackend *@contoso.com:6001 ncacn_http:mbx1.contoso.com[6001]',
    'RpcBackend localhost:3388 ncacn_http:[2001:db8::5][3388]', 'RpcBackend files:1024-65535 ncacn_ip_tcp:10.0.0.1', 'RpcBackend files ncacn_ip_tcp:10.0.0.1[]',
    'RpcBackend exch1 ncacn_http:mbx1 ncacn_http:mbx2[6001]', 'RpcBackend exch1 ncacn_http:mbx1 weight=3 ncacn_http:mbx2', 'RpcBackend x env=WHERE',
    'RpcBackend *.contoso.com ncacn_http:*.inner.contoso.com', 'RpcNspiProtocolSequences ncacn_http:6004', 'RpcNspiProtocolSequences ncacn_http:6004 ncacn_http:6002',
    'RpcNspiServers gc1 gc2', 'RpcNspiServers gc1.contoso.com 10.0.0.4 2001:db8::4 6004',
    'RpcAllowAnonymous on', 'RpcRequireTLS off', 'RpcRequireTLS on', 'RpcRequireTLS 256', 'RpcReceiveWindow 8192', 'RpcReceiveWindow 262144',
    'RpcConnectionTimeout 120', 'RpcConnectionTimeout 14400', 'RpcChannelLifetime 131072', 'RpcChannelLifetime 2147483648',
    'RpcConnectTimeout 5', 'RpcFirstPduTimeout 10', 'RpcSetupTimeout 60', 'RpcIdleTimeout 0', 'RpcIdleTimeout 240', 'RpcIdleTimeout 24h', 'RpcMaxSessionTime 12h', 'RpcMaxSessionTime 0', 'RpcMaxChannels 10000', 'RpcIOThreads 4',
    (map { ("$_ 0", "$_ 2", "$_ 1000000") } qw(RpcMaxUnpairedChannels RpcMaxUnpairedPerUser RpcMaxChannelsPerUser RpcMaxChannelsPerAddress)),
    'RpcGracefulTimeout 0', 'RpcGracefulTimeout 3600',
    'RpcProfile exchange samba', 'RpcEndpointSocket endpoint.sock', 'RpcProtocolVersions v1 v2', 'RpcProtocolVersions V2', 'RpcProtocolVersions v1',
    'RpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:dc1.contoso.test[135]', 'RpcEndpointListen [::1]:6001 ncacn_ip_tcp:[::1][135]',
    'RpcEndpointListen *:6001 ncacn_ip_tcp:10.0.0.1[1024]',
    'RpcTargetNetworks 10.0.0.0/8 !10.1.9.0/24 2001:db8::/32 private loopback', 'RpcTargetNetworks any !link-local', 'RpcTargetNetworks 192.0.2.1 ::1',
    'RpcHealthCheck off', 'RpcHealthCheck connect', 'RpcHealthCheck Handshake interval=5 timeout=1min',
    'RpcMaxFailedTargets 0', 'RpcMaxFailedTargets 512 1h', 'RpcMaxFailedTargets 20 30',
    'RpcSourceAddress 10.0.0.4 10.0.0.5 2001:db8::5',
);
for my $line (@good) {
    my ($status, $out) = configtest($line);
    is($status, 0, $line) or diag $out;
}

# ---- refused: [line, what the message must say] ----
my @bad = (
    # the message names the element, its column, and what was expected
    ['RpcValidPorts "exch1:6001;exch2:none"', qr/"none".* column 18 .*port/],
    ['RpcValidPorts "exch1"', qr/"exch1".* column 1: expected a port after the server/],
    ['RpcValidPorts "exch1:"', qr/expected a port/],
    ['RpcValidPorts "exch1:0"', qr/"0".* column 7 .*port from 1 to 65535/],
    ['RpcValidPorts "exch1:65536"', qr/"65536".* column 7 .*port from 1 to 65535/],
    ['RpcValidPorts "exch1:6002-6001"', qr/column 7 .*lower port first/],
    ['RpcValidPorts "exch1:6001-"', qr/port on both sides/],
    ['RpcValidPorts "a:1,b:1"', qr/"," at column 4 .*expected ';' between two entries, as in a:6001;b:6001/],
    ['RpcValidPorts "exch1:6001,6002"', qr/column 7 .*one port or one range/],
    ['RpcValidPorts ":6001"', qr/expected a server/],
    ['RpcValidPorts "[::1:6001"', qr/closing '\]'/],
    ['RpcValidPorts "ex*ch:6001"', qr/"\*".* column 3 .*once, at the beginning or the end/],
    ['RpcValidPorts "a b:6001"', qr/"b:6001" at column 3 .*no blank within one/],
    ['RpcValidPorts', qr/RpcValidPorts/],
    ['RpcTargetNetworks', qr/expected a network such as 10\.1\.0\.0\/16/],
    ['RpcTargetNetworks 10.0.0.1/8', qr/"10\.0\.0\.1\/8" at column 1.*expected 10\.0\.0\.0\/8, or the single address without '\/'/],
    ['RpcTargetNetworks 10.0.0.0/33', qr/"33" at column 10.*a prefix length up to 32/],
    ['RpcTargetNetworks 10.0.0.0/8,10.1.0.0/16', qr/expected a blank between two networks/],
    ['RpcTargetNetworks lan', qr/"lan" at column 1.*or any, private, loopback/],
    ['RpcTargetNetworks fe80::1%eth0', qr/expected an address without zone/],
    ['RpcTargetNetworks ' . join(' ', map { "10.1.$_.0/24" } 0 .. 200), qr/RpcTargetNetworks: at most 2048 characters in one section/],
    ['RpcSourceAddress 10.0.0.0/8', qr/expected a single address without '\/'/],
    ['RpcSourceAddress 224.0.0.1', qr/expected an address of this machine, no multicast address/],
    ['RpcHealthCheck', qr/expected off, connect, handshake or echo/],
    ['RpcHealthCheck on', qr/"on".*expected off, connect, handshake or echo/],
    ['RpcHealthCheck connect often', qr/"often".*expected interval=time or timeout=time/],
    ['RpcHealthCheck connect interval=0', qr/expected a time from 1 to 3600 seconds/],
    ['RpcHealthCheck connect timeout=61', qr/expected a time from 1 to 60 seconds/],
    ["<Location /x>\nRpcHealthCheck connect\n</Location>", qr/RpcHealthCheck not allowed in <Location> context|RpcHealthCheck cannot occur/],
    ['RpcMaxFailedTargets 513', qr/expected a number from 1 to 512, or 0 for no limit/],
    ['RpcMaxFailedTargets 5 0', qr/expected a time from 1 to 3600 seconds/],
    ['RpcSourceAddress', qr/expected an address of this machine/],
    ['RpcBackend x env=', qr/"env=" at column 1: expected the name of a variable after env=/], ['RpcBackend x env=A ncacn_http:b', qr/"ncacn_http:b" at column 1: expected nothing after env=NAME/],
    ['RpcBackend dc1:135', qr/RpcBackend: expected server:ports as clients name it, then its bindings/],
    ['RpcBackend a ncacn_http:x ncacn_ip_tcp:y', qr/"ncacn_ip_tcp:y" at column 1: expected the same protocol sequence as in the bindings before it/],
    ['RpcBackend a ncacn_http:x weight=0', qr/"weight=0" at column 1: expected a weight from 1 to 9999/],
    ['RpcBackend a weight=2 ncacn_http:x', qr/expected a binding before the weight/],
    ['RpcBackend a ncacn_http:*.x', qr/expected a '\*' in the first argument, whose text this one repeats/],
    ['RpcBackend *a ncacn_http:*.*', qr/expected one '\*' at most/],
    ['RpcBackend a ' . join(' ', map { "ncacn_http:x$_" } 1 .. 17), qr/expected at most 16 servers/],
    ['RpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:*[135]', qr/expected the server that is reached there/],
    ['RpcNspiProtocolSequences ncacn_ip_tcp:6004', qr/expected ncacn_http:port, such as ncacn_http:6004/],
    ['RpcNspiProtocolSequences ncacn_http:0', qr/"0" at column 12 .*a port from 1 to 65535/],
    ['RpcNspiServers', qr/RpcNspiServers: expected global catalog servers/],
    ['RpcNspiServers 6004', qr/RpcNspiServers: "6004" at column 1: expected the global catalog servers before their port, as in gc1 gc2 6004; RpcNspiProtocolSequences names the port/],
    ['RpcNspiServers gc1 70000', qr/"70000".*expected a port/],
    ['RpcNspiServers gc/1', qr/letters, digits/],
    ['RpcNspiServers ' . join(' ', map { "gc$_" } 1 .. 17), qr/expected at most 16 servers/],
    ['RpcBackend dc1:135 ncacn_np:dc1', qr/column 1 .*ncacn_http or ncacn_ip_tcp/],
    ['RpcBackend dc1:135 dc1[135]', qr/expected a string binding/],
    ['RpcBackend dc1:135 ncacn_ip_tcp:dc1[epmapper]', qr/"epmapper".*column 18 .*port/],
    ['RpcBackend dc1:135 ncacn_ip_tcp:dc1[135', qr/closing '\]'/],
    ['RpcBackend dc1:135 ncacn_ip_tcp:', qr/a host after the ':'/],
    ['RpcBackend dc1:135-134 ncacn_ip_tcp:dc1', qr/lower port first/],
    ['RpcProtocolVersions v3', qr/"v3".*expected v1, v2 or both/], ['RpcProtocolVersions', qr/RpcProtocolVersions requires at least one argument/],
    ['RpcEndpointListen 6001 ncacn_ip_tcp:dc1[135]', qr/"6001".*expected address:port, or \*:port/],
    ['RpcEndpointListen 127.0.0.1:99999 ncacn_ip_tcp:dc1[135]', qr/expected address:port/],
    ['RpcEndpointListen 127.0.0.1:6001', qr/RpcEndpointListen takes two arguments/],
    ['RpcEndpointListen 127.0.0.1:6001 ncacn_http:dc1[135]', qr/expected the server that is reached there, as ncacn_ip_tcp:host\[port\]/],
    ['RpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:dc1', qr/expected the server that is reached there/],
    ['RpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:dc1[epmapper]', qr/"epmapper".*port/],
    ["RpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:a[1]\nRpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:b[2]", qr/no other RpcEndpointListen names/],
    [join("\n", map { "RpcEndpointListen 127.0.0.1:$_ ncacn_ip_tcp:a[1]" } 6001 .. 6017), qr/at most 16/],
    ["<VirtualHost *>\nRpcEndpointListen 127.0.0.1:6001 ncacn_ip_tcp:dc1[135]\n</VirtualHost>", qr/VirtualHost/],
    ['RpcAllowAnonymous perhaps', qr/"perhaps".*On or Off/],
    ['RpcRequireTLS strong', qr/"strong".*On, Off or a number of bits/],
    ['RpcReceiveWindow 8191', qr/"8191".*8192 to 262144/], ['RpcReceiveWindow 262145', qr/8192 to 262144/],
    ['RpcConnectionTimeout 119', qr/120 to 14400/], ['RpcConnectionTimeout 14401', qr/120 to 14400/],
    ['RpcChannelLifetime 131071', qr/131072 to 2147483648/], ['RpcChannelLifetime 2147483649', qr/131072 to 2147483648/],
    ['RpcConnectTimeout 0', qr/from 1 /], ['RpcIdleTimeout 239', qr/240 to 86400/], ['RpcMaxSessionTime 31d', qr/RpcMaxSessionTime/], ['RpcMaxSessionTime 721h', qr/1 to 2592000.*or 0/], ['RpcIdleTimeout 25h', qr/240 to 86400.*or 0/], ['RpcFirstPduTimeout 0', qr/from 1 /], ['RpcSetupTimeout -1', qr/from 1 /], ['RpcMaxChannels many', qr/"many".*number/],
    ['RpcMaxChannels 0', qr/from 1 /], ['RpcIOThreads 0', qr/from 1 /], ['RpcGracefulTimeout soon', qr/"soon"/],
    ['RpcReceiveWindow 1', qr/expected a size from 8192 to 262144 bytes \(8K to 256K\)/], ['RpcConnectionTimeout 1ms', qr/expected a time from 120 to 14400 seconds \(2min to 4h\)/],
    ['RpcGracefulTimeout 500ms', qr/expected a time from 1 to 604800 seconds \(1s to 168h\), or 0 for no limit/],
    (map { (["$_ -1", qr/"-1".*expected a number from 2 to 1000000, or 0 for no limit/], ["$_ 1", qr/"1" .*from 2 to/], ["$_ 1000001", qr/"1000001".*from 2 to 1000000/],
            ["$_ some", qr/"some".*number/], ["$_ 1 2", qr/takes one argument/]) }
     qw(RpcMaxUnpairedChannels RpcMaxUnpairedPerUser RpcMaxChannelsPerUser RpcMaxChannelsPerAddress)),
    ['RpcEndpointSocket ' . 'x' x 200, qr/path of up to \d+ characters/],
    # directives of the main server are refused in virtual hosts
    (map { ["<VirtualHost *:1>\n$_\n</VirtualHost>", qr/cannot occur within <VirtualHost> section/] }
     'RpcMaxChannels 5', 'RpcMaxUnpairedChannels 5', 'RpcMaxUnpairedPerUser 5', 'RpcIOThreads 2', 'RpcGracefulTimeout 5', 'RpcEndpointSocket s'),
);
for (@bad) {
    my ($line, $says) = @$_;
    my ($status, $out) = configtest($line);
    my $name = substr $line =~ s/\n.*//sr . ($line =~ /\n(.*)\n/ ? " $1" : ''), 0, 60;
    isnt($status, 0, "refused: $name");
    like($out, $says, 'and says why');
    like($out, qr/line \d+ of|Syntax error on line/, 'and where');
}

# ---- merging: virtual host over server, location over virtual host ----
{
    my $users = vars('serverroot') . '/conf/users';
    my $port = RPCH::Root::free_ports(1);
    my $handler = "SetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\n";
    $httpd->configure(<<"CONF")->start;
RpcRequireTLS off
RpcValidPorts "main:6001"
<Location /rpc/>
$handler
</Location>
<Location /inner/>
$handler
RpcValidPorts "inner:6001"
</Location>
<Location /adding/>
$handler
RpcValidPorts + "added:6001"
</Location>
<Location /closed/>
$handler
RpcValidPorts none
</Location>
Listen 127.0.0.1:$port
<VirtualHost 127.0.0.1:$port>
RpcValidPorts "host:6001"
</VirtualHost>
CONF
    # one line (RPC0001 or RPC0002) tells a refused target from one that was allowed but has no address
    my $ask = sub {
        my ($at, $path, $server) = @_;
        my $c = plain(port => $at, path => "/$path/rpcproxy.dll", target => "$server:6001");
        my $verdicts = sub { return $httpd->log =~ /(?:refused|ended): (target-refused|resolve-failed)/g };
        my $seen = () = $verdicts->();
        $c->open_out;
        $c->send_a1;
        $c->out->head;
        $c->close;
        my @now;
        RPCH::Poll::wait_for('its log line', sub { RPCH::Poll::turn(0.01); (@now = $verdicts->()) > $seen });
        return $now[-1] eq 'resolve-failed';
    };
    ok($ask->($httpd->{port}, 'rpc', 'main'), 'a location has what the server has');
    ok(!$ask->($httpd->{port}, 'rpc', 'inner'), 'and nothing else');
    ok($ask->($httpd->{port}, 'inner', 'inner'), 'its own list');
    ok(!$ask->($httpd->{port}, 'inner', 'main'), 'replaces the outer one');
    ok($ask->($httpd->{port}, 'adding', $_), "a list with + adds to it: $_") for qw(main added);
    ok(!$ask->($httpd->{port}, 'closed', 'main'), 'none is nothing');
    ok($ask->($port, 'rpc', 'host'), 'a virtual host has its own');
    ok(!$ask->($port, 'rpc', 'main'), 'instead of the server');
    ok($ask->($port, 'inner', 'inner'), 'a location over it');
    $httpd->stop;
}

# ---- nothing is reachable by default ----
{
    my $users = vars('serverroot') . '/conf/users';
    $httpd = RPCH::Httpd->new(conf => "<Location /rpc/>\nSetHandler rpcproxy\nRpcRequireTLS off\nRpcAllowAnonymous on\nRequire all granted\n</Location>")->start;
    my $c = plain(port => $httpd->{port}, user => undef, target => '127.0.0.1:593');
    $c->open_out;
    is_rpc_error($c->out, '6ba', 'without RpcValidPorts nothing is allowed');
    ok($httpd->logs(qr/127\.0\.0\.1:593 is not in RpcValidPorts, nearest is none/), 'and logged');
    $c->close;
    is(RPCH::Status->new(port => $httpd->{port})->get->{status}, 404, 'nor is there a status page');
    $httpd->stop;
}

# ---- names that do not resolve ----
{
    my ($status, $out) = configtest("RpcBackend a ncacn_http:known.contoso.test ncacn_http:lost1.contoso.test[6001]\n"
        . "RpcBackend *.b ncacn_http:*.lost.contoso.test\nRpcBackend c env=LOST\nRpcBackend d ncacn_http:192.0.2.9 ncacn_http:[2001:db8::9]\n"
        . "RpcNspiServers known6.contoso.test lost2.contoso.test 6004\n"
        . "RpcEndpointListen 127.0.0.1:1 ncacn_ip_tcp:lost3.contoso.test[135]\nRpcBackend e ncacn_http:LOST1.contoso.test\n");
    is($status, 0, 'names that do not resolve are no fault');
    for ([RpcBackend => 'lost1'], [RpcNspiServers => 'lost2'], [RpcEndpointListen => 'lost3']) {
        my ($directive, $name) = @$_;
        like($out, qr/\[rpcproxy:warn\].* $directive in line \d+ of \S+httpd\.conf: "$name\.contoso\.test" does not resolve \(.*\).*: correct the name, or add it to the DNS/,
             "but there is a warning: $name");
    }
    is(scalar(() = $out =~ /does not resolve/g), 3, 'of these, once each');
}

# ---- settings that do not fit together: [what stands in a section or outside, warnings] ----
sub section { my ($lines, $path) = @_; return '<Location ' . ($path // '/rpc/') . ">\nSetHandler rpcproxy\n$lines\n</Location>\n" }
sub warnings { my ($out) = @_; return $out =~ /^.*rpcproxy:warn\] (?:\[pid [^\]]*\] )?(.*)$/mg }
my $ports = 'RpcValidPorts "exch1:6001-6002;exch1:6004"';
for (
    [section(''), 'section /rpc/: SetHandler rpcproxy without RpcValidPorts answers every channel with 503: name the servers'],
    [section($ports)], ["$ports\n" . section('')], [section('RpcValidPorts none')],
    [section($ports) . "<Location /static/>\nOptions None\n</Location>\n<Directory /nowhere>\nOptions None\n</Directory>\n"],
    ["<Directory />\n$ports\n</Directory>\n" . section('')],
    [section("$ports\nRpcBackend exch2 ncacn_http:10.0.0.1"), 'section /rpc/: RpcBackend exch2 ncacn_http:10.0.0.1 has no effect: no entry of RpcValidPorts'],
    [section("$ports\nRpcBackend exch1:6003 ncacn_http:10.0.0.1"), 'section /rpc/: RpcBackend exch1:6003 ncacn_http:10.0.0.1 has no effect'],
    [section("$ports\nRpcBackend exch* ncacn_http:10.0.0.1\nRpcBackend EXCH1:6002-7000 ncacn_http:10.0.0.2")],
    ["RpcBackend exch2 ncacn_http:10.0.0.1\n" . section($ports), 'server localhost: RpcBackend exch2 ncacn_http:10.0.0.1 has no effect'],
    ["RpcBackend exch2 ncacn_http:10.0.0.1\n" . section($ports) . section('RpcValidPorts "*2:1-65535"', '/other/') =~ s/\*2/exch*/r],
    [section("$ports\nRpcNspiProtocolSequences ncacn_http:6005\nRpcNspiServers 10.0.0.1"), 'RpcNspiProtocolSequences ncacn_http:6005 has no effect: no entry of RpcValidPorts has the port 6005; add server:6005'],
    [section("$ports\nRpcNspiServers 10.0.0.1"), 'section /rpc/: RpcNspiServers has no effect without RpcNspiProtocolSequences: name the ports'],
    [section("$ports\nRpcNspiProtocolSequences ncacn_http:6004\nRpcNspiServers 10.0.0.1")],
    [section("$ports\nRpcProfile exchange\nRpcAllowInterfaces 7000 samr"), 'section /rpc/: RpcAllowInterfaces 7000 samr has no effect: no entry'],
    [section("$ports\nRpcAllowInterfaces 6001 emsmdb"), 'section /rpc/: exch1:6001-6002 of RpcValidPorts allows every interface at port 6002: no RpcAllowInterfaces or RpcProfile names this port'],
    [section("$ports\nRpcProfile exchange rdgateway")],
    [section("RpcValidPorts \"exch1:6001;exch1:6004\"\nRpcAllowInterfaces 6001 emsmdb\nRpcNspiProtocolSequences ncacn_http:6004")],
    ['RpcBackend a ncacn_http:10.0.0.1 weight=2 ncacn_http:10.0.0.2' . "\n" . section('RpcValidPorts "a:1"'),
     'RpcBackend in line \\d+ of .*: a ncacn_http:10.0.0.1 weight=2 ncacn_http:10.0.0.2: a server without weight=N counts as weight=1'],
    ["RpcBackend lo ncacn_http:127.0.0.1\nRpcTargetNetworks any !127.0.0.0/8\n" . section('RpcValidPorts "lo:1"') , '127\.0\.0\.1 is denied by RpcTargetNetworks'],
) {
    my ($conf, @wanted) = @$_;
    my ($status, $out) = configtest($conf);
    my @said = warnings($out);
    is($status, 0, 'no fault: ' . $conf =~ tr/\n/,/r) or diag $out;
    is(scalar @said, scalar @wanted, 'warnings') or diag $out;
    like($said[$_] // '', qr/$wanted[$_]/, $wanted[$_]) for 0 .. $#wanted;
}

# ---- the names that <IfModule> and mod_info know ----
for ('mod_rpcproxy.c', 'mod_auth_ntlm.c') {
    my ($status, $out) = configtest("<IfModule $_>\nNoSuchDirective\n</IfModule>\n");
    like($out, qr/NoSuchDirective/, "<IfModule $_>");
}

# ---- BufferedLogs: httpd has no lock for the buffers where a child has one thread ----
for (['prefork', 'BufferedLogs On', 1], ['prefork', "BufferedLogs On\nBufferedLogs Off", 0], ['event', 'BufferedLogs On', 0]) {
    my ($mpm, $conf, $want) = @$_;
    my ($status, $out) = RPCH::Httpd->new(mpm => $mpm, limits => '', conf => $conf)->configtest;
    is($status, $want, "$mpm: " . $conf =~ tr/\n/,/r);
    like($out, qr/BufferedLogs is On, but .*: set BufferedLogs Off/, 'and the fix is named') if $want;
}

# ---- warnings at start-up ----
sub start_log {
    my (%arg) = @_;
    my $h = RPCH::Httpd->new(%arg)->start;
    my $log = $h->log;
    $h->stop;
    return $log;
}
my $event = "ServerLimit 2\nStartServers 1\nThreadsPerChild 10\nMaxRequestWorkers 20\nMinSpareThreads 5\n";
{
    my $log = start_log(mpm => 'event', limits => $event . "MaxSpareThreads 20\n", conf => 'RpcMaxChannels 1000');
    like($log, qr/warn.*channels outlive 0 graceful restarts .*ServerLimit is 2 .* is 2; .*: raise ServerLimit/, 'event: no room after a graceful restart');
    $event =~ s/ServerLimit 2/ServerLimit 8/;
    $log = start_log(mpm => 'event', limits => $event . "MaxSpareThreads 15\n", conf => "RpcMaxChannels 1000\nMaxConnectionsPerChild 5");
    like($log, qr/notice.*channels outlive 3 graceful restarts /, 'event: how many restarts fit');
    like($log, qr/warn.*MaxSpareThreads is 1\d: .* live on for RpcGracefulTimeout at most; raise MaxSpareThreads to MaxRequestWorkers \(20\)/, 'event: a child would be retired');
    like($log, qr/warn.*MaxConnectionsPerChild 5 ends children .* live on for RpcGracefulTimeout at most: set it to 0/, 'MaxConnectionsPerChild');
    $log = start_log(mpm => 'event', limits => $event . "MaxSpareThreads 20\n", conf => 'RpcMaxChannels 5000');
    unlike($log, qr/\[rpcproxy:warn\]/, 'no worker belongs to a channel: no warning');
    like($log, qr/notice.*spread over 2 children: .*MaxRequestWorkers 10, like ThreadsPerChild, so that one child/, 'but a word on clients that need one child');
    $log = start_log(mpm => 'event', limits => $event =~ s/MaxRequestWorkers 20/MaxRequestWorkers 10/r . "MaxSpareThreads 10\n", conf => 'RpcMaxChannels 300');
    unlike($log, qr/spread over/, 'one child: none');
    $log = start_log(mpm => 'prefork', limits => "ServerLimit 5\nStartServers 1\nMaxRequestWorkers 5\n", conf => 'RpcMaxChannels 5000');
    unlike($log, qr/\[rpcproxy:warn\]/, 'prefork: no process belongs to one either');
    $log = start_log(mpm => 'prefork', limits => "ServerLimit 5\nStartServers 1\nMaxRequestWorkers 5\nMaxSpareServers 4\n", conf => 'RpcMaxChannels 5000');
    like($log, qr/warn.*MaxSpareServers is 4: .* raise MaxSpareServers to MaxRequestWorkers \(5\)/, 'prefork: a child would be retired');
}

done_testing;
