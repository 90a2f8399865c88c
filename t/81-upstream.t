# A channel to an RPC proxy that is already there: this module, or a double, in another httpd behind
# the one that clients speak to.

use strict;
use warnings;
use IO::Socket::IP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;
use RPCH::WebServer;

chomp(my $modules = qx(@{[ vars('apxs') ]} -q LIBEXECDIR));
-e "$modules/mod_$_.so" or plan(skip_all => "no mod_$_")
    for qw(proxy proxy_http proxy_balancer slotmem_shm headers status);

my $RPC = '/rpc/rpcproxy.dll';
my $root = vars('serverroot');
my $users = "$root/conf/users";
my $server = server(echo => 1);

# ---- the proxy behind ----

my %back = map { $_ => RPCH::Root::free_ports(1) } qw(tls ntlm);
my $smbpasswd = "$root/upstream.smbpasswd";
open my $fh, '>', $smbpasswd or die $!;
print $fh smbpasswd_line(alice => 'secret'), smbpasswd_line(bob => 'hidden');
close $fh;
chmod 0644, $smbpasswd;

sub vhost {
    my ($port, $lines, $tls) = @_;
    $lines = "SSLEngine on\nSSLCertificateFile $root/conf/server.crt\nSSLCertificateKeyFile $root/conf/server.key\n$lines" if $tls;
    return "Listen 127.0.0.1:$port\n<VirtualHost 127.0.0.1:$port>\nServerName localhost\n$lines</VirtualHost>\n";
}
my $ntlm = <<"CONF";
<Location $RPC>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $smbpasswd
AuthNtlmPinnedConnections On
Require valid-user
RpcRequireTLS off
RpcValidPorts "127.0.0.1:1024-65535"
</Location>
CONF
my $back = RPCH::Httpd->new(conf => join '',
    "LogFormat \"%u \\\"%r\\\" %>s %{RPC_REASON}e %{Host}i %{X-Forwarded-For}i\" rpc\n",
    RPCH::Httpd->location, vhost($back{tls}, RPCH::Httpd->location, 1), vhost($back{ntlm}, $ntlm))->start;

# ---- the proxy in front, a virtual host for each way ----

my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" }
    qw(proxy proxy_http proxy_balancer slotmem_shm headers status);
my $POLICY = qq(RpcRequireTLS off\nRpcValidPorts "127.0.0.1:$server->{port}"\n);
my $VERIFY = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $root/conf/server.crt\n";
sub section { my (@lines) = @_; return join "\n", "<Location $RPC>", @lines, '</Location>', '' }
sub backend { my (@urls) = @_; return section('SetHandler rpcproxy', "RpcBackend 127.0.0.1 @urls", $POLICY) }

my $dead = RPCH::Root::free_ports(1);       # nobody listens there
my $odd = RPCH::WebServer->new(answer => sub { odd(@_) });
my %front = (
    'http' => backend("http://127.0.0.1:$back->{port}"),
    'https' => $VERIFY . backend("https://localhost:$back{tls}"),
    'path' => backend("http://127.0.0.1:$back->{port}$RPC"),
    'ProxyPass' => section("ProxyPass http://127.0.0.1:$back->{port}$RPC", $POLICY),
    'ProxyPass beside SetHandler' => section('SetHandler rpcproxy', "ProxyPass http://127.0.0.1:$back->{port}$RPC", $POLICY),
    'closed' => section("ProxyPass http://127.0.0.1:$back->{port}$RPC", 'RpcRequireTLS off'),
    'failover' => backend("http://127.0.0.1:$dead http://127.0.0.1:$back->{port}"),
    'balancer' => "<Proxy balancer://cas>\nBalancerMember http://127.0.0.1:$back->{port}\nProxySet lbmethod=rpctarget\n</Proxy>\n"
                  . backend('balancer://cas'),
    'dead' => backend("http://127.0.0.1:$dead"),
    'NTLM' => backend("http://127.0.0.1:$back{ntlm}"),
    'odd' => backend("http://127.0.0.1:$odd->{port} "),
);
my @names = sort keys %front;
my %port = map { $_ => RPCH::Root::free_ports(1) } @names;
my $front = RPCH::Httpd->new(conf => $LOAD . join '', map { vhost($port{$_}, $front{$_}) } @names)->start;

sub channel { my ($name, %arg) = @_; return plain(port => $port{$name}, target => $server->target, %arg) }
sub works {
    my ($c) = @_;
    my $p = eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works'))) };
    diag $@ if $@;
    $c->close;
    return $p && $p->{stub} eq 'works';
}
sub at {
    my ($name, $method, $uri, %opt) = @_;
    my $http = RPCH::HTTP->dial(port => $port{$name}, name => $name)
        ->request($method, $uri, user => 'alice', password => 'secret', length => 0, %opt);
    my $head = $http->head;
    $http->close;
    return $head ? $head->{line} : 'closed';
}

for my $name (grep { !/closed|dead|NTLM|odd/ } @names) {
    ok(works(channel($name)), "$name: a virtual connection through two proxies");
    is(at($name, 'RPC_IN_DATA', $RPC), 'HTTP/1.1 200 Success', "$name: the echo of the proxy behind");
    like(at($name, 'RPC_IN_DATA', "$RPC?127.0.0.1:1"), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, "$name: a target that is not allowed");
    is(at($name, 'RPC_IN_DATA', $RPC, password => 'wrong'), 'HTTP/1.1 401 Unauthorized', "$name: a wrong password");
}
like(at('closed', 'RPC_IN_DATA', "$RPC?127.0.0.1:1"), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'ProxyPass without RpcValidPorts: nothing is allowed');
like(at('closed', 'RPC_IN_DATA', $RPC), qr/^HTTP\/1\.0 503 RPC Error: 6ab/, 'ProxyPass without RpcValidPorts: no echo');
like(at('dead', 'RPC_IN_DATA', $RPC), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'nobody behind: an echo');
like(at('dead', 'RPC_IN_DATA', "$RPC?" . $server->target, length => 1 << 30), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'nobody behind: a channel');

# ---- whom a connection belongs to: NTLM passes through ----
# Both channels of a virtual connection, the last message on the channel's own request.
sub open_by_ntlm {
    my ($c, $user, $password) = @_;
    for my $which (qw(in out)) {
        my $login = RPCH::NTLM->new(user => $user, password => $password);
        my $http = $c->dial('NTLM');
        my $answer = $login->knock($http, $c->uri, method => 'RPC_' . uc($which) . '_DATA', length => 0);
        die "no challenge: $answer->{status}\n" if !defined $answer->{token};
        my $open = "open_$which";
        $c->$open(connection => $http, user => undef,
                  headers => ['Authorization: NTLM ' . encode_base64($login->authenticate, '')]);
    }
    $c->send_a1->send_b1;
    return $c->opened;
}
for my $user ([alice => 'secret'], [bob => 'hidden']) {
    my $c = eval { open_by_ntlm(channel('NTLM'), @$user) };
    diag $@ if $@;
    my $p = $c && rpc_parse($c->call(request_pdu(1, 'works')));
    is($p && $p->{stub}, 'works', "$user->[0] by NTLM, the last message on the channel's own request");
    $c->close if $c;
}
ok($back->logs(qr/^\Q$_\E "RPC_IN_DATA \S+ HTTP\/1.1" 200/m, 'access_log'), "the proxy behind has seen $_") for qw(alice bob);

diag $front->log if $ENV{SHOW};
diag $back->log('access_log') if $ENV{SHOW};
$server->close;
done_testing;
