# Ends: when a party closes, dies, keeps silent or sends garbage, only its virtual connection ends, with
# a reason in the error log and in the access log.

use strict;
use warnings;
use Test::More;
use IO::Socket::IP;
use RPCH::PDU qw(rts rts_raw decode FD_CLIENT FD_IN_PROXY FD_SERVER FD_OUT_PROXY);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(pdu bind_pdu request_pdu response_pdu);
use RPCH::Test;

my %hasty = (path => '/hasty/rpcproxy.dll');    # one second for everything
my %small = (path => '/small/rpcproxy.dll');    # window 8192, lifetime 131072

# This virtual connection is opened before all tests and still works after them.
my $witness_server = server(echo => 1);
my $witness = client(target => $witness_server->target)->connect;
my $start = mark();
sub witnessed {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return same_pdu(eval { $witness->call(bind_pdu()) }, bind_pdu(), "$name: nothing else has noticed");
}

# A virtual connection to a server that the test plays: the client, the server and its two legs.
sub opened {
    my (%arg) = @_;
    my $server = server(manual => 1);
    my $c = (delete $arg{make} || \&client)->(target => $server->target, raw => 1, %arg);
    my ($in, $out) = $c->open_by_hand($server, 65536);
    $c->out->pdu for 1 .. 2;
    # When an RPC PDU has arrived, the proxy has seen B3
    $c->in->put(bind_pdu());
    $in->pdu;
    return { c => $c, server => $server, in => $in, out => $out };
}

# The reasons of both channels, whichever ends first.
sub ends {
    my ($name, $x, $mark, %reason) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $channel (sort keys %reason) {
        logged($mark, qr/RPC_${channel}_DATA channel to \S+ of user "alice" ended: $reason{$channel}, /,
               "$name: the $channel channel ends as $reason{$channel}");
    }
    $_->close for grep { $_ } @$x{qw(c server)};
    return witnessed($name);
}

# When one of its legs is closed, the server closes the other.
sub server_follows {
    my ($x) = @_;
    eval { wait_for('a leg to be closed', sub { $x->{in}{eof} || $x->{out}{eof} }) } or fail('the proxy closes a leg');
    $_->close for @$x{qw(in out)};
    return;
}

