# Windows and fragments of all sizes: as long as a fragment fits into the window, data flows. On each
# hop the receiver is part of this project: on hop 1 the inbound proxy, on hop 2 the endpoint, on hop 3
# the outbound proxy. The senders obey their windows, and only acknowledgements let them continue.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts decode is_rts FD_CLIENT);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::States;
use RPCH::Test;

my @WINDOWS = (8192, 11_680, 65_536);
my @FRAGMENTS = (4088, 5840, 8192, 32_769);

my $tcp = tcp_server(quiet => 1);
my $listen = RPCH::Root::free_ports(1);
my %httpd = map {
    $_ => RPCH::Httpd->new(conf => "RpcReceiveWindow $_\n" . RPCH::Httpd->location("RpcReceiveWindow $_\nRpcSetupTimeout 10\n"))->start;
} @WINDOWS;

# Sends fragments of these sizes one after the other, as the window allows. Returns how many arrive.
# TAKE returns the next PDU at the far end, ACK the next acknowledgement of the receiver, or undef.
sub run {
    my ($window, $sizes, $put, $take, $ack) = @_;
    my ($available, $sent, $through) = ($window, 0, 0);
    for my $size (@$sizes) {
        while ($available < $size) {
            my $got = $ack->() or return "$through of " . @$sizes . ", $available of $window available for $size";
            $available = $got->{available} - ($sent - $got->{received});
        }
        $put->($size == 72 ? bind_pdu(max => $sizes->[-1]) : request_pdu(1, 'f' x ($size - 24)));
        $sent += $size;
        $available -= $size;
        $through++ if defined $take->();
    }
    return $through == @$sizes ? 'all' : "$through came";
}

# The next PDU at PEER that is (not) an acknowledgement NAME.
sub next_of {
    my ($peer, $name, $want_ack, $kept) = @_;
    return sub {
        my $own = $want_ack ? 0 : 1;
        return shift @{ $kept->[$own] } if @{ $kept->[$own] };
        my $pdu;
        while (defined($pdu = eval { $peer->pdu(5) })) {
            my $ack = decode($name, $pdu);
            return $ack ? $ack->{ack} : $pdu if !$ack == !$want_ack;
            push @{ $kept->[ $ack ? 0 : 1 ] }, $ack ? $ack->{ack} : $pdu;
        }
        return;
    };
}

# What is sent: a bind that announces the size of the fragments, a smaller PDU, then the largest that the
# bind allows. A sender that announces no size begins with a fragment that is larger than usual.
sub sizes {
    my ($fragment, $with_bind) = @_;
    my $small = $fragment > 2000 ? int($fragment * 0.7) : 600;
    return $with_bind ? (72, $small, ($fragment) x 6) : ($fragment > 5840 ? () : $small, ($fragment) x 6);
}

for my $window (@WINDOWS) {
    for my $fragment (grep { $_ <= $window } @FRAGMENTS) {
        for my $with_bind (1, 0) {
            my @sizes = sizes($fragment, $with_bind);
            my $name = "window $window, fragments of $fragment" . ($with_bind ? '' : ', without a bind');
            my @at = (port => $httpd{$window}{port});

            my $s = RPCH::States->reach(inbound => 'B3W', @at);
            $s->put(leg => 'CONN/B3', window => 1 << 30);
            my $kept = [[], []];
            my $leg = $s->{end}{leg};
            is(run($window, \@sizes, sub { $s->{end}{client}->put($_[0]) }, next_of($leg, 'FlowControlAckWithDestination', 0, $kept),
                   next_of($leg, 'FlowControlAckWithDestination', 1, $kept)), 'all', "hop 1: $name");
            $s->close;

            $s = RPCH::States->reach(outbound => 'Open_Start', @at);
            $s->put(client => 'CONN/A1', window => 1 << 30)->leg('CONN/A2')->get(client => 'CONN/A3')
              ->put(leg => 'CONN/C1')->get(client => 'CONN/C2');
            my $end = $s->{end};
            is(run($window, \@sizes, sub { $end->{leg}->put($_[0]) }, sub { eval { $end->{client}->pdu(5) } },
                   next_of($end->{leg}, 'FlowControlAck', 1, [[], []])), 'all', "hop 3: $name");
            $s->close;
        }
    }
}

# Hop 2, at an endpoint's own listener: legs without a preface
for my $window (8192, 65_536) {
    my $port = RPCH::Root::free_ports(1);
    my $httpd = RPCH::Httpd->new(conf => "RpcReceiveWindow $window\nRpcEndpointListen 127.0.0.1:$port ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n"
                                         . RPCH::Httpd->location)->start;
    for my $fragment (grep { $_ <= $window } @FRAGMENTS) {
        my $s = RPCH::States->reach(inbound => 'Open_Start');     # only for the cookies
        my @legs = map {
            my $fh = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) or die "endpoint: $@\n";
            RPCH::States::Leg->new(fh => $fh, server => { manual => 1 }, got => [], name => "$_ leg");
        } qw(in out);
        $s->{end}{in} = $legs[0];
        $s->{end}{out} = $legs[1];
        $s->put(in => 'CONN/B2')->put(out => 'CONN/A2')->get(out => 'CONN/C1')->get(in => 'CONN/B3');
        my $behind = $tcp->connection;
        is(run($window, [sizes($fragment, 1)], sub { $legs[0]->put($_[0]) }, sub { eval { $behind->pdu(5) } },
               next_of($legs[0], 'FlowControlAck', 1, [[], []])), 'all', "hop 2: window $window, fragments of $fragment");
        $_->close for $s, $behind;
    }
}

done_testing;
