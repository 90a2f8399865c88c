# Restarts, stops, limits and threads of the server while channels are open, and what becomes of the
# endpoint process. Each section has a server of its own.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu response_pdu rpc_parse RESPONSE);
use RPCH::Test;

sub private_client { my ($httpd, %arg) = @_; return plain(port => $httpd->{port}, %arg) }

# A native virtual connection and one through the endpoint.
my ($native, $tcp) = (server(echo => 1), tcp_server());
my %to = (native => $native->target, endpoint => "tcp.contoso.test:$tcp->{port}");
sub open_both { my ($httpd) = @_; return map { ($_ => private_client($httpd, target => $to{$_})->connect) } sort keys %to }

sub endpoint_pid {
    my ($httpd) = @_;
    return (wait_for('the endpoint process', sub {
        turn(0.02);
        for my $pid ($httpd->children) {
            open my $fh, '<', "/proc/$pid/comm" or next;
            return $pid if <$fh> =~ /^rpc-endpoint/;
        }
        return;
    }));
}
sub alive { my ($pid) = @_; return kill 0, $pid }
sub wait_dead { my ($pid) = @_; return eval { wait_for("process $pid to end", sub { turn(0.02); !alive($pid) }) } }

# ---- graceful restart: connections go on, in the old child and in the endpoint ----
{
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;
    my $endpoint = endpoint_pid($httpd);
    my %c = open_both($httpd);
    ok($c{$_}->works, "$_: before the restart") for sort keys %c;
    my %old = map { $_ => 1 } $httpd->children;
    $httpd->restart;
    wait_for('a new child', sub { turn(0.02); grep { !$old{$_} } $httpd->children });
    ok($httpd->logs(qr/SIGUSR1 received/), 'a graceful restart');
    ok($c{$_}->works, "$_: a connection survives it") for sort keys %c;
    ok(alive($endpoint), 'with the same endpoint process');
    my %new = eval { open_both($httpd) };
    ok($new{$_} && $new{$_}->works, "$_: new connections open meanwhile") for sort keys %to;
    $_->close for values %c;
    for my $pid (grep { $_ != $endpoint } sort keys %old) { ok(wait_dead($pid), 'the old child ends with its last channel') }
    ok($new{$_} && $new{$_}->works, "$_: the new connections do not notice") for sort keys %to;
    $_->close for values %new;
    ok(wait_dead($endpoint), 'an endpoint process of before the restart goes when it is idle');
    my $second = endpoint_pid($httpd);
    isnt($second, $endpoint, 'another takes its place');
    my %third = open_both($httpd);
    ok($third{endpoint}->works, 'and serves');
    if ($> == 0) {
        open my $fh, '<', "/proc/$second/status" or die $!;
        my ($uid) = map { /^Uid:\s+(\d+)/ ? $1 : () } <$fh>;
        is(scalar getpwuid $uid, vars('user'), "it has the rights of httpd's User");
    }

    # The endpoint process is killed: its connections end, and another process is started
    kill KILL => $second;
    $_->wait_eof for $third{endpoint}->in, $third{endpoint}->out;
    pass('connections of a killed endpoint end');
    ok($third{native}->works, 'others do not notice');
    ok(wait_dead($second), 'it is gone');
    my $fourth = endpoint_pid($httpd);
    my $c = private_client($httpd, target => $to{endpoint});
    ok(eval { $c->connect; $c->works }, 'the parent has started another');
    ok($httpd->logs(qr/endpoint process $second died/), 'and says so in the log');

    # A stop while channels are open
    my @channels = ($third{native}->in, $third{native}->out, $c->in, $c->out);
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, 'stop with channels open: the parent ends');
    ok($_->wait_eof, 'a channel ends') for @channels;
    ok(wait_dead($fourth), 'the endpoint ends');
    like($httpd->log('access_log'), qr/"RPC_OUT_DATA .* shutdown$/m, 'the access log has the reason');
    unlike($httpd->log, qr/exit signal|sending a SIGKILL|could not make/, 'nobody had to be killed');
    is(join(" ", glob "$httpd->{dir}/rpcproxy.sock*"), "", "the socket is gone");
    $_->close for values %third, $c;
}

# ---- the parent is killed: the endpoint does not outlive it ----
{
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;
    my $endpoint = endpoint_pid($httpd);
    my @orphans = $httpd->children;
    kill KILL => $httpd->{pid};
    ok(wait_dead($endpoint), 'the parent is killed: the endpoint goes');
    kill KILL => @orphans;
}

# ---- graceful stop: channels live on for RpcGracefulTimeout ----
{
    my $httpd = RPCH::Httpd->new(conf => "RpcGracefulTimeout 6\n" . RPCH::Httpd->location)->start;
    my %c = open_both($httpd);
    $httpd->signal('WINCH');
    wait_for('the listener to be closed', sub {
        turn(0.02);
        !IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $httpd->{port});
    });
    ok($c{$_}->works, "$_: graceful-stop lets it go on") for sort keys %c;
    ok(eval { $httpd->wait_gone(30) }, 'until RpcGracefulTimeout is over');
    ok($_->in->wait_eof && $_->out->wait_eof, 'then it ends') for values %c;
    like($httpd->log('access_log'), qr/"RPC_IN_DATA .* shutdown$/m, 'as shutdown');
    unlike($httpd->log, qr/exit signal/, 'in order');
    $_->close for values %c;
}
{
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;
    my %c = open_both($httpd);
    $httpd->signal('WINCH');
    ok($c{$_}->works, "$_: graceful-stop without a limit") for sort keys %c;
    $_->close for values %c;
    ok(eval { $httpd->wait_gone(30) }, 'ends with the last channel');
}

