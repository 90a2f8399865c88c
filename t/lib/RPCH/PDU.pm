package RPCH::PDU;

# RTS PDUs of [MS-RPCH] 2.2.4 and the cutting of a byte stream into PDUs, written from the
# specification's tables and independent of wire/rts.c, so that each checks the other.

use strict;
use warnings;
use Carp qw(croak);
use Exporter 'import';

our @EXPORT_OK = qw(rts rts_raw decode is_rts names describe cut parse %RTS
                    FD_CLIENT FD_IN_PROXY FD_SERVER FD_OUT_PROXY);

use constant { FD_CLIENT => 0, FD_IN_PROXY => 1, FD_SERVER => 2, FD_OUT_PROXY => 3 };

# Commands (2.2.3.5) by their short names: type and kind of payload.
my %COMMAND = (
    RW => [0x0, 'u32'],    FCA   => [0x1, 'ack'],  CT   => [0x2, 'u32'],
    CK => [0x3, 'cookie'], CL    => [0x4, 'u32'],  KA   => [0x5, 'u32'],
    V  => [0x6, 'u32'],    E     => [0x7, 'none'], PAD  => [0x8, 'pad'],
    CA => [0xB, 'address'], NANCE => [0x9, 'none'], ANCE => [0xA, 'none'],
    AG => [0xC, 'cookie'], D     => [0xD, 'u32'],  PT   => [0xE, 'u32'],
);
my %BY_TYPE = map { $COMMAND{$_}[0] => $_ } keys %COMMAND;

# Every PDU of 2.2.4: flags, then commands in order as SHORT:value-name or SHORT=constant.
our %RTS = (
    'CONN/A1'    => [0x0000, qw(V=1 CK:vc CK:channel RW:window)],
    'CONN/A2'    => [0x0010, qw(V=1 CK:vc CK:channel CL:lifetime RW:window)],
    'CONN/A3'    => [0x0000, qw(CT:timeout)],
    'CONN/B1'    => [0x0000, qw(V=1 CK:vc CK:channel CL:lifetime KA:keepalive AG:group)],
    'CONN/B2'    => [0x0008, qw(V=1 CK:vc CK:channel RW:window CT:timeout AG:group CA:address)],
    'CONN/B3'    => [0x0000, qw(RW:window V=1)],
    'CONN/C1'    => [0x0000, qw(V=1 RW:window CT:timeout)],
    'CONN/C2'    => [0x0000, qw(V=1 RW:window CT:timeout)],
    'IN_R1/A1'   => [0x0004, qw(V=1 CK:vc CK:old CK:new)],
    'IN_R1/A2'   => [0x000c, qw(V=1 CK:vc CK:old CK:new RW:window CT:timeout)],
    'IN_R1/A3'   => [0x0000, qw(D=0 V=1 RW:window CT:timeout)],
    'IN_R1/A4'   => [0x0000, qw(D=0 V=1 RW:window CT:timeout)],
    'IN_R1/A5'   => [0x0000, qw(CK:new)],
    'IN_R1/A6'   => [0x0000, qw(CK:new)],
    'IN_R1/B1'   => [0x0000, qw(E)],
    'IN_R1/B2'   => [0x0000, qw(RW:window)],
    'IN_R2/A1'   => [0x0004, qw(V=1 CK:vc CK:old CK:new)],
    'IN_R2/A2'   => [0x0000, qw(CK:new)],
    'IN_R2/A3'   => [0x0000, qw(D=0)],
    'IN_R2/A4'   => [0x0000, qw(D=0)],
    'IN_R2/A5'   => [0x0000, qw(CK:new)],
    'OUT_R1/A1'  => [0x0004, qw(D=0)],
    'OUT_R1/A2'  => [0x0004, qw(D=0)],
    'OUT_R1/A3'  => [0x0004, qw(V=1 CK:vc CK:old CK:new RW:window)],
    'OUT_R1/A4'  => [0x0014, qw(V=1 CK:vc CK:old CK:new CL:lifetime RW:window CT:timeout)],
    'OUT_R1/A5'  => [0x0010, qw(D=0 V=1 CT:timeout)],
    'OUT_R1/A6'  => [0x0010, qw(D=0 V=1 CT:timeout)],
    'OUT_R1/A7'  => [0x0010, qw(D=2 CK:new)],
    'OUT_R1/A8'  => [0x0010, qw(D=2 CK:new)],
    'OUT_R1/A9'  => [0x0000, qw(ANCE)],
    'OUT_R1/A10' => [0x0000, qw(ANCE)],
    'OUT_R1/A11' => [0x0000, qw(ANCE)],
    'OUT_R2/A1'  => [0x0004, qw(D=0)],
    'OUT_R2/A2'  => [0x0004, qw(D=0)],
    'OUT_R2/A3'  => [0x0004, qw(V=1 CK:vc CK:old CK:new RW:window)],
    'OUT_R2/A4'  => [0x0000, qw(CK:new)],
    'OUT_R2/A5'  => [0x0000, qw(D=0 ANCE)],
    'OUT_R2/A6'  => [0x0000, qw(D=0 ANCE)],
    'OUT_R2/A7'  => [0x0010, qw(D=2 CK:new V=1)],
    'OUT_R2/A8'  => [0x0010, qw(D=2 CK:new V=1)],   # A7 passed on unchanged
    'OUT_R2/B1'  => [0x0000, qw(ANCE)],
    'OUT_R2/B2'  => [0x0000, qw(NANCE)],
    'OUT_R2/B3'  => [0x0020, qw(ANCE)],
    'OUT_R2/C1'  => [0x0001, qw(E)],
    'Keep-Alive' => [0x0002, qw(KA:keepalive)],
    'PingTrafficSentNotify' => [0x0002, qw(PT:bytes)],
    'Echo'       => [0x0040],
    'Ping'       => [0x0001],
    'FlowControlAck' => [0x0002, qw(FCA:ack)],
    'FlowControlAckWithDestination' => [0x0002, qw(D:destination FCA:ack)],
);

