# Proxies behind that misbehave, go down, restart or show a certificate that is no good; and the limits of
# this server for channels that go on to one.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::RPC qw(contexts_pdu request_pdu response_pdu);
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm));

my $RPC = '/rpc/rpcproxy.dll';
my $root = vars('serverroot');
my $server = tcp_server();


# A certificate for localhost that was good until yesterday, and is trusted.
my $expired = "$root/expired";
qx(openssl req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout $expired.key -out $expired.csr 2>&1 && openssl x509 -req -in $expired.csr -signkey $expired.key -days -1 -out $expired.crt 2>&1);
-e "$expired.crt" or die "openssl: no certificate\n";

# ---- a double: the port that is asked for says what it does ----

my (%does, @peers);
my $said = sub {
    my ($request, $peer) = @_;
    my ($port) = $request->{uri} =~ /:(\d+)$/;
    push @peers, $peer;
    my $answer = $does{ $port // 0 };
    return ref $answer ? $answer->($request, $peer) : $answer;
};
sub tls { my ($name) = @_; return (tls => { SSL_cert_file => "$name.crt", SSL_key_file => "$name.key" }) }
my $odd = RPCH::WebServer->new(answer => $said);
my $odd_tls = RPCH::WebServer->new(answer => $said, tls("$root/conf/server"));

# ---- the proxy behind ----

my $smbpasswd = "$root/odd.smbpasswd";
put($smbpasswd, smbpasswd_line(alice => 'secret'));
my %back = map { $_ => RPCH::Root::free_ports(1) } qw(ntlm expired);
sub vhost { my ($port, $lines) = @_; return "Listen 127.0.0.1:$port\n<VirtualHost 127.0.0.1:$port>\nServerName localhost\n$lines</VirtualHost>\n" }
my $back = RPCH::Httpd->new(conf => join '', RPCH::Httpd->location,
    vhost($back{ntlm}, "<Location $RPC>\nSetHandler rpcproxy\nAuthType NTLM\nAuthName rpc\nAuthNtlmUserFile $smbpasswd\n"
          . "AuthNtlmPinnedConnections On\nRequire valid-user\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1-65535\n</Location>\n"),
    vhost($back{expired}, "SSLEngine on\nSSLCertificateFile $expired.crt\nSSLCertificateKeyFile $expired.key\n"))->start;
my @members = map { RPCH::Httpd->new(conf => RPCH::Httpd->location) } 1 .. 2;

# ---- the proxy in front, a virtual host for each way ----

sub section { my (@lines) = @_; return join "\n", "<Location $RPC>", 'SetHandler rpcproxy', 'RpcRequireTLS off', @lines, '</Location>', '' }
sub verify { my ($ca) = @_; return "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $ca\n" }
my $ANY = 'RpcValidPorts "127.0.0.1:1-65535;tcp.contoso.test:1-65535"';
my $target = "tcp.contoso.test:$server->{port}";
my %front = (
    odd => section("RpcBackend * http://127.0.0.1:$odd->{port}", $ANY),
    short => "ProxyTimeout 1\n" . section("RpcBackend * http://127.0.0.1:$odd->{port}", $ANY),
    tls => verify("$root/conf/server.crt") . section("RpcBackend * https://localhost:$odd_tls->{port}", $ANY),
    expired => verify("$expired.crt") . section("RpcBackend * https://localhost:$back{expired}", $ANY),
    ntlm => section("RpcBackend * http://127.0.0.1:$back{ntlm}", $ANY),
    back => section("RpcBackend * http://127.0.0.1:$back->{port}", $ANY),
    members => "<Proxy balancer://two>\n" . join('', map { "BalancerMember http://127.0.0.1:$members[$_]{port} retry=1" . ($_ ? " lbset=1\n" : "\n") } 0 .. 1)
               . "ProxySet lbmethod=rpctarget\n</Proxy>\n" . section('RpcBackend * balancer://two', $ANY),
    limits => section("RpcBackend * http://127.0.0.1:$back->{port}", $ANY, 'AuthType Basic', 'AuthName rpc', "AuthUserFile $root/conf/users",
                      'Require valid-user', 'RpcMaxChannelsPerUser 2'),
    level => section("RpcBackend * http://127.0.0.1:$back->{port}", $ANY, 'RpcMinAuthLevel privacy'),
);
my %port = map { $_ => RPCH::Root::free_ports(1) } sort keys %front;
my $front = RPCH::Httpd->new(conf => join '', (map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http proxy_balancer slotmem_shm)),
                             map { vhost($port{$_}, $front{$_}) } sort keys %port)->start;

