# Receive windows and acknowledgements on all four hops. Windows are small here and PDUs 1,000
# bytes long. An RTS PDU with a Destination is not subject to windows, so when one that was sent
# behind RPC PDUs has arrived, the proxy has seen them all, and holds those that have not arrived.

use strict;
use warnings;
use Test::More;
use RPCH::PDU qw(rts rts_raw decode is_rts FD_CLIENT FD_SERVER FD_OUT_PROXY);
use RPCH::Poll qw(wait_for);
use RPCH::RPC qw(bind_pdu request_pdu response_pdu);
use RPCH::Test;

my $SIZE = 1000;
my $BIND = bind_pdu(max => $SIZE);      # 72 bytes; without it fragments might have 5840
my %small = (path => '/small/rpcproxy.dll');    # RpcReceiveWindow 8192

sub numbered { my ($n) = @_; return request_pdu($n, 'n' x ($SIZE - 24)) }

# A virtual connection to a server that the test plays, with these windows: B3 sets that of hop 2, A1
# that of hop 4.
sub opened {
    my ($kind, $b3, $a1, %more) = @_;
    my $server = server(manual => 1);
    my $c = ($kind eq 'tls' ? \&client : \&plain)->(target => $server->target, window => $a1, obey => 0, acks => 0, %more);
    my ($in, $out) = $c->open_by_hand($server, $b3);
    $c->opened;
    return ($c, $server, $in, $out);
}

# The opnums of the RPC PDUs that come before the marker.
sub until_marker {
    my ($next, $marker) = @_;
    my @n;
    while (defined(my $pdu = $next->())) {
        return @n if $pdu eq $marker;
        push @n, opnum($pdu) if !is_rts($pdu);
    }
    return 'closed';
}
sub opnum { return unpack 'v', substr $_[0], 22, 2 }

my $serial = 0;
sub marker { my ($d) = @_; return rts_raw(0x0002, [D => $d], [PT => ++$serial]) }

