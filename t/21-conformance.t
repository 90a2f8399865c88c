# Every PDU of 2.2.4 is sent in every state of the inbound proxy (3.2.3), the outbound proxy (3.2.4)
# and the server role (3.2.5). After a PDU that the tables here allow, the channel continues. Any
# other PDU ends it, with a reason. RPCH::States reaches the states.

use strict;
use warnings;
use FindBin;
use Test::More;
use RPCH::PDU qw(rts rts_raw parse names %RTS FD_OUT_PROXY);
use RPCH::RPC qw(request_pdu);
use RPCH::States;
use RPCH::Test;

# ---- every PDU: section of 2.2.4, name, hops, flags, commands, bytes ----

my @PDUS = map { [split /\s*\|\s*/] } grep { /\S/ } split /\n/, <<'TABLE';
2|CONN/A1|C_OP|0000|V CK CK RW|76
3|CONN/A2|OP_S|0010|V CK CK CL RW|84
4|CONN/A3|OP_C|0000|CT|28
5|CONN/B1|C_IP|0000|V CK CK CL KA AG|104
6|CONN/B2|IP_S|0008|V CK CK RW CT AG CA|128
7|CONN/B3|S_IP|0000|RW V|36
8|CONN/C1|S_OP|0000|V RW CT|44
9|CONN/C2|OP_C|0000|V RW CT|44
10|IN_R1/A1|C_IP|0004|V CK CK CK|88
11|IN_R1/A2|IP_S|000c|V CK CK CK RW CT|104
12|IN_R1/A3|S_OP|0000|D0 V RW CT|52
13|IN_R1/A4|OP_C|0000|D0 V RW CT|52
14|IN_R1/A5|C_IP|0000|CK|40
15|IN_R1/A6|IP_S|0000|CK|40
16|IN_R1/B1|IP_S|0000|E|24
17|IN_R1/B2|S_IP|0000|RW|28
18|IN_R2/A1|C_IP|0004|V CK CK CK|88
19|IN_R2/A2|IP_S|0000|CK|40
20|IN_R2/A3|S_OP|0000|D0|28
21|IN_R2/A4|OP_C|0000|D0|28
22|IN_R2/A5|C_IP|0000|CK|40
23|OUT_R1/A1|S_OP|0004|D0|28
24|OUT_R1/A2|OP_C|0004|D0|28
25|OUT_R1/A3|C_OP|0004|V CK CK CK RW|96
26|OUT_R1/A4|OP_S|0014|V CK CK CK CL RW CT|112
27|OUT_R1/A5|S_OP|0010|D0 V CT|44
28|OUT_R1/A6|OP_C|0010|D0 V CT|44
29|OUT_R1/A7|C_IP|0010|D2 CK|48
30|OUT_R1/A8|IP_S|0010|D2 CK|48
31|OUT_R1/A9|S_OP|0000|ANCE|24
32|OUT_R1/A10|OP_C|0000|ANCE|24
33|OUT_R1/A11|C_OP|0000|ANCE|24
34|OUT_R2/A1|S_OP|0004|D0|28
35|OUT_R2/A2|OP_C|0004|D0|28
36|OUT_R2/A3|C_OP|0004|V CK CK CK RW|96
37|OUT_R2/A4|OP_S|0000|CK|40
38|OUT_R2/A5|S_OP|0000|D0 ANCE|32
39|OUT_R2/A6|OP_C|0000|D0 ANCE|32
40|OUT_R2/A7|C_IP|0010|D2 CK V|56
41|OUT_R2/A8|IP_S|0010|D2 CK|48
42|OUT_R2/B1|S_OP|0000|ANCE|24
43|OUT_R2/B2|S_OP|0000|NANCE|24
44|OUT_R2/B3|OP_C|0020|ANCE|24
45|OUT_R2/C1|C_OP|0001|E|24
46|Keep-Alive|C_IP|0002|KA|28
47|PingTrafficSentNotify|OP_S|0002|PT|28
48|Echo|IP_C OP_C|0040||20
49|Ping|C_IP OP_C|0001||20
50|FlowControlAck|OP_S S_IP|0002|FCA|48
51|FlowControlAckWithDestination|C_IP IP_S OP_C S_OP|0002|D* FCA|56
TABLE

