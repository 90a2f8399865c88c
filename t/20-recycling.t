# The four ways to replace a channel ([MS-RPCH] 3.2.1.5.3), byte by byte: IN_R1, IN_R2, OUT_R1 and
# OUT_R2. They are seen from a client and a native server, with the proxies of two machines between;
# from a client and a TCP server, with proxies and the endpoint between; and from the proxies of an
# endpoint.

use strict;
use warnings;
use List::Util qw(sum0);
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts decode describe);
use RPCH::Preload;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;
use RPCH::Wires;

my $tcp = tcp_server(quiet => 1);
my $shared = RPCH::Root::free_ports(1);     # the endpoint that both machines use
my %small = (path => '/small/rpcproxy.dll');
my $location = RPCH::Httpd->location;
my $successors = RPCH::Httpd->location("RpcReceiveWindow 8192\nRpcChannelLifetime 131072\nRpcConnectionTimeout 240\n");
my $other = RPCH::Httpd->new(conf => "RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n"
                                     . $location . $successors =~ s{/rpc/}{/small/}r)->start;

# ---- each sequence, from all sides ----

# Through two proxies to a native server, with RPC PDUs before, during and after the replacement.
my %PROXIES = (
    IN_R1 => <<'TABLE', IN_R2 => <<'TABLE', OUT_R1 => <<'TABLE', OUT_R2 => <<'TABLE', 'OUT_R2, C1 early' => <<'TABLE',
        in p1 -> il p1
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        in p2, in2 p5 -> il p2
        ol IN_R1/A3 -> out IN_R1/A4
        ol q1, in p3 -> out q1, il p3
        in IN_R1/A5 -> il IN_R1/A6, il IN_R1/B1, in closed, il closed
        in2 p6, ol q2 -> out q2
        il2 IN_R1/B2 -> il2 p5, il2 p6
        in2 p7, ol q3 -> il2 p7, out q3
TABLE
        in p1 -> il p1
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        in p2, in2 p5 -> il p2
        ol IN_R2/A3 -> out IN_R2/A4
        ol q1, in p3 -> out q1, il p3
        in p4, in IN_R2/A5 -> il p4, il p5, in closed
        in2 p6, ol q2 -> il p6, out q2
TABLE
        ol OUT_R1/A1 -> out OUT_R1/A2
        ol q1 -> out q1
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        ol q2 -> out q2
        ol OUT_R1/A5 -> out OUT_R1/A6
        in p1, in OUT_R1/A7, in p2 -> il p1, il OUT_R1/A8, il p2
        ol q3, ol OUT_R1/A9 -> out q3, out OUT_R1/A10, out closed, ol closed
        ol2 q4, out2 silent
        out2 OUT_R1/A11 -> out2 200, out2 q4
        ol2 q5, in p3 -> out2 q5, il p3
TABLE
        ol OUT_R2/A1 -> out OUT_R2/A2
        ol q1 -> out q1
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol q2 -> out q2
        ol OUT_R2/A5 -> out OUT_R2/A6
        in p1, in OUT_R2/A7, in p2 -> il p1, il OUT_R2/A8, il p2
        ol q3, ol OUT_R2/B1 -> out q3, out OUT_R2/B3, ol FlowControlAck, out closed
        ol q4, out2 silent
        out2 OUT_R2/C1 -> out2 200, out2 q4
        ol q5, in p3 -> out2 q5, il p3
TABLE
        ol OUT_R2/A1 -> out OUT_R2/A2
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        out2 OUT_R2/C1
        ol OUT_R2/A5 -> out OUT_R2/A6
        ol q1, out2 silent -> out q1
        in OUT_R2/A7 -> il OUT_R2/A8
        ol q2, ol OUT_R2/B1 -> out q2, out OUT_R2/B3, ol FlowControlAck, out closed, out2 200
        ol q3, in p1 -> out2 q3, il p1
TABLE
);

# Through two proxies to the endpoint.
my %ENDPOINT = (
    IN_R1 => <<'TABLE', IN_R2 => <<'TABLE', OUT_R1 => <<'TABLE', OUT_R2 => <<'TABLE', 'OUT_R2, C1 early' => <<'TABLE',
        in p1 -> tcp p1
        in2 open, in2 IN_R1/A1 -> out IN_R1/A4
        in2 p5, in p2, tcp q1 -> tcp p2, out q1
        in IN_R1/A5 -> in closed, tcp p5
        in2 p6, tcp q2 -> tcp p6, out q2
TABLE
        in p1 -> tcp p1
        in2 open, in2 IN_R2/A1 -> out IN_R2/A4
        in2 p5, in p2, tcp q1 -> tcp p2, out q1
        in IN_R2/A5 -> in closed, tcp p5
        in2 p6, tcp q2 -> tcp p6, out q2
TABLE
        out2 open, out2 OUT_R1/A3 -> out OUT_R1/A6
        tcp q1, in p1 -> out q1, tcp p1
        in OUT_R1/A7 -> out OUT_R1/A10, out closed
        tcp q2
        out2 OUT_R1/A11 -> out2 200, out2 q2
        tcp q3, in p2 -> out2 q3, tcp p2
TABLE
        out2 open, out2 OUT_R2/A3 -> out OUT_R2/A6
        tcp q1, in p1 -> out q1, tcp p1
        in OUT_R2/A7 -> out OUT_R2/B3, out closed
        tcp q2
        out2 OUT_R2/C1 -> out2 200, out2 q2
        tcp q3, in p2 -> out2 q3, tcp p2
TABLE
        out2 open, out2 OUT_R2/A3 -> out OUT_R2/A6
        out2 OUT_R2/C1
        tcp q1 -> out q1
        in OUT_R2/A7 -> out OUT_R2/B3, out closed, out2 200
        tcp q2, in p1 -> out2 q2, tcp p1
TABLE
);

