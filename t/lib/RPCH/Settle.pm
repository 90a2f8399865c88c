package RPCH::Settle;

# When the event MPM is stopped, it aborts the sockets that its workers use. If a worker finishes with
# a socket at that moment, the MPM reads freed memory and the child dies of a signal, whatever
# modules are loaded. So before a test stops a server, it waits a moment until the server has closed
# the connections that its clients have closed.

use strict;
use warnings;
use Exporter qw(import);
use Time::HiRes ();

our @EXPORT_OK = qw(settle children_of);

# Calls WAIT, for two seconds at most, until the children of PARENT have closed the connections that the
# clients of PORTS have closed.
sub settle {
    my ($parent, $wait, @ports) = @_;
    my $end = Time::HiRes::time() + 2;
    $wait->() while closing($parent, @ports) && Time::HiRes::time() < $end;
    return;
}

# Is there a connection that its client has closed, and a child has not? Such a connection is in
# CLOSE_WAIT, or it is no longer in a table of the kernel.
sub closing {
    my ($parent, @ports) = @_;
    my %ours = map { $_ => 1 } @ports;
    my %inode;
    for my $table (qw(tcp tcp6 udp udp6 unix netlink)) {
        open my $fh, '<', "/proc/net/$table" or next;
        while (my $line = <$fh>) {
            my @field = split ' ', $line;
            my $waits = $table =~ /^tcp/ && $field[1] =~ /:(\w+)$/ && $ours{ hex $1 } && $field[3] eq '08';
            $inode{ $field[$table eq 'unix' ? 6 : 9] // '' } = 1 if !$waits;
        }
    }
    return scalar grep { /^socket:\[(\d+)\]/ && !$inode{$1} } map { readlink($_) // () } map { glob "/proc/$_/fd/*" } children_of($parent);
}

# Process ids below PARENT.
sub children_of {
    my ($parent) = @_;
    my @pids;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $file or next;
        my ($pid, $ppid) = (<$fh> // '') =~ /^(\d+) \(.*\) \S (\d+)/ or next;
        push @pids, $pid if $ppid == $parent;
    }
    return sort { $a <=> $b } @pids;
}

1;