# ---- somebody closes ----
for my $case (
    ['the client closes IN', sub { $_[0]{c}->in->close }, IN => 'client-closed', OUT => 'server-closed'],
    ['the client closes OUT', sub { $_[0]{c}->out->close }, IN => 'server-closed', OUT => 'client-closed'],
    ['the client vanishes on IN', sub { $_[0]{c}->in->vanish }, IN => 'client-closed', OUT => 'server-closed'],
    ['the client vanishes on OUT', sub { $_[0]{c}->out->vanish }, IN => 'server-closed', OUT => 'client-closed'],
    ['the client is reset on IN', sub { $_[0]{c}->in->reset }, IN => 'client-(?:closed|error)', OUT => 'server-closed'],
    ['the client is reset on OUT', sub { $_[0]{c}->out->reset }, IN => 'server-closed', OUT => 'client-(?:closed|error)'],
    ['the server closes both legs', sub { $_->close for @{ $_[0] }{qw(in out)} }, IN => 'server-closed', OUT => 'server-closed'],
    ['the server is reset', sub { $_->reset for @{ $_[0] }{qw(in out)} }, IN => 'server-(?:closed|error)', OUT => 'server-(?:closed|error)'],
) {
    my ($name, $do, %reason) = @$case;
    for my $make (\&client, \&plain) {
        my $x = opened(make => $make);
        my ($mark, $access) = (mark(), mark('access_log'));
        $do->($x);
        server_follows($x) if $name =~ /client/;
        for my $ch ($x->{c}->in, $x->{c}->out) { $ch->{closed} || ok(eval { $ch->wait_eof }, "$name: the client's other end sees it") }
        ends($name, $x, $mark, %reason);
        accessed($access, qr/"RPC_${_}_DATA .* $reason{$_}$/, "$name: the access log says so for $_") for sort keys %reason;
    }
}
# What the server sent before it closed still arrives
{
    my $x = opened();
    my $mark = mark();
    my $last = response_pdu('the last words' x 300);
    $x->{out}->put($last);
    $x->{out}->flush;
    $_->close for @$x{qw(in out)};
    same_pdu($x->{c}->out->pdu, $last, 'last words of a server arrive');
    $x->{c}->out->wait_eof;
    ends('last words', $x, $mark, OUT => 'server-closed');
}

# ---- the server cannot be reached ----
# One channel of each kind to this target.
sub both {
    my ($name, $code, $reason, %arg) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $kind (qw(IN OUT)) {
        my $mark = mark();
        my $c = client(%arg);
        if ($kind eq 'IN') { $c->open_in; $c->send_b1; is_rpc_error($c->in, $code, "$name: $kind", 0x5a0) }
        else { $c->open_out; $c->send_a1; is_rpc_error($c->out, $code, "$name: $kind", 0x5a0) }
        logged($mark, qr/RPC_${kind}_DATA channel to \S+ of user "alice" ended: $reason, /, "$name: $kind ends as $reason");
        $c->close;
    }
    return witnessed($name);
}
both('nobody listens', '6ba', 'connect-failed', target => '127.0.0.1:' . refused_port());
{
    # A listener that accepts nobody: its queue is full, so that the next SYN is not answered
    my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    listen $full, 0;
    my @queued = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 3;
    turn(0.1);
    both('the server does not answer', '6ba', 'connect-timeout', %hasty, target => '127.0.0.1:' . $full->sockport);
}
{
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target);
    $c->open_in;
    $c->send_b1;
    $server->leg->close;
    is_rpc_error($c->in, '6ba', 'the server hangs up: IN');
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 200, 'the server hangs up: OUT has been answered already');
    $server->leg->close;
    $c->out->wait_eof;
    ends('the server hangs up', { c => $c, server => $server }, $mark, IN => 'server-refused', OUT => 'server-refused');
}

# ---- a PDU or an answer that never comes ----
{
    my $server = server();
    my $mark = mark();
    my $c = client(target => $server->target, %hasty);
    $c->open_in;
    $c->send_b1;
    is_rpc_error($c->in, '6ba', 'no OUT channel comes: IN is told');
    $c = client(target => $server->target, %hasty);
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 200, 'no IN channel comes: OUT');
    $c->out->wait_eof;
    ends('half never comes', { c => $c, server => $server }, $mark, IN => 'setup-timeout', OUT => 'setup-timeout');
}
{
    my $server = server();
    my $mark = mark();
    my $c = client(target => $server->target, %hasty);
    $c->open_in->put(substr $c->b1, 0, 103);
    $c->open_out;
    is_rpc_error($c->in, '6c0', 'the last byte of B1 never comes');
    is_rpc_error($c->out, '6c0', 'A1 never comes');
    ends('no first PDU', { c => $c, server => $server }, $mark, IN => 'first-pdu-timeout', OUT => 'first-pdu-timeout');
}
{
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target);
    $c->open_out(headers => ['Expect: 100-continue'])->continued;
    $c->out->put(substr $c->a1, 0, 30)->flush;
    $c->out->close;
    ends('gone before the first PDU', { c => $c, server => $server }, $mark, OUT => 'client-(?:closed|error)');
    is($server->connections, 0, 'no leg was opened for it');
}

# ---- garbage in the first PDU ----
my $rts = sub { my ($off, $bytes) = @_; my $p = rts('CONN/A1', vc => 'v' x 16, channel => 'c' x 16, window => 65536);
                substr $p, $off, length $bytes, $bytes; return $p };
