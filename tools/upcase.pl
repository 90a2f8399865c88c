#!/usr/bin/perl

# Writes the table of ntlm/upcase.c from Perl's copy of the Unicode Character Database:
#
#   perl tools/upcase.pl
#
# A letter has an upper case as Windows sees it when the simple case mapping leads there and back
# again; final sigma, which becomes a capital one, is the only exception. Letters that came after
# Unicode 5.0 have none. That is the up-case table of the exFAT specification (7.2.5.1), the one
# table of Windows that is published.

use strict;
use warnings;
use Unicode::UCD qw(charinfo);

use constant { FIRST => 0x80, LAST => 0xffff, FINAL_SIGMA => 0x3c2 };

my @runs;   # [first, last, step, distance]
for my $code (FIRST .. LAST) {
    my $up = upper($code) or next;
    my ($run, $distance) = ($runs[-1], $up - $code);
    my $gap = $run ? $code - $run->[1] : 0;
    if ($run && $run->[3] == $distance && ($gap == $run->[2] || $run->[0] == $run->[1] && $gap == 2)) {
        @$run[1, 2] = ($code, $gap);
    }
    else { push @runs, [$code, $code, 1, $distance] }
}
my @cells = map { sprintf '{ 0x%04x, 0x%04x, %d, %d },', @$_ } @runs;
while (my @row = splice @cells, 0, 3) { print '    ', join(' ', @row), "\n" }

sub upper {
    my ($code) = @_;
    my $up = charinfo($code) ? hex(charinfo($code)->{upper} || 0) : 0;
    return 0 if !$up || $up > LAST || grep { chr() !~ /\p{Present_In: 5.0}/ } $code, $up;
    return $up if $code == FINAL_SIGMA;
    return hex(charinfo($up)->{lower} || 0) == $code ? $up : 0;
}
