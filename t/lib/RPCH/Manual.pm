package RPCH::Manual;

# The manual as tests see it: the pages, the blocks of a page, the commands in them, and what they tell to change.

use strict;
use warnings;
use Exporter 'import';
use RPCH::File qw(put slurp);

our @EXPORT_OK = qw(pages blocks commands edit rows program);

# The paths of the pages that are for administrators.
sub pages { return grep { !m{/(?:architecture|protocol)\.md$} } sort glob 'doc/*.md' }

# The blocks ```KIND INFO of a page's text, in order: { kind, info, text }.
sub blocks {
    my ($text) = @_;
    my @blocks;
    push @blocks, { kind => $1, info => $2, text => $3 } while $text =~ /^```(\w+) ?([^\n]*)\n(.*?)^```$/msg;
    return @blocks;
}

# The commands of a block that an administrator types: a line each, but for those that end with \.
sub commands { my ($block) = @_; return grep { length } split /\n/, $block->{text} =~ s/\\\n\s*//gr =~ s/ +#.*$//gmr }

# Changes FILE as a block "edit" says. Each line takes the place of the first one with the same directive (of
# Define: and the same name), also of one that is commented out. Further ones of a directive are put behind the
# one before. Returns what is wrong, or nothing.
sub edit {
    my ($file, $lines) = @_;
    my @file = split /(?<!\\\n)^/m, slurp($file);
    my ($at, %done);
    for my $line (split /\n/, $lines) {
        my ($name) = $line =~ /^(?:# )?(Define \S+|\w+)/;
        my ($found) = $done{$name}++ ? () : grep { $file[$_] =~ /^\s*(?:# )?\Q$name\E\s/ } 0 .. $#file;
        if (defined $found) { $file[$found] = "$line\n"; $at = $found }
        elsif (defined $at) { splice @file, ++$at, 0, "$line\n" }
        else                { return "no line for $line" }
    }
    put($file, join '', @file);
    return '';
}

# The rows of the tables below a heading of a page, each as a list of cells; what a cell repeats from the row
# above ("the same") is written out.
sub rows {
    my ($text, $heading) = @_;
    my ($section) = $text =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms or return;
    my @rows = map { [split / \| /, $_] } $section =~ /^\| (.*) \|$/mg;
    for my $row (1 .. $#rows) {
        $rows[$row][0] =~ s/^the same\b/$rows[$row - 1][0]/;
    }
    return @rows;
}

# What the program below a heading of doc/clients.md prints, with TEXT => OTHER in it replaced.  Python runs it
# apart (-I): it would take files that other tests have put beside it for its modules.
sub program {
    my ($heading, %replace) = @_;
    my ($program) = slurp('doc/clients.md') =~ /^## \Q$heading\E\n.*?^```python\n(.*?)^```/ms or die "no program $heading\n";
    for my $text (sort { length $b <=> length $a } keys %replace) {
        $program =~ s/\Q$text\E/$replace{$text}/g or die "the program $heading has no $text\n";
    }
    require RPCH::Test;
    my $file = RPCH::Test::vars('serverroot') . "/manual-$heading.py";
    put($file, $program);
    return scalar qx(LD_PRELOAD= timeout 60 /usr/bin/python3 -I $file 2>&1);
}

1;
