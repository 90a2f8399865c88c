package RPCH::Gateway;

# A double of a Remote Desktop Gateway ([MS-TSGU]), complete enough for FreeRDP to open its tunnel. It
# answers the bind (with an NTLM challenge whose response it does not check) and the calls up to the
# pipe, which then carries what the target sends. FreeRDP signs its requests and does not seal them.

use strict;
use warnings;
use Encode ();
use RPCH::Poll qw(wait_for);
use RPCH::RPC qw(pdu rpc_parse uuid BIND BIND_ACK REQUEST RESPONSE NDR);

use constant MAX_FRAGMENT => 4088;

# Opnums (3.2.6), and the stubs of their answers. The pipe and a call for messages get no answer yet.
use constant { CREATE_TUNNEL => 1, AUTHORIZE_TUNNEL => 2, MAKE_TUNNEL_CALL => 3, CREATE_CHANNEL => 4,
               CLOSE_CHANNEL => 6, SETUP_RECEIVE_PIPE => 8, SEND_TO_SERVER => 9 };
my %ANSWER = (
    CREATE_TUNNEL()    => \&quarantine_response,
    AUTHORIZE_TUNNEL() => \&authorization,
    CREATE_CHANNEL()   => sub { context() . pack 'V V', 1, 0 },
    SEND_TO_SERVER()   => sub { pack 'V', 0 },
);

# RECV returns the next RPC PDU of the client, if there is one. SEND sends one to the client.
sub new {
    my ($class, $recv, $send) = @_;
    return bless { recv => $recv, send => $send, calls => [], heard => '' }, $class;
}

# Answers the PDUs that have come. Returns the opnums of all calls so far.
sub serve {
    my ($self) = @_;
    while (defined(my $pdu = $self->{recv}->())) {
        my $p = rpc_parse($pdu);
        $self->{send}->(bind_ack($p->{call})) if $p->{ptype} == BIND;
        $self->call($p) if $p->{ptype} == REQUEST;
    }
    return $self->{calls};
}

sub call {
    my ($self, $p) = @_;
    push @{ $self->{calls} }, $p->{opnum};
    $self->{pipe} = $p->{call} if $p->{opnum} == SETUP_RECEIVE_PIPE;
    $self->{heard} .= $p->{stub} if $p->{opnum} == SEND_TO_SERVER;
    my $answer = $ANSWER{ $p->{opnum} } or return;
    return $self->{send}->(response($answer->(), call => $p->{call}));
}

# Waits for the N-th call of an opnum.
sub called {
    my ($self, $opnum, $n) = @_;
    return wait_for("call $opnum at the gateway", sub { $n // 1 <= grep { $_ == $opnum } @{ $self->serve } });
}

# Sends bytes of the target: a fragment, not the last, of the answer to the call of the pipe.
sub say { my ($self, $bytes) = @_; return $self->{send}->(response($bytes, call => $self->{pipe}, pfc => 1)) }

# Sends N PDUs of the full size that belong to no call that the client waits for. Most of each PDU is
# the verifier.
sub fill {
    my ($self, $n) = @_;
    my $verifier = 'v' x (MAX_FRAGMENT - 36);
    $self->{send}->(response(pack('V', 0), call => 0x7fff0000 + $_, verifier => $verifier)) for 1 .. $n;
    return;
}

# A PDU with the trailer of authentication level "integrity" (2.2.2.11 of [MS-RPCE]) behind its stub.
sub response {
    my ($stub, %o) = @_;
    my $pad = -length($stub) % 4;
    my $body = pack('V v C x', length $stub, 0, 0) . $stub . "\0" x $pad;
    return secured(pdu(RESPONSE, $o{call}, $body, pfc => $o{pfc} // 3), $pad, $o{verifier} // 'v' x 16);
}

sub secured {
    my ($pdu, $pad, $verifier) = @_;
    $pdu .= pack('C C C x V', 10, 5, $pad, 0) . $verifier;
    substr $pdu, 8, 4, pack 'v v', length $pdu, length $verifier;
    return $pdu;
}

# The first presentation context is accepted, the second is bind time feature negotiation.
sub bind_ack {
    my ($call) = @_;
    my $head = pack 'v v V v a*', MAX_FRAGMENT, MAX_FRAGMENT, 0x1234, 5, "3388\0";
    $head .= "\0" x (-(16 + length $head) % 4);
    my $results = pack('C x3', 2) . pack('v v', 0, 0) . uuid(NDR) . pack('V', 2) . pack 'v v x20', 3, 0;
    return secured(pdu(BIND_ACK, $call, $head . $results), 0, challenge());
}

# CHALLENGE_MESSAGE (2.2.1.2 of [MS-NLMP]): Unicode, NTLMv2 with extended session security, a key
# exchange and target information of names and the time.
sub challenge {
    my $name = Encode::encode('UTF-16LE', 'GATEWAY');
    my $time = pack 'Q<', (time + 11_644_473_600) * 10_000_000;
    my $info = join '', map { pack 'v v/a*', @$_ } [2, $name], [1, $name], [7, $time], [0, ''];
    my $head = pack 'a8 V v v V V a8 x8', "NTLMSSP\0", 2, (length $name) x 2, 56, 0xe28a8235, 'challeng';
    my $version = pack 'C C v x3 C', 10, 0, 20348, 15;
    return $head . pack('v v V', (length $info) x 2, 56 + length $name) . $version . $name . $info;
}

# Context handle (2.2.4).
sub context { return pack('V', 0) . uuid('11111111-2222-3333-4444-555555555555') }

# TSG_PACKET_QUARENC_RESPONSE (2.2.9.2.1.6), the handle, the number of the tunnel, and the result.
sub quarantine_response {
    my $type = 0x4552;
    my $packet = pack 'V V V V V V V a16 V', 0x20000, $type, $type, 0x20004, 0, 0, 0, 'n' x 16, 0x20008;
    my $caps = pack 'v v V V v v v x2 V V V V', 0x5452, 0x5643, 0x2000c, 1, 1, 1, 0, 1, 1, 1, 0;
    return $packet . $caps . context() . pack 'V V', 1, 0;
}

# TSG_PACKET_RESPONSE (2.2.9.2.1.5) without redirections and without messages.
sub authorization {
    my $type = 0x5052;
    return pack 'V18', 0x20000, $type, $type, 0x20004, 0x5152, 0, 0, 0, 0, 1, (0) x 8;
}

1;
