package RPCH::Manual;

# The manual as tests see it: the pages, the blocks of a page, and the commands in them.

use strict;
use warnings;
use Exporter 'import';
use RPCH::File qw(slurp);

our @EXPORT_OK = qw(pages blocks commands);

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

1;
