package RPCH::Apart;

# Runs a test file in a network of its own, which has nothing but its loopback, and where all ports are
# free; and lets it put files of its own in the place of the system's, for its processes alone.

use strict;
use warnings;
use File::Path qw(make_path);
use Test::More ();

my $PREPARE = 'ip link set lo up && mount -t tmpfs none /run';

# The file begins anew, apart. Without the rights for that it is skipped.
sub enter {
    return if $ENV{RPCH_APART};
    my @unshare = qw(unshare --net --mount);
    my $said = qx(@unshare sh -c '$PREPARE' 2>&1);
    Test::More::plan(skip_all => "no namespaces: $said") if $?;
    local $ENV{RPCH_APART} = 1;
    exec @unshare, 'sh', '-c', $PREPARE . ' && exec "$@"', '-',
        $^X, (map { "-I$_" } grep { !ref } @INC), $0, @ARGV;
    die "unshare: $!\n";
}

# A file or folder in the place of another.
sub put_at {
    my ($ours, $place) = @_;
    make_path($place) if -d $ours;
    system('mount', '--bind', $ours, $place) == 0 or die "mount $place failed\n";
    return;
}

1;
