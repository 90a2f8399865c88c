# Many graceful restarts while channels continue: an older generation never keeps the next one from
# serving, requests begun before a restart are served, and RpcGracefulTimeout under each MPM.

use strict;
use warnings;
use Test::More;
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::Test;

alarm 2 * ($ENV{RPCH_ALARM} || 150);    # each restart takes httpd some seconds, and more when other tests run at the same time

my $server = server(echo => 1);

sub httpd {
    my ($mpm, $limits, $conf, $clock) = @_;
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $limits, conf => ($conf // '') . "Timeout 15\n" . RPCH::Httpd->location);
    return $clock ? $clock->start($httpd) : $httpd->start;
}
# When a step fails, a test fails and prints the cause, and the file goes on.
sub opened {
    my ($httpd) = @_;
    my $c = session($httpd);
    my $log = $httpd->log;
    eval { $c->connect; 1 } or diag "no session: $@", "of the log:\n", substr $httpd->log, length $log;
    return $c;
}
sub session { my ($httpd) = @_; return plain(port => $httpd->{port}, target => $server->target) }
sub has_ended { my ($c) = @_; return $c->in->{eof} && $c->out->{eof} }
sub ended { my ($c) = @_; return eval { $_->wait_eof for $c->in, $c->out; 1 } }

# An ordinary page of another site on the same server.
sub page {
    my ($httpd) = @_;
    my $h = eval { RPCH::HTTP->dial(port => $httpd->{port}, name => 'a page') } or diag($@), return 0;
    $h->request('GET', '/nothing-here');
    my $head = eval { $h->head };
    $h->close;
    return $head && $head->{status} == 404;
}

# The children that serve clients, without the processes of the endpoint.
sub newcomers {
    my ($httpd, $old) = @_;
    return grep { !$old->{$_} && comm($_) !~ /^rpc-endpoint/ } $httpd->children;
}
sub comm {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/comm" or return '';
    return scalar(<$fh>) // '';
}

# A restart. When it returns, there is a child of the new generation.
sub reload {
    my ($httpd) = @_;
    my %old = map { $_ => 1 } $httpd->children;
    return eval {
        $httpd->restart;
        wait_for('a new child', sub { turn(0.02); newcomers($httpd, \%old) });
    } ? 1 : (diag($@), 0)[1];
}

my $EVENT = "ServerLimit 4\nStartServers 1\nThreadsPerChild 10\nMaxRequestWorkers 10\nMinSpareThreads 1\nMaxSpareThreads 10\n"
          . "AsyncRequestWorkerFactor 48\n";
# Children of two threads, so that a virtual connection takes a whole child. When a child has a thread
# left, worker may start another child beside it.
my $WORKER = "ServerLimit 2\nStartServers 2\nThreadsPerChild 2\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\n";
my $PREFORK = "ServerLimit 4\nStartServers 4\nMinSpareServers 1\nMaxSpareServers 4\nMaxRequestWorkers 4\n";
my $ROOMY = "ServerLimit 20\nStartServers 12\nMinSpareServers 8\nMaxSpareServers 20\nMaxRequestWorkers 20\n";

# ---- event: four slots, and a session in each generation ----
# When the machine holds up a child or the parent for longer than a generation has patience
# (httpd/scoreboard_room.c), the next one goes as well, or instead. Then another try has to show the order.
for my $try (1 .. 3) { last if four_slots($try == 3) }
sub four_slots {
    my ($last) = @_;
    my $httpd = httpd(event => $EVENT);
    ok($httpd->logs(qr/notice.*channels outlive 3 graceful restarts .*ServerLimit is 4/), 'start-up says how many restarts fit');
    my @session = opened($httpd);
    for my $n (1 .. 3) {
        ok(reload($httpd), "restart $n: the new generation begins");
        push @session, opened($httpd);
    }
    is(scalar(grep { $_->works } @session), 4, 'three restarts end no session');
    unlike($httpd->log, qr/ends its/, 'and the log says nothing of that kind');
    for my $n (4, 5) {
        ok(reload($httpd), "restart $n: the new generation begins, though no slot was left");
        ok(page($httpd), 'a page is served');
        eval { wait_for('the end of a session', sub { grep { has_ended($_) } @session }) } or diag $@;
        if (!$last && grep { $_->in->{eof} || $_->out->{eof} } @session[1 .. 3]) {
            diag 'the order was disturbed: once more';
            $_->close for @session;
            return 0;
        }
        ok(ended(shift @session), "the oldest generation's session has ended");
        is(scalar(grep { $_->works } @session), 3, 'the younger ones go on');
        is(scalar(() = $httpd->log =~ /notice.*ends its 2 channels \(shutdown\): httpd has no slot left.*ServerLimit/g), $n - 3, 'a notice tells how many channels');
        push @session, opened($httpd);
    }
    ok(eval { wait_for('lines', sub { turn(0.02); 4 == (() = $httpd->log('access_log') =~ /"RPC_(?:IN|OUT)_DATA .* shutdown$/mg) }) }, 'the access log has the reason');
    $_->close for @session;
    return 1;
}

# ---- worker: it starts children beside those that retire, so that it hardly runs out of slots ----
{
    my $httpd = httpd(worker => $WORKER);
    my @session;
    for my $n (1 .. 4) {
        push @session, opened($httpd);
        ok(reload($httpd), "worker: restart $n: the new generation begins");
        ok(page($httpd), 'worker: a page is served');
    }
    # A thread that ends early is not marked as dead, so that no new child can have its slot.
    my $alive = grep { $_->works } @session;
    ok($alive == 4 || $httpd->log =~ /ends its \d+ channels \(shutdown\): httpd has no slot left/, 'worker: restarts end no session while there are slots')
        or diag "$alive sessions are alive";
    $_->close for @session;
}

# ---- prefork: a child that has a channel keeps its slot. It is chance which children get the
# connections, so after each restart another session is opened, until no slot is left. ----
{
    my $httpd = httpd(prefork => $PREFORK);
    my @session = map { opened($httpd) } 1 .. 12;
    my $lacking = qr/ends its \d+ channels? ?\(shutdown\): httpd has no slot left.*MaxRequestWorkers/;
    for my $n (1 .. 6) {
        ok(reload($httpd), "prefork: restart $n: the new generation begins");
        ok(page($httpd), 'prefork: a page is served');
        last if $httpd->log =~ $lacking;
        push @session, opened($httpd);
    }
    like($httpd->log, $lacking, 'prefork: no slot was left, and a notice says so');
    ok(eval { wait_for('an end', sub { turn(0.02); grep { $_->in->{eof} || $_->out->{eof} } @session }) }, 'prefork: sessions have ended');
    my $c = session($httpd);
    ok(eval { $c->connect; $c->works }, 'prefork: their clients come again');
    $_->close for @session, $c;
}

# ---- event: children of one generation that retire have all slots in the end, and go one by one ----
{
    my $httpd = httpd(event => $EVENT =~ s/ServerLimit 4/ServerLimit 3/r . "MaxConnectionsPerChild 2\n");
    my @session;
    for my $n (1 .. 3) {
        my %old = map { $_ => 1 } $httpd->children;
        push @session, opened($httpd);
        ok(eval { wait_for('another child', sub { turn(0.02); newcomers($httpd, \%old) }) }, "a child has had all its connections: another one comes ($n)") or diag $@;
    }
    # The halves of a session may be in two children.
    ok(ended(shift @session), "the oldest child's session has ended");
    ok($httpd->logs(qr/notice.*ends its [12] channels \(shutdown\): httpd has no slot left.*ServerLimit/), 'with a notice');
    ok($session[-1]->works, 'the youngest goes on');
    ok(page($httpd), 'a page is served');
    $_->close for @session;
}

# ---- event: channels leave the descriptors that the child needs to accept connections; a child without
# any retires, and when all of them have done so httpd ends ----
{
    # No file is opened on the way to these channels, so accept() would be the call that fails.
    my $no_files = "<Directory />\nAllowOverride None\n</Directory>\n<Location /no-files/rpcproxy.dll>\nSetHandler rpcproxy\n"
                 . "Require all granted\nRpcAllowAnonymous On\nRpcRequireTLS off\nRpcValidPorts 127.0.0.1:1024-65535\n</Location>\n";
    my $httpd = RPCH::Httpd->new(mpm => 'event', limits => $EVENT, conf => "RpcMaxChannels 400\nRpcMaxUnpairedPerUser 0\n"
                                 . "Timeout 15\n" . RPCH::Httpd->location . $no_files);
    $httpd->{httpd} = "ulimit -n 80; $httpd->{httpd}";
    $httpd->start;
    my $session = opened($httpd);
    my %old = map { $_ => 1 } $httpd->children;
    my @halves;
    ok(eval { wait_for('a refusal', sub {
        turn(0.02);
        push @halves, map { session($httpd)->open_out(uri => '/no-files/rpcproxy.dll?' . $server->target) } 1 .. 5 if taken($httpd);
        $httpd->log =~ /warn.*RPC_OUT_DATA refused: local-failure: nearly all of the 80 files .* client 127\.0\.0\.1, target 127/;
    }) }, 'a child that has few descriptors left refuses channels');
    ok(page($httpd), 'a page is served');
    ok($session->works, 'the session goes on');
    unlike($httpd->log, qr/AH02179/, 'no connection failed to be accepted');
    is(scalar(newcomers($httpd, \%old)), 0, 'and no child had to retire');
    $_->close for @halves;
    my $next;
    ok(eval { wait_for('room', sub { turn(0.02); $next = session($httpd); eval { $next->connect; 1 } }) }, 'sessions are served when there is room');
    ok($next->works, 'and work');
    $_->close for $session, $next;
}

# ---- requests that have begun before a restart: half of a header. Prefork drops such requests for any
# module, so under prefork a session is open instead. The test sets the clock forward ----
my $clock = RPCH::Preload->new or BAIL_OUT('no C compiler');
for ([event => $EVENT], [worker => $EVENT =~ s/Async.*\n//r =~ s/MaxRequestWorkers 10/MaxRequestWorkers 40/r], [prefork => $ROOMY]) {
    my ($mpm, $limits) = @$_;
    my $httpd = httpd($mpm => $limits, "RpcGracefulTimeout 600\n", $clock);
    my $c = session($httpd);
    ok(eval { $mpm eq 'prefork' ? $c->connect : begin($c); 1 }, "$mpm: requests begin") or diag $@;
    ok(eval { wait_for('httpd to read what there is', sub { turn(0.02); taken($httpd) }) }, "$mpm: and are read") or diag $@;
    ok(reload($httpd), "$mpm: a restart while requests are on their way");
    finish($c) if $mpm ne 'prefork';
    ok(eval { $c->opened if $mpm ne 'prefork'; $c->works }, "$mpm: they are served");
    $clock->shift_by(0, 600);
    ok(ended($c), "$mpm: until RpcGracefulTimeout is over");
    ok($httpd->logs(qr/notice.*ends its \d channels? ?\(shutdown\): RpcGracefulTimeout is over/), "$mpm: with a notice");
    # Under prefork each half has a process of its own, and when one half ends the other may end with it.
    ok($httpd->logs(qr/"RPC_(?:IN|OUT)_DATA [^\n]* shutdown$/m, 'access_log'), "$mpm: and in the access log");
    unlike($httpd->log, qr/refused: stopping/, "$mpm: nobody was refused");
    $c->close;
}

# ---- graceful-stop under prefork ----
{
    my $httpd = httpd(prefork => $ROOMY, "RpcGracefulTimeout 1\n");
    my $c = opened($httpd);
    turn(0.1) for 1 .. 15;      # the test waits for something that must not happen, for which there is no event
    ok($c->works, 'RpcGracefulTimeout ends no session when nobody restarts');
    $httpd->signal('WINCH');
    ok(ended($c), 'prefork: graceful-stop ends a session when RpcGracefulTimeout is over');
    ok(eval { $httpd->wait_gone }, 'and httpd with it');
    $c->close;
}

# Sends both requests up to the middle of their headers; later the rest.
sub begin {
    my ($c) = @_;
    $c->open_in(dial => { hold => 1 });
    $c->open_out(dial => { hold => 1 });
    for my $half ($c->in, $c->out) {
        my $rest = substr $half->{out}, 20, length($half->{out}) - 20, '';
        $half->hold(0)->flush;
        $half->hold->put($rest);
    }
    return;
}
sub finish { my ($c) = @_; $_->hold(0) for $c->in, $c->out; $c->send_a1->send_b1; return }

# True when httpd has accepted all connections and has read all bytes.
sub taken {
    my ($httpd) = @_;
    open my $fh, '<', '/proc/net/tcp' or return 1;
    while (my $line = <$fh>) {
        my @f = split ' ', $line;
        return 0 if ($f[1] // '') =~ /:(\w+)$/ && hex $1 == $httpd->{port} && $f[4] !~ /:00000000$/;
    }
    return 1;
}

# ---- modules that come to lie elsewhere in memory ----
# At each start and restart httpd loads the modules anew, here in another order, so that mod_ssl gets
# another address. Whoever keeps a pointer to the mod_ssl before ends the parent.
{
    my $all = slurp(vars('serverroot') . '/conf/modules.conf');
    my ($ours) = $all =~ /^(LoadModule rpcproxy_module .*\n)/m;
    my $others = $all =~ s/^LoadModule rpcproxy_module .*\n//mr;
    my @orders = ("$ours$others", join('', reverse split /^/, $others) . $ours);
    my $httpd = RPCH::Httpd->new(mpm => 'event', conf => RPCH::Httpd->location);
    put("$httpd->{dir}/httpd.conf", slurp("$httpd->{dir}/httpd.conf") =~ s{^Include \S+/conf/modules\.conf$}{Include $httpd->{dir}/modules.conf}mr);
    my $begun = 0;
    for my $order (0, 1, 0, 1) {
        put("$httpd->{dir}/modules.conf", $orders[$order]);
        $begun ||= !!$httpd->start, next if !$begun;
        ok(eval { $httpd->restart; 1 }, "a restart with the modules in order $order") or diag($@), last;
    }
    ok(page($httpd), 'after that httpd serves');
}

$server->close;
done_testing;
