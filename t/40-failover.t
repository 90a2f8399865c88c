# One name for several servers: the order in which they are tried, which user stays at which server,
# and what a name may consist of. There are native servers, and TCP servers behind the endpoint.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(bind_pdu request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

use constant AVOIDED => 70;     # seconds: longer than any server is avoided

my ($one, $two, $gone) = (server(echo => 1), server(echo => 1), RPCH::Root::free_ports(1));
my ($tcp, $tcp_gone) = (tcp_server(), RPCH::Root::free_ports(1));
my $spare = RPCH::Root::free_ports(1);      # a server that comes later
sub at { return "ncacn_http:127.0.0.1[$_[0]]" }

my $users = vars('serverroot') . '/conf/users';
sub location {
    my ($path, $conf) = @_;
    return "<Location $path>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\n"
        . "Require valid-user\nRpcRequireTLS off\n$conf</Location>\n";
}
my $conf = location('/rpc/rpcproxy.dll', join '', map { "$_\n" }
    'RpcValidPorts *.contoso.test:1-65535',
    "RpcBackend order.contoso.test " . at($gone) . ' ' . at($two->{port}),
    "RpcBackend none.contoso.test " . at($gone) . ' ' . at($tcp_gone),
    "RpcBackend *.pool.contoso.test " . at($one->{port}) . ' weight=1 ' . at($two->{port}) . ' weight=1',
    "RpcBackend later.contoso.test " . at($spare) . ' ' . at($two->{port}),
    "RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1[$tcp_gone] ncacn_ip_tcp:127.0.0.1[$tcp->{port}]",
    "RpcBackend mapped.contoso.test env=RPC_WHERE",
    "RpcBackend lost.contoso.test env=RPC_NOWHERE",
    "RpcBackend *.star.contoso.test ncacn_http:127.0.0.*[$one->{port}]")
    . "SetEnvIfExpr \"%{QUERY_STRING} =~ /^mapped/\" \"RPC_WHERE=" . at($gone) . ' ' . at($one->{port}) . "\"\n";
my $httpd = RPCH::Httpd->new(conf => $conf)->start;

my $n = 0;
sub client_of { my ($target, %arg) = @_; return plain(port => $httpd->{port}, target => $target, %arg) }
sub calls {
    my ($c) = @_;
    my $stub = 'call ' . ++$n;
    my $answer = eval { $c->call(request_pdu(1, $stub)) };
    return defined $answer && rpc_parse($answer)->{stub} eq $stub;
}

# Opens a virtual connection to TARGET. Returns the client and the server that it has reached.
sub open_to {
    my ($target, %arg) = @_;
    my %before = map { $_ => $_->connections } $one, $two;
    my $c = client_of($target, %arg);
    eval { $c->connect } or return ($c, "none: $@");
    my @reached = grep { $_->connections > $before{$_} } $one, $two;
    return ($c, @reached == 1 ? $reached[0] : 'both halves of it elsewhere');
}

# ---- in the order written ----
{
    my $mark = -s "$httpd->{dir}/error_log";
    my $log = sub { substr $httpd->log, $mark };
    my ($c, $where) = open_to('order.contoso.test:6001');
    is($where, $two, 'the first is down: the second');
    ok(calls($c), 'works');
    ok($httpd->logs(qr/127\.0\.0\.1 port $gone: the server cannot be reached: Connection refused; the next server is tried/), 'the log says so');
    $c->close;
    $mark = -s "$httpd->{dir}/error_log";
    ($c, $where) = open_to('order.contoso.test:6001');
    is($where, $two, 'the second is tried first now');
    unlike($log->(), qr/the next server is tried/, 'without trying the first');
    $c->close;
    $c = client_of('none.contoso.test:6001');
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, '6ba', 'all are down', 0x5a0);
}

# ---- by weight ----
{
    my %share;
    my @clients = map {
        my ($c, $where) = open_to("host$_.pool.contoso.test:6001");
        $share{$where}++;
        $c;
    } 1 .. 24;
    is_deeply([sort keys %share], [sort map { "$_" } $one, $two], 'names are spread over both, both halves of each at one');
    my (undef, $first) = open_to('host1.pool.contoso.test:6001');
    my (undef, $again) = open_to('host1.pool.contoso.test:6001');
    is($again, $first, 'the same user and name go where they went');
    is(scalar(grep { calls($_) } @clients), 24, 'all work');

    my $lost = $share{$one};
    my $port = $one->{port};
    $one->close;
    my $working = grep { calls($_) } @clients;
    is($working, 24 - $lost, 'one server goes: who was at the other works on');
    my %after;
    for (1 .. 24) {
        my ($c, $where) = open_to("host$_.pool.contoso.test:6001");
        $after{$where}++;
        $c->close;
    }
    is($after{$two}, 24, 'and all new ones are there');
    $_->close for @clients;
    $one = server(echo => 1, port => $port);
    my $back = wait_for('the server to be used again', sub {
        my ($c, $where) = open_to('host' . (1 + $n++ % 24) . '.pool.contoso.test:6001');
        $c->close;
        return $where eq $one;
    }, AVOIDED);
    ok($back, 'it comes back, and is used again');
}

