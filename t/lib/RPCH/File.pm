package RPCH::File;

# Whole files: to read one and to write one.

use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(slurp put);

# The text of a file.
sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$fh> // '';
}

# Writes a file that httpd's User can read.
sub put {
    my ($file, @text) = @_;
    open my $fh, '>', $file or die "$file: $!\n";
    print $fh @text;
    close $fh or die "$file: $!\n";
    chmod 0644, $file or die "$file: $!\n";
    return;
}

1;