my %first = (
    'letters'             => 'GET / HTTP/1.1' . ' ' x 80,
    'zeros'               => "\0" x 104,
    'version 4'           => $rts->(0, "\4"),
    'PTYPE 99'            => $rts->(2, "\x63"),
    'fragment flags'      => $rts->(3, "\1"),
    'a length of 10'      => $rts->(8, "\x0a\0"),
    'auth_length'         => $rts->(10, "\1\0"),
    'a call id'           => $rts->(12, "\1\0\0\0"),
    'too many commands'   => $rts->(18, "\5\0"),
    'too few commands'    => $rts->(18, "\3\0"),
    'an unknown command'  => $rts->(20, "\xff\0\0\0"),
    'an RPC PDU'          => bind_pdu(),
    'a ping'              => rts('Ping'),
    'nothing but a header' => rts_raw(0),
    'a PDU for the server' => rts_raw(0, [D => FD_SERVER], ['E']),
    'B3'                  => rts('CONN/B3', window => 65536),
);
for my $name (sort keys %first) {
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target, length_in => 1 << 20);
    $c->open_in->put($first{$name});
    $c->open_out(length => length $first{$name})->put($first{$name});
    is_rpc_error($c->in, '6c0', "first PDU on IN: $name");
    is_rpc_error($c->out, '6c0', "first PDU on OUT: $name");
    ends("first PDU: $name", { c => $c, server => $server }, $mark, IN => '(?:bad-pdu|protocol-error)', OUT => '(?:bad-pdu|protocol-error)');
    is($server->connections, 0, 'no leg was opened');
}
{
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target);
    $c->open_in->put($c->a1);
    $c->open_out(length => 104)->put($c->b1);
    is_rpc_error($c->in, '6c0', 'A1 on the IN channel');
    is_rpc_error($c->out, '6c0', 'B1 on the OUT channel');
    ends('channels confused', { c => $c, server => $server }, $mark, IN => 'protocol-error', OUT => 'protocol-error');
}

# ---- garbage and illegal PDUs later ----
sub later {
    my ($name, $side, $bytes, $reason, %arg) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $x = opened(%arg);
    my $mark = mark();
    my ($ch, $other) = $side =~ /IN/ ? qw(IN OUT) : qw(OUT IN);
    my $to = $side eq 'client IN' ? $x->{c}->in : $side eq 'client OUT' ? $x->{c}->out
           : $side eq 'server IN' ? $x->{in} : $x->{out};
    $to->put(ref $bytes ? $bytes->($x) : $bytes);
    server_follows($x);
    return ends("$name from the $side", $x, $mark, $ch => $reason, $other => 'server-closed');
}
my %garbage = ('letters' => 'x' x 64, 'a length of 0' => pack('H*', '05000003100000000000000001000000'),
               'PTYPE 21' => pdu(21, 1, ''), 'RTS of 16 bytes' => pdu(20, 0, ''),
               'a command cut short' => substr(rts('Keep-Alive', keepalive => 0), 0, 8) . "\x18\0" . substr(rts('Keep-Alive', keepalive => 0), 10, 14),
               'an unknown command' => substr(rts('Keep-Alive', keepalive => 0), 0, 20) . "\x0f\0\0\0\0\0\0\0",
               'a large count' => substr(rts('Keep-Alive', keepalive => 0), 0, 18) . "\xff\xff" . "\5\0\0\0" . "\0" x 4);
for my $name (sort keys %garbage) {
    later($name, $_, $garbage{$name}, 'bad-pdu') for 'client IN', 'server IN', 'server OUT';
}
later('B1 again', 'client IN', sub { $_[0]{c}->b1 }, 'protocol-error');
later('A1', 'client IN', sub { $_[0]{c}->a1 }, 'protocol-error');
later('B3 again', 'server IN', rts('CONN/B3', window => 65536), 'protocol-error');
later('C1 again', 'server OUT', rts('CONN/C1', window => 65536, timeout => 120_000), 'protocol-error');
later('an RPC PDU', 'server IN', response_pdu('x'), 'protocol-error');
later('a ping', 'server IN', rts('Ping'), 'protocol-error');
later('a PDU for the client', 'server IN', rts_raw(2, [D => FD_CLIENT], ['E']), 'protocol-error');
later('a PDU for the server', 'server OUT', rts_raw(2, [D => FD_SERVER], ['E']), 'protocol-error');
later('A3 as if from the proxy', 'server OUT', rts('CONN/A3', timeout => 120_000), 'protocol-error');
later('an unknown PDU without a destination', $_, rts_raw(0x0002, ['E']), 'protocol-error') for 'client IN', 'server IN', 'server OUT';

