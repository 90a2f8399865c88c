# A channel that has left httpd: what httpd still knows of it, what can prevent that it leaves, and TLS,
# which only the module handles from then on.

use strict;
use warnings;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(missing modules);
use RPCH::Poll qw(wait_for turn);
use RPCH::Relay;
use RPCH::Root;
use RPCH::RPC qw(response_pdu rpc_parse);
use RPCH::Test;

my $modules = modules();
my $root = vars('serverroot');
my $server = server(echo => 1);
my %tls = (SSL_ca_file => "$root/conf/server.crt", SSL_hostname => 'localhost');

# Virtual hosts of a private httpd, by name, with TLS and these lines of configuration.
sub hosts {
    my ($httpd, %host) = @_;
    $httpd->{host} = { map { $_ => RPCH::Root::free_ports(1) } sort keys %host };
    return join '', map { RPCH::Httpd->tls_host($httpd->{host}{$_}, $host{$_}) } sort keys %host;
}
sub load { my @names = @_; return join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } @names }
sub over_tls {
    my ($httpd, $host, $version, %arg) = @_;
    return client(port => $httpd->{host}{$host}, target => $server->target,
                  tls => { %tls, SSL_version => $version }, %arg);
}
sub get {
    my ($httpd, $uri) = @_;
    my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'a page')->request('GET', $uri);
    my $head = $http->head;
    my $body = $head->{headers}{'content-length'} ? $http->body : '';
    $http->close;
    return ($head->{status}, $body);
}

