#!/usr/bin/perl
# Do the modules use nothing of httpd that is newer than the oldest version they are for, 2.4.52? httpd's
# ap_mmn.h tells for each number of its module interface what came with it. This fails for a name that came
# later, unless AP_MODULE_MAGIC_AT_LEAST guards it. usage: check_api.pl INCLUDEDIR FILE...
use strict;
use warnings;
use FindBin qw($Bin);
use lib $Bin;
use Check qw(fault faults text_of);

my $OLDEST = 121;       # MODULE_MAGIC_NUMBER_MINOR of 2.4.52

my ($folder, @files) = @ARGV;
my %newer = newer_names("$folder/ap_mmn.h");
check($_) for @files;
exit(faults() ? 1 : 0);

# NAME => the number with which it came. A name is what looks like none of English: it has a "_".
sub newer_names {
    my ($file) = @_;
    my %number;
    my ($minor, $seen) = (0, 0);
    for my $line (split /\n/, text_of($file)) {
        last if $line =~ m{^ \*/} && $seen;
        ($minor, $seen) = ($1, 1) if $line =~ /^ \* 20120211\.(\d+) \(2\.4\./;
        next if $minor <= $OLDEST;
        $number{$_} //= "20120211.$minor" for $line =~ /\b(\w+_\w+)\b(?!\.h)/g;
    }
    $seen or die "$file: no table of numbers found\n";
    delete @number{qw(proxy_worker_shared process_score)};   # they are older, and have got new members
    return %number;
}

sub check {
    my ($file) = @_;
    my ($n, @guarded) = 0;
    my $code = text_of($file) =~ s{/\*.*?\*/}{ $& =~ tr/\n//cdr }gers;
    for my $line (split /\n/, $code) {
        $n++;
        if ($line =~ /^\s*#\s*if/) { push @guarded, $line =~ /AP_MODULE_MAGIC_AT_LEAST/ ? 1 : 0 }
        elsif ($line =~ /^\s*#\s*endif/) { pop @guarded }
        next if grep { $_ } @guarded;
        for my $name (grep { $newer{$_} } $line =~ /\b(\w+_\w+)\b/g) {
            fault("$file:$n: $name came with $newer{$name}, after httpd 2.4.52: "
                  . 'guard it by AP_MODULE_MAGIC_AT_LEAST');
        }
    }
    return;
}
