package RPCH::RPC;

# The part of DCE/RPC (C706 chapter 12) that the tests need: bind, request and their answers.

use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(pdu bind_pdu contexts_pdu bind_ack_pdu request_pdu response_pdu fault_pdu rpc_parse uuid
                    REQUEST RESPONSE FAULT BIND BIND_ACK ALTER AUTH3 MGMT NDR);

use constant { REQUEST => 0, RESPONSE => 2, FAULT => 3, BIND => 11, BIND_ACK => 12, ALTER => 14, AUTH3 => 16 };
use constant MGMT => 'afa8bd80-7d8a-11c9-bef4-08002b102989';
use constant NDR  => '8a885d04-1ceb-11c9-9fe8-08002b104860';

sub uuid {
    my ($text) = @_;
    my ($a, $b, $c, @rest) = split /-/, $text;
    return pack 'V v v H4 H12', hex $a, hex $b, hex $c, @rest;
}

# A PDU of any type, both first and last fragment. big => 1 makes a big-endian PDU; auth => [type, level,
# token].
sub pdu {
    my ($ptype, $call, $body, %opt) = @_;
    my $token = '';
    if ($opt{auth}) {
        (my $type, my $level, $token) = @{ $opt{auth} };
        $body .= pack('C C x2 N', $type, $level, 79231) . $token;
    }
    my $len = 16 + length $body;
    return pack($opt{big} ? 'CCCC N nnN' : 'CCCC V vvV', 5, 0, $ptype, $opt{pfc} // 3,
                $opt{big} ? 0 : 0x10, $len, length $token, $call) . $body;
}

sub bind_pdu {
    my (%o) = (call => 1, interface => MGMT, version => 1, max => 4280, @_);
    my $context = pack 'v C x', 0, 1;
    $context .= uuid($o{interface}) . pack('V', $o{version}) . uuid(NDR) . pack 'V', 2;
    return pdu(BIND, $o{call}, pack('v v V C x3', $o{max}, $o{max}, 0, 1) . $context);
}

# A bind, or with ptype => ALTER an alter_context, with a context for each syntax of LIST, which is
# [uuid, version], and NDR.
sub contexts_pdu {
    my ($list, %o) = @_;
    my ($short, $long) = $o{big} ? ('n', 'N') : ('v', 'V');
    my $syntax = sub {
        my ($text, $version) = @_;
        my ($a, $b, $c, @rest) = split /-/, $text;
        return pack "$long $short $short H4 H12 $long", hex $a, hex $b, hex $c, @rest, $version;
    };
    my ($body, $n) = (pack("$short $short $long C x3", 4280, 4280, 0, scalar @$list), 0);
    $body .= pack("$short C x", $n++, 1) . $syntax->(@$_) . $syntax->(NDR, 2) for @$list;
    return pdu($o{ptype} // BIND, $o{call} // 1, $body, %o);
}

sub bind_ack_pdu {
    my (%o) = (call => 1, max => 4280, group => 0x1234, address => '135', @_);
    my $address = $o{address} . "\0";
    my $head = pack 'v v V v a*', $o{max}, $o{max}, $o{group}, length $address, $address;
    $head .= "\0" x (-(16 + length $head) % 4);
    return pdu(BIND_ACK, $o{call}, $head . pack('C x3 v v', 1, 0, 0) . uuid(NDR) . pack 'V', 2);
}

sub request_pdu {
    my ($opnum, $stub, %o) = @_;
    return pdu(REQUEST, $o{call} // 2,
               pack($o{big} ? 'N n n' : 'V v v', length $stub, 0, $opnum) . $stub, %o);
}

sub response_pdu {
    my ($stub, %o) = @_;
    return pdu(RESPONSE, $o{call} // 2, pack('V v C x', length $stub, 0, 0) . $stub);
}

sub fault_pdu {
    my ($status, %o) = @_;
    return pdu(FAULT, $o{call} // 2, pack 'V v C x V x4', 0, 0, 0, $status);
}

# Header fields, and stub, opnum or status where the type has them.
sub rpc_parse {
    my ($bytes) = @_;
    my ($ptype, $pfc, $drep) = unpack 'x2 C C C', $bytes;
    my $le = $drep & 0x10;
    my ($frag, $auth, $call) = unpack $le ? 'vvV' : 'nnN', substr $bytes, 8;
    my %p = (ptype => $ptype, pfc => $pfc, size => $frag, auth => $auth, call => $call);
    $p{opnum} = unpack $le ? 'v' : 'n', substr $bytes, 22 if $ptype == REQUEST;
    $p{stub} = substr $bytes, 24 if $ptype == REQUEST || $ptype == RESPONSE;
    $p{status} = unpack $le ? 'V' : 'N', substr $bytes, 24 if $ptype == FAULT;
    if ($ptype == BIND_ACK) {
        my $n = unpack 'v', substr $bytes, 24;
        my $at = 26 + $n;
        $at += -$at % 4;
        $p{result} = unpack 'x4 v', substr $bytes, $at;
    }
    return \%p;
}

1;
