package RPCH::Suite;

# The whole suite, in shards that run side by side. A shard is a process with a server root of its
# own; it takes the next job from a queue that all share, until that is empty:
#
#   parent --numbers of jobs--> shards --results--> parent
#
# A shard starts a server for each MPM that it meets. So only the files of one MPM, that which has most, are
# spread over the shards; those of another one stay together in one shard.
#
# A job is a test file under an MPM, or a command that has to succeed. What a job writes is kept,
# and shown whole when it fails.
#
# A file that fails beside others runs once more, by itself, because a machine that is too busy for a
# moment says nothing about the program. What it wrote at first is shown, and the summary names it: such
# a test is to be cured. A file that fails by itself, too, has failed, and so has a run with more than
# MOST_AGAIN of them, or with a crash.

use strict;
use warnings;
use File::Temp qw(tempdir);
use POSIX ();
use TAP::Parser;
use Time::HiRes ();
use RPCH::Root;

use constant MOST_AGAIN => 3;

my @MPMS = qw(prefork worker event);    # in this order: the short suites first, so that no shard ends late

# ARG: top, shards, verbose, keep.
sub new {
    my ($class, %arg) = @_;
    my $self = bless { %arg, jobs => [], passed => 0, failed => 0, dir => tempdir('rpcproxy-suite-XXXXXX', TMPDIR => 1) }, $class;
    $self->{owner} = $$;
    return $self;
}

sub add_files {
    my ($self, $mpm, @files) = @_;
    push @{ $self->{jobs} }, map { { name => "$_ ($mpm)", mpm => $mpm, file => $_, alone => $self->wants_alone($_) } } @files;
    return;
}

# A command of the shell; it counts as one test.
sub add_command {
    my ($self, $command) = @_;
    push @{ $self->{jobs} }, { name => $command, command => $command };
    return;
}