sub dial { my ($place) = @_; return RPCH::HTTP->dial(port => $port{$place}, name => $place) }
my %LENGTH = (echo => 0, OUT => 76, IN => 1 << 30);
sub ask {
    my ($http, $port, $what) = @_;
    return $http->request($what eq 'OUT' ? 'RPC_OUT_DATA' : 'RPC_IN_DATA', "$RPC?127.0.0.1:$port", length => $LENGTH{$what});
}
sub status { my ($http) = @_; my $head = $http->head; return $head ? $head->{status} : 'closed' }
sub channel { my ($place, %arg) = @_; return plain(port => $port{$place}, target => $target, %arg) }
sub opens { my ($place, $name) = @_; my $c = channel($place); eval { $c->connect; 1 } or diag $@; ok($c->works, $name); return $c }

# ---- answers that do not end, are too long, or too many ----

my $OK = "HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\n";
my ($A3, $C2) = (rts('CONN/A3', timeout => 120_000), rts('CONN/C2', window => 65_536, timeout => 120_000));
%does = (
    1 => "HTTP/1.1 403 No\r\nX-Long: " . 'x' x 300_000,
    2 => "HTTP/1.1 100 Continue\r\nX: " . 'x' x 1000 . "\r\n\r\n" x 2 . ("HTTP/1.1 100 Continue\r\n\r\n" x 10_000),
    3 => "HTTP/1.1 403 No\r\n" . "X-Many: x\r\n" x 30_000,
    4 => "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\ngo" . "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    5 => sub { my ($r, $peer) = @_; $peer->put("HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\ngo")->flush->close; return },
    13 => sub { my ($r, $peer) = @_; $peer->put("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")->flush->close; return },
    6 => RPCH::WebServer::answer('503 Service Unavailable', 'later', 'Retry-After: 1'),
    7 => "HTTP/1.0 200 OK\r\n\r\n" . $A3 . $C2,
    8 => $OK . "Transfer-Encoding: chunked\r\n\r\n" . sprintf("%x\r\n", length $A3) . $A3 . "\r\n" . sprintf("%x;a=b\r\n", length $C2) . $C2 . "\r\n",
    9 => sub { my ($r, $peer) = @_; $peer->{drips} = 1; return 'HTTP/1.1 200 OK' },
    10 => "HTTP/1.1 403 No\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\ngo",
    11 => "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\ngo",
    12 => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
);
for my $what (qw(echo OUT IN)) {
    for ([1, 'a header line without an end'], [2, 'interim answers without an end'], [3, 'a header without an end']) {
        my ($port, $name) = @$_;
        is(status(ask(dial('odd'), $port, $what)), 502, "$what: $name");
    }
    my $http = ask(dial('odd'), 4, $what);
    is(status($http), 403, "$what: an answer, and bytes behind it");
    is($http->body, 'go', "$what: its body");
    if ($what eq 'echo') { ask($http, 6, 'echo'); is(status($http), 503, 'the bytes behind it are no answer to the next request') }
    else { $http->wait_eof; is($http->{in}, '', "$what: and no more") }
    $http = ask(dial('odd'), 5, $what);
    is(status($http), 403, "$what: a body that is cut");
    is($http->body, 'go', "$what: what there is of it");
    ok($http->{eof}, "$what: and the end of the connection");
    $http = ask(dial('odd'), 13, $what);
    is(status($http), 403, "$what: chunks that are cut");
    $http->wait_eof;
    unlike($http->{in}, qr/\r\n0\r\n/, "$what: which are not made complete");
    $http = ask(dial('odd'), 6, $what);
    is($http->head->{line}, 'HTTP/1.1 503 Service Unavailable', "$what: 503 without EEInfo");
    is($http->{head}{headers}{'retry-after'}, 1, "$what: its fields");
    like(status(ask(dial('odd'), $_, $what)), qr/^(?:40|50)/, "$what: framing that is wrong ($_)") for 10, 11;
    my $drip = ask(dial('short'), 9, $what);
    next if $what eq 'IN';      # whose answer may come late
    my $end = time + 15;
    while (!$drip->{head} && !$drip->{eof} && time < $end) { turn(0.1); $_->{drips} && !$_->{closed} && $_->put('x') for @peers }
    like(status($drip), qr/^50[24]$/, "$what: one byte after the other is no answer");
    delete $_->{drips} for @peers;
}
for (7 .. 8) {
    my $c = channel('odd', target => "127.0.0.1:$_", raw => 1);
    my $out = $c->open_out;
    $c->send_a1;
    is(status($out), 200, "OUT: " . ($_ == 7 ? 'HTTP/1.0' : 'chunks'));
    wait_for('both PDUs', sub { length $out->{in} >= length $A3 . $C2 || $out->{eof} });
    is(unpack('H*', $out->{in}), unpack('H*', $A3 . $C2), 'OUT: the PDUs');
    $out->close;
}