# The test plays the proxies of the endpoint. PingTrafficSentNotify uses the lifetime up.
my %LEGS = (
    IN_R1 => <<'TABLE', IN_R2 => <<'TABLE', OUT_R1 => <<'TABLE', OUT_R2 => <<'TABLE',
        il p1 -> tcp p1
        il2 IN_R1/A2 -> ol IN_R1/A3
        il p2, il IN_R1/A6, il p3 -> tcp p2, tcp p3
        tcp q1 -> ol q1
        il IN_R1/B1 -> il2 IN_R1/B2, il closed
        il2 p4, tcp q2 -> tcp p4, ol q2
TABLE
        il p1 -> tcp p1
        il IN_R2/A2 -> ol IN_R2/A3
        il p2, tcp q1 -> tcp p2, ol q1
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        tcp q1, il p1 -> ol q1, tcp p1
        il OUT_R1/A8 -> ol OUT_R1/A9
        tcp q2, il p2 -> ol2 q2, tcp p2
TABLE
        ol PingTrafficSentNotify -> ol OUT_R2/A1
        ol OUT_R2/A4 -> ol OUT_R2/A5
        tcp q1, il p1 -> ol q1, tcp p1
        il OUT_R2/A8 -> ol OUT_R2/B1
        tcp q2, il p2 -> ol q2, tcp p2
TABLE
);

sub way { return $_[0] =~ /^IN/ ? 'in' : 'out' }

# One virtual connection is replaced in all four ways. R1 leads to the other machine and back.
my @SEQUENCES = ('IN_R2', 'OUT_R2', 'IN_R1', 'OUT_R1', 'IN_R2', 'OUT_R2', 'OUT_R2, C1 early', 'OUT_R1', 'IN_R1', 'IN_R1');

for my $kind (qw(plain tls)) {
    my $s = RPCH::Wires->proxied(other => $other, tls => $kind eq 'tls');
    for my $name (@SEQUENCES) {
        my $mark = mark();
        my ($way, $home) = (way($name), !$s->{at}{ way($name) });
        $s->play("$kind, $name", $PROXIES{$name}) or last;
        logged($mark, qr/RPC_\U$way\E_DATA channel to \S+ .* ended: recycled/, 'logged as recycled') if $home;
        $s->replaced($way);
    }
    $s->close;
}

# The same with the endpoint, which asks for a successor 8,192 bytes before the lifetime ends.
sub used_up {
    my ($s, $name) = @_;
    my $pdu = request_pdu(1, 'f' x 3976);
    while ($s->{took}{out} + 8192 < 131_072) {
        $s->{end}{tcp}->put($pdu);
        $s->take('out') eq $pdu or return fail("$name: OUT_R1/A2 after $s->{took}{out} bytes");
    }
    return same_pdu($s->take('out'), rts('OUT_R1/A2'), "$name: OUT_R1/A2 in time");
}

sub through_endpoint {
    my ($kind, $target, @sequences) = @_;
    my $s = RPCH::Wires->behind(tcp => $tcp, other => $other, target => $target, tls => $kind eq 'tls', %small);
    for my $name (@sequences) {
        my $full = "$kind, endpoint, $name";
        if (way($name) eq 'out') { used_up($s, $full) or last }
        $s->play($full, $ENDPOINT{$name}) or last;
        $s->replaced(way($name));
    }
    return $s->close;
}
through_endpoint($_, "127.0.0.1:$shared", @SEQUENCES) for qw(plain tls);
through_endpoint($_, "tcp.contoso.test:$tcp->{port}", grep { /R2/ } @SEQUENCES) for qw(plain tls);

{
    my $s = RPCH::Wires->legs(tcp => $tcp);
    for my $name (grep { !/early/ } @SEQUENCES) {
        $s->play("legs, $name", $LEGS{$name}) or last;
        $s->replaced(way($name));
    }
    $s->close;
}

# ---- order: no PDU is lost, repeated or overtaken, however long PDUs wait ----

