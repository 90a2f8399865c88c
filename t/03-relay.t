# The relay of RPC PDUs: they arrive unchanged, in order, and each as soon as it is complete. And the
# relay of RTS PDUs that are for another party.

use strict;
use warnings;
use Test::More;
use Time::HiRes ();
use RPCH::PDU qw(rts rts_raw FD_CLIENT FD_SERVER);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(pdu bind_pdu bind_ack_pdu request_pdu response_pdu rpc_parse RESPONSE);
use RPCH::Test;

# This connection stays silent while the others work; the end of this file uses it
my $quiet_server = server(echo => 1);
my $quiet = client(target => $quiet_server->target)->connect;
my $quiet_since = Time::HiRes::time();

my $server = server();
my $c = client(target => $server->target)->connect;
my $vc = $server->vc;

sub there { my ($pdu, $name) = @_; $c->send($pdu); return same_pdu($vc->recv, $pdu, $name) }
sub back  { my ($pdu, $name) = @_; $vc->send($pdu); return same_pdu($c->recv, $pdu, $name) }

# Kinds and sizes
there(bind_pdu(), 'a bind');
back(bind_ack_pdu(), 'a bind_ack');
there(request_pdu(7, join('', map { chr } 0 .. 255), big => 1), 'a big-endian request');
there(pdu($_, 1, 'x' x 20), "PTYPE $_") for 0, 2, 3, 11 .. 16, 18, 19;
there(pdu(16, 9, ''), 'the smallest PDU there is: a header');
back(pdu(RESPONSE, 9, ''), 'and back');
for my $size (25, 1000, 4280, 5840, 32_768, 65_000) {
    there(request_pdu(1, 'r' x ($size - 24)), "a request of $size bytes");
    back(response_pdu('s' x ($size - 24)), "a response of $size bytes");
}

# Framing: a complete PDU is passed on although the next PDU has begun
{
    my ($one, $two) = (request_pdu(1, 'one' x 100), request_pdu(2, 'two' x 100));
    $c->in->put($one . substr $two, 0, 5);
    same_pdu($vc->recv, $one, 'the first PDU does not wait for the second');
    $c->in->put(substr($two, 5, 11));
    $c->in->flush;
    $c->in->put(substr $two, 16);
    same_pdu($vc->recv, $two, 'which comes in three pieces');
    $vc->{out}->put($one . substr $two, 0, 9);
    same_pdu($c->recv, $one, 'the same from the server');
    $vc->{out}->put(substr $two, 9);
    same_pdu($c->recv, $two, 'the second');
    $c->in->put(join '', map { request_pdu($_, '') } 1 .. 50);
    is(join(',', map { rpc_parse($vc->recv)->{opnum} } 1 .. 50), join(',', 1 .. 50), '50 PDUs in one write, in order');
    $c->in->dribble(request_pdu(3, 'x' x 100), 1);
    is(rpc_parse($vc->recv)->{opnum}, 3, 'one PDU in 124 writes');
}

# RTS PDUs for another party keep their place among the RPC PDUs
for my $case ([FD_SERVER, 'FDServer'], [FD_CLIENT, 'FDClient']) {
    my ($destination, $name) = @$case;
    my $pdu = rts_raw(0x0002, [D => $destination], [CK => $c->{vc}], [PAD => 3]);
    my $request = request_pdu(1, $name);
    $c->in->put($pdu . $request);
    same_pdu($vc->recv, $request, "$name: the request behind it");
    my @all = @{ $vc->{in}{all} };
    same_pdu($all[-2], $pdu, "an unknown RTS PDU for $name goes to the server, unchanged and in order");
}
$_->close for $c, $server;

$server = server();
$c = client(target => $server->target, raw => 1);
$c->open_in;
$c->open_out;
$c->send_a1->send_b1;
$vc = $server->vc;
$c->out->pdu for 1 .. 2;
{
    my $pdu = rts_raw(0x0002, [D => FD_CLIENT], ['E'], [PT => 7]);
    my $response = response_pdu('behind');
    $vc->{out}->put($pdu . $response);
    same_pdu($c->out->pdu, $pdu, 'from the server an unknown RTS PDU for FDClient reaches the client unchanged');
    same_pdu($c->out->pdu, $response, 'in order');
    my $n = @{ $vc->{in}{all} };
    $c->in->put(rts('Ping') . rts('Keep-Alive', keepalive => 120_000) . rts('Keep-Alive', keepalive => 0) . request_pdu(1, ''));
    same_pdu($vc->recv, request_pdu(1, ''), 'pings and keep-alives of the client are legal');
    is(scalar @{ $vc->{in}{all} }, $n + 1, 'and not passed on');
}
$_->close for $c, $server;

# Much data in both directions at once
for my $size (30, 1400, 5840) {
    $server = server(echo => 1, window => 65536);
    $c = client(target => $server->target)->connect;
    my $count = $size < 100 ? 2000 : 400;
    my ($sent, $got, $same) = (0, 0, 0);
    while ($got < $count) {
        while ($sent < $count && $sent - $got < 60 && $c->{sender}->may_send($size)) { $c->send(request_pdu(1, pack('N', $sent++) . 'z' x ($size - 28))) }
        $same++ if unpack('N', rpc_parse($c->recv)->{stub}) == $got++;
    }
    is($same, $count, "$count PDUs of $size bytes, there and back");
    $_->close for $c, $server;
}

# mod_reqtimeout and LimitRequestBody do not apply to channels
wait_for('three seconds of silence', sub { turn(0.1); Time::HiRes::time() - $quiet_since > 3 });
same_pdu($quiet->call(bind_pdu()), bind_pdu(), 'a silent channel lives on, whatever RequestReadTimeout says');
{
    my $pdu = request_pdu(1, 'x' x 32_000);
    same_pdu($quiet->call($pdu), $pdu, 'more than LimitRequestBody: ' . $quiet->in->{total_out}) for 1 .. 3;
}
$_->close for $quiet, $quiet_server;

done_testing;
