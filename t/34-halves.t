# Which halves belong together: the cookie of a live connection belongs to one user, target and virtual
# host, whichever children have its channels. And the limits of channels. Each section runs with one
# child (event) and with many children (prefork).

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Test;

my %LIMITS = (event => "ServerLimit 4\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nAsyncRequestWorkerFactor 48\n",
              prefork => "ServerLimit 16\nStartServers 10\nMinSpareServers 4\nMaxSpareServers 16\nMaxRequestWorkers 16\n");
my ($server, $other) = (server(echo => 1), server(echo => 1));

# A location for native targets, without an endpoint process.
sub location {
    my ($more) = @_;
    return RPCH::Httpd->location($more // '') =~ s/^RpcBackend .*\n//mr;
}

# A private server. The port {second} leads to another virtual host.
sub httpd {
    my ($mpm, $conf, $more) = @_;
    my $second = RPCH::Root::free_ports(1);
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, second => $second, conf => ($conf // '') . location($more)
        . "Listen 127.0.0.1:$second\n<VirtualHost 127.0.0.1:$second>\nServerName second.contoso.test\n</VirtualHost>\n");
    return $httpd->start;
}

sub client_of { my ($httpd, %arg) = @_; return plain(port => $httpd->{port}, target => $server->target, %arg) }

# Another client, which knows all cookies of C.
sub thief_of {
    my ($httpd, $c, %arg) = @_;
    return client_of($httpd, (map { $_ => $c->{$_} } qw(vc in_cookie out_cookie group)), %arg);
}


# Opens one half and waits until its leg has reached the server.
sub half {
    my ($c, $kind) = @_;
    if ($kind eq 'in') { $c->open_in; $c->send_b1 }
    else { $c->open_out; $c->send_a1 }
    return $server->leg;
}

sub refused {
    my ($c, $kind, $code, $name) = @_;
    if ($kind eq 'in') { $c->open_in; $c->send_b1 }
    else { $c->open_out; $c->send_a1 }
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is_rpc_error($c->$kind, $code, $name);
}

my %bob = (user => 'bob', password => 'hidden');

# ---- halves of different users, targets, virtual hosts ----
my %httpd = map { $_ => httpd($_) } sort keys %LIMITS;
for my $mpm (sort keys %LIMITS) {
    my $httpd = $httpd{$mpm};
    my %stranger = ('another user' => [%bob], 'another target' => [target => $other->target],
                    'another host' => [port => $httpd->{second}]);
    for my $who (sort keys %stranger) {
        for my $first (qw(in out)) {
            my $name = "$mpm, $who, the $first half is there";
            my $legs = $server->connections + $other->connections;
            my $c = client_of($httpd);
            half($c, $first);
            for my $kind (qw(in out)) {
                my $thief = thief_of($httpd, $c, @{ $stranger{$who} });
                refused($thief, $kind, '5', "$name: $kind");
                $thief->close;
            }
            half($c, $first eq 'in' ? 'out' : 'in');
            ok(eval { $c->opened }, "$name: the right half makes the pair") or diag $@;
            ok($c->works, "$name: it works");

            # Successors
            for my $kind (qw(in out)) {
                my $thief = thief_of($httpd, $c, @{ $stranger{$who} });
                my $replace = "replace_$kind";
                is_rpc_error($thief->$replace, '5', "$name: no successor of $kind");
                $thief->close;
            }
            ok($c->works, "$name: it still works");
            is($server->connections + $other->connections, $legs + 2, "$name: no stranger had a leg");
            $c->close;
        }
    }
    ok($httpd->logs(qr/RPC_${_}_DATA channel to \S+ of user "bob" ended: peer-mismatch/), "$mpm: logged by name: $_") for qw(IN OUT);

    # When the connection has ended, the cookie is free for others
    my $c = client_of($httpd)->connect;
    my $again = thief_of($httpd, $c, %bob);
    $c->close;
    ok(eval { wait_for('the cookie', sub {
        turn(0.01);
        $again->open_out; $again->send_a1;
        return 1 if $again->out->head && $again->out->head->{status} == 200;
        $again->out->close; $again->{got} = [];
        return 0;
    }) }, "$mpm: when both channels have ended the cookie is free");
    $_->close for $again;
    unlike($httpd->log, qr/\Q${\ unpack 'H*', $c->{vc} }\E/i, "$mpm: no cookie in the log, not even at debug");
    @{ $server->{new} } = @{ $server->{opened} } = ();
}

# ---- duplicates, and successors of the right user ----
for my $mpm (sort keys %LIMITS) {
    my $httpd = delete $httpd{$mpm};
    my $c = client_of($httpd)->connect;
    ok($c->works, "$mpm: established");
    for my $kind (qw(in out)) {
        my $twin = thief_of($httpd, $c);
        refused($twin, $kind, '6c0', "$mpm: a second $kind channel");
        $twin->close;
    }
    ok($httpd->logs(qr/RPC_${_}_DATA channel to \S+ of user "alice" ended: duplicate-cookie/), "$mpm: logged: $_") for qw(IN OUT);
    ok($c->works, "$mpm: the first one keeps working");

    my $old = $c->in;
    $c->replace_in;
    ok(eval { $c->finish_in }, "$mpm: a successor beside its predecessor is no duplicate: IN") or diag $@;
    ok($c->works, "$mpm: it works");
    ok(eval { $old->wait_eof }, "$mpm: the predecessor ends");
    $server->{vcs}{ $c->{vc} }->recycle_out;
    $c->expect('OUT_R1/A2');
    $c->replace_out;
    is(eval { $c->finish_out }, $mpm eq 'event' ? 'OUT_R2' : 'OUT_R1', "$mpm: OUT") or diag $@;
    ok($c->works, "$mpm: it works");
    my $twin = thief_of($httpd, $c);
    refused($twin, 'in', '6c0', "$mpm: successors keep the cookie");
    $_->close for $c, $twin;
    @{ $server->{new} } = @{ $server->{opened} } = ();
}

# ---- limits ----
# A connection from another address of the loopback.
sub from {
    my ($httpd, $address) = @_;
    my $fh = IO::Socket::IP->new(LocalHost => $address, PeerHost => '127.0.0.1', PeerPort => $httpd->{port}) or die "$address: $@\n";
    return RPCH::HTTP->new(fh => $fh, name => "connection from $address");
}

# Waits until a half is accepted again. This half stays open.
sub room {
    my ($httpd, $name, %arg) = @_;
    my $c;
    my $legs = $server->connections;
    ok(eval { wait_for($name, sub {
        $c = client_of($httpd, %arg);
        $c->open_in; $c->send_b1;
        wait_for('leg or answer', sub { $server->connections > $legs || $c->in->{eof} });
        return 1 if $server->connections > $legs;
        $c->close;
        return turn(0.02) && 0;
    }) }, $name) or diag $@;
    return $c;
}

# [directive, whether it stands in the location, what the log says, a channel that passes nevertheless]
my @limits = (
    ['RpcMaxChannels', 0, 'too-many-channels: RpcMaxChannels 3 is reached'],
    ['RpcMaxUnpairedChannels', 0, 'too-many-unpaired: RpcMaxUnpairedChannels 3 is reached'],
    ['RpcMaxChannelsPerUser', 1, 'too-many-of-user: RpcMaxChannelsPerUser 3 is reached by user "alice"',
     sub { my ($httpd) = @_; my $c = client_of($httpd, %bob); half($c, 'in'); $c }],
    ['RpcMaxChannelsPerAddress', 1, 'too-many-of-address: RpcMaxChannelsPerAddress 3 is reached by 127.0.0.1',
     sub { my ($httpd) = @_; my $c = client_of($httpd); $c->open_in(connection => from($httpd, '127.0.0.77')); $c->send_b1; $server->leg; $c }],
);
for my $mpm (sort keys %LIMITS) {
    for (@limits) {
        my ($directive, $of_location, $says, $passes) = @$_;
        my $name = "$mpm, $directive";
        my $httpd = httpd($mpm, $of_location ? ('', "$directive 3\n") : ("$directive 3\n"));
        my @c = map { my $c = client_of($httpd); half($c, $_); $c } qw(in out in);
        for my $kind (qw(in out)) {
            my $c = client_of($httpd);
            refused($c, $kind, '6bb', "$name is reached: $kind");
            $c->close;
        }
        # The channel is refused at once, or when its first PDU shows that it is not a successor
        my ($token, $text) = $says =~ /^([\w-]+): (\w+)/;
        ok($httpd->logs(qr/(?:refused|ended): $token\b.*: $text (?:\d+ )?is reached/), "$name: logged");
        ok($httpd->logs(qr/^alice "RPC_IN_DATA .*" 503 .* too-many-/m, 'access_log'), "$name: in the access log");
        my $echo = client_of($httpd);
        $echo->open_out(length => 0);
        is_answer($echo->out->head, 200, "$name: an echo is no channel");
        push @c, $passes->($httpd) if $passes;
        $_->close for $echo, shift @c;
        push @c, room($httpd, "$name: a channel ends, and another may come");
        my $c = client_of($httpd);
        refused($c, 'in', '6bb', "$name: but one only");
        $_->close for @c, $c;
        @{ $server->{new} } = ();
    }
}

# A channel is unpaired until the server has answered
for my $mpm (sort keys %LIMITS) {
    my $httpd = httpd($mpm, "RpcMaxUnpairedChannels 2\n");
    my @pairs = map {
        my $c = client_of($httpd)->connect;
        ok($c->works, "$mpm: pair $_ of 3 with RpcMaxUnpairedChannels 2");
        $c;
    } 1 .. 3;
    my $old = $pairs[0]->in;
    $pairs[0]->replace_in;
    ok(eval { $pairs[0]->finish_in }, "$mpm: a channel is replaced") or diag $@;
    ok($pairs[0]->works, "$mpm: and works");
    $old->wait_eof;
    @{ $server->{new} } = ();
    my @halves = map { my $c = client_of($httpd); half($c, $_); $c } qw(in out);
    my $c = client_of($httpd);
    refused($c, 'out', '6bb', "$mpm: a third half");
    ok($_->works, "$mpm: the pairs do not notice") for @pairs;
    # The first IN half gets its partner as soon as there is room for one more
    (pop @halves)->close;
    ok(eval { wait_for('room', sub {
        $halves[0]->open_out; $halves[0]->send_a1;
        return 1 if $halves[0]->out->head->{status} == 200;
        $halves[0]->out->close; $halves[0]->{got} = [];
        return turn(0.02) && 0;
    }); $halves[0]->opened }, "$mpm: a half is completed") or diag $@;
    ok($halves[0]->works, "$mpm: and works");
    @{ $server->{new} } = ();
    my $next = room($httpd, "$mpm: which makes room again");
    $_->close for @pairs, @halves, $c, $next;
    @{ $server->{new} } = @{ $server->{opened} } = ();
}

# Version 1: the only channel is unpaired until the banner has come
for my $mpm (sort keys %LIMITS) {
    my $tcp = tcp_server(quiet => 1);
    my $httpd = httpd($mpm, "RpcMaxUnpairedChannels 2\n", "RpcProtocolVersions v1 v2\nRpcBackend 127.0.0.1 ncacn_http:127.0.0.1\n");
    my $ask = sub {
        my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
        return $http->request('RPC_CONNECT', "/rpc/rpcproxy.dll?127.0.0.1:$tcp->{port}", user => 'alice', password => 'secret');
    };
    my (@c, @s);
    for (1, 2) { push @c, $ask->(); push @s, $tcp->connection }
    my $c = $ask->();
    is_rpc_error($c, '6bb', "$mpm: version 1, a third without a banner");
    $c->close;
    $s[0]->put('ncacn_http/1.0');
    is_answer($c[0]->head, 200, "$mpm: the banner has come");
    push @c, $ask->();
    push @s, $tcp->connection;
    $s[2]->put('ncacn_http/1.0');
    is_answer($c[2]->head, 200, "$mpm: another may come");
    $_->close for @c, @s, $tcp;
}

# ---- a child is killed: its channels do not count, and its cookies are free ----

# The child that has C's IN channel. A child of prefork may have several channels.
sub child_of {
    my ($httpd, $c) = @_;
    my ($port, $child) = $c->in->{fh}->sockport;
    wait_for('the line of a channel', sub {
        turn(0.02);
        ($child) = $httpd->log('killed_log') =~ /\[pid (\d+)[^\n]*:$port\] RPC_IN_DATA channel of virtual connection/;
    });
    return $child;
}
{
    my ($httpd, @c, @children);
    for (1 .. 10) {     # until two children have channels
        $httpd = RPCH::Httpd->new(mpm => 'prefork', limits => $LIMITS{prefork});
        # This server has a log of its own, because a line about a signal in error_log counts as a fault
        $httpd->configure("ErrorLog $httpd->{dir}/killed_log\n" . location("RpcMaxChannelsPerUser 3\n"))->start;
        @c = map { my $c = client_of($httpd); half($c, 'in'); $c } 1 .. 3;
        @children = map { child_of($httpd, $_) } @c;
        last if grep { $_ ne $children[0] } @children;
        $_->close for @c;
    }
    my @dead = map { $c[$_] } grep { $children[$_] eq $children[0] } 0 .. 2;
    my ($alive) = map { $c[$_] } grep { $children[$_] ne $children[0] } 0 .. 2;
    kill KILL => $children[0];
    $_->in->wait_eof for @dead;
    my @again = map { room($httpd, 'killed: its channels do not count', vc => $_->{vc}) } @dead;
    my $more = client_of($httpd);
    refused($more, 'in', '6bb', 'the others still do');
    my $twin = client_of($httpd, vc => $alive->{vc}, %bob);
    refused($twin, 'in', '5', 'and keep their cookies');
    $_->close for @c, @again, $more, $twin;
}

$_->close for $server, $other;
done_testing;
