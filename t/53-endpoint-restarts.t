# Restarts while virtual connections are open through the endpoint. A new endpoint process serves at
# once, with the new configuration. Halves and successors still find their other part, whichever
# endpoint process has it.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

use constant SIZE => 4000;

my ($tcp, $other) = (tcp_server(), tcp_server());
my $shared = RPCH::Root::free_ports(1);
my $location = RPCH::Httpd->location("RpcChannelLifetime 128K\nRpcReceiveWindow 64K\n");
# Children of older generations keep their slots while they have channels.
my @room = vars('mpm') eq 'prefork' ? () : (limits => "ServerLimit 12\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 300\nMinSpareThreads 25\nMaxSpareThreads 100\n");
sub listen_for { my ($server) = @_; return "RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$server->{port}]\n" }
my $httpd = RPCH::Httpd->new(@room, conf => listen_for($tcp) . $location)->start;

sub client_of { my ($target, %arg) = @_; return plain(port => $httpd->{port}, target => $target // "tcp.contoso.test:$tcp->{port}", follow => sub { () }, %arg) }

# Makes one call with many bytes. True when they come back.
my $call = 0;
sub calls {
    my ($c, $count) = @_;
    for (1 .. $count // 1) {
        my $stub = pack('N', ++$call) . chr(33 + $call % 90) x SIZE;
        my $answer = eval { $c->call(request_pdu(1, $stub)) } // return 0;
        return 0 if rpc_parse($answer)->{stub} ne $stub;
    }
    return 1;
}

# Both channels are replaced, and every byte comes back. FORMS are the forms that are expected: a
# successor has a leg of its own (R1) when another child of httpd has its predecessor, because this was
# opened before the last restart.
sub replaces {
    my ($c, @forms) = @_;
    my %before = %{ $c->{replaced} || {} };
    $c->replace_in;
    return 0 if !calls($c, 80);     # more than the lifetime of an OUT channel
    return !grep { ($c->{replaced}{$_} // 0) == ($before{$_} // 0) } @forms ? @forms : qw(IN_R1 OUT_R1);
}

sub endpoints {
    return grep { my $pid = $_; my $fh; open($fh, '<', "/proc/$pid/comm") && <$fh> =~ /^rpc-endpoint/ } $httpd->children;
}
sub started { my ($h) = @_; return scalar(() = $h->log =~ /endpoint process \d+ started/g) }

# A graceful restart is over when the new endpoint process serves and a new child does.
sub graceful {
    my ($h, $conf) = @_;
    my %old = map { $_ => 1 } $h->children;
    $h->restart($conf);
    wait_for('a new endpoint process and a new child', sub { turn(0.02); 1 < grep { !$old{$_} } $h->children });
    return;
}

# Files that a process has open.
sub open_files { my ($pid) = @_; return grep { defined } map { readlink } glob "/proc/$pid/fd/*" }

# ---- open and half-open connections, and new legs, go on over two restarts ----
{
    my $first = wait_for('the endpoint process', sub { turn(0.02); (endpoints())[0] });
    is(scalar(grep { m{/access_log} || /pipe:/ } open_files($first)), 0, 'the endpoint process has no access log open');
    my $whole = client_of()->connect;
    my $native = client_of("127.0.0.1:$shared")->connect;
    ok(calls($_, 3), 'before the restart') for $whole, $native;
    my ($out_first, $in_first) = (client_of(), client_of());
    $out_first->open_out;
    $out_first->send_a1;
    is_answer($out_first->out->head, 200, 'an OUT half');
    my $mark = length $httpd->log;
    $in_first->open_in;
    $in_first->send_b1;
    wait_for('an IN half at the endpoint', sub { turn(0.01); substr($httpd->log, $mark) =~ /endpoint: leg begins with CONN\/B2/ });
    # A leg that has sent nothing yet
    my $shy = client_of("127.0.0.1:$shared");
    $shy->open_out;
    my $early = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $shared) or die $!;
    sysread $early, my $banner, 14;
    is($banner, 'ncacn_http/1.0', 'and a leg that has said nothing');
    my $connections = $tcp->connections;

    graceful($httpd, listen_for($other) . $location);
    is(join(' ', grep { $_ == $first } endpoints()), $first, 'a restart: the old endpoint process goes on');
    is(scalar(endpoints()), 2, 'beside a new one');
    $out_first->open_in;
    $out_first->send_b1;
    $in_first->open_out;
    $in_first->send_a1;
    ok(eval { $out_first->opened; calls($out_first, 3) }, 'the IN half comes behind the restart, and is a pair with the OUT half of before') or diag $@;
    ok(eval { $in_first->opened; calls($in_first, 3) }, 'the other way round') or diag $@;
    is($tcp->connections, $connections, 'each by the connection that its first half had made') or diag $connections;
    for my $case ([$whole => 'whole'], [$out_first => 'paired across the restart', 'OUT_R1'],
                  [$in_first => 'paired the other way round', 'IN_R1'], [$native => 'of RpcEndpointListen']) {
        ok(replaces($case->[0], @$case[2 .. $#$case]), "successors of IN and OUT find a virtual connection of before: $case->[1]");
    }
    my $fresh = client_of("127.0.0.1:$shared")->connect;
    my $before = $other->connections;
    ok(calls($fresh), 'a new virtual connection');
    is($before, 1, 'is served as the new configuration says, though the old process is busy');
    is($early->blocking(0), 1, 'the leg that had said nothing');
    ok(!defined sysread($early, my $byte, 1) && $!{EAGAIN}, 'is still open');
    is(join(' ', grep { /deleted/ } map { open_files($_) } endpoints()), '', 'no process keeps a file that is not there any more');

    graceful($httpd);
    is(scalar(endpoints()), 3, 'another restart: three');
    my $newest = client_of()->connect;
    ok(replaces($_), 'successors find what each of them has') for $whole, $fresh;
    ok(replaces($newest, vars('mpm') eq 'prefork' ? () : ('IN_R2', 'OUT_R2')), 'the newest, too');

    # The newest process dies. The next one still finds the old ones.
    my ($dies) = $httpd->log =~ /.*endpoint process (\d+) started/s;
    my $count = started($httpd);
    kill KILL => $dies;
    ok($newest->out->wait_eof, 'the newest process is killed, and what it has with it');
    wait_for('another', sub { turn(0.02); started($httpd) > $count });
    graceful($httpd);       # so that successors have legs of their own
    ok(replaces($_), 'what the old ones have is found by the next') for $whole, $fresh;
    my $after = client_of()->connect;
    ok(calls($after), 'which serves');

    $_->close for $whole, $native, $out_first, $in_first, $fresh, $newest, $shy;
    close $early;
    ok(eval { wait_for('the old ones to end', sub { turn(0.05); endpoints() == 1 }) }, 'the old ones end with their last virtual connection') or diag $@;
    ok(calls($after, 3), 'the newest goes on');
    $after->close;
    unlike($httpd->log, qr/AH00488|long lost|Segmentation|unknown-cookie|protocol-error/, 'and nobody is surprised');
    ok($httpd->logs(qr/endpoint: virtual connection of user "alice" to tcp\.contoso\.test:$tcp->{port} \(127\.0\.0\.1 port $tcp->{port}\) ended/), 'the line at the end names the server that served');
}

# ---- rotated logs: the old process writes where the new ones do ----
{
    my $c = client_of()->connect;
    rename "$httpd->{dir}/$_", "$httpd->{dir}/$_.1" for qw(error_log access_log);
    my %old = map { $_ => 1 } $httpd->children;
    $httpd->signal('USR1');
    ok($httpd->logs(qr/endpoint process \d+ started/), 'a restart with logs rotated away');
    ok($httpd->logs(qr/resuming/), 'is over');
    ok(eval { wait_for('the old logs to be let go', sub { turn(0.02); !grep { /_log\.1/ } map { open_files($_) } endpoints() }) },
       'no endpoint process keeps them');
    $c->close;
    ok($httpd->logs(qr/endpoint: virtual connection of user "alice" .* ended/), 'and the old one writes to the new log');
}

# ---- RpcGracefulTimeout ends what is left ----
{
    my $limited = RPCH::Httpd->new(conf => "RpcGracefulTimeout 1\n" . listen_for($tcp) =~ s/$shared/RPCH::Root::free_ports(1)/er . $location)->start;
    my $c = plain(port => $limited->{port}, target => "tcp.contoso.test:$tcp->{port}")->connect;
    $limited->signal('USR1');
    ok($c->out->wait_eof, 'RpcGracefulTimeout ends what is open');
    $c->close;
    $limited->stop;
}

$_->close for $tcp, $other;
done_testing;
