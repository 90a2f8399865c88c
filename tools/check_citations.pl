#!/usr/bin/perl
# Do citations lead anywhere? Sources and documents cite a document of the project as
# doc/protocol.md, "Pings". This fails for a heading that is not in that document, for a document
# that is not in the tree, for a link to a heading that leads nowhere, for two headings of one
# document that have one name, and for numbers of notes or of sections that [MS-RPCH] does not have:
# its sections 2 and 3 are what sources cite, its notes stand in doc/protocol.md, "Windows values".
use strict;
use warnings;
use File::Find;

my $faults = 0;

sub fault {
    my ($file, $line, $what) = @_;
    print STDERR "$file:$line: $what\n";
    $faults++;
}

sub lines_of {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    return <$in>;
}

# A heading becomes an anchor as on the web pages that show such documents.
sub anchor {
    my $name = lc shift;
    $name =~ s/[^a-z0-9 _-]//g;
    return '#' . $name =~ tr/ /-/r;
}

sub headings_of {
    my ($doc) = @_;
    my ($n, %found) = 0;
    for (lines_of($doc)) {
        $n++;
        next if !/^#+ (.*)$/;
        fault($doc, $n, qq(a second heading "$1")) if $found{$1}++;
    }
    return \%found;
}

my %headings = map { $_ => headings_of($_) } glob 'doc/*.md';

sub check_line {
    my ($file, $n, $text) = @_;
    while ($text =~ /\b(?:doc\/)?([\w-]+\.md)\b(?:, "([^"]+)")?/g) {
        my ($doc, $heading) = ("doc/$1", $2);
        next if -e $1;
        if (!$headings{$doc}) {
            fault($file, $n, "there is no $doc");
        }
        elsif (defined $heading && !$headings{$doc}{$heading}) {
            fault($file, $n, qq($doc has no heading "$heading"));
        }
    }
    fault($file, $n, "$1 names no section of [MS-RPCH]: cite a heading of doc/protocol.md")
        if $text =~ /(\bnote [0-9]+\b|\(n[0-9]+\)|\([4-9]\.[0-9]+[ ,)])/ && $file !~ /^doc\//;
    return if !$headings{$file};
    while ($text =~ /\]\(([\w-]*(?:\.md)?)(#[^)]*)\)/g) {
        my ($doc, $to) = (length $1 ? "doc/$1" : $file, $2);
        fault($file, $n, "the link $1$2 leads nowhere") if !grep { anchor($_) eq $to } keys %{ $headings{$doc} };
    }
}

sub check_file {
    my ($file) = @_;
    my $n = 0;
    check_line($file, ++$n, $_) for lines_of($file);
}

find({ no_chdir => 1, wanted => sub {
    my $file = s/^\.\///r;
    $File::Find::prune = 1 if $file =~ /^(?:\.git|build)$/;
    return if !-f || $file eq 'tools/check_citations.pl';
    check_file($file) if $file =~ /\.(?:[ch]|t|pm|pl|py|sh|mk|in|conf|md)$|(?:^|\/)[A-Z]\w+$/;
} }, '.');
exit($faults ? 1 : 0);
