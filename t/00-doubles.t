# The doubles of a client and of a server are compared with the byte examples of the specification
# and with each other, before they judge the proxy.

use strict;
use warnings;
use Test::More;
use RPCH::PDU qw(rts rts_raw decode names cut parse describe FD_OUT_PROXY %RTS);
use RPCH::RPC qw(bind_pdu bind_ack_pdu request_pdu response_pdu rpc_parse pdu);
use RPCH::Flow;
use RPCH::Needs qw(missing);
use RPCH::Test;

my ($vc, $out, $in, $group) = map { pack 'C16', $_ .. $_ + 15 } 0xa0, 0xb0, 0xc0, 0xd0;
my ($VC, $OUT, $IN, $AG) = map { unpack 'H*', $_ } $vc, $out, $in, $group;
my $V = '0600000001000000';

sub head { my ($size, $flags, $n) = @_; return unpack 'H*', pack 'H16 v x6 vv', '0500140310000000', $size, $flags, $n }

my %example = (
    'CONN/A1' => [{ vc => $vc, channel => $out, window => 65536 },
                  head(76, 0, 4) . "${V}03000000${VC}03000000${OUT}0000000000000100"],
    'CONN/A2' => [{ vc => $vc, channel => $out, lifetime => 1 << 30, window => 65536 },
                  head(84, 16, 5) . "${V}03000000${VC}03000000${OUT}04000000000000400000000000000100"],
    'CONN/A3' => [{ timeout => 900_000 }, head(28, 0, 1) . '02000000a0bb0d00'],
    'CONN/B1' => [{ vc => $vc, channel => $in, lifetime => 1 << 30, keepalive => 300_000, group => $group },
                  head(104, 0, 6) . "${V}03000000${VC}03000000${IN}040000000000004005000000e09304000c000000$AG"],
    'CONN/B2' => [{ vc => $vc, channel => $in, window => 65536, timeout => 900_000, group => $group, address => '192.0.2.10' },
                  head(128, 8, 7) . "${V}03000000${VC}03000000${IN}000000000000010002000000a0bb0d00"
                  . "0c000000${AG}0b000000000000000a0200c0" . '00' x 12],
    'CONN/B3' => [{ window => 65536 }, head(36, 0, 2) . "0000000000000100$V"],
    'CONN/C2' => [{ window => 65536, timeout => 900_000 }, head(44, 0, 3) . "${V}000000000000010002000000a0bb0d00"],
    'FlowControlAckWithDestination' =>
        [{ destination => FD_OUT_PROXY, ack => { received => 33024, available => 65536, channel => $out } },
         head(56, 2, 2) . "0d00000003000000010000000081000000000100$OUT"],
    'FlowControlAck' => [{ ack => { received => 33024, available => 65536, channel => $in } },
                         head(48, 2, 1) . "010000000081000000000100$IN"],
    'Echo' => [{}, head(20, 64, 0)], 'Ping' => [{}, head(20, 1, 0)],
    'OUT_R2/C1' => [{}, head(24, 1, 1) . '07000000'], 'OUT_R1/A9' => [{}, head(24, 0, 1) . '0a000000'],
    'OUT_R2/B3' => [{}, head(24, 32, 1) . '0a000000'],
);
for my $name (sort keys %example) {
    my ($values, $hex) = @{ $example{$name} };
    my $bytes = rts($name, %$values);
    same_pdu($bytes, pack('H*', $hex), "$name as in the specification");
    is_deeply(decode($name, $bytes), $values, "$name read back");
}

my %length = ('IN_R1/A1' => 88, 'IN_R1/A2' => 104, 'IN_R1/A3' => 52, 'OUT_R1/A3' => 96, 'OUT_R1/A4' => 112,
              'OUT_R1/A5' => 44, 'OUT_R1/A8' => 48, 'OUT_R2/A7' => 56, 'Keep-Alive' => 28);