# An RPC PDU of the server before C1 comes too early
{
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target);
    $c->open_out;
    $c->send_a1;
    my $leg = $server->leg;
    $leg->expect('CONN/A2');
    $leg->put(response_pdu('early'));
    $c->out->wait_eof;
    ends('an RPC PDU before C1', { c => $c, server => $server }, $mark, OUT => 'protocol-error');
}
# The body of an OUT request may contain RTS PDUs only
{
    my $server = server(manual => 1);
    my $mark = mark();
    my $c = client(target => $server->target);
    $c->open_out(length => 76 + length bind_pdu());
    $c->out->put($c->a1 . bind_pdu());
    $c->out->wait_eof;
    ends('an RPC PDU on the OUT channel', { c => $c, server => $server }, $mark, OUT => 'protocol-error');
}

# ---- windows and lengths ----
{
    my $x = opened(%small);
    my $mark = mark();
    $x->{c}->out->stop_reading;
    $x->{out}->put(response_pdu('y' x 976)) for 1 .. 100;   # the server does not wait for acknowledgements
    server_follows($x);
    $x->{c}->out->stop_reading(0);
    ends('the server ignores our window', $x, $mark, OUT => '(?:window-overrun|lifetime-exceeded)');
}
{
    my $x = opened(window => 8192);
    my $mark = mark();
    $x->{out}->put(response_pdu('z' x 9000));
    server_follows($x);
    ends("larger than the client's window", $x, $mark, OUT => 'pdu-too-big', IN => 'server-closed');
}
{
    my $server = server(manual => 1);
    my $c = client(target => $server->target);
    $c->open_in;
    $c->send_b1;
    my $in = $server->leg;
    $in->expect('CONN/B2');
    $in->put(rts('CONN/B3', window => 8192));
    my $mark = mark();
    $c->in->put(request_pdu(1, 'z' x 9000));
    $in->wait_eof;
    ends("larger than the server's window", { c => $c, server => $server }, $mark, IN => 'pdu-too-big');
}
{
    my $x = opened(length_in => 131_072);
    my $mark = mark();
    my $left = 131_072 - 104 - length bind_pdu();
    while ($left) {
        my $n = $left > 8000 ? 4000 : $left;
        $left -= $n;
        $x->{c}->in->put(request_pdu(1, 'u' x ($n - 24)));
        $x->{in}->pdu if $left;
        $x->{in}->put(rts('FlowControlAck', ack => { received => 131_072 - 104 - $left, available => 65536, channel => $x->{c}{in_cookie} }));
    }
    ok(defined $x->{in}->pdu, 'the last PDU of an IN channel still arrives');
    server_follows($x);
    ends('the IN channel is used up', $x, $mark, IN => 'content-used-up', OUT => 'server-closed');
}
{
    my $server = server(echo => 1);
    my $mark = mark();
    my $access = mark('access_log');
    my $c = client(target => $server->target, %small)->connect;
    my $n = 0;
    while (defined(my $pdu = eval { $c->call(request_pdu(1, 'v' x 4000)) })) { last if ++$n > 100 }
    $c->out->wait_eof;
    cmp_ok($c->out->{total_in}, '<=', 131_072 + 500, 'the OUT channel ends before its Content-Length is exceeded');
    is($n, int((131_072 - 72) / 4024), 'and not before no PDU fits');
    ends('the OUT channel is used up', { c => $c, server => $server }, $mark, OUT => 'lifetime-exceeded');
    my $body = 72 + 4024 * $n;
    accessed($access, qr/"RPC_OUT_DATA .*" 200 \d+ .* lifetime-exceeded/, 'in the access log');
}

