package RPCH::Redis;

# A private Redis on the loopback, which keeps nothing on a disk. It ends with the object.

use strict;
use warnings;
use IO::Socket::IP;
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test qw(vars);

use constant PASSWORD => 'open: sesame@1';

sub new {
    my ($class) = @_;
    my $self = bless { port => RPCH::Root::free_ports(1), dir => vars('serverroot'), owner => $$ }, $class;
    $self->{log} = "$self->{dir}/redis-$$-$self->{port}.log";
    return $self->start;
}

sub url { my ($self) = @_; return "redis://:open%3a%20sesame%401\@127.0.0.1:$self->{port}" }

sub start {
    my ($self) = @_;
    my $pid = $self->{pid} = fork // die "fork: $!\n";
    if (!$pid) {
        delete $ENV{LD_PRELOAD};        # it has an allocator of its own, which is not a sanitizer's
        exec 'redis-server', '--port', $self->{port}, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', $self->{dir},
            '--logfile', $self->{log}, '--requirepass', PASSWORD or POSIX::_exit(127);
    }
    wait_for('Redis', sub { turn(0.02); IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $self->{port}) });
    return $self;
}

# What redis-cli prints for this command.
sub ask {
    my ($self, @command) = @_;
    local $ENV{REDISCLI_AUTH} = PASSWORD;
    delete local $ENV{LD_PRELOAD};
    open my $fh, '-|', 'redis-cli', '-p', $self->{port}, '--raw', @command or die "redis-cli: $!\n";
    local $/;
    return scalar <$fh> // '';
}

# All that it holds, names and values.
sub contents {
    my ($self) = @_;
    my @names = split /\n/, $self->ask('KEYS', '*');
    my ($machines) = grep { /:machines$/ } @names;
    return join "\n", @names, $self->ask('MGET', 'none', grep { !/:machines$/ } @names), $machines ? $self->ask('SMEMBERS', $machines) : ();
}

sub stop {
    my ($self, $signal) = @_;
    my $pid = delete $self->{pid} or return;
    return if $self->{owner} != $$;
    local $?;
    kill $signal // 'KILL' => $pid;
    waitpid $pid, 0;
    return;
}

sub DESTROY { my ($self) = @_; local ($?, $@, $!); $self->stop; return }

1;