# The bytes of a PDU of %RTS, with values by name. An ack is {received, available, channel}, an address
# is an IPv4 address as text or 16 bytes, a cookie has 16 bytes.
sub rts {
    my ($name, %value) = @_;
    my ($flags, @spec) = @{ $RTS{$name} || croak "no RTS PDU $name" };
    my @commands;
    for (@spec) {
        my ($short, $sep, $what) = /^(\w+)(?:([:=])(\w+))?$/;
        if (!$sep) { push @commands, [$short]; next }
        my $v = $sep eq '=' ? $what : delete $value{$what};
        croak "$name needs $what" unless defined $v;
        push @commands, [$short, $v];
    }
    croak "$name has no " . join ', ', sort keys %value if %value;
    return rts_raw($flags, @commands);
}

# An RTS PDU of any flags and commands, legal or not. Each command is [short name, value].
sub rts_raw {
    my ($flags, @commands) = @_;
    my $body = join '', map { encode_command(@$_) } @commands;
    return pack('CCCC V vvV vv', 5, 0, 20, 3, 0x10, 20 + length $body, 0, 0,
                $flags, scalar @commands) . $body;
}

sub encode_command {
    my ($short, $v) = @_;
    my ($type, $kind) = @{ $COMMAND{$short} || croak "no command $short" };
    my $head = pack 'V', $type;
    return $head                                              if $kind eq 'none';
    return $head . pack 'V', $v                               if $kind eq 'u32';
    return $head . pack 'a16', $v                             if $kind eq 'cookie';
    return $head . pack 'VVa16', @$v{qw(received available channel)} if $kind eq 'ack';
    return $head . pack 'V x' . $v, $v                        if $kind eq 'pad';
    return $head . pack 'V a16 x12', 1, $v                    if length $v == 16;
    return $head . pack 'V C4 x12', 0, reverse split /\./, $v;    # IPv4: little-endian
}

# Reads the common header of any PDU, and the flags and commands of RTS PDUs. Dies when a PDU is
# wrong.
sub parse {
    my ($bytes) = @_;
    my ($ver, $minor, $ptype, $pfc, $drep) = unpack 'CCCC C', $bytes;
    my $le = $drep & 0x10;
    my ($frag, $auth, $call) = unpack $le ? 'vvV' : 'nnN', substr $bytes, 8;
    die "length $frag in a PDU of " . length($bytes) . "\n" if $frag != length $bytes;
    my $pdu = { ptype => $ptype, pfc => $pfc, size => $frag, auth => $auth, call => $call,
                little => $le ? 1 : 0, bytes => $bytes };
    return $pdu if $ptype != 20;
    die "bad RTS header\n" if unpack('H*', substr $bytes, 0, 8) ne '0500140310000000'
                              || $auth || $call;
    my ($flags, $n) = unpack 'vv', substr $bytes, 16;
    my $rest = substr $bytes, 20;
    @$pdu{qw(flags commands)} = ($flags, [map { decode_command(\$rest) } 1 .. $n]);
    die length($rest) . " bytes behind the last command\n" if length $rest;
    return $pdu;
}