# Windows have room for 8 PDUs. What waits at the old proxy has to arrive before what is at the new
# one.
my %STARVED = (
    IN_R1 => <<'TABLE', IN_R2 => <<'TABLE', OUT_R1 => <<'TABLE', OUT_R2 => <<'TABLE', 'OUT_R2, C1 late' => <<'TABLE',
        in P1..P20, in mark -> il P1..P8, il mark
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        in2 P21..P22
        ol IN_R1/A3 -> out IN_R1/A4
        in IN_R1/A5 -> il IN_R1/A6           # before what waits
        in2 P23..P24
        il ack:8000:8192 -> il P9..P16
        il ack:16000:8192 -> il P17..P20, il IN_R1/B1, in closed, il closed
        il2 IN_R1/B2 -> il2 P21..P24, il2 ack:4000:8192:next
TABLE
        in P1..P20, in mark -> il P1..P8, il mark
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        in2 P21..P22, in2 mark1
        ol IN_R2/A3 -> out IN_R2/A4
        in mark2 -> il mark2
        in IN_R2/A5 -> in closed, il mark1
        in2 P23..P24, in2 mark3 -> il mark3
        il ack:8000:8192 -> il P9..P16
        il ack:16000:8192:next -> il P17..P24, il ack:4000:8192:next
TABLE
        ol OUT_R1/A1 -> out OUT_R1/A2
        ol Q1..Q20, ol mark -> out Q1..Q8, out mark
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        ol OUT_R1/A5 -> out OUT_R1/A6        # passes what waits
        in OUT_R1/A7 -> il OUT_R1/A8
        ol OUT_R1/A9                         # A10 does not
        ol2 Q21..Q24
        ol ack:8000:8192 -> out Q9..Q16
        ol ack:16000:8192 -> out Q17..Q20, out OUT_R1/A10, out closed, ol closed
        out2 OUT_R1/A11 -> out2 200, out2 Q21..Q24, ol2 ack:4000:8192:next
TABLE
        ol OUT_R2/A1 -> out OUT_R2/A2
        ol Q1..Q20, ol mark -> out Q1..Q8, out mark
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        out2 OUT_R2/C1
        in OUT_R2/A7 -> il OUT_R2/A8
        ol OUT_R2/B1, ol Q21..Q22, ol OUT_R1/A1, ol Q23..Q24, ol mark1 -> out mark1
        out2 silent                          # B3 first, and that waits
        ol ack:8000:8192 -> out Q9..Q16
        out2 silent
        ol ack:16000:8192 -> out Q17..Q20, out OUT_R2/B3, out closed, ol ack:24000:258144:next, out2 200, out2 Q21..Q22, out2 OUT_R1/A2, out2 Q23..Q24
TABLE
        ol OUT_R2/A1 -> out OUT_R2/A2
        ol Q1..Q20, ol mark -> out Q1..Q8, out mark
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        in OUT_R2/A7 -> il OUT_R2/A8
        ol OUT_R2/B1, ol Q21, ol mark1, ol Q22 -> out mark1
        ol ack:8000:8192 -> out Q9..Q16
        ol ack:16000:8192 -> out Q17..Q20, out OUT_R2/B3, out closed, ol ack:22000:260144:next
        ol mark2, ol Q23..Q24, out2 silent
        out2 OUT_R2/C1 -> out2 200, out2 Q21..Q22, out2 mark2, out2 Q23..Q24
TABLE
);

for my $name (sort keys %STARVED) {
    my $s = RPCH::Wires->proxied(other => $other, windows => { 'CONN/B3' => 8192, 'CONN/A1' => 8192 });
    $s->play("starved, $name", $STARVED{$name});
    $s->close;
}

# A client that obeys its window to the last byte can still send acknowledgements, before and after
{
    my $s = RPCH::Wires->proxied(other => $other, windows => { 'CONN/B3' => 8192 }, %small);
    my @eight = map { request_pdu($_, 'e' x 1000) } 1 .. 8;
    my $gets = sub {    # acknowledgements of the proxy may come between
        my ($name, @want) = @_;
        local $Test::Builder::Level = $Test::Builder::Level + 1;
        return ok(eval {
            for my $want (@want) {
                my $pdu;
                do { $pdu = $s->end('il')->pdu } while decode('FlowControlAckWithDestination', $pdu);
                die 'got ' . describe($pdu) . ', wanted ' . describe($want) . "\n" if $pdu ne $want;
            }
            1;
        }, $name) || diag $@;
    };
    my $ack = rts('FlowControlAckWithDestination', destination => 3, ack => { received => 0, available => 65536, channel => $s->{cookie}{out} });
    my @mark = map { ($s->words(in => "mark$_")) } 1 .. 2;
    $s->end('in')->put(join '', @eight, @eight, $mark[0]);
    $gets->('a window full at the server, one at the proxy, and then an RTS PDU passes', @eight, $mark[0]);
    $s->play('full, IN_R2', <<'TABLE');
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in IN_R2/A5 -> in closed
TABLE
    $s->end('in2')->put(join '', @eight, $mark[1]);
    $gets->('and a window full from the successor: an RTS PDU passes', $mark[1]);
    $s->put(il => 'ack:8192:8192')->put(il => 'ack:16384:8192:next');
    $gets->('then all the rest', @eight, @eight);
    $s->close;
}

# ---- counters of windows and pings begin anew for a successor ----

