# RD Gateway as today's clients speak to it, through this server to a double: pairs of RDG_OUT_DATA and
# RDG_IN_DATA, and WebSockets, by each way to authenticate; and FreeRDP through two layers.

use strict;
use warnings;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::FreeRDP;
use RPCH::Gateway;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(lacks needs_modules);
use RPCH::NTLM qw(smbpasswd_line);
use RPCH::Poll qw(turn wait_for);
use RPCH::RDG qw(packet packets chunk frame HANDSHAKE TUNNEL_CREATE TUNNEL_AUTH CHANNEL_CREATE DATA);
use RPCH::Root;
use RPCH::Test;

my $modules = needs_modules(qw(proxy proxy_http));
my $own_so = build_dir() . '/mod_rpc_backend_auth.so';
my $RDG = '/remoteDesktopGateway/';
my $conf = vars('serverroot') . '/conf';
my $smbpasswd = "$conf/gateway-$$";
put($smbpasswd, smbpasswd_line(alice => 'secret'));

# ---- gateways: one that asks nobody, one for NTLM, which believes each name, and one for Basic ----

my %gateway = (
    open => RPCH::RDG->new,
    ntlm => RPCH::RDG->new(who => sub {
        my ($fields) = @_;
        my $token = $fields =~ /^Authorization: NTLM (\S+)/mi ? decode_base64($1) : '';
        my $type = length $token < 12 ? 0 : unpack 'x8 V', $token;
        return (undef, $type == 1 ? 'NTLM ' . encode_base64(RPCH::Gateway::challenge(), '') : 'NTLM') if $type != 3;
        my ($size, $at) = unpack 'x36 v x2 V', $token;
        return substr($token, $at, $size) =~ s/\0//gr;
    }),
    basic => RPCH::RDG->new(who => sub { my ($fields) = @_; return $fields =~ /^Authorization: Basic (\S+)/mi ? decode_base64($1) : (undef, 'Basic realm="x"') }),
);
my $BASIC = "AuthType Basic\nAuthName x\nAuthUserFile $conf/users\nRequire valid-user";
my $NTLM = "AuthType NTLM\nAuthName x\nAuthNtlmUserFile $smbpasswd\nAuthNtlmNegotiate On\nAuthNtlmPinnedConnections On\nAuthNtlmExtendedProtection off\nRequire valid-user";
my %place = (
    'NTLM passes' => [ntlm => ''], 'Basic passes' => [basic => ''],
    'Basic here, Basic there' => [basic => "$BASIC\nRpcBackendAuth basic"], 'NTLM here' => [open => $NTLM],
);
my %port = map { $_ => RPCH::Root::free_ports(1) } sort keys %place, 'outer ntlm', 'outer open';
my $TLS = RPCH::Httpd->tls_lines;
sub host {
    my ($name, $before, @lines) = @_;
    return join "\n", "Listen 127.0.0.1:$port{$name}", "<VirtualHost 127.0.0.1:$port{$name}>", 'ServerName localhost', $TLS . $before, "<Location $RDG>",
        'SetHandler rpcproxy', @lines, '</Location>', '</VirtualHost>', '';
}
my $LOAD = join '', map({ "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http)), "LoadModule rpc_backend_auth_module $own_so\n";
my $inner = RPCH::Httpd->new(conf => join '', $LOAD, map { host($_, '', "RpcBackend * http://127.0.0.1:$gateway{ $place{$_}[0] }{port}", $place{$_}[1]) } sort keys %place)->start;
# With ProxyAddHeaders Off the next one sees no front end, which it could not offer NTLM to.
my $VERIFY = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $conf/server.crt\nProxyAddHeaders Off";
my %next = ('outer ntlm' => 'NTLM passes', 'outer open' => 'NTLM here');
my $outer = RPCH::Httpd->new(conf => join '', $LOAD, map { host($_, $VERIFY, "RpcBackend * https://localhost:$port{ $next{$_} }") } sort keys %next)->start;

# ---- a client of the protocol, by three requests ----

my $serial = 0;
sub dial { my ($place) = @_; return RPCH::HTTP->dial(port => $port{$place}, name => $place, tls => { SSL_ca_file => "$conf/server.crt", SSL_hostname => 'localhost' }) }
# A request that the way of PLACE has authenticated.
sub request {
    my ($place, $method, %opt) = @_;
    my $http = dial($place);
    my @headers = (@{ $opt{headers} || [] }, "RDG-Connection-Id: {$serial}");
    if ($place =~ /Basic/) { return $http->request($method, $RDG, user => 'alice', password => 'secret', headers => \@headers) }
    my $login = RPCH::NTLM->new(user => 'alice', password => 'secret');
    my $answer = $login->knock($http, $RDG, method => $method, length => 0, headers => [grep { !/^Transfer/ } @headers]);
    die "$place: no challenge\n" if !defined $answer->{token};
    return $http->request($method, $RDG, headers => ['Authorization: NTLM ' . encode_base64($login->authenticate, ''), @headers]);
}
# Cuts N packets off what has come.
sub hears {
    my ($http, $n, $bytes) = @_;
    my @all;
    wait_for("$n packets", sub { $$bytes .= substr $http->{in}, 0, length $http->{in}, ''; push @all, packets($bytes); @all >= $n || $http->{eof} });
    return @all;
}
my @OPENING = ([HANDSHAKE, pack 'C C v v', 1, 0, 0, 0], [TUNNEL_CREATE, pack 'V v v', 0x3f, 0, 0], [TUNNEL_AUTH, pack 'v v/a*', 0, 'pc'], [CHANNEL_CREATE, pack 'C C v v v/a*', 1, 0, 3389, 3, 'host']);
my $MUCH = join '', map { pack 'N', $_ } 1 .. 10_000;
sub data { my ($bytes) = @_; return map { packet(DATA, pack 'v/a*', $_) } unpack '(a4000)*', $bytes }

for my $place (sort keys %place) {
    my $gateway = $gateway{ $place{$place}[0] };
    my $who = { ntlm => 'alice', basic => 'alice:secret', open => '' }->{ $place{$place}[0] };
    for my $way (qw(pair socket)) {
        $serial++;
        $gateway->forget;
        my ($out, $in, $wrap);
        if ($way eq 'pair') {
            $out = request($place, 'RDG_OUT_DATA');
            is(($out->head || {})->{status}, 200, "$place, a pair: OUT");
            is($out->body(10), RPCH::RDG::SEED, "$place, a pair: the first bytes");
            $in = request($place, 'RDG_IN_DATA', headers => ['Transfer-Encoding: chunked']);
            is(($in->head || {})->{status}, 200, "$place, a pair: IN is answered at once");
            $wrap = \&chunk;
        }
        else {
            $in = $out = request($place, 'GET', headers => ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc', 'Sec-WebSocket-Version: 13']);
            wait_for('101', sub { @{ $out->{interim} } || $out->{head} || $out->{eof} });
            is($out->{interim}[0], 'HTTP/1.1 101 Switching Protocols', "$place, a WebSocket");
            $wrap = sub { return frame($_[0], 'mask') };
        }
        my ($bytes, @answers) = ('');
        for (@OPENING) {
            $in->put($wrap->(packet(@$_)));
            if ($way eq 'pair') { push @answers, hears($out, 1, \$bytes) }
            else {      # a frame of a few bytes, without a mask
                wait_for('a frame', sub { length $out->{in} > 2 && length $out->{in} >= 2 + ord substr $out->{in}, 1 });
                my $frame = substr $out->{in}, 0, 2 + ord(substr $out->{in}, 1), '';
                push @answers, packets(\substr $frame, 2);
            }
        }
        is(join(' ', map { $_->[0] } @answers), '2 5 7 9', "$place, $way: tunnel and channel");
        my $tunnel = $gateway->tunnel;
        is_deeply([sort { $a cmp $b } map { "$_" } values %{ $tunnel->{user} }], [($who) x keys %{ $tunnel->{user} }], "$place, $way: the gateway has seen " . ($who || 'nobody'));
        $in->put($wrap->($_)) for data($MUCH);
        wait_for('all of it', sub { length $tunnel->{heard} >= length $MUCH });
        ok($tunnel->{heard} eq $MUCH, "$place, $way: bytes to the target");
        $tunnel->{out}->send($_) for data($MUCH);
        my $frames = join '', map { $way eq 'pair' ? $_ : frame($_) } data($MUCH);
        wait_for('all of it', sub { length $out->{in} >= length $frames || $out->{eof} });
        ok($out->{in} eq $frames, "$place, $way: and back");
        $_->close for $out, $in;
    }
}
ok($inner->logs(qr/^alice "\Q$_\E $RDG HTTP\/1\.1" (?:200|101) /m, 'access_log'), "NTLM here: $_ of alice") for qw(RDG_OUT_DATA RDG_IN_DATA GET);

# ---- FreeRDP ----
my $no_client = lacks(RPCH::FreeRDP::CLIENT);
# The target wants TLS, which FreeRDP is told not to offer: it says so and ends, so it got every byte.
my $refusal = pack 'H*', '030000130ed000001234000300080001000000';
SKIP: {
    skip $no_client, 1 if $no_client;
    local $RPCH::Poll::TIMEOUT = 3 * $RPCH::Poll::TIMEOUT;      # it measures the machine before it begins
    for my $place ('outer ntlm', 'outer open') {
        my $gateway = $gateway{ $place =~ s/outer //r };
        for my $transport ('http', 'http,no-websockets') {
            $gateway->forget;
            my $freerdp = RPCH::FreeRDP->start($port{$place}, undef, 'CONTOSO', $transport);
            my $tunnel = eval { wait_for('a tunnel, or the end', sub { turn(0.05); grep({ length $_->{heard} } values %{ $gateway->{tunnels} }) || !$freerdp->running }); $gateway->tunnel };
            ok($tunnel, "$place, $transport: FreeRDP opens a channel") or diag($@, grep { !/Build|FLAGS/ } $freerdp->log =~ /.*\n/g), next;
            like($tunnel->{heard}, qr/Cookie: mstshash=/, "$place, $transport: which carries what it says first");
            is(join(' ', sort keys %{ $tunnel->{user} }), $transport eq 'http' ? 'socket' : 'in out', "$place, $transport: by");
            $gateway->say($tunnel, $refusal);
            is(eval { $freerdp->exit_code }, RPCH::FreeRDP::NEGOTIATION_FAILED, "$place, $transport: and the target's answer");
        }
    }
}

diag $inner->log, $outer->log if $ENV{SHOW};
$_->close for values %gateway;
done_testing;
