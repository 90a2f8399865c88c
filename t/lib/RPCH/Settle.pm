package RPCH::Settle;

# An MPM cannot be stopped at any moment, whatever modules are loaded. A child that begins may end in the
# handler of the signal, which may have found malloc() at work. A child of the event MPM aborts the sockets
# that its workers use, and if a worker finishes with a socket at that moment, it reads freed memory. Both
# die of another signal. So a test stops a server when all children have begun, and have closed the
# connections that their clients have closed; meanwhile the parent is halted, and makes no new ones.

use strict;
use warnings;
use Exporter qw(import);
use Time::HiRes ();

our @EXPORT_OK = qw(stop_by children_of is_endpoint);

# Sends SIGNAL, which ends all children, to PARENT, which serves PORTS, when they can bear it. Calls WAIT until
# then, for ten seconds at most.
sub stop_by {
    my ($signal, $mpm, $parent, $wait, @ports) = @_;
    my $end = Time::HiRes::time() + 10;
    kill STOP => $parent;
    $wait->() while (beginning($parent) || ($mpm eq 'event' && closing($parent, @ports))) && Time::HiRes::time() < $end;
    kill $_ => $parent for $signal, 'CONT';
    return;
}

# Is there a child without the threads of mod_rpcproxy, which it starts as the last thing? Programs of piped
# logs are no such children.
sub beginning {
    my ($parent) = @_;
    my $program = program($parent);
    return scalar grep { !is_endpoint($_) && program($_) eq $program && 1 == (() = glob "/proc/$_/task/*") } children_of($parent);
}
sub program { my ($pid) = @_; return readlink("/proc/$pid/exe") // '' }

# The endpoint process, or one that waits to start it.
sub is_endpoint {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/comm" or return;
    return (<$fh> // '') =~ /^rpc-/;
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

# Process ids below PARENT, of those that have not ended: a parent that is halted leaves them as zombies.
sub children_of {
    my ($parent) = @_;
    my @pids;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $file or next;
        my ($pid, $ppid) = (<$fh> // '') =~ /^(\d+) \(.*\) [^ZX] (\d+)/ or next;
        push @pids, $pid if $ppid == $parent;
    }
    return sort { $a <=> $b } @pids;
}

1;
