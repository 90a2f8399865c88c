# What is owed to a channel that goes on to an RPC proxy, which the test itself plays here: each byte of
# the request and of the answer, claims, the firewall, limits of time, and an end that is explained.

use strict;
use warnings;
use Test::More;
use RPCH::Client;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_ack_pdu bind_pdu contexts_pdu request_pdu response_pdu MGMT);
use RPCH::TCPServer;
use RPCH::Test;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers));

my $root = vars('serverroot');
# The proxies behind: one connection for each request.
my $clear = RPCH::TCPServer->new(raw => 1);
my $secure = RPCH::TCPServer->new(raw => 1, tls => { SSL_cert_file => "$root/conf/server.crt", SSL_key_file => "$root/conf/server.key" });
my $apart = RPCH::TCPServer->new(raw => 1);
my $behind = $clear;
my $target = 'mail.contoso.test:6001';
my %place = (
    rpc => '', short => "ProxyTimeout 1", setup => 'RpcSetupTimeout 1',
    first => 'RpcFirstPduTimeout 1', waits => "Proxy100Continue On\nProxyAddHeaders Off\nRequestHeader set X-House rules", says => 'Proxy100Continue Off',
    mapped => "ProxyPassReverse http://127.0.0.1:$behind->{port}\nProxyPassReverseCookiePath /rpc /mapped\nProxyPassReverseCookieDomain behind.test front.test",
    balanced => 'ProxyPassReverse balancer://cas/mapped/', few => 'RpcMaxChannelsPerAddress 2',
    nspi => "RpcNspiProtocolSequences ncacn_http:6001\nRpcNspiServers gc1 gc2\nRpcBackend gc2 http://127.0.0.1:$behind->{port}/gc2/rpcproxy.dll",
    impatient => '', v1 => 'RpcProtocolVersions v1 v2', session => 'RpcMaxSessionTime 1', spent => 'RpcMaxFailedTargets 1 3600',
    renamed => "RpcValidPorts *.example.com:6001\nRpcBackend *.example.com http://127.0.0.1:$behind->{port}/cas/rpcproxy.dll?*.corp.test:6001",
    judged => "<RequireAll>\nRequire rpc-target mail.contoso.test:6001\nRequire rpc-interface emsmdb\n</RequireAll>",
    tls => '', guarded => "RpcAllowInterfaces 6001 emsmdb\nRpcMinAuthLevel none",
);
my %port;
my $conf = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers);
$conf .= "<Proxy balancer://cas>\nBalancerMember http://127.0.0.1:$behind->{port}\n</Proxy>\n"
    . "<Proxy balancer://impatient>\nBalancerMember http://127.0.0.1:$behind->{port} timeout=1\n</Proxy>\n";
# Some of these directives are for a whole host.
for my $name (sort keys %place) {
    my ($host, $here) = $place{$name} =~ /^ProxyTimeout/ ? ($place{$name}, '') : ('', $place{$name});
    my $url = "http://127.0.0.1:$clear->{port}";
    $url = "http://127.0.0.1:$apart->{port}" if $name eq 'few';
    $url = 'balancer://impatient' if $name eq 'impatient';
    if ($name eq 'tls') {
        $host = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $root/conf/server.crt";
        $url = "https://localhost:$secure->{port}";
    }
    $port{$name} = RPCH::Root::free_ports(1);
    $conf .= <<"CONF";
Listen 127.0.0.1:$port{$name}
<VirtualHost 127.0.0.1:$port{$name}>
$host
<Location /rpc/rpcproxy.dll>
SetHandler rpcproxy
RpcRequireTLS off
RpcValidPorts $target
RpcBackend mail.contoso.test $url
$here
</Location>
</VirtualHost>
CONF
}
my $httpd = RPCH::Httpd->new(conf => $conf)->start;

