package Bench::Counts;

# How many system calls and instructions a proxy needs for a unit of work. Two amounts of work are
# counted, so that what a connection costs by itself falls out of the difference.
#
#   Bench::Counts::calls($start, $name, $measure, $port, $small, $large)          by perf, or strace
#   Bench::Counts::instructions($start, $name, $measure, $port, $small, $large)   by perf, or callgrind
#
# $start is a function that makes Bench::Servers with what it is given. Callgrind tells its totals when a
# process ends, so each amount has servers of its own.

use strict;
use warnings;
use Bench::Load;
use Time::HiRes qw(sleep);

my $CALLS = 'raw_syscalls:sys_enter';
my $INSTRUCTIONS = 'instructions:u';
my %can;

sub perf_counts {
    my ($event) = @_;

    return $can{$event} //= qx(perf stat -x, -e $event true 2>&1) =~ /^\d+,/m ? 1 : 0;
}

sub instructions_by {
    return perf_counts($INSTRUCTIONS) ? 'perf' : 'callgrind';
}

sub calls {
    my ($start, $name, @work) = @_;
    my $servers = $start->(only => $name);

    return per_unit(sub { perf_counts($CALLS) ? perf($CALLS, $servers, $name, @_) : strace($servers, $name, @_) },
                    @work);
}

sub instructions {
    my ($start, $name, @work) = @_;

    return per_unit(sub { callgrind($start, $name, @_) }, @work) if !perf_counts($INSTRUCTIONS);
    my $servers = $start->(only => $name);
    return per_unit(sub { perf($INSTRUCTIONS, $servers, $name, @_) }, @work);
}

sub per_unit {
    my ($count, $measure, $port, $small, $large) = @_;
    my ($less, $more) = map { $count->($measure, $port, '-n', $_) } $small, $large;

    return ($more - $less) / ($large - $small);
}

sub perf {
    my ($event, $servers, $name, @work) = @_;
    my $file = "$servers->{dir}/perf";
    my @load = Bench::Load::command($servers, $name, @work);

    system('perf', 'stat', '-x,', '-o', $file, '-e', $event, '-p', join(',', $servers->processes($name)), '--',
           'sh', '-c', 'exec "$@" >/dev/null', 'sh', @load) == 0 or die "perf stat has failed\n";
    return slurp($file) =~ /^(\d+),/m ? $1 : die "perf stat has counted nothing\n";
}

sub strace {
    my ($servers, $name, @work) = @_;
    my ($file, $log) = map { "$servers->{dir}/strace.$_" } qw(counts log);
    my @processes = $servers->processes($name);
    my $pid = $servers->spawn('strace', $log, qw(strace -f -c -o), $file, map { ('-p', $_) } @processes);

    sleep 0.1 until slurp("$servers->{dir}/strace.log") =~ /attached/ or Bench::Servers::has_ended($pid);
    Bench::Load::run($servers, $name, @work);
    kill INT => $pid;
    waitpid $pid, 0;
    unlink "$servers->{dir}/strace.log";
    return slurp($file) =~ /^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total$/m ? $1 : die "strace has failed\n";
}

sub callgrind {
    my ($start, $name, @work) = @_;
    my $servers = $start->(only => $name, under => \&under_callgrind);
    my $sum = 0;

    Bench::Load::run($servers, $name, @work);
    $servers->end($name);
    my @totals = map { slurp($_) =~ /^(?:totals|summary): (\d+)/m } glob "$servers->{dir}/callgrind/out.*";
    die "callgrind says nothing of $name\n" if @totals < ($name eq 'httpd' ? 2 : 1);
    $sum += $_ for @totals;
    return $sum;
}

# httpd's children write there as another user.
sub under_callgrind {
    my ($dir) = @_;

    mkdir "$dir/callgrind";
    chmod 01777, "$dir/callgrind";
    return (qw(valgrind -q --tool=callgrind --trace-children=yes), "--callgrind-out-file=$dir/callgrind/out.%p");
}

sub slurp {
    my ($file) = @_;

    open my $f, '<', $file or return '';
    local $/;
    return <$f> // '';
}

1;
