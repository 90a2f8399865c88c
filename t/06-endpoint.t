# Targets that speak only TCP: the endpoint pairs the legs of the proxies and plays the server.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts decode is_rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu bind_ack_pdu request_pdu response_pdu rpc_parse BIND BIND_ACK RESPONSE);
use RPCH::Test;

sub target { my ($server, $name) = @_; return ($name // 'tcp') . ".contoso.test:$server->{port}" }

# Makes one call. True when the answer is the right one.
my $call = 10;
sub calls_ok {
    my ($c, $size) = @_;
    my $stub = pack('N', ++$call) . 's' x ($size // 100);
    my $p = eval { rpc_parse($c->call(request_pdu(3, $stub, call => $call)) // return 0) } or return 0;
    return $p->{ptype} == RESPONSE && $p->{call} == $call && $p->{stub} eq $stub;
}

# An IN half whose leg has reached the endpoint: its B2 has been sent.
sub in_half {
    my ($c) = @_;
    my $mark = mark();
    $c->open_in;
    $c->send_b1;
    wait_for('B2', sub { turn(0.01); grep { /-> B3W/ } lines_since($mark) });
    return;
}

# A bind and a call, either channel first
for my $first (qw(IN OUT)) {
    for my $make (\&client, \&plain) {
        my $tcp = tcp_server();
        my $c = $make->(target => target($tcp));
        if ($first eq 'IN') { in_half($c); $c->open_out; $c->send_a1 }
        else { $c->open_out; $c->send_a1; is_answer($c->out->head, 200, 'OUT first'); $c->open_in; $c->send_b1 }
        $c->opened;
        my $ack = rpc_parse($c->call(bind_pdu(call => 7)));
        is("$ack->{ptype} $ack->{call}", BIND_ACK . ' 7', "$first first: bind_ack");
        ok(calls_ok($c), 'and a call');
        is($tcp->connections, 1, 'one TCP connection');
        my $connection = $tcp->connection;
        same_pdu($connection->{got}[0], bind_pdu(call => 7), 'the server has got the bind unchanged');
        is($connection->{rts}, 0, 'and no RTS PDU');
        is($c->{c2}{window}, 262_144, "C2 has the inbound proxy's window");
        $c->close;
        ok($connection->wait_eof, 'the TCP connection ends with the virtual connection');
        $tcp->close;
    }
}

SKIP: {
    skip 'no IPv6 here', 1 if !have_ipv6();
    my $tcp = tcp_server(host => '::1');
    my $c = client(target => target($tcp, 'tcp6'))->connect;
    ok(calls_ok($c), 'a backend by IPv6');
    $_->close for $c, $tcp;
}

# Without a login two halves belong to the same, anonymous user
{
    my $tcp = tcp_server();
    my $c = client(target => target($tcp), path => '/anonymous/rpcproxy.dll', user => undef)->connect;
    ok(calls_ok($c), 'anonymous');
    $_->close for $c, $tcp;
}

# Many virtual connections at once, with interleaved calls
{
    my $tcp = tcp_server();
    my $n = vars('mpm') eq 'prefork' ? 5 : 20;
    my @c = map { plain(target => target($tcp)) } 1 .. $n;
    for my $c (@c) { $c->open_in; $c->send_b1 }
    for my $c (reverse @c) { $c->open_out; $c->send_a1 }
    $_->opened for @c;
    $_->send(request_pdu(1, $_->{vc} . 'm' x 2000)) for @c, reverse @c;
    my $right = 0;
    for my $c (@c, @c) { $right++ if substr(rpc_parse($c->recv)->{stub}, 0, 16) eq $c->{vc} }
    is($right, 2 * $n, "$n virtual connections at once, each gets its own answers");
    is($tcp->connections, $n, 'each by its own TCP connection');
    $_->close for @c, $tcp;
}

# Much data in both directions, through all windows
{
    my $tcp = tcp_server();
    my $c = client(target => target($tcp), window => 65536)->connect;
    my ($sent, $got, $right) = (0, 0, 0);
    my $count = 500;
    while ($got < $count) {
        while ($sent < $count && $sent - $got < 20 && $c->{sender}->may_send(5840)) {
            $c->send(request_pdu(1, pack('N', $sent++) . 'b' x 5812, call => $sent));
        }
        my $p = rpc_parse($c->recv);
        $right++ if unpack('N', $p->{stub}) == $got++ && length $p->{stub} == 5816;
    }
    is($right, $count, 'three megabytes there and back');
    cmp_ok(scalar @{ $c->{acks_in} }, '>', 0, 'with acknowledgements for the client');
    $_->close for $c, $tcp;
}

# Back-pressure: the TCP server does not read, or the client does not read
{
    my $good_tcp = tcp_server();
    my $good = client(target => target($good_tcp))->connect;
    my $tcp = tcp_server(stalled => 1, quiet => 1);
    my $c = client(target => target($tcp), obey => 0)->connect;
    $c->send(request_pdu(1, 'p' x 5000)) for 1 .. 4000;
    is(scalar(grep { calls_ok($good) } 1 .. 30), 30, 'a TCP server that does not read disturbs nobody');
    cmp_ok(length $c->in->{out}, '>', 0, 'but its own client');
    my $connection = $tcp->connection;
    $connection->stop_reading(0);
    wait_for('all requests', sub { @{ $connection->{got} } == 4000 });
    is(scalar(grep { length == 5024 } @{ $connection->{got} }), 4000, 'which goes on when it reads');
    $c->close;

    $c = client(target => target($tcp), acks => 0)->connect;
    $connection = $tcp->connection;
    $c->out->stop_reading;
    $connection->put(response_pdu('q' x 5000)) for 1 .. 4000;
    $connection->stop_reading(0);
    is(scalar(grep { calls_ok($good) } 1 .. 30), 30, 'a client that does not read disturbs nobody');
    cmp_ok(length $connection->{out}, '>', 0, 'but its own TCP server');
    $c->out->stop_reading(0);
    $c->{acks} = 1;
    is(scalar(grep { length $c->recv == 5024 } 1 .. 4000), 4000, 'which goes on when it reads');
    $_->close for $c, $tcp, $good, $good_tcp;
}

# The TCP server ends with and without last data, cannot be reached, or sends what is not RPC
{
    my $tcp = tcp_server(quiet => 1);
    my $c = client(target => target($tcp))->connect;
    my $mark = mark();
    my $connection = $tcp->connection;
    my $last = response_pdu('l' x 20_000);
    $connection->put($last)->flush;
    $connection->close;
    same_pdu($c->recv, $last, 'last words of the TCP server arrive');
    ok(!defined $c->recv, 'then the OUT channel ends');
    $c->in->wait_eof;
    logged($mark, qr/RPC_${_}_DATA channel to \S+ .* ended: server-closed/, "$_: server-closed") for qw(IN OUT);
    $c->close;

    $c = client(target => target($tcp))->connect;
    $connection = $tcp->connection;
    $mark = mark();
    $connection->put('nonsense' x 10);
    $_->wait_eof for $c->in, $c->out, $connection;
    logged($mark, qr/endpoint.*bad-pdu/, 'a TCP server that talks nonsense: bad-pdu');
    $c->close;

    $tcp->close;
    $mark = mark();
    $c = client(target => 'tcp.contoso.test:' . refused_port(), raw => 1);
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1;
    $_->wait_eof for $c->in, $c->out;
    logged($mark, qr/endpoint.*connect-failed/, 'nobody listens on TCP: connect-failed');
    is_rpc_error($c->in, '6ba', 'the IN channel is told', 0x5a0);
    $c->close;
}

# Halves of different users, targets or hosts are not joined. The right half may still come.
{
    my ($tcp, $other) = (tcp_server(), tcp_server());
    my %wrong = (
        'another user'   => [user => 'bob', password => 'hidden'],
        'another target' => [target => target($other)],
        'another host'   => [port => vars('plainport'), tls => undef],
    );
    for my $name (sort keys %wrong) {
        for my $stranger (qw(IN OUT)) {
            my $mark = mark();
            my $c = client(target => target($tcp));
            my %same = map { $_ => $c->{$_} } qw(vc in_cookie out_cookie group);
            my $thief = client(target => target($tcp), %same, @{ $wrong{$name} }, raw => 1);
            my $n = $tcp->connections + $other->connections;
            if ($stranger eq 'IN') {
                $c->open_out; $c->send_a1; $c->out->head;
                $thief->open_in; $thief->send_b1; $thief->in->wait_eof;
                is($thief->in->head ? $thief->in->head->{status} : '', 503, "$name brings the IN half: refused");
                $c->open_in; $c->send_b1;
            }
            else {
                in_half($c);
                $thief->open_out; $thief->send_a1; $thief->out->wait_eof;
                is($thief->out->head ? $thief->out->head->{status} : '', 503, "$name brings the OUT half: refused");
                $c->open_out; $c->send_a1;
            }
            logged($mark, qr/peer-mismatch/, 'logged');
            ok(eval { $c->opened; calls_ok($c) }, 'the right half still makes the pair') or diag $@;
            is($tcp->connections + $other->connections, $n + 1, 'one TCP connection only');
            $_->close for $c, $thief;
        }
    }
    $_->close for $tcp, $other;
}

# When the other half does not come, the endpoint gives up after a time, by a clock that the test sets
SKIP: {
    my $clock = RPCH::Preload->new or skip 'no C compiler', 3;
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location);
    $clock->start($httpd);
    my $tcp = tcp_server();
    my $c = plain(port => $httpd->{port}, target => target($tcp));
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 200, 'no IN half comes');
    wait_for('the TCP connection', sub { @{ $tcp->{all} } });
    $clock->shift_by(0, 60);
    ok(eval { $c->out->wait_eof }, 'the OUT half ends') or diag $@;
    ok($httpd->logs(qr/setup-timeout/), 'as setup-timeout');
    wait_for('its TCP connection to be closed', sub { !grep { !$_->{eof} } @{ $tcp->{all} } });
    $_->close for $c, $tcp;
}

# The inbound proxy refuses garbage of its client. The endpoint refuses a PDU that the state of its
# role does not allow.
{
    my $tcp = tcp_server();
    my $good = client(target => target($tcp))->connect;
    my $c = client(target => target($tcp))->connect;
    my $mark = mark();
    $c->in->put(RPCH::PDU::rts_raw(0x0010, [D => 2], [CK => 'x' x 16]));     # OUT_R1/A8, though no channel is replaced
    $_->wait_eof for $c->in, $c->out;
    logged($mark, qr/endpoint.*protocol-error/, 'OUT_R1/A8 without a successor: protocol-error at the endpoint');
    ok(calls_ok($good), 'nobody else has noticed');
    $_->close for $c, $good, $tcp;
}

done_testing;
