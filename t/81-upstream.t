# A channel to an RPC proxy that is already there: this module, or a double, in another httpd behind
# the one that clients speak to.

use strict;
use warnings;
use IO::Socket::IP;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::CA;
use RPCH::File qw(put slurp);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers status));

my $RPC = '/rpc/rpcproxy.dll';
my $root = vars('serverroot');
my $users = "$root/conf/users";
my $server = server(echo => 1);

# ---- the proxy behind ----

my %back = map { $_ => RPCH::Root::free_ports(1) } qw(tls ntlm ntlm2 unpinned);
my $smbpasswd = "$root/upstream.smbpasswd";
put($smbpasswd, smbpasswd_line(alice => 'secret'), smbpasswd_line(bob => 'hidden'));

sub vhost {
    my ($port, $lines, $tls) = @_;
    $lines = RPCH::Httpd->tls_lines . $lines if $tls;
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
    RPCH::Httpd->location, vhost($back{tls}, RPCH::Httpd->location, 1), vhost($back{tls}, '', 1) =~ s/127\.0\.0\.1/127.0.0.2/gr,
    vhost($back{ntlm}, $ntlm), vhost($back{ntlm2}, $ntlm),
    vhost($back{unpinned}, $ntlm =~ s/AuthNtlmPinnedConnections On\n//r))->start;

# ---- the proxy in front, a virtual host for each way ----

my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" }
    qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers status);
my $POLICY = qq(RpcRequireTLS off\nRpcValidPorts "127.0.0.1:$server->{port}"\n);
my $VERIFY = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $root/conf/server.crt\n";
sub section { my (@lines) = @_; return join "\n", "<Location $RPC>", @lines, '</Location>', '' }
sub backend { my (@urls) = @_; return section('SetHandler rpcproxy', "RpcBackend 127.0.0.1 @urls", $POLICY) }

my $ca = RPCH::CA->new('nobody trusts');
my $dead = RPCH::Root::free_ports(1);       # nobody listens there
my $tcp = tcp_server();
my $returns = RPCH::Httpd->new(conf => RPCH::Httpd->location);     # is started later
# A connect to it takes until the test accepts.
my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die "cannot listen: $@\n";
listen $full, 0;
my @queued = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 3;

# A double that answers as the port says that is asked for.
my $phrase = 'RPC Error: 6ba, EEInfo: AAAA';
my %odd = (
    1 => RPCH::WebServer::answer('401 Go Away', 'who are you', 'WWW-Authenticate: Basic realm="behind"', 'WWW-Authenticate: NTLM'),
    2 => RPCH::WebServer::answer('403 Not You', 'go', 'X-Once: 1', 'Connection: X-Once', 'Location: http://behind/a',
                                 'Set-Cookie: a=b; path=/behind'),
    3 => RPCH::WebServer::answer("503 $phrase", "RPC EEInfo:AAAA\r\n", 'Content-Type: application/rpc'),
    4 => '',
    5 => "this is not HTTP\r\n\r\n",
    6 => undef,
    7 => "HTTP/1.1 401 Chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwho \r\n7;x=y\r\nare you\r\n0\r\nX-Trailer: 1\r\n\r\n",
    8 => "HTTP/1.0 403 To The End\r\n\r\ngo",
    9 => "HTTP/1.1 100 Continue\r\n\r\n" . RPCH::WebServer::answer('404 Not Here', 'none'),
);
# RD Gateway's own protocol: a 401 first, then bodies without an end.
my $GATEWAY = '/remoteDesktopGateway/';
my %said;
sub gateway {
    my ($request, $peer) = @_;
    $said{ $request->{method} } = $request->{headers};
    return RPCH::WebServer::answer('401 Who', 'who', 'WWW-Authenticate: NTLM AAAA') if $request->{headers} !~ /^Authorization: NTLM BBBB/m;
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" if $request->{headers} =~ /^Upgrade: websocket/m;
    return "HTTP/1.1 200 OK\r\n\r\n" . 'r' x 100 if $request->{method} eq 'RDG_OUT_DATA';
    return;
}
my @asked;
my $odd = RPCH::WebServer->new(answer => sub {
    my ($request, $peer) = @_;
    push @asked, $request;
    return gateway($request, $peer) if $request->{uri} =~ /^$GATEWAY/;
    my ($port) = $request->{uri} =~ /:(\d+)$/;
    $peer->put($odd{$port}) if defined $odd{$port};
    $peer->close if $port == 6 || $port == 8;
    return;
});
my %front = (
    'http' => backend("http://127.0.0.1:$back->{port}"),
    'https' => $VERIFY . backend("https://localhost:$back{tls}"),
    'path' => backend("http://127.0.0.1:$back->{port}$RPC"),
    'ProxyPass' => section("ProxyPass http://127.0.0.1:$back->{port}$RPC", $POLICY),
    'ProxyPass beside SetHandler' => section('SetHandler rpcproxy', "ProxyPass http://127.0.0.1:$back->{port}$RPC", $POLICY),
    'closed' => section("ProxyPass http://127.0.0.1:$back->{port}$RPC", 'RpcRequireTLS off'),
    'failover' => backend("http://127.0.0.1:$dead http://127.0.0.1:$back->{port}"),
    'balancer' => "<Proxy balancer://cas>\nBalancerMember http://127.0.0.1:$back->{port}\nProxySet lbmethod=rpctarget\n</Proxy>\n"
                  . "<Location /manager>\nSetHandler balancer-manager\nRequire local\n</Location>\n"
                  . backend('balancer://cas'),
    'balancer with TLS' => "<Proxy balancer://cas>\nBalancerMember https://localhost:$back{tls}\n$VERIFY</Proxy>\n" . backend('balancer://cas'),
    'foreign' => $VERIFY =~ s{\S+/server\.crt}{$ca->{dir}/ca.crt}r . backend("https://localhost:$back{tls}"),
    'wrong name' => $VERIFY . backend("https://127.0.0.2:$back{tls}"),
    'any certificate' => "SSLProxyEngine on\nSSLProxyVerify none\nSSLProxyCheckPeerName off\n" . backend("https://localhost:$back{tls}"),
    'gateway' => section('SetHandler rpcproxy', "RpcBackend * http://127.0.0.1:$odd->{port}", 'RpcRequireTLS off', 'RpcValidPorts elsewhere:1',
        'RpcAllowInterfaces 1-65535 tsgu', 'RpcMinAuthLevel privacy') =~ s/\Q$RPC\E/$GATEWAY/r,
    'several URLs' => "<Location /manager>\nSetHandler balancer-manager\nRequire local\n</Location>\n"
        . section('SetHandler rpcproxy', "RpcBackend 127.0.0.1 http://127.0.0.1:$back->{port} http://127.0.0.1:$dead",
            "RpcBackend another http://127.0.0.1:$dead", $POLICY, 'RpcTargetNetworks 10.0.0.0/8', 'RpcSourceAddress 127.0.0.3',
            'RpcReceiveWindow 8K', 'RpcConnectTimeout 1', 'RpcAllowAnonymous On', "RpcBackend slow.test http://127.0.0.1:@{[ $full->sockport ]}",
            "RpcBackend direct.test ncacn_http:127.0.0.1[@{[ $full->sockport ]}]", 'RpcValidPorts *.test:6001'),
    'a member returns' => "<Proxy balancer://again>\nBalancerMember http://127.0.0.1:$returns->{port} retry=1 lbset=0\n"
        . "BalancerMember http://127.0.0.1:$back->{port} lbset=1\n</Proxy>\n"
        . section('SetHandler rpcproxy', 'RpcBackend * balancer://again', $POLICY, 'RpcValidPorts tcp.contoso.test:1024-65535'),
    'hasty name' => "ProxyTimeout 600\n<Proxy balancer://hasty>\nBalancerMember http://127.0.0.1:@{[ $full->sockport ]} connectiontimeout=1\n</Proxy>\n"
        . backend('balancer://hasty'),
    'dead' => backend("http://127.0.0.1:$dead"),
    'NTLM' => backend("http://127.0.0.1:$back{ntlm}"),
    'NTLM, unpinned' => backend("http://127.0.0.1:$back{unpinned}"),
    'NTLM, ProxyAddHeaders' => "ProxyAddHeaders Off\n" . backend("http://127.0.0.1:$back{unpinned}"),
    'in turn' => "<Proxy balancer://two>\nBalancerMember http://127.0.0.1:$back{ntlm}\nBalancerMember http://127.0.0.1:$back{ntlm2}\n"
                 . "ProxySet lbmethod=byrequests\n</Proxy>\n" . backend('balancer://two'),
    'odd' => "ProxyTimeout 1\n" . section('SetHandler rpcproxy', "RpcBackend 127.0.0.1 http://127.0.0.1:$odd->{port}",
        'RpcRequireTLS off', 'RpcValidPorts 127.0.0.1:1-20', 'Header always set X-House rules', 'ProxyPassReverse http://behind/',
        "ProxyPassReverseCookiePath /behind $RPC"),
);
my @names = sort keys %front;
my %port = map { $_ => RPCH::Root::free_ports(1) } @names;
my $front = RPCH::Httpd->new(conf => $LOAD . join '', map { vhost($port{$_}, $front{$_}) } @names)->start;

sub channel { my ($name, %arg) = @_; return plain(port => $port{$name}, target => $server->target, %arg) }
sub at { my ($name, @request) = @_; return RPCH::HTTP->status_line($port{$name}, @request) }

for my $name (grep { !/closed|dead|foreign|gateway|name|NTLM|turn|odd/ } @names) {
    ok(channel($name)->serves, "$name: a virtual connection through two proxies");
    is(at($name, 'RPC_IN_DATA', $RPC), 'HTTP/1.1 200 Success', "$name: the echo of the proxy behind");
    like(at($name, 'RPC_IN_DATA', "$RPC?127.0.0.1:1"), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, "$name: a target that is not allowed");
    is(at($name, 'RPC_IN_DATA', $RPC, password => 'wrong'), 'HTTP/1.1 401 Unauthorized', "$name: a wrong password");
}
like(at('closed', 'RPC_IN_DATA', "$RPC?127.0.0.1:1"), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'ProxyPass without RpcValidPorts: nothing is allowed');
like(at('closed', 'RPC_IN_DATA', $RPC), qr/^HTTP\/1\.0 503 RPC Error: 6ab/, 'ProxyPass without RpcValidPorts: no echo');
like(at('dead', 'RPC_IN_DATA', $RPC), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'nobody behind: an echo');
like(at('dead', 'RPC_IN_DATA', "$RPC?" . $server->target, length => 1 << 30), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, 'nobody behind: a channel');

# ---- whom it is connected to ----
for my $name ('foreign', 'wrong name') {
    like(at($name, 'RPC_IN_DATA', $RPC), qr/^HTTP\/1\.0 503 RPC Error: 6ba/, "$name: nobody answers");
}
ok($front->logs($_), "the log has $_") for qr/rpcproxy:warn\].*the proxy at localhost:$back{tls} is not used: its certificate is not accepted: self-signed/,
    qr/the proxy at 127\.0\.0\.2:$back{tls} is not used: its certificate is for another name/,
    qr/the proxy at 127\.0\.0\.1:$dead is not used: it cannot be connected to/;