# ---- a virtual connection stays at its server, and so do successors in any child ----
{
    my $prefork = RPCH::Httpd->new(mpm => 'prefork', conf => $conf, limits => "ServerLimit 16\nStartServers 8\n"
        . "MinSpareServers 4\nMaxSpareServers 16\nMaxRequestWorkers 16\n")->start;
    my ($c, $where) = open_to('later.contoso.test:6001', port => $prefork->{port});
    is($where, $two, 'the first server is not there yet');
    my $later = server(echo => 1, port => $spare);
    wait_for('the first server to be used', sub {
        my $before = $later->connections;
        my $probe = client_of('later.contoso.test:6001', port => $prefork->{port});
        my $there = eval { $probe->connect } && $later->connections > $before;
        $probe->close;
        return $there;
    }, AVOIDED);
    my $before = $later->connections;
    ok(calls($c), 'now it is, and new connections go there');
    $c->replace_in;
    ok(eval { $c->finish_in; 1 }, 'a successor of the IN channel') or diag $@;
    ok(calls($c), 'follows its connection');
    # The form tells whether the successor is in another child (R1). The same child may take it, too.
    my (%forms, $works);
    for (1 .. 40) {
        $two->{vcs}{ $c->{vc} }->recycle_out;
        $c->expect('OUT_R1/A2');
        $c->replace_out;
        $forms{ eval { $c->finish_out } // $@ } = 1;
        $works = calls($c);
        last if $forms{OUT_R1} || !$works;
    }
    ok($forms{OUT_R1}, 'one of the OUT channel, in another child') or diag explain [keys %forms];
    ok($works, 'too');
    is($later->connections, $before, 'nothing of it came to the first server');
    $_->close for $c, $later;
}

# ---- behind the endpoint ----
{
    my $c = client_of('tcp.contoso.test:135')->connect;
    ok(calls($c), 'TCP servers: the first is down, the second serves');
    ok($httpd->logs(qr/127\.0\.0\.1 port $tcp_gone: the server cannot be reached/), 'the log says so');
    $c->close;
    # All processes of httpd share what is known of servers: the endpoint gets the better one first
    my $mark = length $httpd->log;
    $c = client_of('tcp.contoso.test:135')->connect;
    ok(calls($c), 'once more');
    unlike(substr($httpd->log, $mark), qr/port $tcp_gone: /, 'and the first is not tried');
    $c->close;
}

# ---- names ----
{
    my ($c, $where) = open_to('1.star.contoso.test:6001');
    is($where, $one, 'what * stands for is used');
    $c->close;
    my $mark = length $httpd->log;
    my $head = http_answer("0.1.star.contoso.test:6001");
    is($head->{status}, 503, 'a dot would lead elsewhere');
    like(substr($httpd->log, $mark), qr/bad-target: RpcBackend \*\.star\.contoso\.test .*: the text that .\*. matches must consist of letters/, 'as the log says');
    ($c, $where) = open_to('mapped.contoso.test:6001');
    is($where, $one, 'from a variable, in its order');
    $c->close;
    $mark = length $httpd->log;
    is(http_answer('lost.contoso.test:6001')->{status}, 503, 'a variable that is not set');
    like(substr($httpd->log, $mark), qr/bad-target: RpcBackend lost\.contoso\.test env=RPC_NOWHERE: the variable is not set/, 'as the log says');
}

sub http_answer {
    my ($target) = @_;
    my $c = client_of($target);
    $c->open_out;
    $c->send_a1;
    return $c->out->head;
}

# ---- the address book ----
{
    my $nspi = RPCH::Httpd->new(conf => location('/rpc/rpcproxy.dll', join '', map { "$_\n" }
        'RpcValidPorts exch1:6001-6004', 'RpcBackend exch1 ' . at($two->{port}),
        'RpcNspiProtocolSequences ncacn_http:6004', 'RpcNspiServers gc1 gc2',
        'RpcBackend gc1 ' . at($one->{port}), 'RpcBackend gc2 ' . at($spare))
        . location('/plain/rpcproxy.dll', join '', map { "$_\n" }
        'RpcValidPorts exch1:6001-6004', 'RpcBackend exch1 ' . at($two->{port}), 'RpcNspiProtocolSequences ncacn_http:6004'))->start;
    my $three = server(echo => 1, port => $spare);
    my %gc = ($one->{port} => $one, $spare => $three);
    my $reached = sub {
        my (%arg) = @_;
        my %before = map { $_ => $_->connections } values %gc, $two;
        my $c = client_of('exch1:6004', port => $nspi->{port}, %arg);
        eval { $c->connect } or return "none: $@";
        $c->call(bind_pdu(interface => 'f5cc5a18-4264-101a-8c59-08002b2f8426', version => 56));
        ok(calls($c), 'a call passes');
        $c->close;
        my @at = grep { $_->connections > $before{$_} } values %gc, $two;
        return @at == 1 ? $at[0] : 'several';
    };
    my $first = $reached->();
    ok((grep { $_ eq $first } values %gc), 'the NSPI port leads to a global catalog');
    is($reached->(), $first, 'a user to the same one again');
    my ($other) = grep { $_ ne $first } values %gc;
    $first->close;
    is($reached->(), $other, 'and to the other when it is down');
    is($reached->(path => '/plain/rpcproxy.dll'), $two, 'without RpcNspiServers to the server asked for');
    my ($c, $where) = open_to('exch1:6001', port => $nspi->{port});
    is($where, $two, 'other ports are not the address book');
    $_->close for $c, $other;
}

$_->close for $one, $two, $tcp;
done_testing;
