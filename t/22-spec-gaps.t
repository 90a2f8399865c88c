# What this proxy does where [MS-RPCH] is silent or contradicts itself, in the order of its sections,
# with which the names of the tests begin. Then the behaviour of windows at their limits.

use strict;
use warnings;
use IO::Socket::IP;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts rts_raw decode is_rts describe cut FD_CLIENT FD_IN_PROXY);
use RPCH::Preload;
use RPCH::RPC qw(request_pdu);
use RPCH::States;
use RPCH::Test;

my $native = RPCH::States::native();

# Runs CODE with a role in a state. The test passes when CODE does not die.
sub holds {
    my ($name, $role, $state, $code, %arg) = @_;
    my $s = eval { RPCH::States->reach($role, $state, %arg)->now } or do { fail($name); return diag $@ };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(eval { $code->($s); 1 }, $name) or diag $@, lines_since($s->{mark});
    return $s->close;
}

sub numbered { my ($n, $size) = @_; return request_pdu($n, chr(65 + $n % 26) x (($size // 1000) - 24)) }
sub put { my ($s, $end, @pdus) = @_; $s->{end}{$end}->put(join '', @pdus); return $s }

# Tests how the answer on an HTTP channel begins.
sub answer {
    my ($s, $end, $line) = @_;
    my $head = $s->{end}{$end}->head or die "$end was closed without an answer\n";
    $head->{line} =~ /^\Q$line\E/ or die "$end was answered '$head->{line}'\n";
    return $s;
}

# Opens a successor of the channel CLIENT and sends its first PDU.
sub in_successor {
    my ($s) = @_;
    $s->{end}{successor} = $s->{c}->open_in;
    return $s->put(successor => 'IN_R2/A1');
}
sub out_successor {
    my ($s, %over) = @_;
    $s->{end}{successor} = $s->{c}->open_out(length => 120);
    return $s->put(successor => 'OUT_R2/A3', %over);
}
sub new_in  { return (new => $_[0]{cookie}{new_in}) }
sub new_out { return (new => $_[0]{cookie}{new_out}) }

# An outbound proxy in Opened, with this window of its client.
sub opened {
    my ($s, $window) = @_;
    $s->put(client => 'CONN/A1', window => $window)->leg('CONN/A2')->get(client => 'CONN/A3');
    return $s->put(leg => 'CONN/C1')->get(client => 'CONN/C2');
}

# Acknowledgements: of the next hop, and of hop 4 as it comes to the outbound proxy.
sub values_of {
    my ($s, $received, $available) = @_;
    my $channel = $s->{cookie}{ $s->{role} eq 'inbound' ? 'in' : 'out' };
    return { received => $received, available => $available, channel => $channel };
}
sub ack  { my ($s, $end, @counts) = @_; return $s->put($end => 'FlowControlAck', ack => values_of($s, @counts)) }
sub ack4 { my ($s, @counts) = @_; return $s->put(leg => 'FlowControlAckWithDestination', ack => values_of($s, @counts)) }

# Tests that RPC PDUs 1 to N arrive at the leg; acknowledgements of the proxy may lie between.
sub numbers {
    my ($s, $n) = @_;
    for my $want (1 .. $n) {
        my $pdu = $s->{end}{leg}->pdu;
        $pdu = $s->{end}{leg}->pdu while defined $pdu && is_rts($pdu);
        die "PDU $want of $n: " . describe($pdu) . "\n" if !defined $pdu || $pdu ne numbered($want);
    }
    return $s;
}

# ---- IN_R2 ----

holds('3.2.3.5.5.1: IN_R2/A2 is sent as soon as the successor is attached', inbound => Opened => sub {
    my $s = in_successor(shift);
    $s->arrive(leg => rts('IN_R2/A2', new_in($s)))->flows(qw(client leg));
});
holds('3.2.3.5.8: the successor is unplugged by A5, after all of the old channel', inbound => Opened_A5W => sub {
    my $s = shift;
    my ($forward) = rts_raw(0x42, [D => FD_CLIENT], [PT => 7]);
    put($s, successor => numbered(3), $forward, numbered(4))->log_says('unknown RTS PDU from the client');
    put($s, client => numbered(1), numbered(2));
    $s->arrive(leg => numbered(1), numbered(2))->put(client => 'IN_R2/A5');
    $s->arrive(leg => numbered(3), $forward, numbered(4))->done_with('client')->flows(qw(successor leg));
});

# ---- OUT_R1, OUT_R2 ----

holds('3.2.4.5.6.2: OUT_R1 adds the cookie, so that the next replacement here is OUT_R2', outbound => A11W => sub {
    my $s = shift;
    answer($s->put(client => 'OUT_R1/A11'), client => 'HTTP/1.1 200')->flows(qw(leg client));
    my $new = RPCH::Client::cookie();
    out_successor($s, old => $s->{cookie}{new_out}, new => $new)->sees(leg => 'OUT_R2/A4', new => $new);
});
holds('3.2.4.5.10 / fig. 21: B3 goes before the 200 of the successor', outbound => B1W => sub {
    my $s = shift;
    my $old = $s->{end}{client}->stop_reading;
    put($s, leg => (map { numbered($_) } 1 .. 20), rts('OUT_R2/B1'), numbered(21));
    answer($s, successor => 'HTTP/1.1 200');
    # Bytes that were written before the end can still be read
    $old->stop_reading(0);
    $old->can_read;
    my @old = map { cut(\$old->{in}) } 1 .. 21;
    die 'the last on the old channel is ' . describe($old[-1]) . "\n" if !defined $old[-1] || $old[-1] ne rts('OUT_R2/B3');
    $s->done_with('client')->arrive(successor => numbered(21));
});
holds('3.2.4.5.10 / fig. 21: the 200 waits for B3 when the window is used up', outbound => Open_Start => sub {
    my $s = shift;
    opened($s, 8192);
    out_successor($s)->get(leg => 'OUT_R2/A4')->put(successor => 'OUT_R2/C1')->log_says('-> B1W');
    put($s, leg => numbered(1, 8000), numbered(2, 8000), rts('OUT_R2/B1'))->arrive(client => numbered(1, 8000));
    $s->log_says('OUT_R1/A9 from the server')->flows_elsewhere;
    die "the successor is answered before B3\n" if $s->{end}{successor}{total_in};
    ack4($s, 8000, 8192);
    $s->arrive(client => numbered(2, 8000), rts('OUT_R2/B3'));
    answer($s->done_with('client'), successor => 'HTTP/1.1 200')->flows(qw(leg successor));
});
holds('3.2.4.5.10 / fig. 21: the 200 waits for B3 when the client does not read', outbound => Open_Start => sub {
    my $s = shift;
    (delete $s->{end}{client})->close;
    my $old = $s->{end}{client} = $s->{c}->open_out(dial => { rcvbuf => 65_536 });
    opened($s, 1 << 30);
    out_successor($s)->get(leg => 'OUT_R2/A4')->put(successor => 'OUT_R2/C1')->log_says('-> B1W');
    $old->stop_reading;
    # The client sends what its window allows until no acknowledgement comes: all buffers are full
    my ($sent, $room) = (0, 262_144);
    while ((my $more = int $room / 1024) > 0) {
        put($s, leg => map { numbered($sent + $_, 1024) } 1 .. $more);
        $sent += $more;
        $s->flows_elsewhere;
        my $ack = @{ $s->{end}{leg}{got} || [] } && decode('FlowControlAck', $s->{end}{leg}{got}[-1]) or last;
        $s->{end}{leg}{got} = [];
        $room = $ack->{ack}{received} + $ack->{ack}{available} - 1024 * $sent;
    }
    $s->now;
    put($s, leg => rts('OUT_R2/B1'))->log_says('OUT_R1/A9 from the server')->flows_elsewhere;
    die "the successor is answered before the client has B3\n" if $s->{end}{successor}{total_in};
    $old->stop_reading(0);
    $s->arrive(client => (map { numbered($_, 1024) } 1 .. $sent), rts('OUT_R2/B3'));
    answer($s->done_with('client'), successor => 'HTTP/1.1 200')->flows(qw(leg successor));
});
holds('3.2.4.5.10: nothing is written to the successor before its header', outbound => R2C1W => sub {
    my $s = shift;
    my $forward = rts_raw(0x42, [D => FD_CLIENT], [PT => 7]);
    put($s, leg => numbered(1), rts('OUT_R1/A1'), $forward, numbered(2));
    $s->log_says('unknown RTS PDU from the server')->flows_elsewhere;
    die "something was written\n" if $s->{end}{successor}{total_in};
    answer($s->put(successor => 'OUT_R2/C1'), successor => 'HTTP/1.1 200');
    $s->arrive(successor => numbered(1), rts('OUT_R1/A1'), $forward, numbered(2))->flows(qw(leg successor));
});
for my $state (qw(B1OrC1W B1W)) {
    my $where = $state eq 'B1W' ? '3.2.5.5.12' : '3.2.4.5.12';
    holds("$where: OUT_R2/B2 in $state ends the successor only, and another may come", outbound => $state => sub {
        my $s = shift;
        answer($s->put(leg => 'OUT_R2/B2'), successor => 'HTTP/1.0 503 RPC Error: 6c0');
        $s->done_with('successor')->flows(qw(leg client));
        out_successor($s)->get(leg => 'OUT_R2/A4')->put(successor => 'OUT_R2/C1')->put(leg => 'OUT_R2/B1');
        $s->get(client => 'OUT_R2/B3')->done_with('client');
        answer($s, successor => 'HTTP/1.1 200')->flows(qw(leg successor));
    });
}
holds('3.2.5.5.12: the server sends B2 and closes all', endpoint => Opened_R2A8W => sub {
    my $s = shift;
    $s->put(in => 'OUT_R2/A8', new => 'f' x 16)->arrive(out => rts('OUT_R2/B2'))->gone;
    $s->log_says('ended: protocol-error');
});

# ---- the server role ----

holds('3.2.5.5.3: CONN/A2 of an unknown virtual connection opens one', endpoint => Open_Start => sub {
    my $s = shift;
    $s->put(newcomer => 'CONN/A2')->connected->dial('in')->put(in => 'CONN/B2');
    $s->get(newcomer => 'CONN/C1')->get(in => 'CONN/B3')->flows(qw(in tcp));
});
for my $state (qw(B2W Opened Opened_A8W)) {
    holds("3.2.5.5.3: CONN/A2 of one in $state is refused", endpoint => $state => sub {
        my $s = shift;
        $s->dial('newcomer')->put(newcomer => 'CONN/A2')->done_with('newcomer');
        $s->dial('in')->put(in => 'CONN/B2')->get(out => 'CONN/C1') if $state eq 'B2W';
        $s->flows(qw(in tcp));
    });
}
{
    my @s = map { RPCH::States->reach(endpoint => 'Opened_A4W') } 1 .. 3;
    my $name = '3.2.5.5.9: OUT_R1/A4 finds its virtual connection by the cookie';
    ok(eval {
        for my $s (@s[1, 0, 2]) {
            $s->dial('out_next')->put(out_next => 'OUT_R1/A4')->arrive(out => rts('OUT_R1/A5', timeout => 120_000));
            $s->put(in => 'OUT_R1/A8')->arrive(out => rts('OUT_R1/A9'))->answers('out_next');
        }
        1;
    }, $name) or diag $@;
    $_->close for @s;
}
holds('3.2.5.5.9: and is refused when there is none', endpoint => Open_Start => sub {
    my $s = shift;
    $s->put(newcomer => 'OUT_R1/A4')->log_says('refused: unknown-cookie')->gone;
});

# ---- PDUs ----

for ([65536, 120_000, 65536, 120_000], [262_144, 14_400_000, 262_144, 14_400_000], [8192, 900_000, 8192, 900_000],
     [1 << 30, 30_000, 262_144, 120_000], [100, 1 << 31, 8192, 14_400_000]) {
    my ($window, $timeout, @want) = @$_;
    my $moved = "@want" eq "$window $timeout" ? '' : ', moved into the range';
    holds("2.2.4.9 / 3.2.4.5.4: C2 has C1's values: window $window, time-out $timeout$moved", outbound => C1W => sub {
        my $s = shift;
        put($s, leg => rts('CONN/C1', window => $window, timeout => $timeout));
        $s->arrive(client => rts('CONN/C2', window => $want[0], timeout => $want[1]))->flows(qw(leg client));
    });
}
for my $a7 ('OUT_R1/A7', 'OUT_R2/A7') {
    my $version = $a7 eq 'OUT_R2/A7' ? 'with' : 'without';
    holds("2.2.4.40 / 41: an A7 $version Version is passed on unchanged", inbound => Opened => sub {
        my $s = shift;
        $s->put(client => $a7)->arrive(leg => $s->sample($a7))->flows(qw(client leg));
    });
    for my $state (qw(Opened_A8W Opened_R2A8W)) {
        holds("2.2.4.40 / 41: the server takes an A8 $version Version in $state", endpoint => $state => sub {
            my $s = shift;
            $s->put(in => $a7)->arrive(out => rts('OUT_R2/B1'))->flows(qw(in tcp));    # A9 looks the same
        });
    }
}
# 2.2.3.5.3: the value on the wire is always in the range, whatever was asked for. The default of this
# module is two minutes.
for my $asked ('', 120, 180, 14_400, 30, 119, 14_401, 4_294_967_416, 'x') {
    my $want = $asked =~ /^(?:120|180|14400)$/ ? $asked : 120;
    holds("2.2.3.5.3 / 3.2.1.1.6.1: asked for MinConnTimeout '$asked', A3 says $want s", outbound => Open_Start => sub {
        $_[0]->put(client => 'CONN/A1')->leg('CONN/A2')->sees(client => 'CONN/A3', timeout => 1000 * $want);
    }, $asked eq '' ? () : (headers => ["Pragma: MinConnTimeout=$asked"]));
}
# 2.2.3.2: an IPv4 address is a little-endian number
{
    my $name = '2.2.3.2: the ClientAddress of CONN/B2';
    my $c = plain(target => $native->target);
    my $fh = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => vars('plainport'), LocalHost => '127.1.2.3')
        or die "127.1.2.3: $@\n";
    $c->open_in(connection => RPCH::HTTP->new(fh => $fh, name => 'IN channel from 127.1.2.3'));
    $c->send_b1;
    my $leg = $native->leg;
    is(unpack('H*', substr $leg->pdu, -24), '0b00000000000000' . '0302017f' . '00' x 12, "$name, IPv4, is little-endian");
    $_->close for $c, $leg;
    SKIP: {
        skip 'no IPv6 here', 2 if !have_ipv6();
        my $port = RPCH::Root::free_ports(1);
        my $other = RPCH::Httpd->new(conf => "Listen [::1]:$port\n" . RPCH::Httpd->location)->start;
        $c = plain(target => $native->target, host => '::1', port => $port);
        $c->open_in;
        $c->send_b1;
        $leg = $native->leg;
        my $b2 = $leg->pdu;
        is(length $b2, 140, 'CONN/B2 with an IPv6 address is longer');
        is(unpack('H*', substr $b2, -36), '0b00000001000000' . '00' x 15 . '01' . '00' x 12, "$name, IPv6, is in network order");
        $_->close for $c, $leg;
    }
}

# ---- windows ----

holds('3.2.1.3: our available window starts at the window, as the first ack says', inbound => Open_Start => sub {
    my $s = shift;
    $s->put(client => 'CONN/B1')->leg('CONN/B2')->put(leg => 'CONN/B3')->log_says('B3W -> Opened');
    put($s, client => map { numbered($_, 1024) } 1 .. 3);   # less than a usual fragment, 5,840 bytes, is left
    $s->arrive(leg => map { numbered($_, 1024) } 1 .. 3);
    $s->sees(leg => 'FlowControlAckWithDestination', destination => FD_CLIENT, ack => values_of($s, 3072, 8192));
}, path => '/small/rpcproxy.dll');
holds('3.2.1.3: the window of the server is there from its announcement on', inbound => B3W => sub {
    my $s = shift;
    put($s, client => numbered(1, 8192));
    put($s, leg => rts('CONN/B3', window => 8192))->arrive(leg => numbered(1, 8192));
});
my @exact = (numbered(1, 8000), numbered(2, 1000), numbered(3, 9000));
holds("3.2.1.4.1.3: what fills the server's window exactly is sent", inbound => B3W => sub {
    my $s = shift;
    put($s, leg => rts('CONN/B3', window => 9000));
    put($s, client => @exact)->arrive(leg => @exact[0, 1]);
    ack($s, leg => 9000, 8999)->stalls('client', 'leg');
    ack($s, leg => 9000, 9000)->arrive(leg => $exact[2]);
});
holds("3.2.1.4.1.3: what fills the client's window exactly is sent", outbound => Open_Start => sub {
    my $s = shift;
    opened($s, 9000);
    put($s, leg => @exact)->arrive(client => @exact[0, 1]);
    ack4($s, 9000, 8999)->stalls('leg', 'client');
    ack4($s, 9000, 9000)->arrive(client => $exact[2]);
});
holds("3.2.1.4.1.3: what fills the outbound proxy's window exactly is sent", endpoint => A2W => sub {
    my $s = shift;
    $s->dial('out')->put(out => 'CONN/A2', window => 9000)->get(out => 'CONN/C1')->get(in => 'CONN/B3');
    put($s, tcp => @exact)->arrive(out => @exact[0, 1]);
    ack($s, out => 9000, 8999);
    # A call goes through the endpoint and back, so the endpoint has seen the acknowledgement before it
    my $marker = rts_raw(0x42, [D => FD_IN_PROXY], [PT => 1]);
    put($s, out => $marker)->arrive(in => $marker);
    die "sent into a window of 8999\n" if @{ $s->{end}{out}{got} };
    ack($s, out => 9000, 9000)->arrive(out => $exact[2]);
});

# ---- what 3.2.3.5 does not mention ----

for my $state (qw(B3W Wait_B2 Opened Opened_A5W)) {
    holds("3.2.3.5: Ping, Keep-Alive and acknowledgements are legal in $state", inbound => $state => sub {
        my $s = shift;
        my $ack = $s->sample('FlowControlAckWithDestination', ack => { received => 1, available => 65535, channel => 'o' x 16 });
        my @keepalive = map { rts('Keep-Alive', keepalive => $_) } 0, 1, 60_000, 0xffffffff;
        put($s, client => rts('Ping'), @keepalive, $ack, rts('Ping'), $ack);
        $s->put(leg => $state eq 'B3W' ? 'CONN/B3' : 'IN_R1/B2') if $state =~ /B3W|B2/;
        $s->arrive(leg => $ack, $ack)->flows(qw(client leg));
    });
}
holds('3.2.3.5: but no FlowControlAck from the client', inbound => Opened_A5W => sub {
    my $s = shift;
    ack($s, successor => 0, 8192)->gone && $s->log_says('ends: protocol-error');
});

# ---- lengths ----

for ([131_072, 1 << 30, 200_000], [1 << 31, 131_072, 131_072]) {
    my ($b1, $length, $passes) = @$_;
    my $name = "3.2.3.1.1 / 3.2.3.5.3 / 2.2.4.5: Content-Length $length decides, not a ChannelLifetime of $b1 in B1";
    my $c = plain(target => $native->target, raw => 1, length_in => $length);
    $c->open_in;
    $c->send_b1(lifetime => $b1);
    my $mark = mark();
    my $leg = $native->leg;
    $leg->expect('CONN/B2');
    $leg->put(rts('CONN/B3', window => 1 << 30));
    my $left = $passes - 104;
    my ($sent, $arrived) = (0, 0);
    while ($left) {
        my $size = $left >= 8000 ? 4000 : $left;
        $left -= $size;
        $c->in->put(numbered(++$sent, $size));
    }
    for my $n (1 .. $sent) {
        my $pdu = $leg->pdu // last;
        $pdu = $leg->pdu // last while is_rts($pdu);      # acknowledgements of the proxy
        $arrived++ if 22 < length $pdu && unpack('v', substr $pdu, 22, 2) == $n;
    }
    is($arrived, $sent, "$name: what it holds arrives");
    logged($mark, qr/RPC_IN_DATA .* ended: content-used-up/, "$name: and no more") if $passes == $length;
    $_->close for $c, $leg;
}

# ---- which party may send which PDU in which state ----

holds('3.2.1.5.2: the inbound proxy takes nothing for the client from the server', inbound => Opened => sub {
    my $s = shift;
    $s->put(leg => 'FlowControlAckWithDestination', destination => FD_CLIENT)->gone;
    $s->log_says('inbound channel in Opened ends: protocol-error');
});
for my $order (qw(IN-OUT-A1-B1 IN-OUT-B1-A1 OUT-IN-A1-B1 OUT-IN-B1-A1 IN-B1-OUT-A1 OUT-A1-IN-B1)) {
    my $c = plain(target => $native->target, raw => 1);
    my %step = (IN => 'open_in', OUT => 'open_out', A1 => 'send_a1', B1 => 'send_b1');
    my @legs;
    my $ok = eval {
        for my $step (split /-/, $order) {
            $c->can($step{$step})->($c);
            push @legs, $native->leg if $step =~ /1/;
        }
        my %by = map { (decode('CONN/A2', $_->peek) ? 'A2' : decode('CONN/B2', $_->peek) ? 'B2' : '?') => $_ } @legs;
        $by{A2}->put(rts('CONN/C1', window => 65536, timeout => 120_000));
        $by{B2}->put(rts('CONN/B3', window => 65536));
        decode('CONN/A3', $c->out->pdu) && decode('CONN/C2', $c->out->pdu);
    };
    ok($ok, "3.2.2.4.1.2: $order is an order to open in") or diag $@;
    $_->close for $c, @legs;
}

# ---- no buffer exceeds its window ----

my $client_gone = qr/RPC_IN_DATA channel .* ended: client-(?:closed|error), /;

# A client that overruns its window. The window of IN is 8192, that of the server is 8192, and the
# server never acknowledges. When the client ends, the log tells how much the proxy has read: B1, as
# much as both windows hold, and the beginning of a PDU.
{
    my $s = RPCH::States->reach(inbound => 'Open_Start', path => '/small/rpcproxy.dll');
    $s->put(client => 'CONN/B1')->leg('CONN/B2')->now;
    put($s, leg => rts('CONN/B3', window => 8192));
    put($s, client => map { numbered($_) } 1 .. 20_000);
    ok(eval { numbers($s, 8)->flows_elsewhere }, 'hop 1: a client that overruns is served up to the window') or diag $@;
    is(scalar(grep { !is_rts($_) } @{ $s->{end}{leg}{got} }), 0, 'and then stalls');
    cmp_ok(length $s->{end}{client}{out}, '>', 0, 'it is not read');
    $s->{end}{client}->reset;
    my $line = logged($s->{mark}, $client_gone, 'it ends when the client goes') // '';
    my ($read) = $line =~ /(\d+) bytes in/;
    cmp_ok($read // 1e9, '<=', 104 + 8192 + 8192 + 1000, 'no more than the windows was read');
    $s->{end}{leg}->close;
}
# The same while the channel is plugged
{
    my $s = RPCH::States->reach(inbound => 'Open_Start', path => '/small/rpcproxy.dll');
    $s->put(client => 'CONN/B1')->leg('CONN/B2')->now;
    put($s, client => map { numbered($_) } 1 .. 20_000);
    $s->flows_elsewhere;
    cmp_ok(length $s->{end}{client}{out}, '>', 0, 'hop 1: nor is it read while the leg is plugged');
    put($s, leg => rts('CONN/B3', window => 65536));
    ok(eval { numbers($s, 60) }, 'but when it is unplugged') or diag $@;
    $s->{end}{client}->reset;
    $s->{end}{leg}->wait_eof;
    $s->{end}{leg}->close;
}
# A successor that overruns while it is plugged
{
    my $s = RPCH::States->reach(inbound => 'Opened', path => '/small/rpcproxy.dll');
    in_successor($s)->get(leg => 'IN_R2/A2')->now;
    put($s, successor => map { numbered($_) } 1 .. 20_000);
    ok(eval { $s->flows_elsewhere->flows(qw(client leg)) }, 'hop 1: a successor that overruns does not disturb its predecessor')
        or diag $@;
    cmp_ok(length $s->{end}{successor}{out}, '>', 0, 'it is not read');
    $s->put(client => 'IN_R2/A5');
    ok(eval { numbers($s, 60) }, 'until it takes over') or diag $@;
    $s->{end}{successor}->reset;
    logged($s->{mark}, $client_gone, 'it ends when the client goes');
    $_->close for grep { !$_->{closed} } values %{ $s->{end} };
}
# The outbound proxy's window, to the byte
holds('hop 3: a server may fill our window', outbound => Open_Start => sub {
    my $s = shift;
    opened($s, 8192);
    put($s, leg => numbered(1, 8192))->arrive(client => numbered(1, 8192))->get(leg => 'FlowControlAck');
    put($s, leg => numbered(2, 8192))->stalls('leg', 'client');
    ack4($s, 8192, 8192);
    $s->arrive(client => numbered(2, 8192));
}, path => '/small/rpcproxy.dll');
holds('hop 3: and not one byte more', outbound => Open_Start => sub {
    my $s = shift;
    opened($s, 8192);
    put($s, leg => numbered(1, 8192))->arrive(client => numbered(1, 8192))->get(leg => 'FlowControlAck');
    put($s, leg => numbered(2, 8192), request_pdu(3, ''));
    $s->gone && $s->log_says('ends: window-overrun');
}, path => '/small/rpcproxy.dll');
# Impossible acks on hop 3, at the endpoint
holds('hop 3: impossible acknowledgements are clamped and logged', endpoint => A2W => sub {
    my $s = shift;
    $s->dial('out')->put(out => 'CONN/A2', window => 9000)->get(out => 'CONN/C1')->get(in => 'CONN/B3');
    ack($s, out => 0, 1 << 30)->log_says('impossible acknowledgement: received 0, available 1073741824');
    put($s, tcp => map { numbered($_) } 1 .. 30)->arrive(out => map { numbered($_) } 1 .. 9);
    $s->now;
    ack($s, out => 0, 10)->log_says('impossible acknowledgement: received 0, available 10');
    die "more than the window\n" if @{ $s->{end}{out}{got} };
    ack($s, out => 9000, 9000)->arrive(out => map { numbered($_) } 10 .. 18);
});

# ---- pings, by a clock that the test sets forward ----

SKIP: {
    my $name = '3.2.1.2.1 / 3.2.4.6';
    my $long = "RpcConnectionTimeout 120\nRpcIdleTimeout 240\nRpcConnectTimeout 300\nRpcSetupTimeout 3600\nRpcFirstPduTimeout 3600";
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location($long));
    my $clock = RPCH::Preload->new or skip 'no C compiler', 11;
    $clock->start($httpd);
    my $ping_is_due = sub { $clock->shift_by(0, 60) };     # half of RpcConnectionTimeout
    my %there = (port => $httpd->{port});
    my $s = RPCH::States->reach(outbound => 'Opened', %there);
    my @pings = map { $ping_is_due->(); $s->{end}{client}->pdu } 1 .. 45;
    my $quiet = RPCH::States->reach(outbound => 'C1W', %there);
    push @pings, map { $ping_is_due->(); $s->{end}{client}->pdu } 46 .. 52;
    is(scalar(grep { defined && $_ eq rts('Ping') } @pings), 52, "$name: an idle channel is pinged");
    same_pdu($s->{end}{leg}->pdu, rts('PingTrafficSentNotify', bytes => 52 * 20), "$name: the server is told of them");
    is($quiet->{end}{client}{in}, '', "$name: no ping before C2");
    ok(eval { $quiet->put(leg => 'CONN/C1')->get(client => 'CONN/C2'); $ping_is_due->(); $quiet->get(client => 'Ping') },
       "$name: but after it") or diag $@;
    # While a successor is being opened there are two OUT channels, and the old one is pinged
    $s->{end}{successor} = $s->{c}->open_out(length => 120);
    ok(eval {
        $s->get(client => 'Ping')->put(successor => 'OUT_R2/A3')->get(leg => 'OUT_R2/A4');
        for (1, 2) { $ping_is_due->(); $s->get(client => 'Ping') }
        1;
    }, "$name: during OUT_R2 the old channel is") or diag $@;
    is($s->{end}{successor}{total_in}, 0, "$name: and the successor is not");
    ok(eval {
        $s->put(leg => 'OUT_R2/B1')->last_of(client => 'OUT_R2/B3');
        for (1 .. 5) { $ping_is_due->(); $quiet->get(client => 'Ping') }
        1;
    }, "$name: nor when the old one has gone") or diag $@;
    is($s->{end}{successor}{total_in}, 0, "$name: it has no header yet");
    ok(eval {
        answer($s->put(successor => 'OUT_R2/C1'), successor => 'HTTP/1.1 200');
        $ping_is_due->();
        $s->get(successor => 'Ping');
    }, "$name: but later") or diag $@;
    my $in = RPCH::States->reach(inbound => 'Opened', %there);
    $clock->shift_by(0, 240);
    ok(eval { $in->gone }, "$name: a client that never pings is silent, and is given up where RpcIdleTimeout says so") or diag $@;
    ok($httpd->logs(qr/inbound channel in Opened ends: idle-timeout/), 'as idle-timeout');
    $_->close for $s, $quiet, $in;
}

done_testing;