sub asker { my ($place, %arg) = @_; return plain(port => $port{$place // 'rpc'}, target => $target, raw => 1, %arg) }

# The request that has come, up to its body.
sub asked {
    my $up = $behind->connection;
    wait_for('a request', sub { $up->{in} =~ /\r\n\r\n/ || $up->{eof} });
    ($up->{head}) = $up->{in} =~ s/^(.*?\r\n)\r\n//s;
    $up->{head} = $1;
    return $up;
}
sub gets { my ($peer, $want, $name) = @_; wait_for($name, sub { length $peer->{in} >= length $want || $peer->{eof} }); return is(substr($peer->{in}, 0, length $want, ''), $want, $name) }
# The greatest size of a TCP socket's buffer, to read (r) or to write (w), in bytes.
sub buffer_limit {
    my ($way) = @_;
    open my $fh, '<', "/proc/sys/net/ipv4/tcp_${way}mem" or return 33_554_432;
    return (split ' ', <$fh>)[2];
}
sub ends { my ($reason, $name) = @_; return ok($httpd->logs(qr/ \Q$reason\E$/m, 'access_log'), $name // "ends: $reason") }
sub says { my ($re) = @_; return ok($httpd->logs($re), "the log: $re") }

my $OK = "HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\nContent-Length: 1073741824\r\nKeep-Alive: timeout=5\r\n\r\n";
my $A3 = rts('CONN/A3', timeout => 120_000);
my $C2 = rts('CONN/C2', window => 65_536, timeout => 120_000);

# An OUT channel up to its answer: the client, its channel, the connection behind.
sub out {
    my ($place, %arg) = @_;
    my $over = delete $arg{over} || {};
    my $c = asker($place, %arg);
    my $out = $c->open_out(%$over);
    $c->send_a1;
    return ($c, $out, asked());
}
sub in {
    my ($place, %arg) = @_;
    my $c = asker($place, %arg);
    my $in = $c->open_in;
    $c->send_b1;
    return ($c, $in, asked());
}
sub opened {
    my ($c, $out, $up) = out(@_);
    gets($up, $c->a1, 'CONN/A1 goes on');
    $up->put($OK . $A3 . $C2);
    $out->head;
    gets($out, $A3 . $C2, 'CONN/A3 and C2 come back');
    return ($c, $out, $up);
}

# ---- an OUT channel ----
{
    my ($c, $out, $up) = opened();
    like($up->{head}, qr{^RPC_OUT_DATA /rpc/rpcproxy\.dll\?\Q$target\E HTTP/1\.1\r\n}, 'the request line');
    like($up->{head}, qr/^Content-Length: 76\r$/m, 'and its length');
    is($out->{head}{line}, 'HTTP/1.1 200 Success', 'the upstream\'s status line');
    is_deeply({ map { $_ => $out->{head}{headers}{$_} } qw(content-type content-length connection keep-alive) },
              { 'content-type' => 'application/rpc', 'content-length' => 1 << 30, connection => 'close',
                'keep-alive' => undef }, 'its fields, but those of the connection');
    my $pdu = response_pdu('x' x 3000);
    $up->dribble($pdu, 1, 17, 1000);
    gets($out, $pdu, 'a PDU in pieces');
    $up->put(substr $pdu, 0, 2000);
    $up->flush->close;
    $out->wait_eof;
    is(length $out->{in}, 0, 'no half PDU arrives');
    ends('server-error');
    says(qr/warn.*server-error, relayed outbound in Opened: the upstream closed within a PDU/);
}
{
    my ($c, $out, $up) = opened();
    $up->put(rts('OUT_R2/B3'))->flush->close;
    gets($out, rts('OUT_R2/B3'), 'OUT_R2/B3 comes back');
    ends('recycled', 'a channel that has been replaced');
    like($httpd->log('access_log'), qr/ 200 96 \d+ \d+ recycled$/m, 'the access log has status and bytes');
}
for my $place (qw(rpc tls)) {
    $behind = $place eq 'tls' ? $secure : $clear;
    my ($c, $out, $up) = opened($place);
    shutdown $out->{fh}, 1;
    $up->wait_eof;
    $up->put(my $pdu = response_pdu('late'));
    gets($out, $pdu, "$place: a client that sends no more still hears");
    $up->put(substr $pdu, 0, 10);
    $up->flush->close;
    $out->wait_eof;
    is(length $out->{in}, 0, "$place: no half PDU arrives");
}
$behind = $clear;

# ---- back-pressure ----
# FROM sends more than the buffers of the kernel hold to TO, which reads only later; two ends send, and READERS read.
sub stalls {
    my ($from, $to, $readers, $pdu, $name) = @_;
    my $count = int((2 * buffer_limit('w') + $readers * buffer_limit('r') + 4_000_000) / length $pdu);
    $to->stop_reading;
    $from->put($pdu x $count);
    my $before = -1;
    wait_for('a stall', sub { my $same = $from->{total_out} == $before; $before = $from->{total_out}; turn(0.2); $same });
    cmp_ok(length $from->{out}, '>', 1_000_000, "$name that does not read stops the other side");
    my ($c2, $out2, $up2) = opened();
    $_->close for $out2, $up2;
    $to->stop_reading(0);
    wait_for('all of it', sub { length $to->{in} == $count * length $pdu });
    return ok($to->{in} eq $pdu x $count, 'all arrives in the end');
}
{
    my ($c, $out, $up) = opened('rpc', over => { dial => { rcvbuf => 65_536 } });
    stalls($up, $out, 1, response_pdu('x' x 5000), 'a client');
    $_->close for $out, $up;
    ($c, my $in, $up) = in();
    gets($up, $c->b1, 'CONN/B1 goes on');
    stalls($in, $up, 2, request_pdu(1, 'x' x 5000), 'an upstream');
    $_->close for $in, $up;
}

# ---- answers that are none ----
for (['another protocol', 'upstream-answer', 502, "SSH-2.0-OpenSSH\r\n"],
     ['nothing', 'upstream-answer', 502, ''],
     ['half a header', 'upstream-answer', 502, "HTTP/1.1 200 OK\r\nContent-Le"],
     ['silence', 'upstream-silent', 504, undef], ['silence of a member with timeout=1', 'upstream-silent', 504, undef, 'impatient']) {
    my ($name, $reason, $status, $text, $place) = @$_;
    $place //= defined $text ? 'rpc' : 'short';
    my ($c, $out, $up) = out($place);
    gets($up, $c->a1, 'CONN/A1 goes on');       # else the end of the upstream could be a reset
    $up->put($text)->flush->close if defined $text;
    is($out->head->{line} =~ s/, EEInfo.*//r, "HTTP/1.0 $status RPC Error: 6ba", $name);
    ends($reason, "$name: $reason");
}

# ---- refusals ----
{
    my ($c, $in, $up) = in();
    my $body = "RPC EEInfo: AAAA\r\n";
    $up->put("HTTP/1.1 503 RPC Error: 6ba, EEInfo: AAAA\r\nContent-Length: 18\r\n\r\n$body");
    is($in->head->{line}, 'HTTP/1.1 503 RPC Error: 6ba, EEInfo: AAAA', 'an RPC error of the upstream');
    is($in->body, $body, 'and its body');
    $in->wait_eof;
    ends('upstream-refused');
    says(qr/warn.*upstream-refused, relayed inbound in Connecting: the upstream answered 503 RPC Error: 6ba/);
}
{
    my ($c, $out, $up) = out();
    gets($up, $c->a1, 'CONN/A1 goes on');
    $up->put($OK . $A3)->flush->close;
    $out->wait_eof;
    ends('server-refused', 'a server that never came');
}
{
    my ($c, $out, $up) = out('rpc', version => '1.0');
    $up->put("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n3\r\nyet\r\n0\r\n\r\n");
    is($out->head->{status}, 404, 'an error in chunks');
    is($out->body, 'notyet', 'for HTTP/1.0 without these');
}
{
    my ($c, $out, $up) = out('short');
    $up->put("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\nno end");
    is($out->head->{status}, 401, 'a 401 without an end');
    $out->wait_eof;
    ends('upstream-challenge');
}
{
    my ($c, $out, $up) = out('mapped');
    $up->put("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:$behind->{port}/elsewhere\r\n"
             . "Set-Cookie: a=b; path=/rpc/x; Domain=BEHIND.test\r\nContent-Length: 0\r\n\r\n");
    like($out->head->{headers}{location}, qr{^http://localhost(?::\d+)?(?:/rpc/rpcproxy\.dll)?/elsewhere$}, 'ProxyPassReverse');
    is($out->{head}{headers}{'set-cookie'}, 'a=b; path=/mapped/x; Domain=front.test', 'ProxyPassReverseCookiePath and ProxyPassReverseCookieDomain');
}
{
    my ($c, $out, $up) = out('renamed', target => 'Box7.example.com:6001');
    like($up->{head}, qr{^RPC_OUT_DATA /cas/rpcproxy\.dll\?box7\.corp\.test:6001 HTTP}i, "a query of the RpcBackend's own, with what its pattern has matched");
    $_->close for $out, $up;
}

{
    my ($c, $out, $up) = out('balanced');
    $up->put("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:$behind->{port}/mapped/elsewhere\r\nContent-Length: 0\r\n\r\n");
    like($out->head->{headers}{location}, qr{^http://localhost(?::\d+)?/rpc/rpcproxy\.dll/?elsewhere$}, 'ProxyPassReverse of a balancer: it stands for its members');
}
{
    my ($c, $out, $up) = out('nspi');
    like($up->{head}, qr{^RPC_OUT_DATA /gc2/rpcproxy\.dll\?\Q$target\E HTTP}, 'a port of the address book: the URL of a global catalog, and the query as it was sent');
    $up->put("HTTP/1.1 404 Not Here\r\nContent-Length: 0\r\n\r\n");
    is($out->head->{status}, 404, 'and its answer');
}

# ---- RpcMaxChannelsPerAddress ----
{
    $behind = $apart;       # whom the third one may connect to, too
    my @of_one = map { [out('few')] } 1 .. 2;
    my $c = asker('few');
    my $out = $c->open_out;
    $c->send_a1;
    is_rpc_error($out, '6bb', 'RpcMaxChannelsPerAddress: a third channel');
    says(qr/(?:refused|ended): too-many-of-address\b.*RpcMaxChannelsPerAddress (?:2 )?is reached/);
    $_->close for $out, map { $_->[1] } @of_one;
    $behind = $clear;
}

# ---- RpcMaxUnpairedChannels, RpcMaxChannels ----
{
    $behind = RPCH::TCPServer->new(raw => 1);
    my $full = RPCH::Httpd->new(conf => (join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http))
        . "RpcMaxChannels 3\nRpcMaxUnpairedChannels 2\n<Location /rpc/rpcproxy.dll>\nSetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts $target\n"
        . "RpcBackend * http://127.0.0.1:$behind->{port}\n</Location>\n")->start;
    my @of_one = map { [out(undef, port => $full->{port})] } 1 .. 2;
    my $one_more = sub {
        my ($says) = @_;
        my $c = asker(undef, port => $full->{port});
        my $out = $c->open_out;
        $c->send_a1;
        is_rpc_error($out, '6bb', "$says: one channel more");
        @{ $behind->{new} } = ();       # it may have connected to it
        return ok($full->logs(qr/(?:refused|ended): .*\b$says (?:\d+ )?is reached/), 'as the log says') || diag $full->log;
    };
    $one_more->('RpcMaxUnpairedChannels');
    for (@of_one) {
        my ($c, $out, $up) = @$_;
        $up->put($OK . $A3 . $C2);
        $out->head;
        gets($out, $A3 . $C2, 'an answer');
    }
    push @of_one, [opened(undef, port => $full->{port})];
    $one_more->('RpcMaxChannels');
    $_->close for $behind, map { $_->[1] } @of_one;
    $behind = $clear;
}

# ---- version 1 ----
{
    my $http = RPCH::HTTP->dial(port => $port{v1}, name => 'version 1')->request('RPC_CONNECT', "/rpc/rpcproxy.dll?$target");
    my $up = asked();
    like($up->{head}, qr{^RPC_CONNECT /rpc/rpcproxy\.dll\?\Q$target\E HTTP/1\.1\r\n}, 'version 1: the request line');
    unlike($up->{head}, qr/^(?:Content-Length|Transfer-Encoding):/mi, 'version 1: a body without a length');
    $http->put(my $bind = bind_pdu());
    gets($up, $bind, 'version 1: what the client says');
    $up->put("HTTP/1.1 200 OK\r\n\r\n" . (my $ack = bind_ack_pdu()));
    is($http->head->{status}, 200, 'version 1: the answer');
    gets($http, $ack, 'version 1: what the server says');
    $up->dribble(my $pdu = response_pdu('x' x 3000), 1, 100, 1000);
    gets($http, $pdu, 'version 1: and more of it');
    $up->close;
    $http->wait_eof;
    $http->close;
    $http = RPCH::HTTP->dial(port => $port{v1}, name => 'version 1')->request('RPC_CONNECT', '/rpc/rpcproxy.dll?mail.contoso.test:1');
    like(($http->head || {})->{line}, qr/ 503 RPC Error: 6ba/, 'version 1: a target that is not allowed');
    $http->close;
}

# ---- Require, RpcMaxFailedTargets ----
{
    my ($c, $in, $up) = in('judged');
    gets($up, $c->b1, 'Require rpc-target: CONN/B1 goes on');
    $in->put(contexts_pdu([[MGMT, 1]]));
    says(qr/bind to mgmt.*refused: interface-refused: nearest rule is Require rpc-interface/);
    $_->close for $in, $up;
    my $other = asker('judged', target => 'mail.contoso.test:6002');
    my $out = $other->open_out;
    $other->send_a1;
    is(($out->head || {})->{status}, 403, 'Require rpc-target: another one');
    $out->close;
    my %from = (dial => { from => '127.0.0.77' });
    for (['a target that is not allowed', 'mail.contoso.test:1'], ['and then one that is', $target]) {
        my ($name, $asked) = @$_;
        $c = asker('spent', target => $asked);
        $out = $c->open_out(%from);
        $c->send_a1;
        like(($out->head || {})->{line}, qr/^HTTP\/1\.0 503 RPC Error: 6ba/, "RpcMaxFailedTargets 1: $name");
        $out->close;
    }
    ok($httpd->logs(qr/ too-many-failed$/m, 'access_log'), 'RpcMaxFailedTargets: the reason');
}

# ---- 100-continue ----
for (['waits', 1], ['says', 0], ['rpc', 1]) {
    my ($place, $end_to_end) = @$_;
    my $c = asker($place, headers => ['Expect: 100-continue']);
    my $out = $c->open_out;
    my $up = asked();
    is(scalar($up->{head} =~ /^Expect: 100-continue\r$/mi) || 0, $end_to_end, "$place: who expects");
    is(scalar @{ $out->{interim} }, 0, "$place: no 100 before that of the upstream") if $end_to_end;
    $up->put("HTTP/1.1 100 Continue\r\n\r\n");
    like($out->continued, qr/^HTTP\/1\.1 100 Continue/, "$place: a 100");
    $c->send_a1;
    gets($up, $c->a1, "$place: the body");
    $up->put($OK . $A3);
    is($out->head->{status}, 200, "$place: the answer");
    is(scalar @{ $out->{interim} }, 1, "$place: one 100");
    is(join(' ', map { s/\r//r } $up->{head} =~ /^(?:X-Forwarded-For|X-House): .*$/mg), $place eq 'waits' ? 'X-House: rules' : 'X-Forwarded-For: 127.0.0.1',
        "$place: fields by ProxyAddHeaders and RequestHeader");
    $_->close for $out, $up;
}

# ---- claims ----
{
    my ($c, $out, $up) = opened();
    my $twin = asker('rpc', vc => $c->{vc});
    my $second = $twin->open_out;
    $twin->send_a1;
    my $up2 = asked();
    is_rpc_error($second, '6c0', 'a second OUT channel of the same virtual connection');
    $up2->wait_eof;
    is($up2->{in}, '', 'nothing of its body has gone on');
    my $heir = asker('rpc', vc => $c->{vc});
    my $next = $heir->open_out(length => 120);
    $next->put(my $a3 = rts('OUT_R1/A3', vc => $c->{vc}, old => $c->{out_cookie}, new => RPCH::Client::cookie(), window => 65_536));
    my $up3 = asked();
    gets($up3, $a3, 'a successor goes on');
    $_->close for $next, $up3, $out, $up;
}

# ---- the firewall ----
{
    my ($c, $in, $up) = in('guarded');
    gets($up, $c->b1, 'CONN/B1 goes on');
    my @unit = ([MGMT, 1]);
    $in->put(contexts_pdu(\@unit));
    gets($up, contexts_pdu([['02f9bd78-f373-4ffc-8144-afede8f96ea8', 0]]), 'a bind that is refused goes on, to nobody\'s interface');
    says(qr/bind to mgmt.*refused: interface-refused/);
    $_->close for $in, $up;
    ($c, $in, $up) = in('guarded');
    $in->put(request_pdu(1, 'unbound'));
    is_rpc_error($in, '6c0', 'a request without a bind');
}

# ---- time ----
{
    my $c = asker('first');
    my $out = $c->open_out;
    is_rpc_error($out, '6c0', 'a first PDU that does not come');
    asked()->close;
    ends('first-pdu-timeout');
    ($c, $out, my $up) = out('setup');
    $up->put($OK . $A3);
    $out->wait_eof;
    ends('setup-timeout');
    ($c, my $in, $up) = in('session');
    gets($up, $c->b1, 'CONN/B1 goes on');
    $in->wait_eof;
    ends('session-over');
}

# ---- an IN channel, and the end of all ----
{
    my ($c, $in, $up) = in();
    gets($up, $c->b1, 'CONN/B1 goes on');
    $in->dribble(my $pdu = request_pdu(1, 'y' x 2000), 1, 100, 700);
    gets($up, $pdu, 'a PDU in pieces');
    $in->put(rts('IN_R1/A5', new => RPCH::Client::cookie()))->flush;
    $up->put("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    is($in->head->{status}, 200, 'the answer comes at its end');
    $in->wait_eof;

    my ($c2, $out2, $up2) = opened();
    $httpd->restart;
    $up2->put($pdu = response_pdu('after'));
    gets($out2, $pdu, 'a channel outlives a graceful restart');
    $httpd->signal('TERM');
    $_->wait_eof for $out2, $up2;
    $httpd->wait_gone;
    ends('shutdown', 'and ends with its httpd');
}
$_->close for $clear, $apart, $secure;
done_testing;
