#!/usr/bin/perl

# make bench: mod_rpcproxy beside HAProxy, in front of one server, in one run.
#
# usage: bench/run.pl [-m event|worker|prefork] [-p tls|plain] [-a] [PART ...]
#   -a      all variants, one after the other (make bench-all)
#   PART    rounds: ping-pong, bulk, set-ups by turns;    crowd: what many idle ones cost, by their number
#           delays: an echo while others end or begin;    counts: system calls and instructions
#           relay: both before an RPC proxy that is already there, HAProxy in mode http
#           firewall: the same httpd with and without;    hash: what a hash of the password costs
#           By default the first five.
#
# Environment: ROUNDS=21 PINGS=2000 MB=120 SETUPS=100; CROWD: the most virtual connections, by default as many
# as the descriptors allow, up to 20000; BUILD=build; ENGINE: the folder of another mod_rpcproxy.so; EXTRA:
# more lines for httpd.conf; KEEP=1 keeps logs.
#
# The exit status is 1 when a bound is not kept. Bounds are those of TLS under event.

use strict;
use warnings;
use Cwd ();
use File::Basename qw(dirname);
use Getopt::Long qw(GetOptions);
use List::Util qw(min);
use POSIX qw(ceil);
use Time::HiRes qw(sleep time);
use lib dirname(__FILE__) . '/lib';
use Bench::Counts;
use Bench::Load;
use Bench::Servers;
use Bench::Table;

my @SIDES = qw(httpd haproxy);
my @NAMES = qw(mod_rpcproxy HAProxy);
my %parts = (rounds => \&rounds, crowd => \&crowd, delays => \&delays, counts => \&counts,
             relay => \&relay, firewall => \&firewall, hash => \&hash);
my ($mpm, $port) = qw(event tls);

$| = 1;
$SIG{INT} = $SIG{TERM} = sub { exit 130 };
$ENV{PATH} .= ':/usr/sbin:/sbin';
GetOptions('m=s' => \$mpm, 'p=s' => \$port, 'a' => \my $all) or die "usage: see the top of $0\n";
chdir dirname(__FILE__) . '/..' or die "$!\n";
$ENV{PWD} = Cwd::getcwd();
my @usual = qw(rounds crowd delays counts relay);
my @wanted = @ARGV ? @ARGV : @usual;
my ($unknown) = grep { !$parts{$_} } @wanted;
die "what is \"$unknown\"? See the top of $0\n" if defined $unknown;

# ---- helpers ----

# The rest happens in a session of its own. Where the system shares out the CPUs by sessions and root asks,
# it comes before all others: medians hide what else a machine does only while that is little.
sub begin_session {
    my $pid = fork // die "fork: $!\n";

    if ($pid) {
        $SIG{INT} = $SIG{TERM} = sub { kill TERM => $pid };
        1 until waitpid($pid, 0) == $pid;
        exit($? & 127 ? 1 : $? >> 8);
    }
    POSIX::setsid();
    open my $f, '>', '/proc/self/autogroup' or return;
    print $f "-20\n";
    close $f;   # may be refused
}

sub number {
    my ($name, $default) = @_;

    return $ENV{$name} || $default;
}

# A bound counts where it was set.
sub bound {
    my ($bound) = @_;

    return $mpm eq 'event' && $port eq 'tls' ? $bound : ();
}

