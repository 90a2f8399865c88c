package RPCH::Server;

# A native ncacn_http server (3.2.5). It accepts legs from proxies, pairs them by their cookies and does
# what the server has to do. With manual => 1 the test does this instead.

use strict;
use warnings;
use Carp qw(croak);
use IO::Socket::IP;
use RPCH::Poll qw(wait_for);
use RPCH::PDU qw(rts decode is_rts cut describe FD_CLIENT FD_IN_PROXY FD_SERVER FD_OUT_PROXY);
use RPCH::Flow;
use parent -norequire, 'RPCH::Peer';

# ARG: host, banner, manual, window (the server's own, for B3), acks (0: never), echo (sends RPC PDUs
# back), rcvbuf (small socket buffers), hold_c1 (pairs wait for open()), keeps (counters continue over
# IN_R2).
sub new {
    my ($class, %arg) = @_;
    my $host = $arg{host} // '127.0.0.1';
    my $fh = IO::Socket::IP->new(LocalHost => $host, LocalPort => $arg{port} // 0, Listen => 1024,
                                 ReuseAddr => 1, GetAddrInfoFlags => 0) or die "cannot listen on $host: $@\n";
    setsockopt $fh, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), $arg{rcvbuf} if $arg{rcvbuf};
    my $self = $class->SUPER::new(window => 65536, acks => 1, %arg, fh => $fh, host => $host,
                                  name => 'server', legs => [], vcs => {}, opened => [], new => []);
    $self->{port} = $fh->sockport;
    return $self;
}

sub target { my $s = shift; return ($s->{host} =~ /:/ ? "[$s->{host}]" : $s->{host}) . ":$s->{port}" }

# The listening socket is readable: accepts a leg.
sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) {
        setsockopt $fh, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
        my $leg = RPCH::Leg->new(fh => $fh, server => $self, name => 'leg ' . (1 + @{ $self->{legs} }),
                                 reading => !$self->{stalled}, got => []);
        $leg->put('ncacn_http/1.0') if $self->{banner};
        push @{ $self->{legs} }, $leg;
        push @{ $self->{new} }, $leg;
    }
}

sub connections { return scalar @{ $_[0]{legs} } }

# The next leg, in the order in which legs were accepted.
sub leg {
    my ($self) = @_;
    wait_for('a leg', sub { @{ $self->{new} } });
    return shift @{ $self->{new} };
}

