package RPCH::Manual;

# The manual as tests see it: the pages, the blocks of a page, and the commands in them.

use strict;
use warnings;
use Exporter 'import';
use RPCH::File qw(put slurp);
use RPCH::Test qw(vars);

our @EXPORT_OK = qw(pages blocks commands rows program);

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
    my $file = vars('serverroot') . "/manual-$heading.py";
    put($file, $program);
    return scalar qx(LD_PRELOAD= timeout 60 /usr/bin/python3 -I $file 2>&1);
}

1;
