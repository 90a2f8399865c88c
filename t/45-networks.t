# Which addresses a name may have (RpcTargetNetworks), checked when the proxy connects to them, and from
# which addresses it connects (RpcSourceAddress). The names are in a hosts file of the test.

use strict;
use warnings;
use Test::More;
use RPCH::Compile qw(preload);
use RPCH::Httpd;
use RPCH::Needs qw(missing);
use RPCH::Poll qw(turn wait_for);
use RPCH::RPC qw(bind_pdu request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

plan skip_all => 'libnss-wrapper is not there' if missing('libnss-wrapper');

# One port, with a server on it at each of these addresses.
my $port = RPCH::Root::free_ports(1);
my $tcp_port = RPCH::Root::free_ports(1);
my @hosts = (qw(127.0.0.2 127.0.0.3 127.1.9.1 127.1.8.1), have_ipv6() ? '::1' : ());
my %at = map { $_ => server(host => $_, port => $port, echo => 1) } @hosts;
my %tcp = map { $_ => tcp_server(host => $_, port => $tcp_port) } @hosts;

my $users = vars('serverroot') . '/conf/users';
sub location {
    my ($name, @conf) = @_;
    return "<Location /$name>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\n"
        . join('', map { "$_\n" } 'Require valid-user', 'RpcRequireTLS off', 'RpcConnectTimeout 5',
               'RpcValidPorts *:1-65535', 'RpcBackend tcp-* ncacn_ip_tcp:127.0.0.*', @conf) . "</Location>\n";
}
my $listen = RPCH::Root::free_ports(2);
my $listen_bad = $listen + 1;
my $conf = join '', "RpcTargetNetworks !127.0.0.3\n",      # of the main server, which has "loopback" already
    "RpcEndpointListen 127.0.0.1:$listen ncacn_ip_tcp:127.0.0.2[$tcp_port]\n",
    "RpcEndpointListen 127.0.0.1:$listen_bad ncacn_ip_tcp:127.0.0.3[$tcp_port]\n",
    location('listeners', 'RpcTargetNetworks 127.0.0.1', "RpcBackend ok ncacn_http:127.0.0.1[$listen]", "RpcBackend bad ncacn_http:127.0.0.1[$listen_bad]"),
    location('default', 'RpcTargetNetworks any'),
    location('some', 'RpcTargetNetworks 127.0.0.2 127.1.0.0/16', 'RpcTargetNetworks !127.1.9.0/24'),
    location('some/inner', 'RpcTargetNetworks 127.0.0.3'),
    location('six', 'RpcTargetNetworks ::1'),
    location('others', 'RpcTargetNetworks loopback !127.0.0.2',
             "RpcBackend second ncacn_http:127.0.0.2[$port] ncacn_http:127.0.0.3[$port]"),
    location('from', 'RpcTargetNetworks loopback', 'RpcSourceAddress 127.0.0.7', 'RpcSourceAddress 127.0.0.8'),
    location('from-nowhere', 'RpcTargetNetworks loopback', 'RpcSourceAddress 192.0.2.1');

# ---- a hosts file ----

my $hosts = vars('serverroot') . '/networks-hosts';
my $age = time - 1000;
sub write_hosts {
    my (%address) = @_;
    open my $fh, '>', "$hosts.new" or die "$hosts: $!\n";
    for my $name (sort keys %address) { print $fh "$_ $name\n" for ref $address{$name} ? @{ $address{$name} } : $address{$name} }
    close $fh or die "$hosts: $!\n";
    utime $age, ++$age, "$hosts.new";   # the file is read again when its time, in whole seconds, has changed
    rename "$hosts.new", $hosts or die "$hosts: $!\n";
    return;
}
my %names = ('good.rpch.test' => '127.0.0.2', 'moving.rpch.test' => '127.0.0.2', 'bad.rpch.test' => '127.0.0.3',
             'dual.rpch.test' => [have_ipv6() ? '::1' : '127.0.0.4', '127.0.0.3'], 'half.rpch.test' => ['127.0.0.3', '127.0.0.2']);
write_hosts(%names);

my $httpd = RPCH::Httpd->new(conf => $conf);
{
    local $ENV{LD_PRELOAD} = preload('libnss_wrapper.so');
    local $ENV{NSS_WRAPPER_HOSTS} = $hosts;
    $httpd->start;
}
END { unlink $hosts if defined $hosts }

# ---- clients ----

sub client_of {
    my ($where, $target) = @_;
    return plain(port => $httpd->{port}, path => "/$where/rpcproxy.dll", target => $target);
}
sub total { my $n = 0; $n += $_->connections for values %at, values %tcp; return $n }
sub log_since { my ($mark) = @_; return substr $httpd->log, $mark }

# Tests that TARGET below the path WHERE works at HOST. Returns the address that the connections come
# from.
sub reaches {
    my ($where, $target, $host, $servers) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %before = map { $_ => $servers->{$_}->connections } keys %$servers;
    my $c = client_of($where, $target);
    my $answer = eval { $c->connect; $c->call($servers == \%tcp ? bind_pdu(call => 3) : request_pdu(1, 'call')) };
    my @reached = sort grep { $servers->{$_}->connections > $before{$_} } keys %$servers;
    is_deeply([defined $answer ? @reached : "no answer: $@"], [$host], "$where: $target is at $host");
    my $connections = $servers->{$host}{$servers == \%tcp ? 'all' : 'legs'};
    my %from = map { $_->{fh}->peerhost => 1 } @$connections[$before{$host} .. $#$connections];
    $c->close;
    return sort keys %from;
}

# Tests that no server has got a connection.
sub refused {
    my ($where, $target, $line) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($before, $mark, $c) = (total(), -s "$httpd->{dir}/error_log", client_of($where, $target));
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, '6ba', "$where: $target is refused", 0x5a0);
    is(total(), $before, 'and no server hears of it');
    ok(eval { wait_for('the end', sub { turn(0.01); log_since($mark) =~ /ended: address-refused\b/ }) }, 'the log has the reason');
    like(log_since($mark), $line, 'and names address and rule');
    return;
}

# ---- rules ----

refused('default', "127.0.0.2:$port", qr/127\.0\.0\.2 port $port: 127\.0\.0\.2 is refused by RpcTargetNetworks, nearest is !loopback \(default\)/);
refused('default', "good.rpch.test:$port", qr/good\.rpch\.test port $port: 127\.0\.0\.2 is refused by RpcTargetNetworks, nearest is !loopback/);
refused('default', "169.254.1.1:$port", qr/169\.254\.1\.1 is refused by RpcTargetNetworks, nearest is !link-local \(default\)/);
refused('default', "224.0.0.1:$port", qr/nearest is !multicast \(default\)/);
refused('default', "0.0.0.0:$port", qr/nearest is !unspecified \(default\)/);
refused('default', "[::ffff:127.0.0.2]:$port", qr/127\.0\.0\.2 is refused by RpcTargetNetworks, nearest is !loopback \(default\)/);

reaches('some', "127.0.0.2:$port", '127.0.0.2', \%at);
reaches('some', "good.rpch.test:$port", '127.0.0.2', \%at);
reaches('some', "[::ffff:127.0.0.2]:$port", '127.0.0.2', \%at);
reaches('some', "127.1.8.1:$port", '127.1.8.1', \%at);
refused('some', "127.1.9.1:$port", qr/127\.1\.9\.1 is refused by RpcTargetNetworks, nearest is !127\.1\.9\.0\/24/);
refused('some', "bad.rpch.test:$port", qr/bad\.rpch\.test port $port: 127\.0\.0\.3 is refused by RpcTargetNetworks, nearest is !loopback \(default\)/);
refused('some', "192.0.2.1:$port", qr/192\.0\.2\.1 is refused by RpcTargetNetworks, nearest is !any \(default\)/);
reaches('some/inner', "127.0.0.3:$port", '127.0.0.3', \%at);
refused('some/inner', "127.0.0.2:$port", qr/127\.0\.0\.2 is refused/);
refused('six', "127.0.0.2:$port", qr/127\.0\.0\.2 is refused/);
SKIP: {
    skip 'no IPv6 here', 1 if !have_ipv6();
    reaches('six', "[::1]:$port", '::1', \%at);
}
{
    my $mark = -s "$httpd->{dir}/error_log";
    reaches('others', "second:$port", '127.0.0.3', \%at) for 1 .. 2;
    my @lines;
    eval { wait_for('the lines', sub {
        turn(0.01);
        @lines = log_since($mark) =~ /127\.0\.0\.2 is refused by RpcTargetNetworks, nearest is !127\.0\.0\.2; the next server is tried/g;
        @lines >= 2;
    }) };
    # When one half is at the second server already, the other half goes there without trying the first.
    cmp_ok(scalar(@lines), '>=', 2, 'the first of two servers is refused, each time: that says nothing of its health');
}

# ---- names with several addresses ----

{
    my $only = server(host => '127.0.0.3', echo => 1);
    my $mark = -s "$httpd->{dir}/error_log";
    is_deeply([reaches('others', "dual.rpch.test:$only->{port}", '127.0.0.3', { '127.0.0.3' => $only })], ['127.0.0.1'],
              'nobody is at the first address: the second, from where the system says');
    unlike(log_since($mark), qr/cannot be reached/, 'which is no failure');
    reaches('some', "half.rpch.test:$port", '127.0.0.2', \%at);
    unlike(log_since($mark), qr/is refused/, 'one address is allowed: that one');
    refused('six', "half.rpch.test:$port", qr/half\.rpch\.test port $port: 127\.0\.0\.[23] is refused/);
    $only->close;
}

# ---- the same through the endpoint, whose process serves all sections ----

sub refused_by_endpoint {
    my ($where, $target, $line) = @_;
    my ($before, $c) = (total(), client_of($where, $target));
    $c->open_in;
    $c->send_b1;
    $c->open_out;
    $c->send_a1;
    $c->out->head;
    ok(eval { $c->out->wait_eof }, "$where: $target is refused: the channel ends");
    is(total(), $before, 'and no server hears of it');
    ok($httpd->logs($line), 'the log names address and rule');
    ok($httpd->logs(qr/endpoint: virtual connection of user "alice" to \Q$target\E .* ended: address-refused/), 'and the reason');
    return;
}
reaches('some', "tcp-2:$tcp_port", '127.0.0.2', \%tcp);
refused_by_endpoint('some', "tcp-3:$tcp_port", qr/127\.0\.0\.3 port $tcp_port: 127\.0\.0\.3 is refused by RpcTargetNetworks, nearest is !loopback \(default\)/);
reaches('some/inner', "tcp-3:$tcp_port", '127.0.0.3', \%tcp);
refused_by_endpoint('default', "tcp-2:$tcp_port", qr/127\.0\.0\.2 port $tcp_port: 127\.0\.0\.2 is refused/);

# ---- for listeners of the endpoint the rules of the main server count ----

reaches('listeners', 'ok:1', '127.0.0.2', \%tcp);
{
    my ($before, $c) = (total(), client_of('listeners', 'bad:1'));
    $c->open_out;
    $c->send_a1;
    $c->open_in;
    $c->send_b1;
    ok(eval { $c->out->wait_eof }, 'a listener whose server is not allowed: the channel ends');
    is(total(), $before, 'and no server hears of it');
    ok($httpd->logs(qr/127\.0\.0\.3 port $tcp_port: 127\.0\.0\.3 is refused by RpcTargetNetworks, nearest is !127\.0\.0\.3/), 'the log names address and rule');
}

# ---- the DNS changes its mind ----

reaches('some', "moving.rpch.test:$port", '127.0.0.2', \%at);
$at{'127.0.0.2'}->close;
$names{'moving.rpch.test'} = '127.0.0.3';
write_hosts(%names);
{
    # The proxy remembers the old address until no server answers there.
    my $c = client_of('some', "moving.rpch.test:$port");
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 503, 'the server is gone');
    $c->close;
}
refused('some', "moving.rpch.test:$port", qr/moving\.rpch\.test port $port: 127\.0\.0\.3 is refused by RpcTargetNetworks/);
reaches('some/inner', "moving.rpch.test:$port", '127.0.0.3', \%at);

# ---- where connections come from ----

{
    is_deeply([reaches('from', "127.0.0.3:$port", '127.0.0.3', \%at)], ['127.0.0.7', '127.0.0.8'], 'connections come from each of the addresses');
    my %from = map { $_ => 1 } map { reaches('from', "tcp-3:$tcp_port", '127.0.0.3', \%tcp) } 1 .. 2;
    is_deeply([sort keys %from], ['127.0.0.7', '127.0.0.8'], 'the endpoint\'s, too');
    is_deeply([reaches('from', "[::1]:$port", '::1', \%at)], ['::1'], 'of the other family, from where the system says') if have_ipv6();
    my $c = client_of('from-nowhere', "127.0.0.3:$port");
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, '6b9', 'an address that is not this machine\'s');
    ok($httpd->logs(qr/Cannot assign requested address/), 'the log says so');
}

done_testing;