sub servers {
    my (%o) = @_;

    return Bench::Servers->new(mpm => $mpm, %o, extra => join "\n", $ENV{EXTRA} // (), $o{extra} // ());
}

# The side that begins changes.
sub by_turns {
    my ($rounds, $measure) = @_;

    for my $round (0 .. $rounds - 1) {
        $measure->(($round + $_) % 2) for 0, 1;
    }
}

# How many virtual connections a process can have that needs so many descriptors for each, and some for
# itself. A proxy needs four; rpcload and the servers need two.
sub fitting {
    my ($each) = @_;
    my $limit = qx(ulimit -Hn 2>/dev/null || bash -c "ulimit -Hn");

    return $limit =~ /^\d+$/ ? int(($limit - 700) / $each) : 1e6;
}

sub most {
    return min(number('CROWD', 20_000), fitting(4));
}

# The processes that a proxy needs for N. More than one do not get the same number each.
sub processes {
    my ($n) = @_;

    return $n <= fitting(4) ? 1 : ceil(1.25 * $n / fitting(4));
}

# ---- one virtual connection at a time, and set-ups ----

sub amounts {
    return (ping => number(PINGS => 2000), in => number(MB => 120), out => number(MB => 120), setups => number(SETUPS => 100));
}

sub rounds {
    my $table = Bench::Table->new(@NAMES);
    my $servers = servers();
    my %amount = amounts();

    # Short ones close together: what else the machine does then disturbs both sides.
    for my $measure (qw(ping in out setups)) {
        by_turns(number(ROUNDS => 21), sub {
            my ($side) = @_;
            $table->add($side, Bench::Load::run($servers, $SIDES[$side], $measure, $port, '-n', $amount{$measure}));
        });
    }
    $servers->check;
    $table->show("ping-pong, 100 bytes", [ping_p50 => 'p50, us', 1], [ping_p99 => 'p99, us', 1],
                 [ping_cpu => 'CPU us a round trip', 1, bound('<= 0.85')]);
    $table->show("bulk, $amount{in} MB", [in_speed => 'IN, MB/s', 0],
                 [in_cpu => 'IN, CPU s a GB', 2, bound('<= 0.80')],
                 [out_speed => 'OUT, MB/s', 0], [out_cpu => 'OUT, CPU s a GB', 2, bound('<= 0.90')]);
    $table->show("set-ups, 32 at a time", [setups => 'a second', 0, bound('>= 1.00')],
                 [setup_user => 'CPU, user, ms', 2], [setup_sys => 'CPU, system, ms', 2]);
}

# ---- before another proxy ----

# With TLS on both sides of both, whatever the variant.
sub relay {
    my $table = Bench::Table->new(@NAMES);
    my $n = min(most(), 1000);
    my %amount = amounts();

    for my $measure (qw(ping in out setups)) {
        my $servers = servers(upstream => 1);
        by_turns(number(ROUNDS => 7), sub {
            $table->add($_[0], Bench::Load::run($servers, $SIDES[$_[0]], $measure, 'relay', '-n', $amount{$measure}));
        });
    }
    by_turns(1, sub {
        my ($side) = @_;
        my $servers = servers(upstream => 1, crowd => $n);
        my $crowd = Bench::Load->start($servers, $SIDES[$side], 'crowd', 'relay', '-n', $n);
        $table->add($side, { pss => $crowd->finish->{pss} });
    });
    $table->show('before another proxy, by TLS: ping-pong', [ping_p50 => 'p50, us', 1],
                 [ping_cpu => 'CPU us a round trip', 1, bound('<= 1.00')]);
    $table->show("bulk, $amount{in} MB", [in_speed => 'IN, MB/s', 0],
                 [in_cpu => 'IN, CPU s a GB', 2, bound('<= 0.90')],
                 [out_speed => 'OUT, MB/s', 0], [out_cpu => 'OUT, CPU s a GB', 2, bound('<= 0.85')]);
    $table->show('set-ups, 32 at a time', [setups => 'a second', 0, bound('>= 0.75')],
                 [setup_user => 'CPU, user, ms', 2], [setup_sys => 'CPU, system, ms', 2]);
    $table->show("$n idle virtual connections", [pss => 'PSS a connection, KB', 1, bound('<= 1.15')]);
}

# ---- many ----

# New servers each time: memory that was used once would hide what the next ones cost.
sub crowd {
    my $most = most();

    for my $n (grep({ $_ < $most } 100, 1000), $most) {
        my $table = Bench::Table->new(@NAMES);

        by_turns($n == 1000 ? 3 : 1, sub { $table->add($_[0], crowd_of($_[0], $n)) });
        $table->show("$n idle virtual connections",
                     [pss => 'PSS a connection, KB', 1, $n >= 1000 ? bound('<= 1.05') : ()],
                     [threads => 'threads', 0], [descriptors => 'descriptors a virtual connection', 2],
                     [setups => 'set-ups a second', 0], [setup_user => 'CPU of a set-up, user, ms', 2],
                     [setup_sys => 'CPU of a set-up, system, ms', 2],
                     [ping_cpu => 'CPU us of a round trip beside them', 1],
                     [idle_cpu => 'CPU ms a second while all are idle', 1],
                     [end_cpu => 'CPU of an end, ms', 3], [end_seconds => 'seconds until all have ended', 2]);
    }
}

sub crowd_of {
    my ($side, $n) = @_;
    my $servers = servers(crowd => $n, addresses($n));
    my $crowd = Bench::Load->start($servers, $SIDES[$side], 'crowd', $port, '-n', $n, @{ $servers->{client} });
    my $ping = Bench::Load::run($servers, $SIDES[$side], 'ping', $port, '-n', number(PINGS => 5000));
    my $results = $crowd->finish;

    $results->{ping_cpu} = $ping->{ping_cpu};
    $servers->check;
    return $results;
}

# One address has about 28,000 ports to connect to one port from, and there are two connections each.
sub addresses {
    my ($n) = @_;

    return (client => []) if $n <= 10_000;
    return (client => ['-a', 8], sources => 8);
}

# ---- delays ----

# Those of several processes end on the same CPUs.
sub delays {
    my $n = min(number(CROWD => 9000), 9000, fitting(2));
    my $table = Bench::Table->new(@NAMES);

    by_turns(number(ENDS => 2), sub {
        my ($side) = @_;
        my $servers = servers(crowd => $n, workers => 64, processes => processes($n), addresses($n));

        $table->add($side, { quiet => probe($servers, $side, sub { sleep 2 }) });
        $table->add($side, { storm => probe($servers, $side, sub { storm($servers, $side, $table) }) });
        $table->add($side, { server => end_of_server($servers, $side, $n) });
        $table->add($side, { clients => end_of_clients($servers, $side, $n) });
        $servers->check;
    });
    $table->show('longest echo of a virtual connection, ms', [quiet => 'alone', 1],
                 [storm => 'while others are set up, 64 at a time', 1, bound('50')],
                 [server => "while $n others lose their server", 1, bound('50')],
                 [clients => "while $n others lose their client", 1, bound('50')]);
    $table->show('the storm of set-ups', [storm_setups => 'a second', 0]);
}

# The longest echo while CODE runs.
sub probe {
    my ($servers, $side, $code) = @_;
    my $probe = Bench::Load->start($servers, $SIDES[$side], 'probe', "steady_$port");

    $code->();
    return $probe->finish->{echo_max};
}

sub storm {
    my ($servers, $side, $table) = @_;
    my $results = Bench::Load::run($servers, $SIDES[$side], 'storm', $port, '-n', number(STORM => 2000), '-c', 64);

    $table->add($side, { storm_setups => $results->{setups} });
}

sub end_of_server {
    my ($servers, $side, $n) = @_;
    my $crowd = Bench::Load->start($servers, $SIDES[$side], 'crowd', $port, '-e', '-n', $n, @{ $servers->{client} });
    my $longest = probe($servers, $side, sub { $servers->kill_server; $crowd->finish });

    $servers->start_server('server');
    return $longest;
}

sub end_of_clients {
    my ($servers, $side, $n) = @_;
    my $crowd = Bench::Load->start($servers, $SIDES[$side], 'crowd', $port, '-n', $n, @{ $servers->{client} });

    return probe($servers, $side, sub { $crowd->kill; sleep 3 });
}

# ---- counts ----

sub counts {
    my $table = Bench::Table->new(@NAMES);
    my $by = Bench::Counts::instructions_by();

    count($table, 'calls', 1, in => [10, 40], out => [10, 40], ping => [1000, 3000], setups => [50, 150]);
    count($table, 'instructions', 1000, in => [2, 6], out => [2, 6], ping => [300, 1300], setups => [10, 40]);
    $table->show('system calls', [calls_in => 'IN, a MB', 0], [calls_out => 'OUT, a MB', 0],
                 [calls_ping => 'a round trip', 1], [calls_setups => 'a set-up', 0]);
    $table->show("instructions, by $by, in thousands", [instructions_in => 'IN, a MB', 0],
                 [instructions_out => 'OUT, a MB', 0], [instructions_ping => 'a round trip', 1],
                 [instructions_setups => 'a set-up', 0]);
}

sub count {
    my ($table, $what, $unit, %amounts) = @_;
    my $count = Bench::Counts->can($what);

    for my $measure (sort keys %amounts) {
        by_turns(1, sub {
            my ($side) = @_;
            my $n = $count->(\&servers, $SIDES[$side], $measure, $port, @{ $amounts{$measure} });
            $table->add($side, { "${what}_$measure" => $n / $unit });
        });
    }
}

# ---- our own choices ----

sub firewall {
    my $table = Bench::Table->new('firewall', 'none');
    my $servers = servers();
    my @ports = ('firewall', $port);

    by_turns(number(ROUNDS => 7), sub {
        my ($side) = @_;
        $table->add($side, Bench::Load::run($servers, 'httpd', $_, $ports[$side], '-n', number(MB => 200))) for qw(in out);
        $table->add($side, Bench::Load::run($servers, 'httpd', 'ping', $ports[$side], '-n', number(PINGS => 5000)));
    });
    $table->show('one httpd with a firewall and without', [ping_cpu => 'CPU us a round trip', 1],
                 [in_cpu => 'IN, CPU s a GB', 2], [out_cpu => 'OUT, CPU s a GB', 2]);
    print "\n";
    system(number(BUILD => 'build') . '/firewall_cost') == 0 or die "firewall_cost has failed\n";
}

# What the hash of a password costs a set-up, which has two requests; and with a cache of credentials.
sub hash {
    my $table = Bench::Table->new('mod_authn_socache', 'none');
    my %salt = (bcrypt5 => '$2y$05$abcdefghijklmnopqrstuu', bcrypt10 => '$2y$10$abcdefghijklmnopqrstuu',
                sha512 => '$6$abcdefgh$');

    by_turns(1, sub {
        my ($side) = @_;
        for my $kind ('sha1', sort keys %salt) {
            my $servers = servers(cache => !$side, $salt{$kind} ? (hash => crypt('bench', $salt{$kind})) : ());
            my $results = Bench::Load::run($servers, 'httpd', 'setups', $port, '-n', 100);
            $table->add($side, { $kind => $results->{setup_user} + $results->{setup_sys} });
        }
    });
    $table->show('CPU of a set-up, ms, by the hash of the password', [sha1 => '{SHA}', 2],
                 [bcrypt5 => 'bcrypt, cost 5 (htpasswd -B)', 2], [bcrypt10 => 'bcrypt, cost 10', 2],
                 [sha512 => 'SHA-512 (htpasswd -5)', 2]);
}

# ---- main ----

sub variant {
    ($mpm, $port, my @todo) = @_;

    printf "\n==== %s, %s ====\n", $mpm, $port eq 'tls' ? 'TLS' : 'plain HTTP';
    $parts{$_}->() for @todo;
}

begin_session();
printf "%s; %s, 1 thread; %d CPUs; %d virtual connections at most\n",
    qx(apache2 -v 2>/dev/null || httpd -v) =~ /version: (.*)/, qx(haproxy -v) =~ /^(.*?) *-/, qx(nproc), most();
if ($all) {
    variant('event', 'tls', @usual, 'firewall', 'hash');
    variant('event', 'plain', grep { $_ ne 'relay' } @usual);
    variant($_, 'tls', qw(rounds crowd delays)) for qw(worker prefork);
    variant($_, 'plain', qw(rounds crowd)) for qw(worker prefork);
}
else {
    variant($mpm, $port, @wanted);
}
printf "\nBounds that are not kept: %d\n", Bench::Table::broken();
exit(Bench::Table::broken() ? 1 : 0);
