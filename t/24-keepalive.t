# Keep-alive: the time-outs that the proxies announce, MinConnTimeout, and the client's interval
# as TCP keep-alive of the IN leg; and pings, whose timing 22-spec-gaps.t tests further.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts decode);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(request_pdu);
use RPCH::Test;
use RPCH::Wires;

my $server = server(manual => 1);
my $tcp = tcp_server(quiet => 1);
my $other = RPCH::Httpd->new(conf => RPCH::Httpd->location('RpcConnectionTimeout 600'))->start;

# ---- announced time-outs ----

# Opens C's connection. Returns the time-outs of A3, B2 and C2 in seconds, and the legs.
sub announced {
    my ($c, %header) = @_;
    $c->open_in(headers => $header{in} // []);
    $c->open_out(headers => $header{out} // []);
    $c->send_a1->send_b1;
    my ($in, $out) = $server->pair;
    my $b2 = $in->expect('CONN/B2');
    $out->expect('CONN/A2');
    $out->put(rts('CONN/C1', window => $b2->{window}, timeout => $b2->{timeout}));
    $in->put(rts('CONN/B3', window => 65536));
    $c->opened;
    my $is = join ' ', map { $_->{timeout} / 1000 } $c->{a3}, $b2, $c->{c2};
    return wantarray ? ($is, $in, $out) : do { $c->close; $is };
}

is(announced(client(target => $server->target)), '120 120 120', 'two minutes by default: A3, B2, C2');
is(announced(client(target => $server->target, path => '/small/rpcproxy.dll')), '240 240 240', 'RpcConnectionTimeout');
is(announced(plain(target => $server->target, port => $other->{port})), '600 600 600', 'on another machine');

# Pragma lines of the OUT request, and the time-out that A3 announces.
my @PRAGMAS = (
    ['the least', 120, 'MinConnTimeout=120'],
    ['the most', 14_400, 'MinConnTimeout=14400'],
    ['more than is configured', 900, 'MinConnTimeout=900'],
    ['case does not matter', 300, 'minconntimeout=300'],
    ['among others', 300, 'ResourceTypeUuid=44e265dd-7daf-42cd-8560-3cdb6e7a2729, MinConnTimeout=300, SessionId=44e265dd-7daf-42cd-8560-3cdb6e7a2729'],
    ['without spaces', 300, 'ResourceTypeUuid=44e265dd-7daf-42cd-8560-3cdb6e7a2729,MinConnTimeout=300'],
    ['on a line of its own', 300, 'ResourceTypeUuid=44e265dd-7daf-42cd-8560-3cdb6e7a2729', 'MinConnTimeout=300'],
    ['too little', 240, 'MinConnTimeout=119'],
    ['too much', 240, 'MinConnTimeout=14401'],
    ['nothing', 240, 'MinConnTimeout='],
    ['nought', 240, 'MinConnTimeout=0'],
    ['negative', 240, 'MinConnTimeout=-300'],
    ['no number', 240, 'MinConnTimeout=soon'],
    ['more than any number holds', 240, 'MinConnTimeout=99999999999999999999999999'],
    ['milliseconds that are 300 modulo 2^32', 240, 'MinConnTimeout=4294967596'],
    ['another name', 240, 'XMinConnTimeout=300'],
);
for (@PRAGMAS) {
    my ($name, $seconds, @pragmas) = @$_;
    my $c = plain(target => $server->target, path => '/small/rpcproxy.dll');
    is(announced($c, out => [map { "Pragma: $_" } @pragmas]), "$seconds 240 240", "Pragma MinConnTimeout on OUT: $name");
}
is(announced(client(target => $server->target), in => ['Pragma: MinConnTimeout=300']), '120 120 120', 'and on IN it means nothing');

# Successors announce time-outs of their own: IN_R1/A2 that of the inbound proxy, OUT_R1/A4 what its
# request asks for
{
    my $c = plain(target => $server->target, raw => 1);
    (undef, my $in, my $out) = do { local $c->{raw}; announced($c, out => ['Pragma: MinConnTimeout=300']) };
    my @there = (dial => { port => $other->{port} });
    my $in2 = $c->replace_in(@there, headers => ['Pragma: MinConnTimeout=300']);
    is($server->leg->expect('IN_R1/A2')->{timeout}, 600_000, 'IN_R1/A2: as configured there');
    my $out2 = $c->replace_out(@there);
    is($server->leg->expect('OUT_R1/A4')->{timeout}, 600_000, 'OUT_R1/A4: as configured there');
    $out2->close;
    $c->replace_out(@there, headers => ['Pragma: MinConnTimeout=900']);
    is($server->leg->expect('OUT_R1/A4')->{timeout}, 900_000, 'OUT_R1/A4: as asked for');
    $_->close for $c, $in2, $out2;
}

# ---- the client's interval ----

# When the kernel will probe the other end of this leg, in seconds from now; undef: never. This
# is timer 2 of the proxy's socket in the kernel's table, in hundredths of a second.
sub probe {
    my ($leg) = @_;
    my ($proxy, $ours) = map { sprintf '%08X:%04X', unpack('L', "\x7f\0\0\1"), $_ } $leg->{fh}->peerport, $leg->{fh}->sockport;
    open my $fh, '<', '/proc/net/tcp' or return 'unknown';
    for (<$fh>) {
        my (undef, $local, $remote, undef, undef, $timer) = split;
        return $timer =~ /^02:(\w+)/ ? hex($1) / 100 : undef if $local eq $proxy && $remote eq $ours;
    }
    return 'closed';
}

# Tests that the next probe is due SECONDS after some moment of this test.
sub is_due {
    my ($leg, $seconds, $name) = @_;
    my $due;
    my $ok = eval { wait_for('the timer', sub {
        $due = probe($leg);
        return 1 if defined $due ? $due =~ /^[\d.]+\z/ && $seconds && $due <= $seconds + 0.1 && $due > $seconds - 20 : !$seconds;
        return turn(0.02) && 0;
    }) };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($ok, $name) || diag('the kernel probes in ' . ($due // 'never'));
}

SKIP: {
    skip 'no table of TCP connections here', 1 if $^O ne 'linux' || !-r '/proc/net/tcp';
    for ([60_000, 60], [90_000, 90], [0, 300], [4_294_967_295, 32_767]) {
        my ($ms, $seconds) = @$_;
        my $c = client(target => $server->target, keepalive => $ms);
        my (undef, $in, $out) = announced($c);
        is_due($in, $seconds, "B1 with ClientKeepalive $ms: the IN leg is probed after $seconds s");
        is_due($out, 0, 'the OUT leg is not');
        $c->close;
    }

    my $c = plain(target => $server->target, keepalive => 120_000);
    my (undef, $in, $out) = announced($c);
    for ([60_000, 60], [0, 300], [180_000, 180], [4_294_967_295, 32_767], [90_000, 90]) {
        my ($ms, $seconds) = @$_;
        $c->in->put(rts('Keep-Alive', keepalive => $ms));
        is_due($in, $seconds, "Keep-Alive PDU with $ms: $seconds s");
    }
    $c->in->put(my $pdu = request_pdu(1, 'after these'));
    same_pdu($in->pdu, $pdu, 'none of them was forwarded');
    is_due($out, 0, 'nor has it touched the OUT leg');

    # A successor at the same proxy keeps the leg and its interval, and may set another interval
    my ($old, $new) = ($c->in, $c->replace_in);
    $in->expect('IN_R2/A2');
    $out->put(rts('IN_R2/A3'));
    $c->finish_in;
    $old->wait_eof;
    is_due($in, 90, 'IN_R2: the leg stays as it was');
    $new->put(rts('Keep-Alive', keepalive => 60_000));
    is_due($in, 60, 'until the successor says otherwise');

    # At another proxy the leg is new, and IN_R1/A2 does not contain the interval
    ($old, $new) = ($c->in, $c->replace_in(dial => { port => $other->{port}, tls => undef }));
    my $in2 = $server->leg;
    $in2->expect('IN_R1/A2');
    $out->put(rts('IN_R1/A3', window => 65536, timeout => 600_000));
    $c->finish_in;
    $in->expect('IN_R1/A6');
    $in->expect('IN_R1/B1');
    is_due($in2, 0, 'IN_R1: the new leg is as the TCP stack makes it');
    $new->put(rts('Keep-Alive', keepalive => 60_000));
    is_due($in2, 60, 'until the client says so, be it before IN_R1/B2');
    $in2->put(rts('IN_R1/B2', window => 65536));
    $new->put($pdu);
    same_pdu($in2->pdu, $pdu, 'and the connection goes on');
    $c->close;
}

# A leg to the endpoint is not a TCP connection, so there is no interval to set
{
    my $c = client(target => "tcp.contoso.test:$tcp->{port}", keepalive => 60_000)->connect;
    $c->in->put(rts('Keep-Alive', keepalive => 90_000));
    my $pdu = request_pdu(1, 'to the endpoint');
    $c->in->put($pdu);
    my $connection = $tcp->connection;
    wait_for('the PDU', sub { @{ $connection->{got} } });
    same_pdu($connection->{got}[0], $pdu, 'Keep-Alive with a TCP target');
    $c->close;
}

# ---- pings ----

# Pings go to the default channel, and for a successor they are counted anew. At the 52nd the server
# is told, before the client gets that ping. A minute passes before each, by a clock that the test sets.
SKIP: {
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location("RpcConnectTimeout 300\nRpcSetupTimeout 3600\nRpcFirstPduTimeout 3600\n"));
    my $clock = RPCH::Preload->new or skip 'no C compiler', 1;
    $clock->start($httpd);
    my $s = RPCH::Wires->proxied(port => $httpd->{port});
    my $ping = rts('Ping');
    my $next = sub { my ($end) = @_; $clock->shift_by(0, 60); return $s->take($end) // '' };
    same_pdu($next->('out'), $ping, 'an idle OUT channel is pinged') for 1 .. 10;
    $s->open('out2', 'R2', uri => $s->{c}->uri);
    $s->put(out2 => 'OUT_R2/A3')->put(out2 => 'OUT_R2/C1');
    $s->end('ol')->expect('OUT_R2/A4');
    $s->put(ol => 'OUT_R2/B1');
    my $last;
    do { $last = $s->take('out') } while defined $last && $last eq $ping;
    same_pdu($last, rts('OUT_R2/B3'), 'until it is replaced');
    my $before = grep { decode('PingTrafficSentNotify', $_) } @{ $s->end('ol')->{got} };
    is($before, 0, 'not so many that the server was told');
    $s->end('ol')->expect('FlowControlAck');
    my $pings = 0;
    while ($pings < 60 && !@{ $s->end('ol')->{got} }) { $pings++ if $next->('out2') eq $ping }
    cmp_ok($pings, '>=', 51, 'the successor is pinged, and its pings counted from 0');
    same_pdu($s->end('ol')->pdu, rts('PingTrafficSentNotify', bytes => 52 * 20), 'PingTrafficSentNotify');
    $s->close;
}

$_->close for $server, $tcp;
done_testing;