# ---- cookies ----
{
    my $server = server(echo => 1);
    my $c = client(target => $server->target)->connect;
    my $mark = mark();
    my $twin = client(target => $server->target, vc => $c->{vc});
    $twin->open_out;
    $twin->send_a1;
    is_rpc_error($twin->out, '6c0', 'a second A1 of the same virtual connection is refused');
    $twin->open_in;
    $twin->send_b1;
    is_rpc_error($twin->in, '6c0', 'so is a second B1');
    ends('a duplicate cookie', { c => $twin }, $mark, IN => 'duplicate-cookie', OUT => 'duplicate-cookie');
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'the first one lives on');

    $mark = mark();
    my $thief = client(target => $server->target, vc => $c->{vc}, in_cookie => 'wrong' x 3, out_cookie => 'wrong' x 3);
    is_rpc_error($thief->replace_in, '6c0', 'a successor of the wrong channel is refused: IN');
    is_rpc_error($thief->replace_out, '6c0', 'OUT');
    ends('wrong predecessors', { c => $thief }, $mark, IN => 'unknown-cookie', OUT => 'unknown-cookie');
    $mark = mark();
    $thief = client(target => $server->target, vc => $c->{vc}, in_cookie => $c->{in_cookie}, out_cookie => $c->{out_cookie},
                    user => 'bob', password => 'hidden');
    is_rpc_error($thief->replace_in, '5', 'the successor of another user is refused: IN');
    is_rpc_error($thief->replace_out, '5', 'OUT');
    $thief->close;
    logged($mark, qr/RPC_IN_DATA channel to \S+ of user "bob" ended: peer-mismatch/, 'by its name in the log');
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'and the first one lives on');
    $_->close for $c, $server;
}

# ---- true byte counts ----
{
    my $server = server(echo => 1);
    my $access = mark('access_log');
    my $c = plain(target => $server->target)->connect;
    $c->call(request_pdu(1, 'w' x $_)) for 1, 1000, 10_000;
    my ($in, $out) = ($c->in, $c->out);
    my $body = 72 + 3 * 24 + 11_001;
    $c->close;
    accessed($access, qr/^alice "RPC_IN_DATA \S+ HTTP\/1.1" \d+ 0 $in->{total_out} \d+ client-closed$/, 'IN: what came in, to the byte');
    accessed($access, qr/^alice "RPC_OUT_DATA \S+ HTTP\/1.1" 200 $body $out->{total_out} $out->{total_in} (?:client|server)-closed$/,
             'OUT: body, in and out, to the byte');
    $server->close;
}

# ---- a thousand mutations ----
{
    my $mark = mark();
    srand 42;
    my $server = server(manual => 1);
    for my $round (1 .. 200) {
        my $c = plain(target => $server->target, length_in => 5000);
        my $bytes = $c->b1 . bind_pdu() . rts('Ping') . rts('FlowControlAckWithDestination', destination => FD_OUT_PROXY,
                    ack => { received => 1, available => 2, channel => $c->{out_cookie} });
        substr $bytes, rand length $bytes, 1, chr rand 256 for 1 .. 1 + rand 4;
        my $ch = $round % 2 ? $c->open_in->put($bytes) : $c->open_out(length => length $bytes)->put($c->a1 . $bytes);
        $ch->flush;
        turn(0.001);
        for my $leg (splice @{ $server->{new} }) {
            my $answer = rts('CONN/C1', window => 65536, timeout => 120_000) . rts('CONN/B3', window => 65536) . response_pdu('x');
            substr $answer, rand length $answer, 1, chr rand 256;
            $leg->put($answer);
            turn(0.001);
            $leg->close;
        }
        $c->close;
    }
    $server->close;
    not_logged($mark, qr/exit signal/, 'mutated PDUs kill no child');
    witnessed('mutated PDUs');
}

not_logged($start, qr/exit signal|Sanitizer|runtime error/, 'no child has died');
$_->close for $witness, $witness_server;
done_testing;
