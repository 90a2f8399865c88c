package RPCH::Demo;

# rpcdemo, the demonstration server, at a port of 127.0.0.1 of its own choice: {port}. It ends with the
# object.

use strict;
use warnings;
use File::Spec;

sub new {
    my ($class) = @_;
    my $program = File::Spec->rel2abs('build/rpcdemo');
    my $pid = open my $says, '-|', "exec $program 127.0.0.1:0" or die "rpcdemo: $!\n";
    my $self = bless { pid => $pid, says => $says, owner => $$ }, $class;
    ($self->{port}) = <$says> =~ /^listening on \S+:(\d+)$/ or die "rpcdemo does not listen\n";
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!);
    kill TERM => $self->{pid};
    close $self->{says};
    return;
}

1;
