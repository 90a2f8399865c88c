# A failure behind the endpoint, before or after a virtual connection is open, leaves one line of the
# channel at level warn, with user, client, target, server and cause. So does the end of the endpoint
# process.

use strict;
use warnings;
use IO::Socket::IP;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(turn wait_for);
use RPCH::RPC qw(bind_pdu response_pdu);
use RPCH::Test;
use RPCH::WarnLines;

my %SECTION = (rpc => '', small => "RpcReceiveWindow 8192\n", hasty => "RpcConnectTimeout 1\nRpcSetupTimeout 1\n",
               lonely => "RpcConnectTimeout 60\nRpcSetupTimeout 1\n", paused => "RpcConnectTimeout 1\nRpcSetupTimeout 2\n");
my $httpd = RPCH::Httpd->new(conf => "LogLevel warn rpcproxy:warn\nRpcProtocolVersions v1 v2\n"
    . join '', map { RPCH::Httpd->location("RpcProtocolVersions v1 v2\n$SECTION{$_}") =~ s{/rpc/}{/$_/}r } sort keys %SECTION)->start;
my $log = RPCH::WarnLines->new($httpd);
my $tcp = tcp_server();
my $server = qr/server 127\.0\.0\.1\[$tcp->{port}\]/;
my $channel = qr/channel to tcp\.contoso\.test:$tcp->{port} of user "alice" ended/;

sub endpoint {
    my ($pid) = grep { open my $fh, '<', "/proc/$_/comm" or return; (<$fh> // '') =~ /^rpc-endpoint/ } $httpd->children;
    return $pid;
}
sub client_of { my ($path, %arg) = @_; return plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => "tcp.contoso.test:$tcp->{port}", %arg) }
sub opened {
    my $c = client_of(@_)->connect;
    my $connection = $tcp->connection;
    return ($c, $connection);
}
sub gone { my ($c) = @_; $_ && $_->wait_eof for $c->in, $c->out; return $c->close }

# ---- the process dies ----
{
    my ($c) = opened('rpc');
    ok(defined $c->call(bind_pdu()), 'a virtual connection is open');
    my $pid = endpoint();
    $log->begin;
    kill KILL => $pid;
    gone($c);
    $log->one_line('the endpoint is killed', 'local-failure', qr/: the endpoint process has ended; /, $channel, $server, qr/(?:in|out)bound in Opened/);
    wait_for('the next one', sub { turn(0.02); my $next = endpoint(); $next && $next != $pid });
}

# ---- open virtual connections: what their target does ----
my @cases = (
    ['closes', sub { $_[0]->close }],
    ['resets', sub { $_[0]->reset }, 'server-error', qr/: the connection to the server failed: Connection reset by peer; /],
    ['says no PDU', sub { $_[0]->put('no PDU, and enough of it') }, 'bad-pdu', qr/: target: /],
    ['says a PDU that is too big', sub { $_[0]->put(response_pdu('x' x 9000)) }, 'pdu-too-big', qr/: \d+ bytes, window 8192; /],
    ['plays the endpoint', sub { $_[0]->put(forged('no-memory', 'so says the target')) }, 'protocol-error', qr/: a PDU from the target that only the endpoint may send; /],
);
for (@cases) {
    my ($what, $do, $reason, @parts) = @$_;
    my ($c, $connection) = opened('small');
    $log->begin;
    $do->($connection);
    gone($c);
    $reason ? unlike($log->one_line("a target that $what", $reason, $channel, $server, qr/(?:in|out)bound in Opened/, @parts), qr/so says/, 'in our words')
            : $log->no_line("a target that $what");
}

# The last PDU of the endpoint (wire/farewell.h).
sub forged { my ($token, $why) = @_; my $text = "RPXE$token\0$why\0"; return pack('C4 C4 v v V', 5, 0, 6, 3, 0x10, 0, 0, 0, 16 + length $text, 0, 0) . $text }

# ---- the times of a section count in the endpoint as well ----
{
    my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    listen $full, 0;
    my @queued = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 3;
    turn(0.1);
    my $c = client_of('hasty', target => 'tcp.contoso.test:' . $full->sockport);
    $log->begin;
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1;
    gone($c);
    $log->one_line('RpcConnectTimeout', 'connect-timeout', qr/127\.0\.0\.1 port \d+: the server did not answer in time/);

    my $half = client_of('lonely');     # RpcConnectTimeout alone would be longer than this test
    $half->open_out;
    $half->send_a1;
    $tcp->connection;
    gone($half);
    $log->one_line('RpcSetupTimeout', 'setup-timeout', qr/outbound in C1W: in B2W; /, $server);

    my $mute = server(manual => 1);
    $half = client_of('lonely', target => $mute->target);
    $half->open_out;
    $half->send_a1;
    gone($half);
    $log->one_line('RpcSetupTimeout without the endpoint', 'setup-timeout', qr/: nothing came for 1 seconds; /, qr/server 127\.0\.0\.1\[$mute->{port}\]/);

    $half = client_of('paused');
    $half->open_out;
    $half->send_a1;
    $tcp->connection;
    my $pid = endpoint();
    kill STOP => $pid;
    gone($half);
    kill CONT => $pid;
    $log->one_line('the endpoint does not answer any more', 'setup-timeout', qr/: nothing came for 3 seconds; /, $server);
}

# ---- version 1: only the endpoint knows the cause ----
sub v1 {
    my ($port) = @_;
    my $c = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
    $c->request('RPC_CONNECT', "/rpc/rpcproxy.dll?tcp.contoso.test:$port", user => 'alice', password => 'secret');
    $c->put(bind_pdu());
    return $c;
}
{
    my $closed = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
    my $port = $closed->sockport;
    close $closed;
    $log->begin;
    my $c = v1($port);
    $c->wait_eof;
    $c->close;
    $log->one_line('version 1: a dead server', 'connect-failed', qr/endpoint: connection \(version 1\) of user "alice" to tcp\.contoso\.test:$port \(127\.0\.0\.1\[$port\] .* ended/, qr/Connection refused/);
    $c = v1($tcp->{port});
    $tcp->connection->reset;
    $c->wait_eof;
    $c->close;
    $log->one_line('version 1: a server that resets', 'server-error', qr/endpoint: connection \(version 1\)/);
    $c = v1($tcp->{port});
    my $connection = $tcp->connection;
    my $pid = endpoint();
    kill KILL => $pid;
    $c->wait_eof;
    $c->close;
    $log->one_line('version 1: the endpoint is killed', 'local-failure', qr/: the endpoint process has ended; /, $channel, qr/mixed in Opened/);
    wait_for('the next one', sub { turn(0.02); my $next = endpoint(); $next && $next != $pid });
}

# ---- the process is told to end ----
{
    my ($c) = opened('rpc');
    $log->begin;
    kill TERM => endpoint();
    gone($c);
    $log->no_line('the endpoint leaves');
}

undef $httpd;
done_testing;
