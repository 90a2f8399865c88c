package RPCH::Compile;

# C that a test brings along, built by the machine's compiler (cc, or what CC names): programs, and libraries that
# are loaded before all others.

use strict;
use warnings;
use Exporter 'import';
use RPCH::File qw(put);

our @EXPORT_OK = qw(compile library preload);

# Builds the program FILE from the text SOURCE, which FILE.c keeps. OPTIONS are words of a shell. Returns FILE, or
# nothing: there is no compiler, or something that SOURCE needs is not there, and stderr has said what.
sub compile {
    my ($file, $source, @options) = @_;
    put("$file.c", $source);
    my $cc = $ENV{CC} // 'cc';
    return system("$cc -O1 -o $file $file.c @options") == 0 ? $file : ();
}

# The same for a library, whose file gets the ending .so.
sub library {
    my ($file, $source, @options) = @_;
    return compile("$file.so", $source, '-shared -fPIC', @options, '-ldl');
}

# A value of LD_PRELOAD with these libraries, too. They come last, because that of a sanitizer has to be the first.
sub preload {
    my (@libraries) = @_;
    return join ':', grep { length } $ENV{LD_PRELOAD} // '', @libraries;
}

1;
