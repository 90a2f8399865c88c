# Which servers a client can reach by a name. No pattern matches more than it seems to, the text of a star
# contains no dot, a last dot does not count, and no address can be hidden in another one. Servers that
# the configuration names by address are reached. t/unit/pattern_test.c and networks_test.c have tables.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(turn wait_for);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my ($server, $tcp) = (server(echo => 1), tcp_server(echo => 1));
my ($port, $tcp_port) = ($server->{port}, $tcp->{port});
# The section adds one network, so the default, which denies the loopback, still counts
my $default = 'RpcTargetNetworks +192.0.2.99';

sub location {
    my ($path, @conf) = @_;
    return RPCH::Httpd->location(join "\n", @conf) =~ s{^<Location \S+>}{<Location /$path>}mr =~ s/^RpcValidPorts.*\nRpcBackend.*\n//mr;
}

my $httpd = RPCH::Httpd->new(conf => join '', location('patterns', qq{RpcValidPorts "exch*:$port;10.1.*:$port;*example.com:$port;*.a.test:$port;*\@b.test:$port"},
        "RpcBackend *\@b.test ncacn_http:mbx-*.invalid[$port]", "RpcBackend * ncacn_http:127.0.0.1[$port]"),
    location('named', $default, qq{RpcValidPorts "*:1-65535"}, "RpcBackend native ncacn_http:127.0.0.1[$port]", "RpcBackend raw ncacn_ip_tcp:127.0.0.1[$tcp_port]",
        'RpcNspiProtocolSequences ncacn_http:6004', "RpcNspiServers 127.0.0.1 $port"),
    location('denied', 'RpcTargetNetworks !127.0.0.0/16', qq{RpcValidPorts "native:1"}, "RpcBackend native ncacn_http:127.0.0.1[$port]"))->start;

sub client_of { my ($path, $target) = @_; return plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => $target) }

# "works", or the answer to the OUT channel.
sub outcome {
    my ($path, $target) = @_;
    my $c = client_of($path, $target);
    my $works = eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works')))->{stub} eq 'works' };
    my $head = $works ? undef : $c->out->head;
    $c->close;
    return 'works' if $works;
    return $head ? $head->{reason} =~ s/,.*//r : 'nothing';
}

# ---- patterns ----
is(outcome(patterns => "$_:$port"), 'works', "$_ is taken") for qw(exch exch1 EXCH1 10.1.2.3 example.com mail.example.com guid@example.com x.y.a.test exch1. mail.example.com.);
is(outcome(patterns => "$_:$port"), 'RPC Error: 6ba', "$_ is not") for qw(exch.evil.test exch1@evil.test 10.1.evil.test evilexample.com a.test .a.test exch1..);
like($httpd->log, qr/exch\.evil\.test:$port is not in RpcValidPorts/, 'which is logged');
is(outcome(patterns => "1.attacker.test\@b.test:$port"), 'RPC Error: 6ab', 'a captured star with a dot leads nowhere');
like($httpd->log, qr/RpcBackend \*\@b\.test \S+: the text that '\*' matches must consist of letters, digits, '-' and '_', because a dot would lead to another domain/, 'and the log says why');
ok($httpd->logs(qr/channel to exch1:$port of user/), 'the log knows the name without its last dot');
unlike($httpd->log, qr/channel to exch1\.:/, 'only');

# ---- addresses that the configuration names ----
is(outcome(named => 'native:1'), 'works', 'a backend on the loopback');
is(outcome(named => 'raw:1'), 'works', 'another one, behind the endpoint');
my $gc = client_of(named => 'gc:6004');
ok(eval { $gc->connect }, 'a global catalog');
$gc->close;
is(outcome(named => "127.0.0.1:$port"), 'RPC Error: 6ba', 'the same address, named by a client, is refused');
is(outcome(named => "[$_]:$port"), 'RPC Error: 6ba', "so is it as $_") for '::ffff:127.0.0.1', '64:ff9b::127.0.0.1', '::127.0.0.1', '2002:7f00:1::';
is(outcome(denied => 'native:1'), 'RPC Error: 6ba', 'what a "!" denies stays denied');
ok($httpd->logs(qr/64:ff9b::7f00:1\b.*!loopback \(default\)/), 'the log names address and rule');
ok($httpd->logs(qr/127\.0\.0\.1\b.*!127\.0\.0\.0\/16/), 'in each case');

# ---- configtest ----
my $test = RPCH::Httpd->new;
for (["pattern \"*example.com\": it matches example.com and every name that ends in .example.com or \@example.com", 'RpcValidPorts', location('x', 'RpcValidPorts "*example.com:1"')],
     ['pattern "10.1.1*": it also matches addresses in which further digits follow 10.1.1', 'RpcBackend', location('x', 'RpcBackend 10.1.1* ncacn_http:127.0.0.1')],
     ['pattern "*1": it matches 1 and every name that ends in .1', 'Require', location('x', 'Require rpc-target *1:6001')],
     ['127.0.0.1 is denied by RpcTargetNetworks !127.0.0.0/8, so its clients will be answered 503', 'RpcBackend',
      location('x', 'RpcBackend mail ncacn_http:127.0.0.1', 'RpcTargetNetworks !127.0.0.0/8')],
     ['127.0.0.1 is denied by RpcTargetNetworks !loopback', 'RpcNspiServers', location('x', 'RpcTargetNetworks !loopback', 'RpcNspiServers 127.0.0.1')]) {
    my ($says, $directive, $conf) = @$_;
    my ($status, $out) = $test->configure($conf)->configtest;
    is($status, 0, "a warning only: $says");
    like($out, qr/$directive in line \d+ of \S+: \Q$says\E/, 'names directive, line and cure') or diag $out;
}
for (location('x', 'RpcValidPorts "exch*:1;10.1.*:1;*.example.com:1;*@example.com:1;*:1"'), location('x', $default, 'RpcValidPorts mail:1', 'RpcBackend mail ncacn_http:127.0.0.1')) {
    my ($status, $out) = $test->configure($_)->configtest;
    is("$status $out", "0 Syntax OK\n", 'nothing to say');
}

done_testing;