my %some = (vc => $vc, old => $in, new => $out, channel => $in, group => $group, window => 8192, timeout => 120_000,
            lifetime => 131_072, keepalive => 0, address => "\0" x 15 . "\1", bytes => 1, destination => 0,
            ack => { received => 1, available => 2, channel => $vc });
for my $name (sort keys %RTS) {
    my %need = map { /:(\w+)/ ? ($1 => $some{$1}) : () } @{ $RTS{$name} };
    my $bytes = rts($name, %need);
    ok((grep { $_ eq $name } names($bytes)), "$name is recognised");
    is(length $bytes, $length{$name}, "$name has $length{$name} bytes") if $length{$name};
}
is(length rts('CONN/B2', map { $_ => $some{$_} } qw(vc channel window timeout group address)), 140, 'B2 with IPv6');

my $stream = bind_pdu() . request_pdu(3, 'x' x 100, big => 1) . rts('Ping');
my $buffer = '';
my @pdus;
for my $byte (split //, $stream) { $buffer .= $byte; push @pdus, cut(\$buffer) // () }
is(join(',', map { describe($_) } @pdus), 'bind of 72 bytes,request of 124 bytes,Ping', 'a stream is cut into PDUs');
is(rpc_parse($pdus[1])->{opnum}, 3, 'big-endian');
is(rpc_parse(bind_ack_pdu())->{result}, 0, 'a bind_ack is read');

# The worked example of flow control
my ($s, $r) = (RPCH::Flow->sender(1000), RPCH::Flow->receiver(1000, $in));
$s->sent(250); $r->received(250); $r->{free} += 100;
my $ack = $r->ack;
is_deeply([@$ack{qw(received available)}], [250, 850], 'ack after 100 of 250 are consumed');
$s->sent(500); $s->acked($ack);
is_deeply([@$s{qw(avail sent)}], [350, 750], 'an ack on the way counts what is under way');

# Legs without a proxy: the server double pairs, opens and echoes
my $server = server(echo => 1, banner => 1);
my $ol = RPCH::Peer->dial(port => $server->{port}, name => 'OUT leg');
my $il = RPCH::Peer->dial(port => $server->{port}, name => 'IN leg');
$ol->put(rts('CONN/A2', vc => $vc, channel => $out, lifetime => 1 << 30, window => 65536));
$il->put(rts('CONN/B2', vc => $vc, channel => $in, window => 65536, timeout => 120_000, group => $group, address => '127.0.0.1'));
my $conn = $server->vc;
my $read = sub {
    my ($leg) = @_;
    my $pdu;
    $leg->{in} =~ s/^ncacn_http\/1\.0//;
    RPCH::Poll::wait_for('a PDU', sub { $leg->{in} =~ s/^ncacn_http\/1\.0//; defined($pdu = cut(\$leg->{in})) });
    return $pdu;
};
same_pdu($read->($ol), rts('CONN/C1', window => 65536, timeout => 120_000), 'C1');
same_pdu($read->($il), rts('CONN/B3', window => 65536), 'B3');
my $request = request_pdu(0, 'y' x 2000);
for my $i (1 .. 20) {
    $il->put($request);
    my $pdu = $read->($ol);
    same_pdu($pdu, $request, 'echo') if $i == 20;
}
my $seen = decode('FlowControlAck', $read->($il));
is($seen->{ack}{channel}, $in, 'the server acknowledges the IN leg');
cmp_ok($seen->{ack}{received}, '>', 32_768, 'at half of its window');
$il->close;
is($conn->wait_end, 'in', 'the close of a leg ends the virtual connection');

# ---- what a test needs is looked for where it is: a program, files, a module of httpd, of Perl, of Python ----
my @none = ('no-such-program', '/no-such-folder/*', 'mod_no_such.so', 'No/Such.pm', 'import no_such');
is_deeply([missing('perl', '/etc/pass*', 'mod_mime.so', 'Test/More.pm', @none)], \@none, 'what is missing, and no more');

done_testing;