# ---- an upstream that ends within TLS ----
for my $way (qw(close vanish reset)) {
    my ($pdu, $peer) = (response_pdu('x' x 3000));
    $does{20} = sub { (my $r, $peer) = @_; return $OK . "Content-Length: 1000000\r\n\r\n" . $A3 . $C2 . $pdu . substr $pdu, 0, 1500 };
    my $c = channel('tls', target => '127.0.0.1:20', raw => 1);
    my $out = $c->open_out;
    $c->send_a1;
    is(status($out), 200, "TLS, $way: an OUT channel");
    wait_for('a PDU', sub { length $out->{in} >= length $A3 . $C2 . $pdu });
    $peer->flush->$way;
    ok(eval { $out->wait_eof }, "TLS, $way: within a PDU ends the channel") or diag $@;
    is($out->{in}, $A3 . $C2 . $pdu, "TLS, $way: without half a PDU");
    $does{21} = sub { (my $r, $peer) = @_; $peer->put("HTTP/1.1 403 No\r\n\r\ngo")->flush->$way; return };
    my $http = ask(dial('tls'), 21, 'echo');
    like(status($http), qr/^(?:403|502)$/, "TLS, $way: within an answer");
}
like($front->log, qr/server-error, relayed outbound in Opened: the upstream/, 'the log says who ended');

# ---- a certificate ----
like(ask(dial('expired'), 1, 'echo')->head->{line}, qr/ 503 RPC Error: 6ba/, 'a certificate that has expired');
ok($front->logs(qr/rpcproxy:warn\].*the proxy at localhost:$back{expired} is not used: its certificate .*expired/), 'and the log says so');

# ---- a proxy behind that restarts ----
{
    my $c = opens('back', 'a channel');
    my $http = dial('ntlm');
    my $login = RPCH::NTLM->new(user => 'alice', password => 'secret');
    my %echo = (method => 'RPC_IN_DATA', length => 0);
    ok(defined $login->knock($http, $RPC, %echo)->{token}, 'a first leg');
    $back->restart;
    ok($c->works, 'the channel outlives a graceful restart behind');
    my $answer = RPCH::NTLM::ask($http, $RPC, $login->authenticate, %echo);
    like($answer->{status}, qr/^(?:200|401|closed)$/, 'the second leg after a graceful restart behind');
    my $ended = $answer->{status} ne '200' || ($answer->{headers}{connection} // '') =~ /close/i;   # as prefork's children do
    is(RPCH::NTLM->new(user => 'alice', password => 'secret')->login($ended ? dial('ntlm') : $http, $RPC, %echo)->{status}, 200, 'and a new login');
    $front->restart;
    ok($c->works, 'the channel outlives a graceful restart in front');
    opens('back', 'a channel of the new generation')->close;
    $c->close;
}

# ---- members that go down, and come back ----
{
    $_->start for @members;
    my $c = opens('members', 'a channel by the first member');
    $members[0]->signal('TERM')->wait_gone;
    ok(eval { $c->out->wait_eof }, 'which ends with its member');
    ok($members[0]->logs(qr/"RPC_OUT_DATA .* shutdown$/m, 'access_log'), 'as its log has it');
    opens('members', 'a channel by the second member')->close;
    ok($members[1]->logs(qr/"RPC_OUT_DATA \S+ \S+ 200/, 'access_log'), 'which has it');
    $members[0]->start;
    ok(eval { wait_for('the first member', sub {        # retry= is over
        opens_quietly('members');
        $members[0]->log('access_log') =~ /"RPC_OUT_DATA .* shutdown\n.*"RPC_OUT_DATA \S+ \S+ 200/s;
    }) }, 'and by the first, when it is back') or diag $@, substr $front->log, -8000;
}
sub opens_quietly { my ($place) = @_; my $c = channel($place); eval { $c->connect }; $c->close; return turn(0.2) }

# ---- limits in front ----
{
    my $c = opens('limits', 'RpcMaxChannelsPerUser 2: two channels');
    my $third = channel('limits');
    $third->open_out;
    $third->send_a1;      # until now it could have been a successor
    is_rpc_error($third->out, '6bb', 'and no third');
    $c->close;
    my $level = channel('level')->connect;
    $level->send(contexts_pdu([['12345778-1234-abcd-ef00-0123456789ac', 1]]));
    $level->send(request_pdu(1, 'x'));
    ok(eval { $level->in->wait_eof }, 'RpcMinAuthLevel privacy: a request without authentication ends the channel') or diag $@;
    ok($front->logs(qr/level-refused.*RpcMinAuthLevel is privacy/), 'as the log says');
    $level->close;
}

$_->close for $server, $odd, $odd_tls;
done_testing;
