# Reasons that no other test file covers. Each leaves exactly one line at level warn, with user, client,
# target, server and cause.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts FD_OUT_PROXY FD_CLIENT);
use RPCH::Poll qw(turn);
use RPCH::RPC qw(bind_pdu contexts_pdu request_pdu response_pdu);
use RPCH::Test;
use RPCH::WarnLines;

my %SECTION = (rpc => '', lifetime => "RpcChannelLifetime 131072\n", level => "RpcMinAuthLevel integrity\n", ifaces => "RpcAllowInterfaces 1024-65535 samr\n",
               address => "RpcMaxChannelsPerAddress 2\n", failed => "RpcMaxFailedTargets 1 3600\n", nobody => "Require all granted\nAuthType None\n");
sub httpd {
    my ($conf, @sections) = @_;
    my $locations = join '', map { RPCH::Httpd->location($SECTION{$_}) =~ s{/rpc/}{/$_/}r =~ s/^RpcBackend .*\n//mr } @sections;
    $locations =~ s/^Require valid-user\n(?=(?:(?!<Location).*\n)*?Require all)//mg;
    my $httpd = RPCH::Httpd->new(conf => "LogLevel warn rpcproxy:warn\n$conf$locations")->start;
    return ($httpd, RPCH::WarnLines->new($httpd)->begin);
}
our ($httpd, $log) = httpd('', sort keys %SECTION);
my %bob = (user => 'bob', password => 'hidden');
sub client_of { my ($path, $server, %arg) = @_; return plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => $server->target, %arg) }
sub gone { my ($c) = @_; $_ && $_->wait_eof for $c->in, $c->out; return $c->close }
sub of { my ($server) = @_; return (qr/channel to 127\.0\.0\.1:$server->{port} of user/, qr/server 127\.0\.0\.1\[$server->{port}\]/) }

# ---- channels: [name, reason, what happens, more of the line] ----

