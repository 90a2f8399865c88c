package RPCH::Preface;

# The preface that a proxy sends first on a leg to the endpoint's Unix socket (wire/preface.h), for
# tests that play a proxy, or a program that only pretends to be one.

use strict;
use warnings;
no warnings 'portable';      # addresses of 64 bits
use Exporter qw(import);
our @EXPORT_OK = qw(preface secret_of);

# Reads the secret of a server from the memory of its parent process, which runs as the user of the test.
our %known;
sub secret_of {
    my ($pid) = @_;
    return $known{$pid} //= _search($pid) // die "process $pid has no secret\n";
}

sub _search {
    my ($pid) = @_;
    open my $maps, '<', "/proc/$pid/maps" or die "maps of $pid: $!\n";
    open my $mem, '<:raw', "/proc/$pid/mem" or die "memory of $pid: $!\n";
    while (<$maps>) {
        my ($from, $to) = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\])?$/ or next;
        my $size = hex($to) - hex $from;
        next if $size > 1 << 28;        # a sanitizer maps terabytes
        sysseek $mem, hex $from, 0 or next;
        sysread $mem, my $bytes, $size or next;
        return $1 if $bytes =~ /RPXY key(.{32})/s;
    }
    return;
}

# FIELDS: host port target user client vhost networks sources; connect, setup: milliseconds; window: bytes; secret, version.
sub preface {
    my (%field) = @_;
    my $strings = join '', map { pack 'v/a*', $field{$_} // '' } qw(host port target user client vhost networks sources);
    my $secret = $field{secret} // "\0" x 32;
    return pack('a4 v v', 'RPXY', $field{version} // 5, 20 + length($secret) + length $strings)
        . $secret . pack('V3', map { $_ // 0 } @field{qw(connect setup window)}) . $strings;
}

1;