# ---- hard restart ----
{
    my $httpd = RPCH::Httpd->new(conf => RPCH::Httpd->location)->start;
    my %c = open_both($httpd);
    my %old = map { $_ => 1 } $httpd->children;
    $httpd->signal('HUP');
    $_->in->wait_eof && $_->out->wait_eof for $c{native};
    pass('a restart ends the channels');
    wait_for('a new child', sub { turn(0.02); grep { !$old{$_} } $httpd->children });
    my %new;
    ok(eval { wait_for('the restarted server', sub { %new = eval { open_both($httpd) } }) }, 'and new ones open');
    ok($new{$_} && $new{$_}->works, "$_: works") for sort keys %to;
    $_->close for values %c, values %new;
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, 'stop');
    unlike($httpd->log, qr/exit signal/, 'in order');
}

# ---- a stop under each MPM: each channel has its line in the log, whichever I/O thread it is on, and
# whether its client reads or not; no worker that waits for a channel keeps its child alive ----
for my $mpm (qw(event worker prefork)) {
    my $limits = $mpm eq 'prefork' ? "StartServers 12\nMinSpareServers 12\nMaxSpareServers 20\nMaxRequestWorkers 20\n"
               : "ServerLimit 1\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\n";
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $limits, conf => "RpcIOThreads 2\n" . RPCH::Httpd->location)->start;
    my @c = map { private_client($httpd, target => $native->target)->connect } 1 .. 4;
    is(scalar(grep { $_->works } @c), 4, "$mpm: virtual connections on two I/O threads");
    my $flood = server();
    my $deaf = private_client($httpd, target => $flood->target, window => 1 << 30)->connect(dial => { rcvbuf => 65_536 });
    my $vc = $flood->vc;
    $deaf->out->stop_reading;
    $vc->send(response_pdu('b' x 5000)) for 1 .. 2000;
    is(scalar(grep { $c[0]->works } 1 .. 60), 60, "$mpm: beside a client that does not read");
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, "$mpm: stop");
    unlike($httpd->log, qr/exit signal|sending a SIGKILL|could not make/, "$mpm: nobody had to be killed");
    # A child of prefork exits from a signal handler. Worker closes the sockets of its threads itself,
    # so that a write may be the first to fail.
    is(scalar(() = $httpd->log('access_log') =~ /"RPC_(?:IN|OUT)_DATA .* (?:shutdown|client-error)$/mg), 10,
       "$mpm: all channels are in the access log") if $mpm ne 'prefork';
    $_->close for @c, $deaf, $flood;
    @{ $native->{new} } = @{ $native->{opened} } = ();
}

# ---- RpcMaxChannels ----
{
    my $httpd = RPCH::Httpd->new(conf => "RpcMaxChannels 4\n" . RPCH::Httpd->location)->start;
    my @c = map { private_client($httpd, target => $native->target)->connect } 1, 2;
    for my $kind (qw(in out)) {
        my $c = private_client($httpd, target => $native->target);
        my ($open, $first) = ("open_$kind", $kind eq 'in' ? 'send_b1' : 'send_a1');
        $c->$open;
        $c->$first;     # its first PDU shows that the channel is not a successor
        is_rpc_error($c->{$kind}, '6bb', "RpcMaxChannels is reached: $kind");
        $c->close;
    }
    ok($httpd->logs(qr/(?:refused|ended): too-many-channels\b.*: RpcMaxChannels (?:4 )?is reached/), 'and logged');
    my $echo = private_client($httpd);
    $echo->open_out(length => 0);
    is_answer($echo->out->head, 200, 'an echo is no channel');
    $echo->close;
    ok($_->works, 'those that are open go on') for @c;
    (shift @c)->close;
    my $c;
    ok(eval { wait_for('room', sub { turn(0.02); $c = private_client($httpd, target => $native->target); eval { $c->connect } || do { $c->close; 0 } }) },
       'when they end there is room again');
    $_->close for @c, $c;
}

# ---- threads of a child with 200 virtual connections ----
SKIP: {
    skip 'a child of prefork gets few of them', 4 if vars('mpm') eq 'prefork';
    my $count = 200;
    my $httpd = RPCH::Httpd->new(conf => "RpcMaxChannels 500\nRpcMaxUnpairedChannels 0\nRpcMaxChannelsPerUser 0\nRpcIOThreads 2\n" . RPCH::Httpd->location)->start;
    my $first = private_client($httpd, target => $native->target)->connect;
    my $joined = qr/pid (\d+):.* channel of virtual connection/;
    ok($httpd->logs($joined), 'a child has the channels');
    my ($child) = $httpd->log =~ $joined;
    my @c = map { private_client($httpd, target => $native->target) } 1 .. $count;
    for my $c (@c) { $c->open_in; $c->open_out; $c->send_a1->send_b1 }
    is(scalar(grep { eval { $_->opened } } @c), $count, "$count virtual connections in one child");
    cmp_ok(RPCH::Httpd->threads($child), '<', $count, 'it has fewer threads than connections');
    $_->send(request_pdu(1, $_->{vc})) for @c;
    is(scalar(grep { rpc_parse($_->recv)->{stub} eq $_->{vc} } @c), $count, 'all of them work');
    $_->close for @c, $first;
}

$_->close for $native, $tcp;
done_testing;