# The next two legs as (IN, OUT), whatever their order. The first PDU of each has been read.
sub pair {
    my ($self) = @_;
    my @legs = map { $self->leg } 1 .. 2;
    my ($in) = grep { decode('CONN/B2', $_->peek // '') } @legs;
    my ($out) = grep { decode('CONN/A2', $_->peek // '') } @legs;
    croak 'no pair: ' . join ', ', map { describe($_->peek) } @legs if !$in || !$out;
    return ($in, $out);
}

# The next virtual connection that was opened.
sub vc {
    my ($self) = @_;
    wait_for('a virtual connection at the server', sub { @{ $self->{opened} } });
    return shift @{ $self->{opened} };
}

# Does what a server does with one PDU of a leg, whether the leg belongs to a virtual connection
# already or not.
sub handle {
    my ($self, $leg, $pdu) = @_;
    return $leg->{vc}->handle($leg, $pdu) if $leg->{vc};
    for my $first (qw(CONN/A2 CONN/B2 IN_R1/A2 OUT_R1/A4)) {
        my $value = decode($first, $pdu) or next;
        my $vc = $self->{vcs}{ $value->{vc} } ||= RPCH::VC->new($self, $value->{vc});
        $leg->{vc} = $vc;
        return $vc->first($leg, $first, $value);
    }
    push @{ $self->{errors} }, 'first PDU ' . describe($pdu);
    return $leg->close;
}

sub close {
    my ($self) = @_;
    $_->close for @{ $self->{legs} };
    return $self->SUPER::close;
}

package RPCH::Leg;

use strict;
use warnings;
use RPCH::Poll qw(wait_for);
use RPCH::PDU qw(cut decode describe);
use Carp qw(croak);
use parent -norequire, 'RPCH::Peer';

sub received {
    my ($self) = @_;
    while (defined(my $pdu = cut(\$self->{in}))) {
        push @{ $self->{all} }, $pdu;
        if ($self->{server}{manual}) { push @{ $self->{got} }, $pdu }
        else { $self->{server}->handle($self, $pdu) }
        return if $self->{closed};
    }
    $self->{vc}->leg_closed($self) if $self->{eof} && $self->{vc};
    return;
}

# The next PDU in manual mode, or undef when the proxy closed the leg.
sub pdu { my ($self, $timeout) = @_; $self->peek($timeout); return shift @{ $self->{got} } }
sub peek {
    my ($self, $timeout) = @_;
    wait_for("a PDU on $self->{name}", sub { @{ $self->{got} } || $self->{eof} }, $timeout);
    return $self->{got}[0];
}

sub expect {
    my ($self, $name) = @_;
    my $pdu = $self->pdu;
    return decode($name, $pdu // '') || croak "expected $name on $self->{name}, got " . describe($pdu);
}

package RPCH::VC;

# A virtual connection at the server.

use strict;
use warnings;
use Carp qw(croak);
use RPCH::Poll qw(wait_for);
use RPCH::PDU qw(rts decode is_rts parse describe FD_CLIENT FD_IN_PROXY FD_SERVER FD_OUT_PROXY);

sub new { my ($class, $server, $cookie) = @_; return bless { server => $server, cookie => $cookie, rpc => [], acks => [], queue => [], errors => [] }, $class }

# The first PDU of a leg.
sub first {
    my ($self, $leg, $name, $value) = @_;
    if ($name eq 'CONN/A2') { @$self{qw(out a2)} = ($leg, $value); $self->{out_cookie} = $value->{channel} }
    if ($name eq 'CONN/B2') { @$self{qw(in b2)} = ($leg, $value); $self->{in_cookie} = $value->{channel} }
    if ($name eq 'IN_R1/A2') {
        $self->{new_in} = $leg;
        $self->{in_successor} = $value;
        return $self->{out}->put(rts('IN_R1/A3', window => $value->{window}, timeout => $value->{timeout}));
    }
    if ($name eq 'OUT_R1/A4') {
        $self->{new_out} = $leg;
        $self->{out_successor} = $value;
        return $self->{out}->put(rts('OUT_R1/A5', timeout => $value->{timeout}));
    }
    $self->open if $self->{a2} && $self->{b2} && !$self->{server}{hold_c1};
    return;
}

# Both halves have come: sends C1 on the OUT leg and B3 on the IN leg.
sub open {
    my ($self) = @_;
    my $server = $self->{server};
    $self->{sender} = RPCH::Flow->sender($self->{a2}{window});
    $self->{receiver} = RPCH::Flow->receiver($server->{window}, $self->{in_cookie});
    $self->{out}->put(rts('CONN/C1', window => $self->{b2}{window}, timeout => $self->{b2}{timeout}));
    $self->{in}->put(rts('CONN/B3', window => $server->{window}));
    push @{ $server->{opened} }, $self;
    return $self;
}

sub handle {
    my ($self, $leg, $pdu) = @_;
    return $self->rpc($pdu) if !is_rts($pdu);
    my $d = decode_destination($pdu);
    return $self->forward($d, $pdu) if defined $d && $d != FD_SERVER;
    if (defined $d) { my $v = decode('OUT_R1/A8', $pdu) || decode('OUT_R2/A8', $pdu); return $self->out_switch($v) if $v }
    if (my $ack = decode('FlowControlAck', $pdu)) {
        push @{ $self->{acks} }, $ack->{ack};
        $self->{sender}->acked($ack->{ack}) if $ack->{ack}{channel} eq $self->{out_cookie};
        return $self->pump;
    }
    if (my $ck = decode('IN_R2/A2', $pdu)) { return $self->lone_cookie($leg, $ck->{new}) }
    return $self->in_switch if decode('IN_R1/B1', $pdu);
    return $self->{pings} += decode('PingTrafficSentNotify', $pdu)->{bytes} if decode('PingTrafficSentNotify', $pdu);
    push @{ $self->{errors} }, describe($pdu);
    return;
}

sub decode_destination {
    my ($pdu) = @_;
    my $first = parse($pdu)->{commands}[0];
    return $first && $first->[0] eq 'D' ? $first->[1] : undef;
}

sub forward {
    my ($self, $destination, $pdu) = @_;
    push @{ $self->{forwarded} }, $pdu;
    return $self->{ $destination == FD_IN_PROXY ? 'in' : 'out' }->put($pdu);
}

# A PDU that is a single cookie: the leg and the state tell which one it is (2.2.4.15, 2.2.4.19,
# 2.2.4.37).
sub lone_cookie {
    my ($self, $leg, $cookie) = @_;
    if ($leg == $self->{out}) {
        $self->{out_successor} = { new => $cookie };
        return $self->{out}->put(rts('OUT_R2/A5'));
    }
    return $self->{a6} = $cookie if $self->{new_in};
    $self->{in_cookie} = $cookie;
    if ($self->{server}{keeps}) { $self->{receiver}{channel} = $cookie }
    else { $self->{receiver} = RPCH::Flow->receiver($self->{server}{window}, $cookie) }
    return $self->{out}->put(rts('IN_R2/A3'));
}

sub in_switch {
    my ($self) = @_;
    my $old = $self->{in};
    $self->{in} = delete $self->{new_in} or return push @{ $self->{errors} }, 'IN_R1/B1';
    $self->{in_cookie} = delete($self->{in_successor})->{new};
    $self->{receiver} = RPCH::Flow->receiver($self->{server}{window}, $self->{in_cookie});
    $self->{in}->put(rts('IN_R1/B2', window => $self->{server}{window}));
    return $old->close;
}

sub out_switch {
    my ($self, $value) = @_;
    my $next = delete $self->{out_successor} or return push @{ $self->{errors} }, 'OUT_Rx/A8';
    return push @{ $self->{errors} }, 'cookie of A8' if $next->{new} ne $value->{new};
    $self->{out_cookie} = $next->{new};
    $self->{out}->put(rts($self->{new_out} ? 'OUT_R1/A9' : 'OUT_R2/B1'));
    if (my $leg = delete $self->{new_out}) {
        $self->{out} = $leg;
        $self->{sender} = RPCH::Flow->sender($next->{window});
    }
    return;
}

# Starts the replacement of the OUT channel.
sub recycle_out { my ($self) = @_; $self->{out}->put(rts('OUT_R1/A1')); return $self }

sub rpc {
    my ($self, $pdu) = @_;
    $self->{receiver}->received(length $pdu);
    if (!$self->{server}{echo}) { push @{ $self->{rpc} }, $pdu; return }
    $self->consumed(length $pdu);
    return $self->send($pdu);
}

sub consumed {
    my ($self, $size) = @_;
    my $ack = $self->{receiver}->consumed($size);
    $self->{in}->put(rts('FlowControlAck', ack => $ack)) if $ack && $self->{server}{acks};
    return;
}

# The next RPC PDU from the client; undef when the virtual connection ended.
sub recv {
    my ($self, $timeout) = @_;
    wait_for('an RPC PDU at the server', sub { @{ $self->{rpc} } || $self->{ended} }, $timeout);
    my $pdu = shift @{ $self->{rpc} };
    $self->consumed(length $pdu) if defined $pdu;
    return $pdu;
}

# Sends an RPC PDU when the window of the outbound proxy allows it, or at once when $vc->{obey} is 0.
sub send {
    my ($self, $pdu) = @_;
    push @{ $self->{queue} }, $pdu;
    return $self->pump;
}

sub pump {
    my ($self) = @_;
    while (@{ $self->{queue} } && (!($self->{obey} // 1) || $self->{sender}->may_send(length $self->{queue}[0]))) {
        my $pdu = shift @{ $self->{queue} };
        $self->{sender}->sent(length $pdu);
        $self->{out}->put($pdu);
    }
    return $self;
}

# A proxy has closed a leg, so the server ends the virtual connection (3.2.5.5.13).
sub leg_closed {
    my ($self, $leg) = @_;
    my $current = grep { $_ && $_ == $leg } @$self{qw(in out new_in new_out)};
    $leg->close;
    return if !$current;
    $self->{ended} = $leg == ($self->{in} || 0) ? 'in' : 'out';
    delete $self->{server}{vcs}{ $self->{cookie} };
    return $self->close;
}

sub close { my ($self) = @_; $_ && $_->close for @$self{qw(in out new_in new_out)}; $self->{ended} ||= 'server'; return }

sub wait_end { my ($self) = @_; return wait_for('the end of the virtual connection', sub { $self->{ended} }) }

1;
