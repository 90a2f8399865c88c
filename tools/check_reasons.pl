#!/usr/bin/perl
# Are all reasons documented? This fails for a token of base/reason.c that has no row in
# doc/reasons.md, and for a row there whose token does not exist, or that lacks cause or cure.
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Check qw(fault faults text_of);

my %tokens = map { $_ => 1 } text_of('base/reason.c') =~ /ROW(?:_AT)?\(\w+,\s*"([a-z-]+)"/g;
keys %tokens > 20 or die "base/reason.c: no table of reasons found\n";
my %rows;
for my $line (split /\n/, text_of('doc/reasons.md')) {
    next if $line !~ /^\| *([a-z-]+) *\|/ || $1 eq 'reason' || $1 =~ /^-+$/;
    my $token = $1;
    fault("doc/reasons.md: $token has two rows") if $rows{$token}++;
    fault("doc/reasons.md: $token has no cause, or nothing to do about it") if $line !~ /^\| [^|]+ \| [^|]{8,} \| [^|]{8,} \|$/;
    fault("doc/reasons.md: there is no reason $token in base/reason.c") if !$tokens{$token};
}
fault("base/reason.c: $_ has no row in doc/reasons.md") for grep { !$rows{$_} } sort keys %tokens;
exit(faults() ? 1 : 0);
