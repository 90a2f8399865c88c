# Front ends that speak HTTP, set up by the lines of doc/fronts.md: each PDU of a channel passes them at
# once. And nginx without settings for its buffers, and HAProxy in mode tcp, which passes the end of a client
# on as an end of what it sends only.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Front;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(modules needs);
use RPCH::NTLM;
use RPCH::Poll qw(turn wait_for);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

needs(qw(haproxy nginx-light squid));
my $server = server(echo => 1);
my $modules = modules();
my $hashes = vars('serverroot') . '/fronts.smbpasswd';
put($hashes, RPCH::NTLM::smbpasswd_line(alice => 'secret'), RPCH::NTLM::smbpasswd_line(bob => 'hidden'));
my ($balanced, $tls) = map { RPCH::Root::free_ports(1) } 1 .. 2;
my $httpd = RPCH::Httpd->new(conf => "LoadModule remoteip_module $modules/mod_remoteip.so\n" . RPCH::Httpd->location('RpcSetupTimeout 900') . <<"CONF")->start;
Listen 127.0.0.1:$balanced
<VirtualHost 127.0.0.1:$balanced>
ServerName localhost
RemoteIPProxyProtocol On
</VirtualHost>
@{[ RPCH::Httpd->tls_host($tls) ]}
<Location /ntlm/rpcproxy.dll>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $hashes
AuthNtlmPinnedConnections On
Require valid-user
RpcValidPorts exch1:6001
</Location>
CONF

# An example there: the indented lines behind a line with this text, with the names of this machine.
my $conf = vars('serverroot') . '/conf';
my $pem = vars('serverroot') . '/front.pem';
put($pem, slurp("$conf/server.crt") . slurp("$conf/server.key"));
chmod 0644, $pem;       # for the users that the front ends change to
my $page = slurp('doc/fronts.md');
sub example {
    my ($title) = @_;
    my ($lines) = $page =~ /^\Q$title\E\n\n((?: {4}.*\n|\n(?= {4}))+)/m or die "no $title";
    return $lines =~ s/^ {4}//gmr =~ s/[^\s=]+\/mail\.pem/$pem/gr =~ s/[^\s=]+\/ca\.pem/"$conf\/server.crt"/ger =~ s/(?:mail|rpc1)\.example\.com/localhost/gr
        =~ s/10\.0\.0\.5(?::443)?/127.0.0.1:$tls/gr =~ s/ parent 443 / parent $tls /r;
}
my $nginx = RPCH::Front->nginx($httpd->{port}, readme => example('nginx:'),
    buffers => "proxy_pass http://back; proxy_http_version 1.1; proxy_request_buffering off; client_max_body_size 0;\n");
my $haproxy = RPCH::Front->haproxy_whole(example('HAProxy, mode http:'));
my $squid = RPCH::Front->squid(example('Squid:'));

# Many small calls, one after the other, each with its answer.
for (['nginx by the manual' => $nginx->{port}{readme}], ['nginx that buffers' => $nginx->{port}{buffers}],
     ['HAProxy by the manual, with TLS' => $haproxy->{port}{all}, 1], ['Squid by the manual, with TLS' => $squid->{port}{squid}, 1]) {
    my ($name, $port, $by_tls) = @$_;
    my $c = $by_tls ? client(port => $port, target => $server->target) : plain(port => $port, target => $server->target);
    ok(eval { $c->connect }, "$name: a virtual connection") or diag $@;
    my $good = grep { my $n = $_; my $p = eval { rpc_parse($c->call(request_pdu($n, 'x' x $n))) }; $p && $p->{stub} eq 'x' x $n } 1 .. 20;
    is($good, 20, "$name: each call has its answer");
    my $big = 'y' x 4000;
    is(scalar(grep { my $p = eval { rpc_parse($c->call(request_pdu($_, $big))) }; $p && $p->{stub} eq $big } 1 .. 30), 30, "$name: large ones, too");
    $c->close;
}

# NTLM, with AuthNtlmPinnedConnections: a connection behind belongs to one client, in between as well.
for (['HAProxy' => $haproxy->{port}{all}], ['Squid' => $squid->{port}{squid}]) {
    my ($name, $port) = @$_;
    my ($alice, $bob) = map { RPCH::HTTP->dial(port => $port, tls => RPCH::Test::tls(), name => "$name, $_") } qw(alice bob);
    my @echo = (method => 'RPC_IN_DATA', length => 0);
    my %login = map { $_->[0] => RPCH::NTLM->new(user => $_->[0], password => $_->[1])->login($_->[2], '/ntlm/rpcproxy.dll', @echo)->{status} }
                [alice => 'secret', $alice], [bob => 'hidden', $bob];
    is("$login{alice} $login{bob}", '200 200', "$name: two log on by NTLM");
    is($_->[1]->request('RPC_IN_DATA', '/ntlm/rpcproxy.dll', length => 0)->head->{status}, 200, "$name: $_->[0] is known") for [alice => $alice], [bob => $bob];
    my $nobody = RPCH::HTTP->dial(port => $port, tls => RPCH::Test::tls(), name => "$name, nobody")->request('RPC_IN_DATA', '/ntlm/rpcproxy.dll', length => 0);
    is($nobody->head->{status}, 401, "$name: a third one is nobody");
    $_->close for $alice, $bob, $nobody;
}
for my $user (qw(alice bob)) {
    ok(eval { wait_for('lines', sub { turn(0.02); 4 == (() = $httpd->log('access_log') =~ /^$user "RPC_IN_DATA \/ntlm\S* .* 200 /mg) }) }, "the log knows each: $user")
        or diag $httpd->log('access_log');
}

# The answers of OUT channels of both versions have this field; other answers do not
my $c = plain(port => $httpd->{port}, target => $server->target)->connect;
is($c->out->head->{headers}{'x-accel-buffering'}, 'no', 'an OUT channel wants no buffering');
$c->close;
my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'echo')
    ->request('RPC_OUT_DATA', '/rpc/rpcproxy.dll', user => 'alice', password => 'secret', length => 0);
is($http->head->{headers}{'x-accel-buffering'}, undef, 'an echo has no word of it');
$http->close;

# The client goes before the other half comes, and long before RpcSetupTimeout
my $tcp = RPCH::Front->balancer('127.0.0.1', $balanced);
my $half = plain(port => $tcp->{port}{all}, target => $server->target);
$half->open_out;
$half->send_a1;
is_answer($half->out->head, 200, 'half a virtual connection, through HAProxy in mode tcp');
$half->close;
ok($httpd->logs(qr/RPC_OUT_DATA channel .* ended: client-(?:closed|error), outbound in C1W/), 'a client that has gone is noticed') or diag $httpd->log;
$server->close;
done_testing;
