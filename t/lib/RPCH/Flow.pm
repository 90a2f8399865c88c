package RPCH::Flow;

# Both ends of the flow control of one hop (3.2.1.4.1, 3.2.1.5.1), for the doubles of client and server.

use strict;
use warnings;

sub sender { my ($class, $window) = @_; return bless { window => $window, avail => $window, sent => 0 }, $class }

sub may_send { my ($s, $size) = @_; return $s->{avail} >= $size }
sub sent     { my ($s, $size) = @_; $s->{sent} += $size; $s->{avail} -= $size; return }
sub acked {
    my ($s, $ack) = @_;
    $s->{avail} = $ack->{available} - ($s->{sent} - $ack->{received});
    return;
}

sub receiver {
    my ($class, $window, $channel) = @_;
    return bless { window => $window, free => $window, advertised => $window, received => 0,
                   channel => $channel }, $class;
}

sub received { my ($s, $size) = @_; $s->{received} += $size; $s->{free} -= $size; $s->{advertised} -= $size; return }

# The acknowledgement that is due now, or undef.
sub consumed {
    my ($s, $size) = @_;
    $s->{free} += $size;
    return if $s->{advertised} >= $s->{window} / 2;
    return $s->ack;
}

sub ack {
    my ($s) = @_;
    $s->{advertised} = $s->{free};
    return { received => $s->{received}, available => $s->{free}, channel => $s->{channel} };
}

1;