# Does a comment of the test file say that it runs alone?
sub wants_alone {
    my ($self, $file) = @_;
    open my $fh, '<', "$self->{top}/$file" or die "$file: $!\n";
    return scalar grep { /^# Runs alone:/ } <$fh>;
}

# Does all jobs and returns the exit status.
sub run {
    my ($self) = @_;
    my $begin = Time::HiRes::time();
    local @SIG{qw(INT TERM)} = (sub { $self->{interrupted} = 1; kill TERM => @{ $self->{shard_pids} } }) x 2;
    $self->{jobs} = [$self->in_order];
    my @all = 0 .. $#{ $self->{jobs} };
    $self->round($self->{shards}, grep { !$self->{jobs}[$_]{alone} } @all);
    $self->round(1, grep { $self->{jobs}[$_]{alone} } @all);
    $self->again(grep { $self->{jobs}[$_]{file} && $self->has_failed($self->{jobs}[$_]) } @all);
    $self->keep_times;
    return $self->summary(Time::HiRes::time() - $begin);
}

# The order of jobs: commands first, then MPM after MPM. Of the files of one MPM the longest comes first.
sub in_order {
    my ($self) = @_;
    my %last = $self->last_times;
    my %place = map { $MPMS[$_] => 1 + $_ } 0 .. $#MPMS;
    my $long = sub { my ($job) = @_; $last{ $job->{name} } // ($job->{file} ? (-s "$self->{top}/$job->{file}") / 1000 : 0) };
    return sort { ($place{ $a->{mpm} // '' } // 0) <=> ($place{ $b->{mpm} // '' } // 0) || $long->($b) <=> $long->($a) }
           @{ $self->{jobs} };
}

# How long each job took, in seconds: in the last run of this build folder; else as the tree has it for the
# longest files, see keep_longest().
sub times_file { my ($self) = @_; return "$self->{top}/build/t/seconds" }
sub longest_file { my ($self) = @_; return "$self->{top}/t/longest" }
sub last_times {
    my ($self) = @_;
    my %times;
    for my $file ($self->longest_file, $self->times_file) {
        open my $fh, '<', $file or next;
        %times = (%times, map { /^(\S+) (.+)$/ ? ($2 => $1) : () } <$fh>);
    }
    return %times;
}

sub keep_times {
    my ($self) = @_;
    my %times = ($self->last_times, map { defined $_->{seconds} ? ($_->{name} => $_->{seconds}) : () } @{ $self->{jobs} });
    mkdir "$self->{top}/build/t";
    return write_times($self->times_file, 0, %times);
}

# Writes the times of the files that are longest into the tree, for runs in a new clone.
use constant LONG => 8;
sub keep_longest {
    my ($self) = @_;
    my %times = $self->last_times;
    my @files = grep { /^(\S+) \(/ && -e "$self->{top}/$1" } keys %times;
    return write_times($self->longest_file, LONG, map { $_ => $times{$_} } @files);
}

sub write_times {
    my ($file, $least, %times) = @_;
    open my $fh, '>', $file or return;
    printf $fh "%.0f %s\n", $times{$_}, $_
        for sort { $times{$b} <=> $times{$a} || $a cmp $b } grep { $times{$_} >= $least } keys %times;
    return close $fh;
}

# ---- the parent ----

# Does the jobs with these numbers in N shards.
sub round {
    my ($self, $n, @numbers) = @_;
    return if !@numbers || $self->{interrupted};
    $n = @numbers if $n > @numbers;
    pipe my $queue, my $jobs or die "pipe: $!\n";
    pipe my $results, my $result or die "pipe: $!\n";
    syswrite $jobs, join '', map { pack 'NN', @$_[0, -1] } $self->portions(@numbers);     # 8,000 fit into a pipe
    close $jobs;
    my @pids = map { $self->fork_shard($queue, $result) } 1 .. $n;
    $self->{shard_pids} = \@pids;
    close $result;
    while (my $line = <$results>) {
        my ($number, $status, $seconds, $cpu) = split ' ', $line;
        @{ $self->{jobs}[$number] }{qw(status seconds cpu)} = ($status, $seconds, $cpu);
        $self->finished($self->{jobs}[$number], "$self->{dir}/$number.out");
    }
    for my $pid (@pids) {
        1 while waitpid($pid, 0) != $pid && $!{EINTR};
        $self->{failed_shards} += $? != 0;
    }
    return;
}

# These numbers in portions of neighbours, each of which one shard takes.
sub portions {
    my ($self, @numbers) = @_;
    my %count;
    my @mpm = map { $self->{jobs}[$_]{mpm} // '' } @numbers;
    $count{$_}++ for @mpm;
    my ($spread) = sort { $count{$b} <=> $count{$a} || $a cmp $b } grep { $_ } keys %count;
    my @portions;
    for my $i (0 .. $#numbers) {
        my $stays = $i && $mpm[$i] && $mpm[$i] ne $spread && $mpm[$i] eq $mpm[$i - 1] && $numbers[$i] == $numbers[$i - 1] + 1;
        if ($stays) { push @{ $portions[-1] }, $numbers[$i] }
        else { push @portions, [$numbers[$i]] }
    }
    return @portions;
}

sub has_failed { my ($self, $job) = @_; return $job->{wrong} && @{ $job->{wrong} } }

# Runs the jobs with these numbers once more, one after the other, and counts only what comes now.
sub again {
    my ($self, @numbers) = @_;
    return if @numbers > MOST_AGAIN;
    for my $job (@{ $self->{jobs} }[@numbers]) {
        $self->{$_} -= $job->{$_} for qw(passed failed);
        $job->{at_first} = join ', ', @{ delete $job->{wrong} };
        print "Once more, by itself: $job->{name}\n";
    }
    return $self->round(1, @numbers);
}

# Reads the counts from a job's output and prints a line; if something is wrong, all of the output is
# printed, behind a margin because it is not yet the result.
sub finished {
    my ($self, $job, $file) = @_;
    my $output = do { open my $fh, '<', $file or die "$job->{name}: $!\n"; local $/; <$fh> // '' };
    my $status = $job->{status};
    my ($passed, $failed, @wrong) = $job->{file} ? judge($output) : $status ? (0, 1) : (1, 0);
    push @wrong, $status >> 8 ? 'exit status ' . ($status >> 8) : "signal $status" if $status;
    $job->{wrong} = \@wrong;
    @$job{qw(passed failed)} = ($passed, @wrong && !$failed ? 1 : $failed);
    $self->{$_} += $job->{$_} for qw(passed failed);
    $output =~ s/^/    | /mg if @wrong && $job->{file} && !$job->{at_first};
    print $output if @wrong || $self->{verbose};
    printf "%-36s %s %6.1f s %6.1f CPU  %s\n", $job->{name}, @wrong ? 'FAILED' : 'ok    ', @$job{qw(seconds cpu)},
           @wrong ? join ', ', @wrong : $output =~ /^1\.\.0 # SKIP (.*)/mi ? "skipped: $1" : $passed == 1 ? '1 test' : "$passed tests";
    return;
}

# How many tests passed and failed; and what is wrong with the output of a file.
sub judge {
    my ($output) = @_;
    my $tap = TAP::Parser->new({ tap => $output });
    $tap->run;
    my @failed = $tap->failed;
    return (scalar $tap->passed, scalar @failed, @failed ? 'tests ' . ranges(@failed) : (), $tap->parse_errors);
}

# Numbers as text: 1, 2, 3, 7 is "1-3 7".
sub ranges {
    my @ranges;
    for my $n (@_) {
        if (@ranges && $ranges[-1][1] == $n - 1) { $ranges[-1][1] = $n }
        else { push @ranges, [$n, $n] }
    }
    return join ' ', map { $_->[0] == $_->[1] ? $_->[0] : "$_->[0]-$_->[1]" } @ranges;
}

# Prints the failures, and last lines like those of prove, for people and programs.
sub summary {
    my ($self, $seconds) = @_;
    my @bad = grep { !$_->{wrong} || @{ $_->{wrong} } } @{ $self->{jobs} };
    print "\nFailed beside others, passed by itself: $_->{name}: $_->{at_first}\n"
        for grep { $_->{at_first} && !$self->has_failed($_) } @{ $self->{jobs} };
    $self->{failed} += grep { !$_->{wrong} } @bad;
    $self->{failed} += $self->{failed_shards} || 0;
    if ($self->{failed}) {
        print "\nFailed:\n";
        print "    $_->{name}: ", $_->{wrong} ? join(', ', @{ $_->{wrong} }) : 'did not run', "\n" for @bad;
        print "    a shard: see what it wrote above\n" if $self->{failed_shards};
    }
    else { print "All tests successful.\n" }
    printf "Files=%d, Tests=%d, %d wallclock secs (%.0f CPU)\nResult: %s\n%d passed, %d failed\n", scalar @{ $self->{jobs} },
           $self->{passed} + $self->{failed}, $seconds, cpu(), $self->{failed} ? 'FAIL' : 'PASS', @$self{qw(passed failed)};
    return $self->{failed} ? 1 : 0;
}

# The times that children of this process have used, if they have ended. Servers in the background are not
# children of this process.
sub cpu { my (undef, undef, $user, $system) = times; return $user + $system }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $@, $!);
    File::Path::remove_tree($self->{dir});
    return;
}

# ---- a shard ----

sub fork_shard {
    my ($self, $queue, $result) = @_;
    defined(my $pid = fork) or die "fork: $!\n";
    return $pid if $pid;
    my $shard = bless { suite => $self, mpm => '' }, 'RPCH::Suite::Shard';
    my $ended = eval { $shard->work($queue, $result); 1 };
    print STDERR "shard: $@" if !$ended;
    $ended &&= eval { $shard->end_root; 1 };
    POSIX::_exit($ended && !$shard->{crashed} ? 0 : 1);
}

package RPCH::Suite::Shard;

use strict;
use warnings;

sub work {
    my ($self, $queue, $result) = @_;
    local @SIG{qw(INT TERM)} = (sub { kill TERM => $self->{pid} if $self->{pid}; die "interrupted\n" }) x 2;
    while (sysread $queue, my $portion, 8) {
        my ($first, $last) = unpack 'NN', $portion;
        $self->take($_, $result) for $first .. $last;
    }
    return;
}

# Does the job with this number, and tells the parent.
sub take {
    my ($self, $number, $result) = @_;
    my $job = $self->{suite}{jobs}[$number];
    $self->begin_root($job->{mpm}) if $job->{mpm} && $job->{mpm} ne $self->{mpm};
    my ($begin, $cpu) = (Time::HiRes::time(), RPCH::Suite::cpu());
    my $status = $self->do($job, "$self->{suite}{dir}/$number.out");
    syswrite $result, sprintf "%d %d %.1f %.1f\n", $number, $status, Time::HiRes::time() - $begin, RPCH::Suite::cpu() - $cpu;
    return;
}

# Runs a job to its end and returns its wait status.
sub do {
    my ($self, $job, $output) = @_;
    my @command = $job->{file} ? ($^X, $job->{file}) : ('/bin/sh', '-c', $job->{command});
    defined($self->{pid} = fork) or die "fork: $!\n";
    if (!$self->{pid}) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $output or die "$output: $!\n";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    1 while waitpid($self->{pid}, 0) != $self->{pid} && $!{EINTR};
    undef $self->{pid};
    return $?;
}

# Starts the server of an MPM, unless it runs.
sub begin_root {
    my ($self, $mpm) = @_;
    $self->end_root;
    my $suite = $self->{suite};
    $self->{root} = RPCH::Root->new(top => $suite->{top}, mpm => $mpm, keep => $suite->{keep});
    $self->{mpm} = $mpm;
    my $status = $self->{root}->start("$suite->{dir}/start-$$");
    die "interrupted\n" if $self->{root}{interrupted};
    die 'httpd did not start: ' . qx(cat $suite->{dir}/start-$$) if $status;
    return;
}

# Stops the server, and looks whether it or a private server of a test has crashed.
sub end_root {
    my ($self) = @_;
    my $root = delete $self->{root} or return;
    $root->stop_servers;
    $self->{crashed} ||= $root->crashes;
    return;
}

1;
