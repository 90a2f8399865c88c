package RPCH::Balancer;

# A plain TCP balancer that knows nothing of HTTP: each connection goes to the next machine.

use strict;
use warnings;
use IO::Socket::IP;
use RPCH::Poll ();
use parent -norequire, 'RPCH::Peer';

# MACHINES: their ports at 127.0.0.1, or "address:port".
sub new {
    my ($class, @machines) = @_;
    my $fh = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1024) or die "balancer: $@\n";
    my $self = $class->SUPER::new(fh => $fh, name => 'balancer', machines => \@machines, taken => [(0) x @machines], turn => 0);
    $self->{port} = $fh->sockport;
    return $self;
}

sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) {
        my $i = $self->{turn}++ % @{ $self->{machines} };
        $self->{taken}[$i]++;
        setsockopt $fh, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
        my $front = RPCH::Balancer::End->new(fh => $fh, name => 'balanced client');
        my ($port, $host) = reverse split /:/, $self->{machines}[$i];
        my $back = RPCH::Balancer::End->dial(port => $port, host => $host, name => 'balanced machine');
        @$front{other => } = $back;
        @$back{other => } = $front;
    }
}

package RPCH::Balancer::End;

use strict;
use warnings;
use parent -norequire, 'RPCH::Peer';

sub received {
    my ($self) = @_;
    my $other = $self->{other} or return;
    $other->put($self->{in}) if length $self->{in} && !$other->{closed};
    $self->{in} = '';
    return if !$self->{eof};
    $_->close for $self, $other;
    delete @$_{other => } for $self, $other;
    return;
}

1;