my %AFRESH = (
    # The window of the new proxy, 8,192, counts at once. Its acknowledgements count from 0 and have the
    # new cookie.
    'IN_R1' => <<'TABLE', 'IN_R2' => <<'TABLE', 'IN_R2, server counts on' => <<'TABLE', 'IN_R2, server counts anew' => <<'TABLE',
        in P1..P7 -> il P1..P7
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        ol IN_R1/A3 -> out IN_R1/A4
        in IN_R1/A5 -> il IN_R1/A6, il IN_R1/B1, in closed, il closed
        il2 IN_R1/B2
        in2 P8..P12 -> il2 P8..P10, il2 ack:3000:8192:next, il2 P11..P12
        il2 ack:7000:0, il2 ack:99:0:no           # for channels that are gone, or never were
        in2 P13..P15, in2 mark -> il2 P13, il2 ack:6000:8192:next, il2 P14..P15, il2 mark
        in2 P16..P17 -> il2 P16, il2 ack:9000:8192:next, il2 P17
        il2 ack:10000:2000:next
        in2 P18..P20, in2 mark1 -> il2 P18..P19, il2 ack:12000:8192:next, il2 mark1
        il2 ack:12000:8192:next -> il2 P20
TABLE
        in P1..P7 -> il P1..P7
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in IN_R2/A5 -> in closed
        in2 P8, in2 mark -> il P8, il mark
        il ack:8000:8192
        in2 P9..P12 -> il P9..P10, il ack:3000:8192:next, il P11..P12
TABLE
        in P1..P8 -> il P1..P8
        il ack:8000:8192
        in P9..P16 -> il P9..P16
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in IN_R2/A5 -> in closed
        in2 P17..P20, in2 mark -> il mark
        il ack:16000:8192:next -> il P17..P20, il ack:4000:8192:next
        il ack:20000:1000:next
        in2 P21..P22, in2 mark1 -> il P21, il mark1
TABLE
        in P1..P8 -> il P1..P8
        il ack:8000:8192
        in P9..P16 -> il P9..P16
        il ack:16000:8192
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in IN_R2/A5 -> in closed
        in2 P17..P20 -> il P17..P19, il ack:3000:8192:next, il P20
        il ack:4000:1000:next
        in2 P21..P22, in2 mark -> il P21, il mark
        il ack:5000:8192:next -> il P22, il ack:6000:8192:next
TABLE
    # The new window of the client counts, and not what was left of the old one
    'OUT_R1' => <<'TABLE', 'OUT_R2' => <<'TABLE',
        ol OUT_R1/A1, ol Q1..Q8 -> out OUT_R1/A2, out Q1..Q8
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        ol OUT_R1/A5 -> out OUT_R1/A6
        in OUT_R1/A7 -> il OUT_R1/A8
        ol OUT_R1/A9 -> out OUT_R1/A10, out closed, ol closed
        out2 OUT_R1/A11 -> out2 200
        ol2 Q9..Q12 -> out2 Q9..Q12, ol2 ack:3000:8192:next
        ol2 ack:4000:2000:next, ol2 ack:8000:10000, ol2 ack:8000:10000:no
        ol2 Q13 -> out2 Q13
        ol2 Q14..Q15, ol2 mark -> out2 Q14, ol2 ack:6000:8192:next, out2 mark
        ol2 ack:6000:10000:next -> out2 Q15
TABLE
        ol OUT_R2/A1, ol Q1..Q8 -> out OUT_R2/A2, out Q1..Q8
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        out2 OUT_R2/C1
        in OUT_R2/A7 -> il OUT_R2/A8
        ol OUT_R2/B1 -> out OUT_R2/B3, ol FlowControlAck, out closed, out2 200
        ol Q9..Q20, ol mark -> out2 Q9..Q18, out2 mark
        ol ack:8000:10000, ol ack:18000:10000:no, ol mark1 -> out2 mark1
        ol ack:10000:1000:next, ol mark2 -> out2 Q19, out2 mark2
        ol ack:11000:10000:next -> out2 Q20
TABLE
);

for my $name (sort keys %AFRESH) {
    my $s = RPCH::Wires->proxied(other => $other, windows => {
        'CONN/B3' => 8192, 'CONN/A1' => 8192, 'IN_R1/B2' => 10_000, 'OUT_R1/A3' => 10_000, 'OUT_R2/A3' => 10_000 });
    my $mark = mark();
    $s->play("counters, $name", $AFRESH{$name});
    not_logged($mark, qr/clamped/, "counters, $name: no ack was impossible");
    $s->close;
}

# The endpoint as the sender on hop 3
my $until_R2 = <<'TABLE';
    tcp Q1..Q12 -> ol Q1..Q8
    il mark -> ol mark
    ol ack:8000:8192 -> ol Q9..Q12
    ol ack:12000:8192
    ol PingTrafficSentNotify -> ol OUT_R2/A1
    ol OUT_R2/A4 -> ol OUT_R2/A5
    il OUT_R2/A8 -> ol OUT_R2/B1
    tcp Q13..Q24 -> ol Q13..Q20
    il mark1 -> ol mark1
