package RPCH::Store;

# A store that speaks Redis's protocol, and answers what it is told to: OK, but MEMBERS to a question for
# members, and GET to one for a value.

use strict;
use warnings;
use IO::Socket::IP;
use RPCH::Poll ();
use parent -norequire, 'RPCH::Peer';

sub bulk { my ($text) = @_; return '$' . length($text) . "\r\n$text\r\n" }

sub new {
    my ($class) = @_;
    my $fh = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 16) or die "store: $@\n";
    my $self = $class->SUPER::new(fh => $fh, name => 'store', asked => 0, more => 0, most => 0, members => "*0\r\n", get => "\$-1\r\n");
    $self->{port} = $fh->sockport;
    return $self;
}

sub can_read {
    my ($self) = @_;
    while (my $fh = $self->{fh}->accept) { RPCH::Store::Asker->new(fh => $fh, name => 'asker', store => $self) }
    return;
}

sub answer {
    my ($self, $command) = @_;
    if ($command =~ /^S(?:RAND)?MEMBERS?$/) {
        $self->{asked}++;
        $self->{more} = 0;
        return $self->{members};
    }
    $self->{most} = $self->{more} if $command =~ /^(?:GET|SREM)$/ && ++$self->{more} > $self->{most};
    return $command eq 'GET' ? $self->{get} : "+OK\r\n";
}

package RPCH::Store::Asker;

use strict;
use warnings;
use parent -norequire, 'RPCH::Peer';

# Commands are lists of strings: *N, and for each $LENGTH and its bytes.
sub command {
    my ($self) = @_;
    my ($n, $at) = $self->{in} =~ /^\*(\d+)\r\n/ ? ($1, $+[0]) : return;
    my $first;
    for (1 .. $n) {
        pos($self->{in}) = $at;
        $self->{in} =~ /\G\$(\d+)\r\n/g or return;
        $at = pos($self->{in}) + $1 + 2;
        return if length $self->{in} < $at;
        $first //= substr $self->{in}, $at - $1 - 2, $1;
    }
    substr($self->{in}, 0, $at) = '';
    return $first;
}

sub received {
    my ($self) = @_;
    while (defined(my $command = $self->command)) { $self->put($self->{store}->answer(uc $command)) }
    $self->close if $self->{eof};
    return;
}

1;
