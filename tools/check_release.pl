#!/usr/bin/perl
# Does what is shipped agree about the version and the license? The one source of the version is base/version.h,
# that of the license is LICENSE. This fails where CHANGES, debian/changelog, debian/copyright, README or
# SECURITY.md say something else, for a source that writes the version itself, for a chapter of the manual that
# says "since" a version that has not come, and for a file with a license of its own.
use strict;
use warnings;
use FindBin qw($Bin);
use File::Find;
use lib $Bin;
use Check qw(fault faults text_of);

# FILE has PATTERN, whose first group is SHOULD_BE.
sub agrees {
    my ($file, $pattern, $should_be) = @_;
    my ($is) = text_of($file) =~ $pattern or return fault("$file: no line that says $should_be");
    fault("$file: says $is instead of $should_be") if $is ne $should_be;
    return;
}

sub newer { my ($v, $than) = map { sprintf '%03d%03d%03d', split /\./ } @_; return $v gt $than }

my ($version) = text_of('base/version.h') =~ /^#define RPCPROXY_VERSION "(\d+\.\d+\.\d+)"$/m
    or die "base/version.h: no RPCPROXY_VERSION of three numbers\n";
agrees('CHANGES', qr/^Changes with mod_rpcproxy (.*)$/m, $version);
agrees('debian/changelog', qr/\Amod-rpcproxy \(([^)]*)\) /, $version);

my ($license) = text_of('LICENSE') =~ /\ASPDX-License-Identifier: (\S+)$/m or die "LICENSE: no SPDX-License-Identifier in its first line\n";
my ($holder) = text_of('LICENSE') =~ /^Copyright (.*)$/m or die "LICENSE: no line \"Copyright\"\n";
agrees('debian/copyright', qr/^Files: \*\nCopyright: .*\nLicense: (.*)$/m, $license);
agrees('debian/copyright', qr/^Files: \*\nCopyright: (.*)$/m, $holder);
agrees('README', qr/^(?:.* )?(\Q$license\E)\b/m, $license);
agrees('SECURITY.md', qr/^## (How to report)$/m, 'How to report');

sub check_file {
    my ($file) = @_;
    my $text = text_of($file);
    fault("$file: has the license $1: LICENSE is for the whole tree") if $file ne 'LICENSE' && $text =~ /^\W*SPDX-License-Identifier: (\S+)/m;
    fault("$file: writes the version itself, instead of RPCPROXY_VERSION") if $file =~ m{^(?!t/).*\.[ch]$} && $file ne 'base/version.h' && $text =~ m{"(?:(?:mod_\w+|rpcping)[ /])?\d+\.\d+\.\d+[" ]};
    fault("$file: since mod_rpcproxy $_: there is no such version yet") for grep { newer($_, $version) } $file =~ m{^doc/} ? $text =~ /since mod_rpcproxy (\d+\.\d+\.\d+)/g : ();
    return;
}

find({ no_chdir => 1, wanted => sub {
    my $file = s{^\./}{}r;
    $File::Find::prune = 1 if $file =~ m{^(?:\.git|build|fuzz/\w+)$};
    check_file($file) if -f && $file =~ m{\.(?:[ch]|t|p[lmy]|sh|awk|bash|mk|conf|md)$|^[A-Z]\w+$};
} }, '.');
exit(faults() ? 1 : 0);