TABLE
my %AT_ENDPOINT = (
    'OUT_R2, the proxy counts on' => $until_R2 . 'ol ack:20000:8192:next -> ol Q21..Q24',
    'OUT_R2, the proxy counts anew' => $until_R2 . <<'TABLE',
        ol ack:8000:8192:next -> ol Q21..Q24
        tcp Q25..Q30 -> ol Q25..Q28
        ol ack:16000:8192:next -> ol Q29..Q30
TABLE
    'OUT_R1' => <<'TABLE',
        tcp Q1..Q6 -> ol Q1..Q6
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        il OUT_R1/A8 -> ol OUT_R1/A9
        tcp Q7..Q20 -> ol2 Q7..Q14
        ol ack:6000:8192, ol2 ack:6000:8192, ol2 ack:14000:8192:no
        il mark -> ol2 mark
        ol2 ack:8000:8192:next -> ol2 Q15..Q20
TABLE
);
# PDUs that the window held back go out on the successor
$AT_ENDPOINT{'OUT_R1, starved'} = <<'TABLE';
    tcp Q1..Q20 -> ol Q1..Q8
    ol PingTrafficSentNotify -> ol OUT_R1/A1
    ol2 OUT_R1/A4 -> ol OUT_R1/A5
    il OUT_R1/A8 -> ol OUT_R1/A9, ol2 Q9..Q16
    il mark -> ol2 mark
    ol2 ack:8000:8192:next -> ol2 Q17..Q20
TABLE
$AT_ENDPOINT{'OUT_R2, starved'} = <<'TABLE';
    tcp Q1..Q20 -> ol Q1..Q8
    ol PingTrafficSentNotify -> ol OUT_R2/A1
    ol OUT_R2/A4 -> ol OUT_R2/A5
    il OUT_R2/A8 -> ol OUT_R2/B1
    il mark -> ol mark
    ol ack:8000:8192 -> ol Q9..Q16
    ol ack:16000:8192:next -> ol Q17..Q20
TABLE
$AT_ENDPOINT{'IN_R1, much'} = <<'TABLE';
    il2 IN_R1/A2 -> ol IN_R1/A3
    il P1..P9, il IN_R1/A6, il P10..P20, il IN_R1/B1 -> il2 IN_R1/B2, il closed, tcp P1..P20
    il2 P21..P40 -> tcp P21..P40
TABLE
for my $name (sort keys %AT_ENDPOINT) {
    my $s = RPCH::Wires->legs(tcp => $tcp, windows => { 'CONN/A2' => 8192 });
    $s->play("counters at the endpoint, $name", $AT_ENDPOINT{$name});
    $s->close;
}

# ---- wrong successors: only the newcomer is refused, and the right one may still come ----

# Each case, and what the test plays afterwards.
my @WRONG = (
    ['IN_R2/A1, wrong predecessor', IN_R2 => 'in2 open, in2 IN_R2/A1!old -> in2 refused'],
    ['OUT_R2/A3, wrong predecessor', OUT_R2 => 'out2 open, out2 OUT_R2/A3!old -> out2 refused'],
    ['IN_R2/A1, another user', IN_R2 => 'in2 bob, in2 IN_R2/A1 -> in2 refused:5'],
    ['OUT_R2/A3, another user', OUT_R2 => 'out2 bob, out2 OUT_R2/A3 -> out2 refused:5'],
    ['a second IN successor', '' => <<'TABLE'], ['a second OUT successor', '' => <<'TABLE'],
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        in3 open, in3 IN_R2/A1 -> in3 refused
        ol IN_R2/A3 -> out IN_R2/A4
        in p1, in IN_R2/A5 -> il p1, in closed
        in2 p2 -> il p2
TABLE
        ol OUT_R2/A1 -> out OUT_R2/A2
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        out3 open, out3 OUT_R2/A3 -> out3 refused
        ol OUT_R2/A5 -> out OUT_R2/A6
        out2 OUT_R2/C1
        out3 open, out3 OUT_R2/A3 -> out3 refused
        in OUT_R2/A7 -> il OUT_R2/A8
        ol q1, ol OUT_R2/B1 -> out q1, out OUT_R2/B3, ol FlowControlAck, out closed, out2 200
        ol q2 -> out2 q2
TABLE
    # The proxy does not know this cookie and opens a leg. The server does not know it either and closes.
    ['IN_R2/A1, unknown connection', IN_R2 => <<'TABLE'], ['OUT_R2/A3, unknown connection', OUT_R2 => <<'TABLE'],
        in2 open, in2 IN_R2/A1!vc -> il2 IN_R1/A2!vc
        il2 close, in p1 -> in2 refused:6ba, il p1
TABLE
        out2 open, out2 OUT_R2/A3!vc -> ol2 OUT_R1/A4!vc
        ol2 close, ol q1 -> out2 refused:6ba, out q1
TABLE
    # By then the server knows the channel by the successor's cookie
    ['IN_R2/A5, wrong cookie', IN_R2 => <<'TABLE'],
        in2 open, in2 IN_R2/A1, in2 p99 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in p1, in IN_R2/A5!new, in p2 -> il p1, il p2, in2 refused
        in P1..P7 -> il P1..P7
        il ack:7068:8192:next
        in P8..P14 -> il P8..P14
TABLE
    ['OUT_R2/B2', OUT_R2 => <<'TABLE'], ['OUT_R2/B2 after C1', OUT_R2 => <<'TABLE'],
        ol OUT_R2/A1 -> out OUT_R2/A2
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        in OUT_R2/A7!new -> il OUT_R2/A8!new
        ol q1, ol OUT_R2/B2, ol q2 -> out q1, out q2, out2 refused
        ol P1..P7 -> out P1..P7
TABLE
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        out2 OUT_R2/C1
        ol OUT_R2/A5, out2 silent -> out OUT_R2/A6
        in OUT_R2/A7!new -> il OUT_R2/A8!new
        ol q1, ol OUT_R2/B2, ol q2 -> out q1, out q2, out2 refused
TABLE
);
my %narrow = (windows => { 'CONN/B3' => 8192 });

