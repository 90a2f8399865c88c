package Bench::Table;

# Results of rounds, and how they are shown. A ratio is the median of the rounds' own ratios: what disturbs
# a round disturbs both sides.
#
#   my $table = Bench::Table->new('mod_rpcproxy', 'HAProxy');
#   $table->add(0, { in_cpu => 1.2 });      a round's results of one side; 1: of the other
#   $table->show('bulk', [in_cpu => 'IN, CPU s a GB', 2, '<= 0.80'], ...);
#   $table->show('delays', [echo_max => 'longest echo, ms', 1, '50']);   a limit, not of the ratio
#   Bench::Table::broken()                  how many bounds have not been kept

use strict;
use warnings;
use List::Util qw(max min);

my $broken = 0;

sub new {
    my ($class, @names) = @_;

    return bless { names => \@names, values => [{}, {}] }, $class;
}

sub add {
    my ($self, $side, $results) = @_;

    push @{ $self->{values}[$side]{$_} }, $results->{$_} for keys %$results;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;

    return $sorted[$#sorted / 2];
}

sub show {
    my ($self, $title, @rows) = @_;

    printf "\n%-48s %12s %12s %7s\n", $title, @{ $self->{names} }, 'ratio';
    $self->show_row(@$_) for @rows;
}

sub show_row {
    my ($self, $key, $label, $digits, $bound) = @_;
    my ($ours, $theirs) = map { $_->{$key} } @{ $self->{values} };

    return if !$ours || !$theirs;
    my @ratios = map { $theirs->[$_] > 0 ? $ours->[$_] / $theirs->[$_] : () } 0 .. min($#$ours, $#$theirs);
    printf '  %-46s %12.*f %12.*f', $label, $digits, median(@$ours), $digits, median(@$theirs);
    printf ' %7.2f', median(@ratios) if @ratios;
    printf '  (%.2f to %.2f)', min(@ratios), max(@ratios) if @ratios > 1;
    print verdict($bound, median(@$ours), median(@$theirs), median(@ratios)) if $bound;
    print "\n";
}

# A number alone is a limit of our own value; a machine on which the other side is slower excuses.
sub verdict {
    my ($bound, $ours, $theirs, $ratio) = @_;
    my ($sign, $limit) = $bound =~ /^(?:([<>])= )?([\d.]+)$/ or die "a bound like $bound?\n";
    my $kept = !$sign ? $ours <= max($limit, $theirs) : $sign eq '<' ? $ratio <= $limit : $ratio >= $limit;

    $broken++ if !$kept;
    return sprintf '  %s %s', $sign ? $bound : sprintf('<= %g, or as %.0f', $bound, $theirs), $kept ? 'kept' : 'NOT KEPT';
}

sub broken {
    return $broken;
}

1;