# Hops 2 and 4 alike: {c, server, send, next, ack, name}
sub hop2 {
    my ($kind, $window) = @_;
    my ($c, $server, $in) = opened($kind, $window, 65536);
    return { c => $c, server => $server, name => "$kind, hop 2", destination => FD_SERVER,
             send => sub { $c->in->put($_[0]) }, next => sub { $in->pdu },
             ack => sub { my ($r, $a, $cookie) = @_;
                          $in->put(rts('FlowControlAck', ack => { received => $r, available => $a, channel => $cookie // $c->{in_cookie} })) } };
}
sub hop4 {
    my ($kind, $window) = @_;
    my ($c, $server, $in, $out) = opened($kind, 65536, $window);
    return { c => $c, server => $server, name => "$kind, hop 4", destination => FD_CLIENT,
             send => sub { $out->put($_[0]) }, next => sub { $c->next_pdu },
             ack => sub { my ($r, $a, $cookie) = @_;    # the outbound proxy gets it from the server
                          $out->put(rts('FlowControlAckWithDestination', destination => FD_OUT_PROXY,
                                        ack => { received => $r, available => $a, channel => $cookie // $c->{out_cookie} })) } };
}

# Tests that these PDUs arrive, and no others.
sub passes {
    my ($hop, $want, $name) = @_;
    my @got = map { opnum($hop->{next}->() // return fail("$hop->{name}: closed")) } split / /, $want;
    my $marker = marker($hop->{destination});
    $hop->{send}->($marker);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join(' ', @got, until_marker($hop->{next}, $marker)), $want, "$hop->{name}: $name");
}

for my $kind (qw(tls plain)) {
    for my $make (\&hop2, \&hop4) {
        my $hop = $make->($kind, 8192);
        my $mark = mark();
        $hop->{send}->(numbered($_)) for 1 .. 30;
        passes($hop, '1 2 3 4 5 6 7 8', 'a window of 8192 lets 8 PDUs of 1000 pass');
        passes($hop, '', 'and no more');
        $hop->{ack}->(8000, 8192, "\1" x 16);
        passes($hop, '', 'an ack for another channel changes nothing');
        $hop->{ack}->(3000, 5192);
        passes($hop, '', 'nor does one that gives no room for a PDU');
        $hop->{ack}->(8000, 2000);
        passes($hop, '9 10', 'room for exactly two PDUs is room for two');
        $hop->{ack}->(10_000, 8192);
        passes($hop, join(' ', 11 .. 18), 'a full window');
        $hop->{ack}->(0, 100);
        logged($mark, qr/impossible ack .* clamped/, "$hop->{name}: an ack that takes back what was allowed is clamped to 0");
        is(scalar(grep { /clamped/ } lines_since($mark)), 1, 'all before it were possible');
        passes($hop, '', 'nothing passes');
        $mark = mark();
        $hop->{ack}->(18_000, 1_000_000);
        logged($mark, qr/impossible ack .* clamped/, "$hop->{name}: more than the announced window is clamped to it");
        passes($hop, join(' ', 19 .. 26), 'a window passes');
        $hop->{ack}->(26_000, 8192);
        passes($hop, join(' ', 27 .. 30), 'the rest');
        $_->close for $hop->{c}, $hop->{server};
    }
}

# Hop 1: the inbound proxy acknowledges when less than half of its window is left. The
# acknowledgement goes to the server, and by the OUT channel to the client.
{
    my ($c, $server, $in, $out) = opened('tls', 65536, 65536, %small);
    for my $pdu ($BIND, map { numbered($_) } 1 .. 4) { $c->in->put($pdu); $in->pdu }
    $c->in->put(my $five = numbered(5));
    my $want = rts('FlowControlAckWithDestination', destination => FD_CLIENT,
                   ack => { received => 5072, available => 8192, channel => $c->{in_cookie} });
    my @two = sort { length $a <=> length $b } $in->pdu, $in->pdu;
    same_pdu($two[0], $want, 'hop 1: after 5 of 8 kilobytes an ack for the client goes to the server, not before');
    $out->put($two[0]);
    wait_for('the ack at the client', sub { @{ $c->{acks_in} } });
    same_pdu($c->{acks_in}[0], $want, 'and by the outbound proxy to the client');
    $_->close for $c, $server;
}

# Hop 3: the outbound proxy acknowledges by the same rule
{
    my ($c, $server, $in, $out) = opened('tls', 65536, 65536, %small);
    for my $pdu ($BIND, map { numbered($_) } 1 .. 5) { $out->put($pdu); $c->next_pdu }
    same_pdu($out->pdu, rts('FlowControlAck', ack => { received => 5072, available => 8192, channel => $c->{out_cookie} }),
             'hop 3: after 5 of 8 kilobytes an ack for the server');
    for my $n (6 .. 10) { $out->put(numbered($n)); $c->next_pdu }
    same_pdu($out->pdu, rts('FlowControlAck', ack => { received => 10_072, available => 8192, channel => $c->{out_cookie} }),
             'after 5 more the next');
    is(scalar @{ $out->{got} }, 0, 'one each');
    $_->close for $c, $server;
}

# The server gets no acknowledgement for what the client has not taken
{
    my ($c, $server, $in, $out) = opened('plain', 65536, 8192, %small);
    $out->put($_) for $BIND, map { numbered($_) } 1 .. 8;
    my $marker = marker(FD_CLIENT);
    $out->put($marker);
    until_marker(sub { $c->next_pdu }, $marker);
    my $first = decode('FlowControlAck', $out->pdu);
    is($first->{ack}{received}, 5072, 'eight PDUs passed, one ack');
    $out->put(numbered($_)) for 9 .. 13;
    $out->put($marker = marker(FD_CLIENT));
    is(join(' ', until_marker(sub { $c->next_pdu }, $marker)), '', 'the client has no room for the next five');
    is(scalar @{ $out->{got} }, 0, 'so none of them is acknowledged');
    $out->put(rts('FlowControlAckWithDestination', destination => FD_OUT_PROXY,
                  ack => { received => 8072, available => 8192, channel => $c->{out_cookie} }));
    my $last = decode('FlowControlAck', $out->pdu);
    cmp_ok($last->{ack}{available}, '<=', 8192, 'the next ack never offers more than the window');
    cmp_ok($last->{ack}{received}, '>=', 10_000, 'and comes with room at the client');
    $_->close for $c, $server;
}

# All hops at once: much more data than any window holds, with a client and a server that obey
{
    my $server = server(window => 8192);
    my $c = client(target => $server->target, window => 8192, %small)->connect;
    my $vc = $server->vc;
    my $ok = 0;
    for my $n (1 .. 100) {
        $c->send(numbered($n));
        $ok++ if $vc->recv eq numbered($n);
        $vc->send(numbered($n));
        $ok++ if $c->recv eq numbered($n);
    }
    is($ok, 200, '100 kilobytes each way through windows of 8');
    is_deeply($vc->{errors}, [], 'without any surprise for the server');
    $_->close for $c, $server;
}

# A client that does not read, although its window is open, holds up only its own server
sub witness { my ($w) = @_; my $n = 0; for (1 .. 50) { $n++ if $w->call(numbered($_)) eq numbered($_) } return $n }

for my $kind (qw(tls plain)) {
    my $good_server = server(echo => 1);
    my $good = client(target => $good_server->target)->connect;
    my $server = server();
    my $c = ($kind eq 'tls' ? \&client : \&plain)->(target => $server->target, window => 1 << 30);
    $c->connect(dial => { rcvbuf => 65_536 });
    my $vc = $server->vc;
    $c->out->stop_reading;
    my $count = 2000;
    $vc->send(response_pdu(pack('N', $_) . 'b' x 5000)) for 1 .. $count;
    is(witness($good), 50, "$kind: a client that does not read does not disturb another");
    cmp_ok($vc->{sender}{sent}, '<', 9_000_000, 'its server has been held up');
    $c->out->stop_reading(0);
    my $in_order = 0;
    for my $n (1 .. $count) { $in_order++ if unpack('N', substr $c->recv, 24, 4) == $n }
    is($in_order, $count, 'when it reads again it gets everything in order');
    $_->close for $c, $server, $good, $good_server;
}

# A server that does not read holds up only its own client, even when this client ignores its window
for my $kind (qw(tls plain)) {
    my $good_server = server(echo => 1);
    my $good = client(target => $good_server->target)->connect;
    my $server = server(rcvbuf => 65_536);
    my $c = ($kind eq 'tls' ? \&client : \&plain)->(target => $server->target, obey => 0)->connect;
    my $vc = $server->vc;
    $vc->{in}->stop_reading;
    my $count = 4000;
    $c->send(request_pdu(1, pack('N', $_) . 'a' x 5000)) for 1 .. $count;
    is(witness($good), 50, "$kind: a server that does not read does not disturb another connection");
    cmp_ok(length $c->in->{out}, '>', 0, 'its client has been held up');
    $vc->{in}->stop_reading(0);
    my $in_order = 0;
    for my $n (1 .. $count) { $in_order++ if unpack('N', substr $vc->recv, 24, 4) == $n }
    is($in_order, $count, 'when it reads again it gets everything in order');
    $_->close for $c, $server, $good, $good_server;
}

done_testing;