for (@WRONG) {
    my ($name, $then, $table) = @$_;
    my $s = RPCH::Wires->proxied(other => $other, %narrow);
    $s->play("R2: $name", $table) && $then && $s->play("after $name: $then", $PROXIES{$then});
    $s->close;
}

# At the endpoint. A wrong cookie on a leg that belongs to the connection ends the whole connection.
my @WRONG_AT_ENDPOINT = (
    ['IN_R1/A2, wrong predecessor', IN_R1 => 'il2 IN_R1/A2!old -> il2 closed'],
    ['IN_R1/A2, unknown connection', IN_R1 => 'il2 IN_R1/A2!vc -> il2 closed'],
    ['IN_R1/A2, another user', IN_R1 => 'il2 bob, il2 IN_R1/A2 -> il2 closed'],
    ['OUT_R1/A4, nobody asked', OUT_R1 => 'ol2 OUT_R1/A4 -> ol2 closed'],
    ['OUT_R1/A4, wrong predecessor', '' => <<'TABLE'], ['OUT_R1/A4, another user', '' => <<'TABLE'],
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4!old -> ol2 closed
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        il OUT_R1/A8 -> ol OUT_R1/A9
        tcp q1, il p1 -> ol2 q1, tcp p1
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 bob, ol2 OUT_R1/A4 -> ol2 closed
        ol OUT_R2/A4 -> ol OUT_R2/A5
        il OUT_R2/A8 -> ol OUT_R2/B1
TABLE
    ['a second IN successor', '' => <<'TABLE'], ['a second OUT successor', '' => <<'TABLE'],
        il2 IN_R1/A2 -> ol IN_R1/A3
        il3 IN_R1/A2 -> il3 closed
        il IN_R1/A6, il IN_R1/B1 -> il2 IN_R1/B2, il closed
        il2 p1, tcp q1 -> tcp p1, ol q1
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        ol3 OUT_R1/A4 -> ol3 closed
        il OUT_R1/A8 -> ol OUT_R1/A9
        tcp q1, il p1 -> ol2 q1, tcp p1
TABLE
    ['IN_R1/A6, wrong cookie', '' => <<'TABLE'], ['OUT_R1/A8, wrong cookie', '' => <<'TABLE'], ['OUT_R2/A8, wrong cookie', '' => <<'TABLE'],
        il2 IN_R1/A2 -> ol IN_R1/A3
        il IN_R1/A6!new -> il closed, il2 closed, ol closed, tcp closed
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        il OUT_R1/A8!new -> il closed, ol closed, ol2 closed, tcp closed
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol OUT_R2/A4 -> ol OUT_R2/A5
        il OUT_R2/A8!new -> ol OUT_R2/B2, il closed, ol closed, tcp closed
TABLE
);
for (@WRONG_AT_ENDPOINT) {
    my ($name, $then, $table) = @$_;
    my $s = RPCH::Wires->legs(tcp => $tcp);
    $s->play("endpoint: $name", $table) && $then && $s->play("after $name: $then", $LEGS{$then});
    $s->close;
}

# ---- a successor that dies half-way ----