# ---- a channel has no worker, no process and no suspended connection of httpd ----
my %LIMITS = (
    event => "ServerLimit 1\nStartServers 1\nThreadsPerChild 4\nMaxRequestWorkers 4\n"
             . "AsyncRequestWorkerFactor 1\n",
    worker => "ServerLimit 1\nStartServers 1\nThreadsPerChild 4\nMaxRequestWorkers 4\n",
    prefork => "ServerLimit 4\nStartServers 4\nMinSpareServers 1\nMaxSpareServers 4\n"
               . "MaxRequestWorkers 4\n",
);
for my $mpm (sort keys %LIMITS) {
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm});
    $httpd->configure(load('status') . hosts($httpd, tls => '') . RPCH::Httpd->location
        . "RpcMaxUnpairedPerUser 0\n<Location /server-status>\nSetHandler server-status\n"
        . "Require local\n</Location>\n")->start;
    my @c = map { over_tls($httpd, 'tls', $_ % 2 ? 'TLSv1_2' : 'TLSv1_3')->connect } 1 .. 10;
    push @c, plain(port => $httpd->{port}, target => $server->target)->connect;
    is(scalar(grep { $_->works } @c), 11, "$mpm: 22 channels with 4 workers");
    is((get($httpd, '/nothing-here'))[0], 404, "$mpm: a page is served");
    my $status;
    ok(eval { wait_for('idle workers', sub { $status = (get($httpd, '/server-status?auto'))[1]; $status =~ /^BusyWorkers: 1$/m }) },
       "$mpm: only the request for the status has a worker") or diag $status;
    unlike($status, qr/^ConnsAsync\w+: [1-9]/m, "$mpm: no connection is httpd's");
    is(scalar(grep { $_->works } @c), 11, "$mpm: the channels go on");
    $_->close for @c;
    ok(eval { wait_for('lines', sub { turn(0.02); 22 == (() = $httpd->log('access_log') =~ /"RPC_/g) }) },
       "$mpm: each has its line");
}

# ---- filters of connections ----
my $httpd = RPCH::Httpd->new;
$httpd->configure(load(qw(dumpio remoteip)) . RPCH::Httpd->location . hosts($httpd,
    plain => '', dumped => "DumpIOInput On\nLogLevel dumpio:trace7", balanced => 'RemoteIPProxyProtocol On'));
$ENV{SSLKEYLOGFILE} = "$httpd->{dir}/keys";
$httpd->start;
delete $ENV{SSLKEYLOGFILE};
{
    my $c = over_tls($httpd, 'dumped', 'TLSv1_3');
    $c->open_in;
    $c->send_b1;
    is_rpc_error($c->in, '6ba', 'a filter that is not known');
    my @lines = $httpd->log =~ /rpcproxy:warn\].* (RPC_IN_DATA refused: other-module: .*)/g;
    is(scalar @lines, 1, 'is told in one line');
    like($lines[0], qr/a filter that rpcproxy does not know, dumpio_in, .*take it out for this host/,
        'with its name');
    $c->close;
}

# ---- a client that changes its keys of TLS again and again; a PROXY line before TLS ----
SKIP: {
    my $relay = RPCH::Relay->new($httpd->{host}{plain}) or skip 'no compiler, or no libssl', 4;
    my $balancer = RPCH::Relay->new($httpd->{host}{balanced}, "PROXY TCP4 192.0.2.7 127.0.0.1 5000 443\r\n");
    my $c = plain(port => $relay->{port}, target => $server->target)->connect;
    my @texts = map { chr(64 + $_) x (500 * $_) } 1 .. 8;
    is(scalar(grep { $c->works($_) } @texts), 8, 'KeyUpdate before each piece of the client');
    $c->close;
    $c = plain(port => $balancer->{port}, target => $server->target)->connect;
    is(scalar(grep { $c->works($_) } @texts), 8, 'behind a PROXY line');
    $c->close;
    ok($httpd->logs(qr/RPC_OUT_DATA channel .* client 192\.0\.2\.7,/), 'whose address the log has');
    ok(-s "$httpd->{dir}/keys", 'with SSLKEYLOGFILE');
}

# ---- other requests on a connection before it becomes a channel ----
for my $version (qw(TLSv1_2 TLSv1_3)) {
    my $c = over_tls($httpd, 'plain', $version);
    my %http = map { $_ => $c->dial("$_ channel") } qw(in out);
    for my $http (values %http) {
        $http->request('RPC_IN_DATA', $c->uri, length => 0);
        is($http->head->{status}, 401, "$version: 401, and the connection stays");
        $http->body;
    }
    $c->open_in(connection => $http{in});
    $c->open_out(connection => $http{out});
    $c->send_a1->send_b1;
    ok(eval { $c->opened; $c->works }, "$version: a channel follows on each") or diag $@;
    $c->close;
}

# ---- a client that does not read, and a client that sends more than it may ----
for my $version (qw(TLSv1_2 TLSv1_3)) {
    my $flood = server();
    my $c = over_tls($httpd, 'plain', $version, target => $flood->target, window => 1 << 30)
        ->connect(dial => { rcvbuf => 65_536 });
    my $other = over_tls($httpd, 'plain', $version)->connect;
    my $vc = $flood->vc;
    $c->out->stop_reading;
    $vc->send(response_pdu(chr(65 + $_ % 26) x 5000)) for 1 .. 1000;
    is(scalar(grep { $other->works } 1 .. 20), 20, "$version: beside a client that does not read");
    $c->out->stop_reading(0);
    my $right = 0;
    for my $n (1 .. 1000) {
        my $p = rpc_parse($c->recv // last);
        $right += $p->{stub} eq chr(65 + $n % 26) x 5000;
    }
    is($right, 1000, "$version: it gets all when it reads again");
    $_->close for $c, $other, $flood;
}

# ---- a stop while httpd still has the connection, because another module is slow to write its log ----
SKIP: {
    skip 'no mod_perl', 4 if missing('mod_perl.so');
    stop_slow($_) for qw(worker prefork);
}
sub stop_slow {
    my ($mpm) = @_;
    my $h = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm});
    mkdir "$h->{dir}/state" or die $!;
    chmod 0777, "$h->{dir}/state";
    open my $fh, '>', "$h->{dir}/Slow.pm" or die $!;
    print $fh "package Slow;\nsub handler { open my \$fh, '>', '$h->{dir}/state/slow'; my \$end = time + 3; select undef, undef, undef, 0.1 while time < \$end; return 0 }\n1;\n";
    close $fh;
    $h->configure(load('perl') . "PerlSwitches -I$h->{dir}\nPerlLogHandler Slow\n" . RPCH::Httpd->location)->start;
    my $c = plain(port => $h->{port}, target => $server->target);
    $c->open_in;
    $c->send_b1;
    wait_for('the other module', sub { turn(0.02); -e "$h->{dir}/state/slow" });
    $h->signal('TERM');
    ok(eval { $h->wait_gone }, "$mpm: a stop while httpd still has the connection");
    like($h->log('access_log'), qr/"RPC_IN_DATA .* (?:client-error|shutdown)$/m, "$mpm: the channel has its line");
    $c->close;
    return;
}

my @bad = grep { /exit signal|:(?:crit|alert|emerg)\]/ } $httpd->log =~ /^.*\n/mg;
is(join('', @bad), '', 'no child has died');
$server->close;
done_testing;