my $echo = server(echo => 1);
# Another client, which has the cookies of an open connection, and what this client sends.
sub intruder {
    my ($kind, $pdu, %who) = @_;
    my $c = client_of('rpc', $echo)->connect;
    my $thief = client_of('rpc', $echo, (map { $_ => $c->{$_} } qw(vc in_cookie out_cookie group)), %who);
    $kind eq 'in' ? $thief->open_in : $thief->open_out(length => 120);
    $thief->$kind->put($pdu->($thief));
    $thief->$kind->wait_eof;
    $thief->close;
    return $c;
}
sub wrong_successor {
    my ($c) = @_;
    return rts('OUT_R1/A3', vc => $c->{vc}, old => RPCH::Client::cookie(), new => RPCH::Client::cookie(), window => 65536);
}
sub opened_at {
    my ($path, %arg) = @_;
    my $server = server(%{ delete $arg{server} // {} });
    my $c = client_of($path, $server, %arg)->connect;
    return ($c, $server->vc);
}
sub flood { my ($destination, $cookie) = @_; return rts('FlowControlAckWithDestination', destination => $destination, ack => { received => 0, available => 65536, channel => $cookie }) x 120_000 }
my $samr = '12345778-1234-abcd-ef00-0123456789ac';

my @cases = (
    ['a virtual connection that exists', 'duplicate-cookie', sub { intruder(in => sub { $_[0]->b1 }) }, qr/inbound in Open_Start/],
    ['another user\'s virtual connection', 'peer-mismatch', sub { $log->{user} = 'bob'; intruder(in => sub { $_[0]->b1 }, %bob) }, qr/inbound in Open_Start: the virtual connection is another user's/],
    ['the successor of no channel', 'unknown-cookie', sub { intruder(out => \&wrong_successor) }, qr/outbound in Open_Start/],
    ['a PDU larger than the server\'s window', 'pdu-too-big', sub {
        my ($c) = opened_at('rpc', obey => 0, server => { window => 8192 });
        $c->in->put(request_pdu(1, 'x' x 9000));
        return gone($c);
    }, qr/inbound in Opened: a PDU of \d+ bytes, the server's window is 8192/],
    ['a PDU larger than the client\'s window', 'pdu-too-big', sub {
        my ($c, $vc) = opened_at('rpc', window => 8192);
        $vc->{obey} = 0;
        $vc->send(response_pdu('x' x 9000));
        return gone($c);
    }, qr/outbound in Opened: a PDU of \d+ bytes, the client's window is 8192/],
    ['an OUT channel that is used up', 'lifetime-exceeded', sub {
        my ($c) = opened_at('lifetime', server => { echo => 1 });
        for (1 .. 100) { last if !defined eval { $c->call(request_pdu(1, 'x' x 4000)) } }
        return gone($c);
    }, qr/outbound in Opened: \d+ bytes more than the Content-Length allows/],
    ['a server that does not read', 'buffer-full', sub {
        my ($c, $vc) = opened_at('rpc', server => { rcvbuf => 4096 });
        $vc->{in}->stop_reading;
        $c->in->put(flood(FD_OUT_PROXY, $c->{out_cookie}));
        $c->in->wait_eof;
        return $c->close;
    }, qr/inbound in Opened: the server does not read/],
    ['a client that does not read', 'buffer-full', sub {
        my ($c, $vc) = opened_at('rpc');
        $c->out->stop_reading;
        $vc->{out}->put(flood(FD_CLIENT, $c->{in_cookie}));
        $c->in->wait_eof;
        return $c->close;
    }, qr/outbound in Opened: the client does not read/],
    ['a request without the level', 'level-refused', sub {
        my ($c) = opened_at('level');
        $c->send(contexts_pdu([[$samr, 1]], auth => [10, 5, 'x' x 16]))->send(request_pdu(1, 'x'));
        $c->in->wait_eof;
        return $c->close;
    }, qr/inbound in Opened: request from the client: no authentication/],
);
for (@cases) {
    my ($name, $reason, $do, @parts) = @$_;
    my $before = $echo->connections;
    $log->{user} = 'alice';
    $log->begin;
    my $c = $do->();
    $log->one_line($name, $reason, qr/channel to 127\.0\.0\.1:\d+ of user/, qr/server 127\.0\.0\.1\[\d+\]/, @parts);
    $c->close if ref $c;
    $log->settle;
    $log->begin;
}
$log->{user} = 'alice';
{
    my ($c) = opened_at('ifaces', server => { echo => 1 });
    $c->send(bind_pdu());
    ok(defined $c->recv, 'a bind that is refused ends no channel');
    $log->one_line('an interface that is refused', 'interface-refused', qr/channel to 127\.0\.0\.1:\d+ of user "alice": bind to /);
    $c->close;
}

# ---- refused requests ----

sub refused {
    my ($name, $reason, $c, $request, @parts) = @_;
    $log->begin;
    $request->($c);
    $c->out->head;
    $c->close;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return $log->one_line($name, $reason, @parts);
}
my $target = qr/target 127\.0\.0\.1:$echo->{port}$/;
refused('no channel\'s request', 'bad-request', client_of('rpc', $echo),
        sub { $_[0]->open_out(length => undef, headers => ['Transfer-Encoding: chunked']) }, qr/no usable Content-Length/, $target);
refused('another method', 'method', client_of('rpc', $echo), sub {
    my ($c) = @_;
    my $h = $c->{out} = $c->dial('POST');
    $h->request('POST', $c->uri, $c->options(length => 4));
    $h->put('text');
}, qr/POST refused: /);
{
    my $h = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a probe');
    $h->request('GET', '/rpc/rpcproxy.dll', user => 'alice', password => 'secret');
    is_answer($h->head, 405, 'what a balancer asks');
    $h->close;
    $log->no_line('every other second');
}
{
    local $log->{user} = '';
    refused('nobody', 'anonymous', client_of('nobody', $echo, user => undef, password => undef), sub { $_[0]->open_out; $_[0]->send_a1 }, qr/set AuthType/, $target);
}

# ---- limits: [section, directive of a server, how many halves reach it, reason] ----

my $mute = server(manual => 1);
sub silent { my ($path) = @_; my $c = client_of($path, $mute); $c->open_in; $c->send_b1; $mute->leg; return $c }
for (['address', '', 2, 'too-many-of-address', qr/RpcMaxChannelsPerAddress/],
     ['rpc', "RpcMaxChannels 2\nRpcMaxUnpairedChannels 0\n", 2, 'too-many-channels', qr/RpcMaxChannels/],
     ['rpc', "RpcMaxUnpairedChannels 2\n", 2, 'too-many-unpaired', qr/RpcMaxUnpairedChannels/],
     ['rpc', "RpcMaxUnpairedChannels 100\nRpcMaxUnpairedPerUser 2\n", 2, 'too-many-unpaired-of-user', qr/RpcMaxUnpairedPerUser/]) {
    my ($section, $conf, $count, $reason, @parts) = @$_;
    local ($httpd, $log) = $conf ? httpd($conf, 'rpc') : ($httpd, $log);
    my @halves = map { silent($section) } 1 .. $count;
    $log->begin;
    my $c = client_of($section, $mute);
    $c->open_in;
    $c->send_b1;
    $c->in->wait_eof;
    $log->one_line("a limit", $reason, qr/127\.0\.0\.1:$mute->{port}/, @parts);
    $_->close for @halves, $c;
}

# When a user reaches RpcMaxFailedTargets, there is one line, and none for the requests that are refused
# afterwards.
{
    my $dead = server();
    my $port = $dead->{port};
    $dead->close;
    $log->begin;
    for my $n (1 .. 3) {
        my $c = client_of('failed', $mute, target => "127.0.0.1:$port", from => '127.0.0.66');
        $c->open_out;
        $c->send_a1;
        $c->out->head;
        $c->close;
    }
    my @lines = $log->settle;
    is(scalar(grep { /ended: connect-failed, .* client 127\.0\.0\.66, server 127\.0\.0\.1\[$port\]/ } @lines), 1, 'too-many-failed: the target that is not there');
    is(scalar(grep { /user "alice" at 127\.0\.0\.66 .*RpcMaxFailedTargets/ } @lines), 1, 'too-many-failed: and that it was one too many');
    is(scalar @lines, 2, 'too-many-failed: no more lines') or diag @lines;
}

undef $httpd;
done_testing;