# Until its proxy or the server knows of it, that is nobody's affair. Then the server sees a close
# of a leg, or the proxy one of a channel, and for both the specification has one answer: all of
# the virtual connection ends (3.2.3.5.10, 3.2.4.5.14, 3.2.5.5.13). A native server may do otherwise
# with what it sees, and the proxy of the predecessor waits for it.
my @DEATHS = (
    ['IN_R2 before A1', IN_R2 => 'in2 open, in2 close, in p1 -> il p1'],
    ['OUT_R2 before A3', OUT_R2 => 'out2 open, out2 close, ol q1 -> out q1'],
    ['IN_R1 before A1', IN_R1 => 'in2 open, in2 close, in p1 -> il p1'],
    ['OUT_R1 before A3', OUT_R1 => 'out2 open, out2 close, ol q1 -> out q1'],
    ['IN_R1 before A4', IN_R1 => <<'TABLE'], ['IN_R1 after A4', IN_R1 => <<'TABLE'],
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        in2 close, in p1 -> il2 closed, il p1
TABLE
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        ol IN_R1/A3 -> out IN_R1/A4
        in2 p9, in2 close, in p1 -> il2 closed, il p1
TABLE
    ['OUT_R1 before A6', OUT_R1 => <<'TABLE'], ['OUT_R1 after A7', OUT_R1 => <<'TABLE'],
        ol OUT_R1/A1 -> out OUT_R1/A2
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        out2 close, ol q1 -> ol2 closed, out q1
TABLE
        ol OUT_R1/A1 -> out OUT_R1/A2
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        ol OUT_R1/A5 -> out OUT_R1/A6
        in OUT_R1/A7 -> il OUT_R1/A8
        out2 close, ol q1 -> ol2 closed, out q1
TABLE
    ['IN_R2 after A2', '' => <<'TABLE'], ['IN_R2 after A4', '' => <<'TABLE'],
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        in2 close -> in closed, il closed
        ol q1 -> out q1
TABLE
        in2 open, in2 IN_R2/A1 -> il IN_R2/A2
        ol IN_R2/A3 -> out IN_R2/A4
        in2 close -> in closed, il closed
TABLE
    ['OUT_R2 after A4', '' => <<'TABLE'], ['OUT_R2 after C1', '' => <<'TABLE'], ['OUT_R2 after B1', '' => <<'TABLE'],
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        out2 close -> out closed, ol closed
        in p1 -> il p1
TABLE
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        out2 OUT_R2/C1
        ol OUT_R2/A5, out2 silent -> out OUT_R2/A6
        out2 close -> out closed, ol closed
TABLE
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        in OUT_R2/A7 -> il OUT_R2/A8
        ol OUT_R2/B1 -> out OUT_R2/B3, ol FlowControlAck, out closed
        out2 close -> ol closed
TABLE
    # When the server has moved to the successor, the end of the predecessor ends nothing else
    ['OUT_R1, the predecessor before A10', '' => <<'TABLE'],
        ol OUT_R1/A1, ol P1..P9 -> out OUT_R1/A2, out P1..P8
        out2 open, out2 OUT_R1/A3 -> ol2 OUT_R1/A4
        ol OUT_R1/A5 -> out OUT_R1/A6
        in OUT_R1/A7 -> il OUT_R1/A8
        ol OUT_R1/A9
        out close -> ol closed
        out2 OUT_R1/A11, ol2 q1, in p1 -> out2 200, out2 q1, il p1
TABLE
    ['IN_R1, the predecessor before B1', '' => <<'TABLE'],
        in P1..P9, in mark -> il P1..P8, il mark
        in2 open, in2 IN_R1/A1 -> il2 IN_R1/A2
        ol IN_R1/A3 -> out IN_R1/A4
        in IN_R1/A5, in close -> il IN_R1/A6
        il ack:8000:8192 -> il P9, il IN_R1/B1, il closed
        il2 IN_R1/B2
        in2 p1, ol q1 -> il2 p1, out q1
TABLE
    # When the server has not moved, it does
    ['OUT_R2, the predecessor before B3', '' => <<'TABLE'],
        ol OUT_R2/A1, ol P1..P9 -> out OUT_R2/A2, out P1..P8
        out2 open, out2 OUT_R2/A3 -> ol OUT_R2/A4
        ol OUT_R2/A5 -> out OUT_R2/A6
        out2 OUT_R2/C1
        in OUT_R2/A7 -> il OUT_R2/A8
        ol OUT_R2/B1, out2 silent
        out close -> ol closed, out2 closed
TABLE
);
for (@DEATHS) {
    my ($name, $then, $table) = @$_;
    my $s = RPCH::Wires->proxied(other => $other, windows => { 'CONN/A1' => 8192, 'CONN/B3' => 8192 });
    $s->play("dies: $name", $table) && $then && $s->play("after $name: $then", $PROXIES{$then});
    $s->close;
}

my @DEATHS_AT_ENDPOINT = (
    ['IN_R1 after A3', <<'TABLE'], ['IN_R1 after A6', <<'TABLE'], ['OUT_R1 after A5', <<'TABLE'], ['OUT_R1, the predecessor', <<'TABLE'],
        il2 IN_R1/A2 -> ol IN_R1/A3
        il2 close -> il closed, ol closed, tcp closed
TABLE
        il2 IN_R1/A2 -> ol IN_R1/A3
        il IN_R1/A6, il p1 -> tcp p1
        il2 close -> il closed, ol closed, tcp closed
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        ol2 close -> il closed, ol closed, tcp closed
TABLE
        ol PingTrafficSentNotify -> ol OUT_R1/A1
        ol2 OUT_R1/A4 -> ol OUT_R1/A5
        il OUT_R1/A8 -> ol OUT_R1/A9
        ol close, tcp q1, il p1 -> ol2 q1, tcp p1
TABLE
);
for (@DEATHS_AT_ENDPOINT) {
    my ($name, $table) = @$_;
    my $s = RPCH::Wires->legs(tcp => $tcp);
    $s->play("dies, endpoint: $name", $table);
    $s->close;
}

