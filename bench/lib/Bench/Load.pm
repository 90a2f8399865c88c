package Bench::Load;

# One run of rpcload: its results, a reference to a hash of name => value.
#
#   my $results = Bench::Load::run($servers, 'httpd', 'ping', 'tls', '-n', 5000);
#   my $load = Bench::Load->start($servers, 'httpd', 'crowd', 'tls', '-n', 1000);   # it is ready now
#   $results = $load->finish;       or $load->kill

use strict;
use warnings;
use IO::Handle;
use IPC::Open2 qw(open2);

my $auth = 'YmVuY2g6YmVuY2g=';  # bench:bench

sub command {
    my ($servers, $name, $measure, $port, @options) = @_;

    return ($servers->{load}, $measure, '-u', $auth, @options, $servers->proxy($port, $name));
}

sub run {
    my @command = command(@_);
    my %results;

    open my $out, '-|', @command or die "$command[0]: $!\n";
    while (my $line = <$out>) {
        $results{$1} = $2 if $line =~ /^(\S+) (\S+)$/;
    }
    close $out or die "@command[0, 1] has failed\n";
    return \%results;
}

sub start {
    my ($class, @what) = @_;
    my $self = bless { results => {} }, $class;

    $self->{pid} = open2($self->{out}, $self->{in}, command(@what));
    $self->read_until('ready');
    die "rpcload $what[2] has failed\n" if !$self->{results}{ready};
    return $self;
}

sub read_until {
    my ($self, $name) = @_;

    while (my $line = readline $self->{out}) {
        $line =~ /^(\S+) (\S+)$/ or die "rpcload says $line";
        $self->{results}{$1} = $2;
        return if $1 eq $name;
    }
}

sub finish {
    my ($self) = @_;
    my $pid = delete $self->{pid};

    print { $self->{in} } "\n";
    close $self->{in};
    $self->read_until('');
    waitpid $pid, 0;
    die "rpcload has failed\n" if $?;
    return $self->{results};
}

sub kill {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return;
    CORE::kill(KILL => $pid);
    waitpid $pid, 0;
}

sub DESTROY {
    my ($self) = @_;

    local $?;
    $self->kill;
}

1;