# The rows of the table in wire/rts.c, in the words of the table above.
sub module_rows {
    open my $fh, '<', "$FindBin::Bin/../wire/rts.c" or die "wire/rts.c: $!\n";
    my $source = do { local $/; <$fh> };
    my %flag = (NONE => 0, PING => 1, OTHR => 2, RECY => 4, IN => 8, OUT => 0x10, EOF => 0x20, ECHO => 0x40);
    my %dest = (NO_DEST => '', ANY_DEST => '*', TO_C => 0, TO_S => 2);
    my %row;
    while ($source =~ /^ +ROW\(\w+, "([^"]+)", "(\d+)",\s+([\w |]+), ([\w |]+), (\w+), (\d), ([^)]*)\)/mg) {
        my ($name, $section, $hops, $flags, $to, $n, $commands) = ($1, $2, $3, $4, $dest{$5}, $6, $7);
        my $bits = 0;
        $bits |= $flag{ s/^RTS_FLAG_//r } // die "flag $_" for split / \| /, $flags;
        my @commands = $n ? map { { AN => 'ANCE', NA => 'NANCE' }->{$_} // $_ } split /, /, $commands : ();
        $commands[0] .= $to if @commands && $commands[0] eq 'D';
        is(scalar @commands, $n, "rts.c: $name has as many commands as it says");
        $row{$name} = join '|', $section, $name, join(' ', sort split / \| /, $hops), sprintf('%04x', $bits), "@commands";
    }
    return %row;
}

# A PDU by the table above, with any values.
sub anything {
    my ($name) = @_;
    my %any = (CK => 'c' x 16, AG => 'g' x 16, CA => '127.0.0.1',
               FCA => { received => 0, available => 0, channel => 'c' x 16 });
    my %value;
    for my $command (@{ $RTS{$name} }) {
        $value{$2} = $any{$1} // 1 if $command =~ /^(\w+):(\w+)$/;
    }
    return rts($name, %value);
}

{
    my %module = module_rows();
    is(scalar @PDUS, 50, 'fifty PDUs in 2.2.4');
    for (@PDUS) {
        my ($section, $name, $hops, $flags, $commands, $bytes) = @$_;
        is(delete $module{$name}, "$section|$name|$hops|$flags|$commands", "$name in the module's table");
        if (!$RTS{$name}) { fail("$name in the test's own table"); next }
        # The doubles have no OUT_R2/A8, because it is OUT_R2/A7 passed on unchanged
        ($commands, $bytes) = ("$commands V", $bytes + 8) if $name eq 'OUT_R2/A8';
        my $pdu = parse(anything($name));
        my @shape = map { $_->[0] } @{ $pdu->{commands} };
        $shape[0] .= $commands =~ /^D\*/ ? '*' : $pdu->{commands}[0][1] if @shape && $shape[0] eq 'D';
        is(join('|', sprintf('%04x', $pdu->{flags}), "@shape", $pdu->{size}), "$flags|$commands|$bytes", "and in the test's own");
    }
    is(join(' ', sort keys %module), '', 'no other PDU in the module');
    is(join(' ', sort grep { my $name = $_; !grep { $_->[1] eq $name } @PDUS } keys %RTS), '', 'nor in the test');
}

# ---- what is allowed where ----
#
# RPC is an RPC PDU. D0 to D3 are all PDUs with this Destination, known or not. -NAME excludes one.
# A PDU that is neither here nor in a move below is refused.
my @ALLOWED = map { [split ' ', $_, 4] } grep { /\S/ } split /\n/, <<'TABLE';
inbound  Open_Start       client
inbound  B3W              client     RPC D0 D2 D3 Ping Keep-Alive
inbound  B3W              leg
inbound  Wait_B2          client     RPC D0 D2 D3 Ping Keep-Alive
inbound  Wait_B2          leg
inbound  Opened           client     RPC D0 D2 D3 Ping Keep-Alive
inbound  Opened           leg        FlowControlAck
inbound  Opened_A5W       client     RPC D0 D2 D3 Ping Keep-Alive
inbound  Opened_A5W       successor  RPC D0 D2 D3 Ping Keep-Alive
inbound  Opened_A5W       leg        FlowControlAck
outbound Open_Start       client
outbound C1W              client
outbound C1W              leg
outbound A11W             client
outbound A11W             leg        RPC D0 FlowControlAckWithDestination:3
outbound Opened           client
outbound Opened           leg        RPC D0 FlowControlAckWithDestination:3
outbound B1OrC1W          client
outbound B1OrC1W          successor
outbound B1OrC1W          leg        RPC D0 FlowControlAckWithDestination:3 -OUT_R1/A1 -OUT_R1/A5
outbound B1W              client
outbound B1W              successor
outbound B1W              leg        RPC D0 FlowControlAckWithDestination:3 -OUT_R1/A1 -OUT_R1/A5
outbound R2C1W            successor
outbound R2C1W            leg        RPC D0 FlowControlAckWithDestination:3
endpoint Open_Start       newcomer
endpoint A2W              in
endpoint B2W              out        FlowControlAck PingTrafficSentNotify
endpoint Opened           in         RPC D0 D3
endpoint Opened           out        D1 FlowControlAck PingTrafficSentNotify
endpoint A6W              in         RPC D0 D3
endpoint A6W              in_next
endpoint A6W              out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_B1W       in         RPC D0 D3
endpoint Opened_B1W       in_next
endpoint Opened_B1W       out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_A4W       in         RPC D0 D3
endpoint Opened_A4W       out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_A8W       in         RPC D0 D3
endpoint Opened_A8W       out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_A8W       out_next   FlowControlAck PingTrafficSentNotify
endpoint Opened_R2A8W     in         RPC D0 D3
endpoint Opened_R2A8W     out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_after_R1  in         RPC D0 D3
endpoint Opened_after_R1  out        D1 FlowControlAck PingTrafficSentNotify
endpoint Opened_after_R1  out_old    D1 FlowControlAck PingTrafficSentNotify
TABLE

# ---- moves: PDUs that lead to another state, and the bytes that then come out ----

sub foreign { my ($s, $name) = @_; $s->gone; return $s->log_says("ended: protocol-error, $name with a foreign cookie") }
sub new_in  { return (new => $_[0]{cookie}{new_in}) }
sub new_out { return (new => $_[0]{cookie}{new_out}) }
my @foreign = (new => 'f' x 16);

# The answer 200 comes out on the client's channel now, and not before.
sub answered {
    my ($s, $end) = @_;
    my $head = $s->{end}{$end}->head or die "$end closed without an answer\n";
    $head->{line} eq 'HTTP/1.1 200 Success' or die "$end: $head->{line}\n";
    return $s;
}

# A5 came before the PDU that opens the leg. A6 and B1 follow when that PDU has come.
sub moved_early {
    my ($s, $opens) = @_;
    return $s->put(leg => $opens)->sees(leg => 'IN_R1/A6', new => $s->{cookie}{new_in})->get(leg => 'IN_R1/B1')->gone;
}

# The successor is refused, and its predecessor continues.
sub successor_refused {
    my ($s) = @_;
    my $head = $s->{end}{successor}->head or die "successor closed without an answer\n";
    $head->{line} =~ m{^HTTP/1\.0 503 RPC Error: 6c0} or die "successor: $head->{line}\n";
    return $s->done_with('successor');
}

my %MOVES = (
    inbound => [
        [Open_Start => client => 'CONN/B1', sub { $_[0]->leg('CONN/B2') }],
        [Open_Start => client => 'IN_R1/A1', sub { $_[0]->leg('IN_R1/A2') }],
        [B3W => leg => 'CONN/B3', sub { $_[0]->flows(qw(client leg)) }],
        [Wait_B2 => leg => 'IN_R1/B2', sub { $_[0]->flows(qw(client leg)) }],
        # A5 may overtake B3 and B2, which come by another way
        [B3W => client => 'IN_R1/A5', sub { moved_early($_[0], 'CONN/B3') }],
        [Wait_B2 => client => 'IN_R1/A5', sub { moved_early($_[0], 'IN_R1/B2') }],
        [Opened => client => 'IN_R1/A5', sub {
            my $s = shift;
            $s->arrive(leg => rts('IN_R1/A6', new_in($s)), rts('IN_R1/B1'))->belongs(qw(IN_R1/A6 IN_R1/B1))->gone;
            $s->log_says('inbound channel in Finished ends: recycled');
        }],
        [Opened_A5W => client => 'IN_R2/A5', sub {
            my $s = shift;
            $s->done_with('client')->flows(qw(successor leg))->log_says('Opened_A5W -> Opened');
        }],
        [Opened_A5W => client => 'IN_R2/A5', sub { successor_refused($_[0])->flows(qw(client leg)) }, @foreign],
    ],
    outbound => [
        [Open_Start => client => 'CONN/A1', sub { answered($_[0]->leg('CONN/A2'), 'client')->get(client => 'CONN/A3') }],
        [Open_Start => client => 'OUT_R1/A3', sub { $_[0]->leg('OUT_R1/A4') }],
        [C1W => leg => 'CONN/C1', sub {
            $_[0]->sees(client => 'CONN/C2', window => 65536, timeout => 120_000)->flows(qw(leg client));
        }],
        [A11W => client => 'OUT_R1/A11', sub { answered($_[0], 'client')->flows(qw(leg client)) }],
        [Opened => leg => 'OUT_R1/A1', sub { $_[0]->sees(client => 'OUT_R1/A2')->belongs('OUT_R2/A2')->flows(qw(leg client)) }],
        [Opened => leg => 'OUT_R1/A5', sub { $_[0]->sees(client => 'OUT_R1/A6', timeout => 120_000)->flows(qw(leg client)) }],
        [Opened => leg => 'IN_R1/A3', sub {
            $_[0]->sees(client => 'IN_R1/A4', window => 65536, timeout => 120_000)->flows(qw(leg client));
        }],
        [Opened => leg => 'IN_R2/A3', sub { $_[0]->sees(client => 'IN_R2/A4')->flows(qw(leg client)) }],
        [Opened => leg => 'OUT_R1/A9', sub {
            my $s = shift;
            $s->sees(client => 'OUT_R1/A10')->done_with('client')->gone;
            $s->log_says('outbound channel in Finished ends: recycled');
        }],
        [B1OrC1W => leg => 'OUT_R2/A5', sub { $_[0]->sees(client => 'OUT_R2/A6')->flows(qw(leg client)) }],
        [B1OrC1W => leg => 'OUT_R2/B1', sub {
            my $s = shift;
            $s->sees(client => 'OUT_R2/B3')->done_with('client')->log_says('B1OrC1W -> R2C1W');
        }],
        [B1OrC1W => leg => 'OUT_R2/B2', sub { successor_refused($_[0])->flows(qw(leg client)) }],
        [B1OrC1W => successor => 'OUT_R2/C1', sub { $_[0]->log_says('B1OrC1W -> B1W')->flows(qw(leg client)) }],
        [B1W => leg => 'OUT_R2/B1', sub {
            my $s = shift;
            answered($s->sees(client => 'OUT_R2/B3')->done_with('client'), 'successor')->flows(qw(leg successor));
        }],
        [B1W => leg => 'OUT_R2/B2', sub { successor_refused($_[0])->flows(qw(leg client)) }],
        [R2C1W => successor => 'OUT_R2/C1', sub { answered($_[0], 'successor')->flows(qw(leg successor)) }],
    ],
    endpoint => [
        [Open_Start => newcomer => 'CONN/A2', sub { $_[0]->connected->log_says('leg begins with CONN/A2') }],
        [Open_Start => newcomer => 'CONN/B2', sub { $_[0]->connected->log_says('leg begins with CONN/B2') }],
        # An RPC PDU comes first: the leg of a mixed proxy, for a client of version 1 (3.1.3)
        [Open_Start => newcomer => 'RPC', sub { $_[0]->connected->arrive(tcp => $_[0]->sample('RPC'))->answers('newcomer') }],
        # The states of IN and those of OUT do not depend on each other
        map({ [$_ => in => 'IN_R2/A2', sub { $_[0]->sees(out => 'IN_R2/A3')->flows(qw(in tcp)) }] }
            qw(Opened Opened_A4W Opened_A8W Opened_R2A8W Opened_after_R1)),
        [A6W => in => 'IN_R1/A6', sub {
            $_[0]->put(in => 'IN_R1/B1')->get(in_next => 'IN_R1/B2')->done_with('in')->flows(qw(in_next tcp));
        }],
        [Opened_B1W => in => 'IN_R1/B1', sub { $_[0]->get(in_next => 'IN_R1/B2')->done_with('in')->flows(qw(in_next tcp)) }],
        [Opened_A4W => out => 'OUT_R2/A4', sub { $_[0]->sees(out => 'OUT_R2/A5')->flows(qw(in tcp)) }],
        map({ my $a8 = $_; (
            [Opened_A8W => in => $a8, sub { $_[0]->sees(out => 'OUT_R1/A9')->flows(qw(in tcp))->answers('out_next') }],
            [Opened_R2A8W => in => $a8, sub { $_[0]->sees(out => 'OUT_R2/B1')->flows(qw(in tcp))->answers('out') }],
            [Opened_A8W => in => $a8, sub { foreign($_[0], 'OUT_R1/A8') }, @foreign],
            [Opened_R2A8W => in => $a8, sub { foreign($_[0]->sees(out => 'OUT_R2/B2'), 'OUT_R2/A8') }, @foreign],
        ) } qw(OUT_R1/A8 OUT_R2/A8)),
        [A6W => in => 'IN_R1/A6', sub { foreign($_[0], 'IN_R1/A6') }, @foreign],
    ],
);

for my $role (RPCH::States->roles) {
    for my $move (@{ $MOVES{$role} }) {
        my ($state, $end, $name, $seen, @over) = @$move;
        my $what = "$role $state: $name at $end" . (@over ? ', another cookie' : '');
        my $s = eval { RPCH::States->reach($role, $state)->now } or do { fail($what); diag $@; next };
        ok(eval { $seen->($s->put($end => $name, @over)); 1 }, $what)
            or diag $@, lines_since($s->{mark});
        $s->close;
    }
}

# ---- every PDU in every state ----

# All PDUs that can be sent: [label, names that it may have, Destination, its bytes in a setup]. PDUs
# that look the same stand here once.
sub samples {
    my (@wanted) = @_;
    my (%seen, @samples);
    for my $name ((grep { $RTS{$_} } @wanted), map { $_->[1] } @PDUS) {
        next if $name eq 'FlowControlAckWithDestination' || $seen{ join '|', names(anything($name)) }++;
        my $first = parse(anything($name))->{commands}[0] || [''];
        my $d = $first->[0] eq 'D' ? $first->[1] : undef;
        push @samples, [$name, [names(anything($name))], $d, sub { $_[0]->sample($name) }];
    }
    for my $d (0 .. 3) {
        push @samples, ["FlowControlAckWithDestination:$d", ["FlowControlAckWithDestination:$d"], $d,
                        sub { $_[0]->sample('FlowControlAckWithDestination', destination => $d) }],
                       ["unknown RTS PDU for $d", [], $d, sub { rts_raw(0x0042, [D => $d], [PT => 1]) }];
    }
    return (@samples, ['unknown RTS PDU', [], undef, sub { rts_raw(0x0042, ['V', 1], ['V', 1]) }],
            ['malformed RTS PDU', [], undef, sub { pack 'CCCC V vvV vv V', 5, 0, 20, 3, 0x10, 24, 0, 0, 0, 1, 0x0f }],
            ['RPC', ['RPC'], undef, sub { $_[0]->sample('RPC') }]);
}

sub is_allowed {
    my ($sample, @allowed) = @_;
    my ($label, $names, $d) = @$sample;
    my %allowed = map { $_ => 1 } @allowed;
    return 0 if grep { $allowed{"-$_"} } @$names;
    return 1 if defined $d && $allowed{"D$d"} || grep { $allowed{$_} } @$names;
    return 0;
}

# Does this PDU have a row among the moves?
sub moves {
    my ($sample, $role, $state, $end) = @_;
    for my $move (@{ $MOVES{$role} }) {
        return 1 if $move->[0] eq $state && $move->[1] eq $end && grep { $_ eq $move->[2] } @{ $sample->[1] };
    }
    return 0;
}

# The endpoint's names of its states in the log.
my %TEXT = (A2W => 'A2W', B2W => 'B2W', Opened => 'IN Opened, OUT Opened', A6W => 'IN A6W, OUT Opened',
            Opened_B1W => 'IN Opened_B1W, OUT Opened', Opened_after_R1 => 'IN Opened, OUT Opened',
            map { $_ => "IN Opened, OUT $_" } qw(Opened_A4W Opened_A8W Opened_R2A8W));

# What the log says of an end.
sub end_line {
    my ($role, $state, $label) = @_;
    my $reason = $label =~ /^malformed/ || "$role $state $label" =~ /^(?:in|out)bound Open_Start RPC$/ ? 'bad-pdu'
               : "$role $state $label" =~ m{^endpoint Open_Start (?:IN_R1/A2|OUT_R1/A4)$} ? 'unknown-cookie'
               : 'protocol-error';
    if ($role ne 'endpoint') {
        return $state eq 'Open_Start' ? qr/$role channel refused: $reason: / : qr/$role channel in $state ends: $reason: /;
    }
    return qr/endpoint: leg of .* to \S+ refused: $reason/ if $state eq 'Open_Start';
    return qr/endpoint: virtual connection of .* ended: $reason, / if $reason eq 'bad-pdu';
    return qr/endpoint: virtual connection of .* ended: $reason, .* in \Q$TEXT{$state}\E[,;] /;
}

# As long as no header has been sent, the client gets an answer.
my %TOLD = map { $_ => 1 } 'inbound Open_Start', 'inbound B3W', 'inbound Wait_B2', 'outbound Open_Start', 'outbound A11W';

sub refused {
    my ($role, $state, $end, $sample) = @_;
    my ($label, undef, undef, $bytes) = @$sample;
    my $name = "$role $state: $label at $end ends it";
    my $s = eval { RPCH::States->reach($role, $state)->now } or do { fail($name); return diag $@ };
    my $mark = mark();
    $s->{end}{$end}->put($bytes->($s));
    my $gone = eval { $s->gone } or diag $@;
    my $line = end_line($role, $state, $label);
    my $logged = $gone && eval { $s->log_has($mark, $line) };
    my $told = !$TOLD{"$role $state"} || ($s->{end}{client}{head} // {})->{line} // 'nothing';
    ok($gone && $logged && $told =~ m{^(?:1$|HTTP/1\.0 503 RPC Error: 6c0)}, $name)
        or diag "the client was told $told, the log:\n", lines_since($mark);
    return $s->close;
}

# The ends of the setup at which PDUs come out when what was sent at END has passed.
sub let_through {
    my ($s, $end) = @_;
    my ($role, $state) = @$s{qw(role state)};
    if ($role eq 'inbound') {
        $s->put(leg => 'CONN/B3') if $state eq 'B3W';
        $s->put(leg => 'IN_R1/B2') if $state eq 'Wait_B2';
        $s->put(client => 'IN_R2/A5')->done_with('client') if $end eq 'successor';
        return ('leg', $end eq 'leg' ? 'client' : $end);
    }
    if ($role eq 'outbound') {
        $s->put(leg => 'CONN/C1')->get(client => 'CONN/C2') if $state eq 'C1W';
        answered($s->put(client => 'OUT_R1/A11'), 'client') if $state eq 'A11W';
        answered($s->put(successor => 'OUT_R2/C1'), 'successor') if $state eq 'R2C1W';
        return ($state eq 'R2C1W' ? 'successor' : 'client', 'leg');
    }
    if ($state eq 'A2W') { $s->dial('out')->put(out => 'CONN/A2') }
    if ($state eq 'B2W') { $s->dial('in')->put(in => 'CONN/B2') }
    $s->get(out => 'CONN/C1')->get(in => 'CONN/B3') if $state =~ /^.2W$/;
    return ($end =~ /^in/ ? 'out' : 'in', 'in');
}

# One setup for all PDUs that are allowed in a state: those that are passed on arrive unchanged and
# in order, and an RPC PDU still passes afterwards.
sub allowed {
    my ($role, $state, $end, @samples) = @_;
    my ($s, @rpc, @rts);
    my $ok = eval {
        $s = RPCH::States->reach($role, $state)->now;
        for my $sample (@samples) {
            my ($label, $names, $d, $bytes) = @$sample;
            my $pdu = $bytes->($s);
            $s->{end}{$end}->put($pdu);
            $s->belongs(map { s/:.*//r } grep { $RTS{s/:.*//r} } @$names);
            push @rpc, $pdu if $label eq 'RPC';
            push @rts, $pdu if defined $d && !($role eq 'outbound' && $d == FD_OUT_PROXY);
        }
        my ($to, $from) = let_through($s, $end);
        if ($role eq 'endpoint') { $s->arrive(tcp => @rpc)->arrive($to => @rts)->flows(in => 'tcp') }
        else { $s->arrive($to => @rts, @rpc)->flows($from => $to) }
        1;
    };
    ok($ok, "$role $state: $_->[0] at $end is legal") for @samples;
    diag $@, $s ? lines_since($s->{mark}) : () if !$ok;
    $s->close if $s;
    return;
}

for (@ALLOWED) {
    my ($role, $state, $end, $allowed) = @$_;
    my @allowed = split ' ', $allowed // '';
    my (@legal, @illegal);
    for my $sample (samples(@allowed, map { $_->[2] } grep { $_->[0] eq $state && $_->[1] eq $end } @{ $MOVES{$role} })) {
        if (is_allowed($sample, @allowed)) { push @legal, $sample }
        elsif (!moves($sample, $role, $state, $end)) { push @illegal, $sample }
    }
    allowed($role, $state, $end, @legal) if @legal;
    refused($role, $state, $end, $_) for @illegal;
}

# ---- a first PDU with the cookie of another channel: only the newcomer is refused ----
# (The successor of a channel that is not yet in its place waits: 59-successors.t.)

my @NEWCOMERS = map { [split] } grep { /\S/ } split /\n/, <<'TABLE';
inbound  B3W             CONN/B1    -      duplicate-cookie
inbound  Wait_B2         CONN/B1    -      duplicate-cookie
inbound  Opened          CONN/B1    -      duplicate-cookie
inbound  Opened          IN_R1/A1   wrong  unknown-cookie
inbound  Opened_A5W      CONN/B1    -      duplicate-cookie
inbound  Opened_A5W      IN_R1/A1   right  unknown-cookie
outbound C1W             CONN/A1    -      duplicate-cookie
outbound A11W            CONN/A1    -      duplicate-cookie
outbound Opened          CONN/A1    -      duplicate-cookie
outbound Opened          OUT_R1/A3  wrong  unknown-cookie
outbound B1OrC1W         CONN/A1    -      duplicate-cookie
outbound B1OrC1W         OUT_R1/A3  right  unknown-cookie
outbound B1W             OUT_R1/A3  right  unknown-cookie
endpoint A2W             CONN/B2    -      duplicate-cookie
endpoint A2W             IN_R1/A2   right  protocol-error
endpoint A2W             OUT_R1/A4  right  protocol-error
endpoint B2W             CONN/A2    -      duplicate-cookie
endpoint B2W             IN_R1/A2   right  protocol-error
endpoint B2W             OUT_R1/A4  right  protocol-error
endpoint Opened          CONN/A2    -      duplicate-cookie
endpoint Opened          CONN/B2    -      duplicate-cookie
endpoint Opened          IN_R1/A2   wrong  unknown-cookie
endpoint Opened          OUT_R1/A4  right  protocol-error
endpoint A6W             CONN/A2    -      duplicate-cookie
endpoint A6W             CONN/B2    -      duplicate-cookie
endpoint A6W             IN_R1/A2   right  protocol-error
endpoint A6W             OUT_R1/A4  right  protocol-error
endpoint Opened_B1W      IN_R1/A2   right  protocol-error
endpoint Opened_A4W      OUT_R1/A4  wrong  unknown-cookie
endpoint Opened_A8W      OUT_R1/A4  right  protocol-error
endpoint Opened_R2A8W    OUT_R1/A4  right  protocol-error
endpoint Opened_after_R1 OUT_R1/A4  right  protocol-error
TABLE

for (@NEWCOMERS) {
    my ($role, $state, $name, $old, $reason) = @$_;
    my $s = RPCH::States->reach($role, $state)->now;
    if    ($role eq 'inbound')  { $s->{end}{newcomer} = $s->{c}->open_in }
    elsif ($role eq 'outbound') { $s->{end}{newcomer} = $s->{c}->open_out(length => 120) }
    else                        { $s->dial('newcomer') }
    my %old = $old eq 'wrong' ? (old => 'w' x 16) : ();
    $s->{end}{newcomer}->put($s->sample($name, %old));
    my $who = $role eq 'endpoint' ? qr/endpoint: leg of .* to \S+/ : qr/$role channel/;
    my $with = $old eq '-' ? $name : "$name, the $old predecessor,";
    logged($s->{mark}, qr/$who refused: $reason/, "$role $state: a newcomer with $with is refused as $reason");
    is_rpc_error($s->{end}{newcomer}, '6c0', 'and told') if $role ne 'endpoint';
    ok(eval {
        $s->done_with('newcomer');
        my ($to, $from) = let_through($s, $role eq 'endpoint' ? 'in' : 'leg');
        $role eq 'endpoint' ? $s->flows(in => 'tcp') : $s->flows($from => $to);
    }, 'the other goes on') or diag $@;
    $s->close;
}

# ---- opening, in any order, byte for byte on all hops ----

my %small = (path => '/small/rpcproxy.dll');    # RpcReceiveWindow 8192, lifetime 131072, time-out 240 s
my %ours = (window => 8192, timeout => 240_000);

# Opens one half until its first PDU is at the server. Behind B1 comes an RPC PDU, which waits for B3.
my %HALF = (
    OUT => sub {
        my ($s, $name) = @_;
        $s->{end}{client} = $s->{c}->open_out;
        $s->{c}->send_a1;
        my $head = $s->{end}{client}->head;
        is(join('|', $head->{line}, map { $_ // '' } @{ $head->{headers} }{qw(content-type content-length)}),
           'HTTP/1.1 200 Success|application/rpc|131072', "$name: 200 before any PDU of the server");
        same_pdu($s->{end}{client}->pdu, rts('CONN/A3', timeout => $ours{timeout}), "$name: CONN/A3");
        $s->{end}{out} = RPCH::States::native()->leg;
        my %cookies = (vc => $s->{cookie}{vc}, channel => $s->{cookie}{out});
        same_pdu($s->{end}{out}->pdu, rts('CONN/A2', %cookies, lifetime => 131_072, window => $ours{window}), "$name: CONN/A2");
    },
    IN => sub {
        my ($s, $name) = @_;
        $s->{end}{sender} = $s->{c}->open_in;
        $s->{end}{sender}->put($s->{c}->b1 . request_pdu(1, 'soon'));
        $s->{end}{in} = RPCH::States::native()->leg;
        my %client = (vc => $s->{cookie}{vc}, channel => $s->{cookie}{in}, group => $s->{c}{group}, address => '127.0.0.1');
        same_pdu($s->{end}{in}->pdu, rts('CONN/B2', %client, %ours), "$name: CONN/B2");
    },
);
my %ANSWER = (
    C1 => sub {
        my ($s, $name) = @_;
        my $c1 = rts('CONN/C1', %ours);
        $s->{end}{out}->put($c1);
        same_pdu($s->{end}{client}->pdu, $c1, "$name: CONN/C2 is CONN/C1");
    },
    B3 => sub {
        my ($s, $name) = @_;
        $s->{end}{in}->put(rts('CONN/B3', window => 65536));
        same_pdu($s->{end}{in}->pdu, request_pdu(1, 'soon'), "$name: what the client sent before B3");
    },
);
my @BANNERS = (['no banner'], ['banner', 14], ['banner in pieces', 1, 3, 10], ['banner byte by byte', 1]);

for my $halves ([qw(OUT IN)], [qw(IN OUT)]) {
    for my $answers ([qw(C1 B3)], [qw(B3 C1)]) {
        for (@BANNERS) {
            my ($banner, @pieces) = @$_;
            my $name = "@$halves, @$answers, $banner";
            my $s = RPCH::States->reach(outbound => 'Open_Start', %small);
            (delete $s->{end}{client})->close;
            for (@$halves) {
                $HALF{$_}->($s, $name);
                $s->{end}{ lc $_ }->dribble('ncacn_http/1.0', @pieces) if @pieces;
            }
            $ANSWER{$_}->($s, $name) for @$answers;
            ok(eval { $s->flows(qw(sender in))->flows(qw(out client)) }, "$name: PDUs both ways") or diag $@;
            $s->close;
        }
    }
}

# What the endpoint sends: the banner, C1 with the values of the inbound proxy, B3 with its own
for my $order ([qw(in out)], [qw(out in)]) {
    my $s = RPCH::States->reach(endpoint => 'Open_Start');
    (delete $s->{end}{newcomer})->close;
    my %inbound = (window => 9_000, timeout => 130_000);
    for my $leg (@$order) {
        $s->dial($leg)->put($leg => $leg eq 'in' ? 'CONN/B2' : 'CONN/A2', $leg eq 'in' ? %inbound : ());
        $s->connected if !$s->{end}{tcp};
    }
    same_pdu($s->{end}{out}->pdu, rts('CONN/C1', %inbound), "endpoint, @$order: CONN/C1");
    same_pdu($s->{end}{in}->pdu, rts('CONN/B3', window => 262_144), "endpoint, @$order: CONN/B3");
    is($s->{end}{$_}{banner}, 'ncacn_http/1.0', "behind the banner on the $_ leg") for @$order;
    ok(eval { $s->flows(qw(in tcp))->answers('out') }, 'PDUs both ways') or diag $@;
    # Replacements: the values that A3 and A5 have from the new proxies
    $s->dial('in_next')->put(in_next => 'IN_R1/A2', %inbound);
    same_pdu($s->{end}{out}->pdu, rts('IN_R1/A3', %inbound), 'IN_R1/A3 has the new inbound proxy\'s values');
    $s->put(in => 'IN_R1/A6')->put(in => 'IN_R1/B1');
    same_pdu($s->{end}{in_next}->pdu, rts('IN_R1/B2', window => 262_144), 'IN_R1/B2');
    $s->put(out => 'PingTrafficSentNotify', bytes => (1 << 30) - 100_000);
    same_pdu($s->{end}{out}->pdu, rts('OUT_R1/A1'), 'OUT_R1/A1');
    $s->dial('out_next')->put(out_next => 'OUT_R1/A4', timeout => 140_000);
    same_pdu($s->{end}{out}->pdu, rts('OUT_R1/A5', timeout => 140_000), 'OUT_R1/A5 has the new outbound proxy\'s time-out');
    $s->close;
}

# The first PDUs of replacements, at the proxies
{
    my $s = RPCH::States->reach(inbound => 'Open_Start', %small);
    $s->put(client => 'IN_R1/A1')->leg;
    my %cookies = (vc => $s->{cookie}{vc}, old => $s->{cookie}{in}, new_in($s));
    same_pdu($s->{end}{leg}->pdu, rts('IN_R1/A2', %cookies, %ours), 'IN_R1/A2');
    $s->close;
    $s = RPCH::States->reach(outbound => 'Open_Start', %small);
    $s->put(client => 'OUT_R1/A3')->leg;
    %cookies = (vc => $s->{cookie}{vc}, old => $s->{cookie}{out}, new_out($s));
    same_pdu($s->{end}{leg}->pdu, rts('OUT_R1/A4', %cookies, %ours, lifetime => 131_072), 'OUT_R1/A4');
    $s->close;
    $s = RPCH::States->reach(inbound => 'Opened');
    $s->{end}{successor} = $s->{c}->open_in;
    $s->put(successor => 'IN_R2/A1');
    same_pdu($s->{end}{leg}->pdu, rts('IN_R2/A2', new_in($s)), 'IN_R2/A2');
    $s->close;
    $s = RPCH::States->reach(outbound => 'Opened');
    $s->{end}{successor} = $s->{c}->open_out(length => 120);
    $s->put(successor => 'OUT_R2/A3');
    same_pdu($s->{end}{leg}->pdu, rts('OUT_R2/A4', new_out($s)), 'OUT_R2/A4');
    $s->close;
}

# ---- Echo: both proxies, again and again on one connection ----

for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
    my $c = plain(target => RPCH::States::native()->target);
    my $ch = $c->dial("echo by $method");
    for my $n (0, 4, 16) {
        $ch->request($method, $c->uri, $c->options(length => $n));
        $ch->put("\xf8\xe8\x18\x08" x ($n / 4));
        my $head = $ch->head;
        is(join('|', $head->{line}, map { $_ // '' } @{ $head->{headers} }{qw(content-type content-length)}),
           'HTTP/1.1 200 Success|application/rpc|20', "$method of $n bytes");
        same_pdu($ch->body(20), rts('Echo'), 'is answered by Echo') and $RPCH::States::legal{Echo} = 1;
    }
    $ch->close;
}

is(join(' ', grep { !$RPCH::States::legal{$_} } map { $_->[1] } @PDUS), '', 'every PDU has been where it belongs');

done_testing;