is(scalar(() = $front->log =~ /:warn\].* certificate is not accepted/g), 1, 'a certificate that is not accepted is one line');

# ---- connectiontimeout, and RpcConnectTimeout ----
my ($slow, $hasty) = map { RPCH::HTTP->dial(port => $port{ $_->[0] }, name => $_->[0])
    ->request('RPC_IN_DATA', "$RPC?$_->[1]", user => 'alice', password => 'secret', length => 0) } ['several URLs', 'slow.test:6001'], ['hasty name', $server->target];
my $direct = channel('several URLs', target => 'direct.test:6001');
$direct->open_in;
$direct->send_b1;
like($direct->in->head->{line}, qr/ 503 RPC Error: 6ba/, 'RpcConnectTimeout is for a server that this server connects to');
ok($front->logs(qr/channel to direct\.test:6001 .* ended: connect-timeout,/), 'as the log says');
like($hasty->head->{line}, qr/ 503 RPC Error: 6ba/, 'connectiontimeout bounds a connect');
my $accepts = RPCH::WebServer->new(fh => $full, answer => sub { return RPCH::WebServer::echo() });
# The kernel tries again only after seconds. So $slow is looked at below.

# A handshake that drips: each byte comes in time, all of it never.
{
    my $drips = RPCH::WebServer->new(answer => sub { return }, greeting => "\x16\x03\x03\x40\x00");
    my @by = map { RPCH::Root::free_ports(1) } 1 .. 2;
    my $front = RPCH::Httpd->new(conf => join '', $LOAD, vhost($by[0], "ProxyTimeout 2\n" . $VERIFY . backend("https://127.0.0.1:$drips->{port}")),
        vhost($by[1], "ProxyTimeout 600\n<Proxy balancer://hasty>\nBalancerMember https://127.0.0.1:$drips->{port} connectiontimeout=2\n$VERIFY</Proxy>\n"
            . backend('balancer://hasty')))->start;
    my @http = map { RPCH::HTTP->dial(port => $_, name => 'slow')->request('RPC_IN_DATA', $RPC, length => 0) } @by;
    ok(eval { wait_for('an answer', sub { turn(0.1); $_->put('x') for @{ $drips->{peers} }; 2 == grep { $_->{head} } @http }) }, 'a handshake that drips ends')
        or diag $front->log;
    is(join(' ', map { ($_->{head} || {})->{status} // 'none' } @http), '503 503', 'a handshake that drips: 503, by ProxyTimeout and by connectiontimeout');
    ok($front->logs(qr/the proxy at 127\.0\.0\.1:$drips->{port} is not used: the TLS handshake has failed or took too long/), 'the log says why');
    $_->close for @http, $drips;
}
is($slow->head->{line}, 'HTTP/1.1 200 Success', 'RpcConnectTimeout is not for what mod_proxy connects to');
$_->close for $slow, $hasty, $direct, $accepts;

# ---- several URLs ----
# The ways above have shown that RpcTargetNetworks is not for them, and that the first RpcBackend answers an echo.
unlike($back->log, qr/client 127\.0\.0\.3\b/, 'RpcSourceAddress is not for what mod_proxy connects to');
{
    my $page = RPCH::HTTP->dial(port => $port{'several URLs'}, name => 'balancer-manager')->request('GET', '/manager');
    my @lines = split /^/m, slurp("$front->{dir}/httpd.conf");
    my ($line) = grep { $lines[$_ - 1] =~ /RpcBackend 127\.0\.0\.1 \S+ \S+:$dead$/ } 1 .. @lines;
    like($page->body, qr{balancer://rpcbackend-$line\b(?!-)}, 'a balancer has the number of its line') or diag $page->body;
    $page->close;
    my $c = channel('several URLs')->connect;
    is($c->{c2}{window}, 262_144, 'RpcReceiveWindow is not for what the proxy behind receives');
    ok($c->works('x' x 20_000), 'a PDU may be larger');
    $c->close;
}

# ---- a member that is back ----
{
    my $own = "tcp.contoso.test:$tcp->{port}";      # by the endpoint of each member
    my ($joined, $unknown) = map { channel('a member returns', target => $_)->connect } $server->target, $own;
    is(scalar(grep { $_->works } $joined, $unknown), 2, 'a member that cannot be connected to: the next one serves');
    $returns->start;
    ok(eval { wait_for('the member', sub { at('a member returns', 'RPC_IN_DATA', $RPC); turn(0.02); $returns->log('access_log') ne '' }) },
       'when it is back it serves');
    $_->replace_in for $joined, $unknown;
    ok(eval { $joined->finish_in }, 'it gets a channel that replaces one of the other, which a server of ncacn_http joins to the rest') or diag $@;
    ok($joined->works, 'and the connection goes on');
    like((eval { $unknown->{new_in}->head } || {})->{line}, qr/ 503 RPC Error: 6c0/, 'where its own endpoint would have to know the connection, it is refused');
    ok($front->logs(qr/channel to \Q$own\E .*: upstream-refused, /), 'as the log says');
    $_->close for $joined, $unknown;
    ok($returns->logs(qr/"RPC_IN_DATA \S+\Q@{[ $server->target ]}\E HTTP/, 'access_log'), 'its log has the channel');
    ok(channel('a member returns', target => $own)->serves, 'when the client connects once more, it serves');
    ok($returns->logs(qr/"RPC_$_ \S+\Q$own\E HTTP\S+ 200 /, 'access_log'), "its log has $_") for qw(IN_DATA OUT_DATA);
}

# ---- what balancer-manager shows ----
sub member {
    my $http = RPCH::HTTP->dial(port => $port{balancer}, name => 'manager')->request('GET', '/manager', version => '1.0');
    $http->head;
    my %value;
    @value{qw(url route redirect factor set status elected busy load to from)}
        = $http->body(1 << 20) =~ m{<tr>\s*<td><a [^>]*>([^<]*)</a></td>}sp
            ? ($1, ${^POSTMATCH} =~ m{<td>\s*([^<]*?)\s*</td>}g) : ();
    $http->close;
    return \%value;
}
my $counted = channel('balancer')->connect;
is(member()->{busy}, 2, 'balancer-manager: both channels are busy');
rpc_parse($counted->call(request_pdu(1, 'x' x 5000)));
$counted->close;
ok(eval { wait_for('the end', sub { turn(0.02); member()->{busy} eq '0' }) }, 'balancer-manager: they have ended');
like(join(' ', @{ member() }{qw(to from)}), qr/^[5-9]\.\dK [5-9]\.\dK$/, 'balancer-manager: what went to the proxy behind, and what came');

# ---- shares: both halves of a client at one member ----
{
    my @member = map { my $n = $_; RPCH::WebServer->new(answer => sub { return RPCH::WebServer::answer("200 $n", '') }) } 'A', 'B';
    my $shared = RPCH::Httpd->new(conf => $LOAD . backend(map { ("http://127.0.0.1:$_->{port}", 'weight=1') } @member)
        =~ s/^RpcValidPorts .*/RpcValidPorts 127.0.0.1:1-20/mr)->start;
    # Many targets of one client, and many clients of one target
    for my $case ([targets => map { ['127.0.0.1', $_] } 1 .. 20], [addresses => map { ["127.0.1.$_", 1] } 1 .. 20]) {
        my ($what, @clients) = @$case;
        my ($together, %share) = (0);
        for my $client (@clients) {
            my ($in, $out) = map {
                my $http = RPCH::HTTP->dial(port => $shared->{port}, from => $client->[0], name => 'shared')->request($_, "$RPC?127.0.0.1:$client->[1]", length => 0);
                my $member = ($http->head || {})->{reason} // 'none';
                $http->close;
                $member;
            } qw(RPC_IN_DATA RPC_OUT_DATA);
            $together++ if $in eq $out;
            $share{$in}++;
        }
        is($together, 20, "weight=1: IN and OUT go to one member, for 20 $what");
        is(join(' ', sort keys %share), 'A B', "weight=1: both members have their share of $what");
    }
    $_->close for @member;
}

# ---- RpcHealthCheck echo ----
{
    my $silent = RPCH::WebServer->new(answer => sub { return });
    my $checked = RPCH::Httpd->new(conf => $LOAD . "RpcHealthCheck echo interval=1 timeout=1\n" . backend("http://127.0.0.1:$silent->{port} http://127.0.0.1:$back->{port}"))->start;
    ok($checked->logs(qr/rpcproxy:warn\].*health check: the proxy at http:\/\/127\.0\.0\.1:$silent->{port}: it does not answer in time; it is avoided/),
       'a member that is silent fails');
    ok(plain(port => $checked->{port}, target => $server->target)->serves, 'clients go to the other');
    is(scalar(grep { ($_->{request}{uri} // '') =~ /\?/ } @{ $silent->{peers} }), 0, 'without a try of the first');
    $silent->{answer} = sub { return RPCH::WebServer::echo() };
    ok($checked->logs(qr/health check: the proxy at http:\/\/127\.0\.0\.1:$silent->{port} answers again/), 'a member that answers is back');
    unlike($checked->log, qr/the proxy at http:\/\/127\.0\.0\.1:$back->{port}/, 'one that asks for a password answers');
    $silent->close;
}

# ---- modules in another order ----
{
    my $other = RPCH::Httpd->new(conf => $LOAD =~ s/^.*\bproxy_module .*\n//mr . $front{balancer});
    local $other->{httpd} = "$other->{httpd} -C 'LoadModule proxy_module $modules/mod_proxy.so'";
    $other->start;
    ok(plain(port => $other->{port}, target => $server->target)->serves, 'mod_proxy loaded before');
}

# ---- what the proxy behind says, and does not say ----
sub ask {
    my ($port, $length, %opt) = @_;
    my $http = RPCH::HTTP->dial(port => $port{odd}, name => "odd $port")
        ->request($length == 76 ? 'RPC_OUT_DATA' : 'RPC_IN_DATA', "$RPC?127.0.0.1:$port", length => $length, %opt);
    my $head = $http->head;
    my $body = $head ? $http->body($head->{headers}{'content-length'} // 1 << 20) : '';
    $http->close;
    return ($head ? $head->{line} : 'closed', $body, $head ? $head->{headers} : {});
}
for my $length (0, 1 << 30, 76) {
    my $what = $length ? "a channel of $length bytes" : 'an echo';
    my ($line, $body, $headers) = ask(1, $length);
    is("$line: $body", 'HTTP/1.1 401 Go Away: who are you', "$what: 401");
    is($headers->{'www-authenticate'}, 'Basic realm="behind", NTLM', "$what: what is offered");
    is($headers->{'x-house'}, 'rules', "$what: a field that mod_headers adds");
    ($line, $body, $headers) = ask(2, $length);
    is("$line: $body", 'HTTP/1.1 403 Not You: go', "$what: 403");
    is($headers->{'x-once'}, undef, "$what: a field of the connection behind");
    like($headers->{location} // '', qr{^http://localhost(?::\d+)?\Q$RPC\E/?a$}, "$what: Location");
    is($headers->{'set-cookie'}, "a=b; path=$RPC", "$what: the path of a cookie");
    ($line, $body) = ask(3, $length);
    is("$line: $body", "HTTP/1.1 503 $phrase: RPC EEInfo:AAAA\r\n", "$what: an RPC error");
    like((ask(4, $length))[0], qr/ 50[24] /, "$what: silence") if $length != 1 << 30;
    like((ask(5, $length))[0], qr/ 502 /, "$what: not HTTP");
    like((ask(6, $length))[0], qr/ 502 /, "$what: closed at once");
    is(join(': ', (ask(7, $length))[0]), 'HTTP/1.1 401 Chunked', "$what: a chunked answer");
    is(join(': ', (ask(8, $length))[0, 1]), 'HTTP/1.1 403 To The End: go', "$what: an answer to the end of the connection");
    is(join(': ', (ask(9, $length))[0, 1]), 'HTTP/1.1 404 Not Here: none', "$what: 100 Continue before the answer");
}
like((ask(7, 0, version => '1.0'))[1], qr/^who are you$/, 'a chunked answer to a client of HTTP/1.0');

# ---- RD Gateway as today's clients ask for it, where neither RpcValidPorts nor the firewall applies ----
sub rdg {
    my ($method, $token, %opt) = @_;
    my $http = delete $opt{http} // RPCH::HTTP->dial(port => $port{gateway}, name => $method);
    push @{ $opt{headers} }, "Authorization: NTLM $token";
    return $http->request($method, "$GATEWAY?x=1", %opt);
}
sub behind {
    my ($want) = @_;
    return eval { wait_for($want, sub { turn(0.02); grep { $_->{in} =~ /\Q$want\E/ } @{ $odd->{peers} } }) } ? 1 : 0;
}
{
    my $out = rdg('RDG_OUT_DATA', 'AAAA', length => 0);
    is($out->head->{headers}{'www-authenticate'}, 'NTLM AAAA', 'RDG_OUT_DATA: a handshake');
    is($out->body, 'who', 'RDG_OUT_DATA: its body');
    rdg('RDG_OUT_DATA', 'BBBB', length => 0, http => $out);
    is($out->head->{line}, 'HTTP/1.1 200 OK', 'RDG_OUT_DATA: the same connection goes on');
    is($out->body(100), 'r' x 100, 'RDG_OUT_DATA: what has come with the answer');
    my ($peer) = grep { ($_->{n} // 0) == 2 } @{ $odd->{peers} };
    $peer->put('more');
    is($out->body(4), 'more', 'RDG_OUT_DATA: and what comes later');
    my $in = rdg('RDG_IN_DATA', 'AAAA', length => 0);
    is($in->head->{status}, 401, 'RDG_IN_DATA: a handshake');
    is($in->body, 'who', 'RDG_IN_DATA: its body');
    rdg('RDG_IN_DATA', 'BBBB', http => $in, headers => ['Transfer-Encoding: chunked'])->put("5\r\nhello\r\n");
    ok(behind("5\r\nhello\r\n"), 'RDG_IN_DATA: a chunk has arrived');
    like($said{RDG_IN_DATA}, qr/^Transfer-Encoding: chunked/m, 'RDG_IN_DATA: as a chunk');
    my $socket = rdg('GET', 'BBBB', headers => ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc'])->put('early');
    wait_for('101', sub { @{ $socket->{interim} } || $socket->{head} || $socket->{eof} });
    is($socket->{interim}[0], 'HTTP/1.1 101 Switching Protocols', 'a WebSocket');
    $socket->put('frames');
    ok(behind('earlyframes'), 'a WebSocket: what the client sends arrives');
    like($said{GET}, qr/^Sec-WebSocket-Key: abc/m, 'a WebSocket: its fields');
    is((rdg('GET', 'BBBB')->head || {})->{status}, 405, 'GET without a WebSocket');
    $_->close for $out, $in, $socket;
}

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

# X-Forwarded-For tells this module behind of a front end, whose connections could be of several clients.
for my $case (['NTLM, unpinned', 0], ['NTLM, ProxyAddHeaders', 1], ['NTLM', 1]) {
    my ($name, $offered) = @$case;
    my $http = RPCH::HTTP->dial(port => $port{$name}, name => $name);
    my $answer = RPCH::NTLM->new(user => 'alice', password => 'secret')->knock($http, "$RPC?" . $server->target, method => 'RPC_IN_DATA', length => 0);
    is(defined $answer->{token} ? 1 : 0, $offered, "$name is " . ($offered ? 'offered' : 'not offered'));
    $http->close;
}

# A balancer that takes members in turn: a handshake stays with one.
for (1 .. 3) {
    my $http = RPCH::HTTP->dial(port => $port{'in turn'}, name => 'in turn');
    my $login = RPCH::NTLM->new(user => 'alice', password => 'secret');
    is($login->login($http, "$RPC?" . $server->target, method => 'RPC_OUT_DATA', length => 0)->{status}, 200,
        "a balancer that takes members in turn: handshake $_");
    $http->close;
}
# What a client has logged in is that client's.
{
    my $uri = "$RPC?" . $server->target;
    my ($hers, $his) = map { RPCH::HTTP->dial(port => $port{NTLM}, name => $_) } qw(hers his);
    my %echo = (method => 'RPC_IN_DATA', length => 0);
    my $login = RPCH::NTLM->new(user => 'alice', password => 'secret');
    is($login->login($hers, $uri, %echo)->{status}, 200, 'alice logs in with an echo');
    is(RPCH::NTLM::ask($hers, $uri, undef, %echo)->{status}, 200, 'and is known on her connection');
    is(RPCH::NTLM::ask($his, $uri, undef, %echo)->{status}, 401, 'nobody else is on his');
    my $from_a_front = RPCH::NTLM::ask($hers, $uri, undef, %echo, headers => ['X-Forwarded-For: 192.0.2.1']);
    is($from_a_front->{status}, 401, 'nor when a front end speaks for somebody on hers');
    is($from_a_front->{headers}{'www-authenticate'}, undef, 'who is not offered NTLM');
    is(RPCH::NTLM::ask($hers, $uri, undef, %echo)->{status}, 401, 'and then nobody is known there any more');
    my $fronted = RPCH::NTLM->new(user => 'alice', password => 'secret')
        ->knock(RPCH::HTTP->dial(port => $port{NTLM}, name => 'front'), $uri, %echo, headers => ['Via: 1.1 front']);
    is($fronted->{token}, undef, 'no handshake through a front end');
    $_->close for $hers, $his;
}
ok($back->logs(qr/^\Q$_\E "RPC_IN_DATA \S+ HTTP\/1.1" 200/m, 'access_log'), "the proxy behind has seen $_") for qw(alice bob);

diag $front->log if $ENV{SHOW};
diag $back->log('access_log') if $ENV{SHOW};
$server->close;
done_testing;
