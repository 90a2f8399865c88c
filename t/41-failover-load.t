# A server stops while calls are under way, and comes back: three doubles on different addresses,
# IPv4 and IPv6, with one child, and with many children.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Root;
use RPCH::Test;

use constant { CLIENTS => 12, AVOIDED => 70 };  # seconds: longer than any server is avoided

my $users = vars('serverroot') . '/conf/users';
my %LIMITS = (event => "ServerLimit 4\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nAsyncRequestWorkerFactor 48\n",
              prefork => "ServerLimit 80\nStartServers 40\nMinSpareServers 10\nMaxSpareServers 80\nMaxRequestWorkers 80\n");
my @hosts = ('127.0.0.2', '127.0.0.3', have_ipv6() ? '::1' : '127.0.0.4');
my ($serial, $port) = (0, scalar RPCH::Root::free_ports(1));

sub binding { return "ncacn_http:" . ($_[0] =~ /:/ ? "[$_[0]]" : $_[0]) . "[$port]" }

# A client, and the name that it connects to.
sub client_of {
    my ($httpd, $name) = @_;
    return { c => plain(port => $httpd->{port}, target => "$name.contoso.test:6001"), name => $name };
}
sub ask { my ($k) = @_; $k->{stub} = 'call ' . ++$serial; $k->{c}->send(request_pdu(1, $k->{stub})); return }
sub answered {
    my ($k) = @_;
    my $answer = eval { $k->{c}->recv };
    return defined $answer && rpc_parse($answer)->{stub} eq $k->{stub};
}

# Clients of the pool, connected: CLIENTS, or more where the hash of their names left a server without
# any (the port is part of the hash, so this differs from run to run).
sub pool_of {
    my ($httpd, $server) = @_;
    my (@pool, %share);
    while (@pool < CLIENTS || keys %share < keys %$server) {
        die "200 names, and some server has none\n" if @pool == 200;
        push @pool, my $k = client_of($httpd, 'pool' . @pool);
        $k->{c}->connect;
        $share{ $k->{at} = at($k, values %$server) }++;
    }
    return (\%share, @pool);
}

# The one of SERVERS that has both halves of the virtual connection.
sub at {
    my ($k, @servers) = @_;
    my @at = grep { my $vc = $_->{vcs}{ $k->{c}{vc} }; $vc && $vc->{in} && $vc->{out} } @servers;
    return @at == 1 ? $at[0]{host} : 'nowhere, or with a half elsewhere';
}

for my $mpm (qw(event prefork)) {
    my %server = map { $_ => server(host => $_, port => $port, echo => 1) } @hosts;
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, conf => "<Location /rpc/rpcproxy.dll>\nSetHandler rpcproxy\n"
        . "AuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\nRpcRequireTLS off\nRpcValidPorts *.contoso.test:6001\n"
        . 'RpcBackend order.contoso.test ' . join(' ', map { binding($_) } @hosts) . "\n"
        . 'RpcBackend *.contoso.test ' . join(' ', map { binding($_) . ' weight=1' } @hosts) . "\n</Location>\n")->start;
    my ($share, @pool) = pool_of($httpd, \%server);
    is_deeply([sort keys %$share], [sort @hosts], "$mpm: the load is on all servers");
    my @ordered = map { client_of($httpd, 'order') } 1 .. CLIENTS / 2;
    $_->{c}->connect for @ordered;
    $_->{at} = at($_, values %server) for @ordered;
    is(scalar(grep { $_->{at} eq $hosts[0] } @ordered), CLIENTS / 2, "$mpm: or on the first of them");
    my @load = (@pool, @ordered);
    ask($_) for @load;
    is(scalar(grep { answered($_) } @load), scalar @load, "$mpm: every call is answered");

    # A server stops while calls are under way
    ask($_) for @load;
    $server{ $hosts[0] }->close;
    my (@alive, @hit);
    push @{ $_->{at} eq $hosts[0] ? \@hit : \@alive }, $_ for @load;
    is(scalar(grep { answered($_) } @alive), scalar @alive, "$mpm: one goes: calls to the others are answered");
    # Each call was answered before, or the client has been told: no client waits for ever.
    my @told = grep { answered($_) || eval { $_->{c}->out->wait_eof; 1 } } @hit;
    is(scalar(@told), scalar(@hit), "$mpm: its own connections end");

    # Clients that have lost their connection connect again, while the others continue
    ask($_) for @alive;
    my $failed = 0;
    for my $k (@hit) {
        $k->{c}->close;
        $k->{c} = client_of($httpd, $k->{name})->{c};
        $failed++ if !eval { $k->{c}->connect };
        $k->{at} = at($k, @server{ @hosts[1, 2] });
    }
    is($failed, 0, "$mpm: who comes again is served, the first time");
    is(scalar(grep { $_->{name} eq 'order' && $_->{at} eq $hosts[1] } @hit), CLIENTS / 2, "$mpm: the second in order takes over");
    is(scalar(grep { my $k = $_; grep { $_ eq $k->{at} } @hosts[1, 2] } @hit), scalar(@hit), "$mpm: the others' shares grow");
    is(scalar(grep { answered($_) } @alive), scalar @alive, "$mpm: nobody else has noticed");
    ask($_) for @load;
    is(scalar(grep { answered($_) } @load), scalar @load, "$mpm: all work");

    # The server is back, and new clients reach it
    $server{ $hosts[0] } = server(host => $hosts[0], port => $port, echo => 1);
    wait_for('the first server to be the first again', sub {
        my $k = client_of($httpd, 'order');
        eval { $k->{c}->connect };
        my $there = at($k, values %server) eq $hosts[0];
        $k->{c}->close;
        return $there || (turn(0.1) && 0);
    }, AVOIDED);
    my @new = map { client_of($httpd, $_->{name}) } @pool;
    $_->{c}->connect for @new;
    my @moved = grep { at($new[$_], values %server) ne $pool[$_]{at} } 0 .. $#new;
    is(scalar(@moved), $share->{ $hosts[0] }, "$mpm: the server is back, and has its share");
    ask($_) for @load, @new;
    is(scalar(grep { answered($_) } @load, @new), @load + @new, "$mpm: those that went elsewhere meanwhile stay there, and all work");
    $_->{c}->close for @load, @new;
    $_->close for values %server;
}

done_testing;