my %SIZE = (none => 0, u32 => 4, cookie => 16, ack => 24);

sub decode_command {
    my ($rest) = @_;
    my $short = $BY_TYPE{ unpack 'V', take($rest, 4) } // die "unknown command\n";
    my $kind = $COMMAND{$short}[1];
    if (defined(my $size = $SIZE{$kind})) {
        my $v = take($rest, $size);
        return [$short] if !$size;
        return [$short, $v] if $kind eq 'cookie';
        return [$short, unpack 'V', $v] if $kind eq 'u32';
        my %ack;
        @ack{qw(received available channel)} = unpack 'VVa16', $v;
        return [$short, \%ack];
    }
    my $n = unpack 'V', take($rest, 4);
    if ($kind eq 'pad') { take($rest, $n); return [$short, $n] }
    die "address type $n\n" if $n > 1;
    my $address = take($rest, $n ? 16 : 4);
    die "address padding\n" if take($rest, 12) =~ /[^\0]/;
    return [$short, $n ? $address : join '.', reverse unpack 'C4', $address];
}

sub take {
    my ($rest, $n) = @_;
    die "command cut short\n" if length $$rest < $n;
    return substr $$rest, 0, $n, '';
}

# The values of a PDU, by their names, if the PDU is called NAME; else undef.
sub decode {
    my ($name, $bytes) = @_;
    my $pdu = eval { parse($bytes) } or return;
    my ($flags, @spec) = @{ $RTS{$name} || croak "no RTS PDU $name" };
    return if $pdu->{ptype} != 20 || $pdu->{flags} != $flags || @{ $pdu->{commands} } != @spec;
    my %value;
    for my $i (0 .. $#spec) {
        my ($short, $sep, $what) = $spec[$i] =~ /^(\w+)(?:([:=])(\w+))?$/;
        my ($got, $v) = @{ $pdu->{commands}[$i] };
        return if $got ne $short;
        return if $sep && $sep eq '=' && $short eq 'D' && $v != $what;
        $value{$what} = $v if $sep && $sep eq ':';
    }
    return \%value;
}

sub is_rts { return unpack('x2 C', $_[0]) == 20 }

# All names that a PDU may have: some PDUs look the same, and only the state tells which one it is.
sub names { my ($bytes) = @_; return grep { decode($_, $bytes) } sort keys %RTS }

my @PTYPE = qw(request ping response fault working nocall reject ack cl_cancel fack cancel_ack
               bind bind_ack bind_nak alter_context alter_context_resp auth3 shutdown co_cancel
               orphaned RTS);

# A PDU as text, for the messages of tests.
sub describe {
    my ($bytes) = @_;
    return 'nothing' if !defined $bytes || !length $bytes;
    my $pdu = eval { parse($bytes) } or return "no PDU ($@" . unpack('H40', $bytes) . ')';
    return sprintf '%s of %d bytes', $PTYPE[$pdu->{ptype}] // "PTYPE $pdu->{ptype}", $pdu->{size}
        if $pdu->{ptype} != 20;
    my @names = names($bytes);
    return join '|', @names if @names;
    return sprintf 'RTS %04x [%s]', $pdu->{flags}, join ' ', map { $_->[0] } @{ $pdu->{commands} };
}

# Takes the first complete PDU out of $$buffer, or returns undef while there is none. Dies when the bytes
# are not a PDU.
sub cut {
    my ($buffer) = @_;
    return if length $$buffer < 10;
    my ($version, $drep) = unpack 'C x3 C', $$buffer;
    die 'no PDU stream: ' . unpack('H32', $$buffer) . "\n" if $version != 5;
    my $size = unpack $drep & 0x10 ? 'v' : 'n', substr $$buffer, 8, 2;
    die "fragment length $size\n" if $size < 16;
    return if length $$buffer < $size;
    return substr $$buffer, 0, $size, '';
}

1;