# A successor that stops half-way ends after RpcSetupTimeout, by a clock that the test sets
SKIP: {
    my $clock = RPCH::Preload->new or skip 'no C compiler', 1;
    my $httpd = RPCH::Httpd->new(conf => $location);
    $clock->start($httpd);
    my $s = RPCH::Wires->legs(tcp => $tcp, run => $httpd->{dir});
    $s->play('waits, endpoint: IN_R1 after A3', 'il2 IN_R1/A2 -> ol IN_R1/A3
                                                 il p1 -> tcp p1');
    $clock->shift_by(0, 60);
    $s->play('waited, endpoint: IN_R1 after A3', '-> il closed, il2 closed, ol closed, tcp closed');
    ok($httpd->logs(qr/endpoint: .* ended: setup-timeout, in IN A6W, OUT Opened/), 'as setup-timeout');
    $s->close;
}

# A successor whose server cannot be reached is answered with an error. Its predecessor is not told.
for my $way (qw(in out)) {
    my $s = RPCH::Wires->proxied(other => $other);
    local $s->{c}{target} = '127.0.0.1:' . RPCH::Root::free_ports(1);
    my $name = $way eq 'in' ? 'IN_R1/A1' : 'OUT_R1/A3';
    $s->open("${way}2", 'R1');
    $s->put("${way}2" => $name);
    is_rpc_error($s->{end}{"${way}2"}, '6ba', "$name, the server cannot be reached", 0x5A0);
    $s->play("after $name that reached no server", 'in p1, ol q1 -> il p1, out q1');
    $s->close;
}

# ---- IN and OUT channels are replaced at once, again and again, while data flows ----

# The machine of the next successor: in turn the same one and the other one.
sub wander {
    my ($at, $n) = ({}, {});
    return sub {
        my ($way) = @_;
        $at->{$way} ^= $n->{$way}++ % 2;
        return (dial => $at->{$way} ? { port => $other->{port}, tls => undef } : {});
    };
}

# Makes calls of SIZE bytes, several at a time, as long as MORE, a function of their number, is true.
# Returns how many answers were wrong or out of order.
sub wrong_echoes {
    my ($c, $size, $more) = @_;
    my ($sent, $got, $right, $again) = (0, 0, 0, 1);
    my $stub = sub { return pack 'N a*', $_[0], pack 'a' . ($size - 28), join('', map { chr 33 + ($_[0] * 7 + $_) % 90 } 1 .. 100) x 50 };
    while ($again || $got < $sent) {
        while (($again &&= $more->($sent)) && $sent - $got < 6 && $c->{sender}->may_send($size)) {
            $c->send(request_pdu(1, $stub->($sent++), call => $sent));
        }
        my $p = rpc_parse($c->recv // last);
        $right++ if $p->{stub} eq $stub->($got++) && $p->{call} == $got;
    }
    return $sent - $right;
}

for my $kind (qw(plain tls)) {
    my $server = server(echo => 1);
    my $c = ($kind eq 'tls' ? \&client : \&plain)->(target => $server->target, follow => wander())->connect;
    my $vc = $server->vc;
    my ($rounds, $next) = (0, 0);
    my $wrong = wrong_echoes($c, 1000, sub {
        my ($n) = @_;
        return 1 if $n < $next || sum0(values %{ $c->{replaced} }) < 2 * $rounds;
        return 0 if $rounds == 20;
        $c->replace_in($c->{follow}->('in')) if $rounds % 2;
        $vc->recycle_out;
        $c->replace_in($c->{follow}->('in')) if $rounds++ % 2 == 0;
        $next = $n + 10;
        return 1;
    });
    is($wrong, 0, "$kind: IN and OUT replaced at once, 20 times, and every call answered");
    is_deeply($c->{replaced}, { IN_R1 => 10, IN_R2 => 10, OUT_R1 => 10, OUT_R2 => 10 }, "$kind: by both forms");
    is_deeply($vc->{errors}, [], "$kind: the server has seen nothing wrong") or diag explain $vc->{errors};
    $_->close for $c, $server;
}

# ---- the endpoint asks for new OUT channels by itself, again and again ----

for my $kind (qw(plain tls)) {
    my $echo = tcp_server();
    my $c = ($kind eq 'tls' ? \&client : \&plain)->(target => "tcp.contoso.test:$echo->{port}", follow => sub { () }, %small)->connect;
    my $calls = (1 << 20) / 4096;
    my $wrong = wrong_echoes($c, 4096, sub {
        my ($n) = @_;
        $c->replace_in if $n % 25 == 24 && !$c->{new_in};
        return $n < $calls;
    });
    is($wrong, 0, "$kind, endpoint: 1 MiB each way, every byte");
    my %done = %{ $c->{replaced} };
    cmp_ok($done{OUT_R2}, '>=', 8, "$kind, endpoint: through $done{OUT_R2} more OUT channels");
    cmp_ok($done{IN_R2}, '>=', 8, "$kind, endpoint: and $done{IN_R2} more IN channels");
    is(join(' ', grep { /R1/ } keys %done), '', "$kind, endpoint: all of them at the same proxy");
    $_->close for $c, $echo;
}

# The same through two machines to the endpoint of one of them.
my $echo = tcp_server();
my $far = RPCH::Root::free_ports(1);
my $machine = RPCH::Httpd->new(conf => "RpcEndpointListen 127.0.0.1:$far ncacn_ip_tcp:127.0.0.1[$echo->{port}]\n$location")->start;
{
    my $c = plain(target => "127.0.0.1:$far", follow => wander(), %small)->connect;
    my $next = 24;
    my $wrong = wrong_echoes($c, 4096, sub {
        my ($n) = @_;
        if ($n >= $next && !$c->{new_in}) { $next += 25; $c->replace_in($c->{follow}->('in')) }
        return $n < 256;
    });
    is($wrong, 0, 'two machines, endpoint: 1 MiB each way, every byte');
    cmp_ok($c->{replaced}{$_}, '>=', 4, "two machines, endpoint: $_, $c->{replaced}{$_} times") for qw(IN_R1 IN_R2 OUT_R1 OUT_R2);
    $c->close;
}
$_->close for $tcp, $echo;

done_testing;
