package Check;

# What the checks of `make check` that are written in Perl share.

use strict;
use warnings;
use Exporter qw(import);

our @EXPORT_OK = qw(fault faults text_of);

my $faults = 0;

# Prints a fault that a check has found. faults() is how many there were.
sub fault { print STDERR "@_\n"; $faults++; return }
sub faults { return $faults }

sub text_of {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$in>;
}

1;
