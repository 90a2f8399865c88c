# Many clients on one proxy in front, NTLM through it to the proxy behind, all at once and in any order:
# the proxy behind answers each as who it is, and nobody else. Each user asks for a target of that
# name, so the log of the proxy behind shows each channel that was somebody else's.
#
# RPCH_REQUESTS: how many requests, 2000.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::File qw(put);
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::NTLM qw(nt_hash smbpasswd_line);
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers));
my $REQUESTS = $ENV{RPCH_REQUESTS} || 2000;
alarm 150 + $REQUESTS / 10;
srand($ENV{RPCH_SEED} //= int rand 1 << 30);
diag "RPCH_SEED=$ENV{RPCH_SEED}" if $ENV{SHOW};

my $RPC = '/rpc/rpcproxy.dll';
my $GATEWAY = '/remoteDesktopGateway/';
my $root = vars('serverroot');
my %PASSWORD = (alice => 'secret', bob => 'hidden');
my %HASH = map { $_ => nt_hash($PASSWORD{$_}) } keys %PASSWORD;
my $server = tcp_server();

# ---- the proxies ----

my %back = map { $_ => RPCH::Root::free_ports(1) } 1 .. 2;
my $smbpasswd = "$root/behind.smbpasswd";
put($smbpasswd, map { smbpasswd_line($_ => $PASSWORD{$_}) } sort keys %PASSWORD);

sub vhost { my ($port, $lines) = @_; return "Listen 127.0.0.1:$port\n<VirtualHost 127.0.0.1:$port>\n$lines</VirtualHost>\n" }
my $BACK = <<"CONF";
<Location $RPC>
SetHandler rpcproxy
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $smbpasswd
AuthNtlmPinnedConnections On
Require valid-user
RpcRequireTLS off
RpcValidPorts *:6001
RpcBackend * ncacn_ip_tcp:127.0.0.1[$server->{port}]
Header always set X-User expr=%{REMOTE_USER}
</Location>
<Location $GATEWAY>
AuthType NTLM
AuthName rpc
AuthNtlmUserFile $smbpasswd
AuthNtlmPinnedConnections On
Require valid-user
Header always set X-User expr=%{REMOTE_USER}
</Location>
<Location /page>
AuthType Basic
AuthName page
AuthUserFile $root/conf/users
Require valid-user
Header always set X-User expr=%{REMOTE_USER}
</Location>
CONF
my @LOAD = map { "LoadModule ${_}_module $modules/mod_$_.so\n" }
    qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests headers);
my $LONG = "KeepAliveTimeout 60\nMaxKeepAliveRequests 0\nRpcFirstPduTimeout 60\nRpcSetupTimeout 60\n";     # however busy the machine is
my $httpd = RPCH::Httpd->new(conf => join '', $LONG, @LOAD, map { vhost($back{$_}, $BACK) } sort keys %back);
sub front {
    my ($url, $more) = @_;
    return ($more // '')
        . "<Location $RPC>\nSetHandler rpcproxy\nRpcRequireTLS off\nRpcValidPorts *:6001\nRpcBackend * $url\n</Location>\n"
        . "<Location $GATEWAY>\nSetHandler rpcproxy\nRpcRequireTLS off\nRpcBackend * $url\n</Location>\n"
        . "ProxyPass /page $url/page\n"     # by the worker that is there already
        . "<Location /passed/rpcproxy.dll>\nProxyPass $url$RPC\nRpcRequireTLS off\nRpcValidPorts *:6001\n</Location>\n";
}
# It believes whatever name comes with NTLM.
my $pinning = RPCH::WebServer->new(answer => sub {
    my ($request) = @_;
    my $user = \$request->{connection}{user};
    $$user = MIME::Base64::decode_base64($1) if $request->{headers} =~ /^Authorization: NTLM (\S+)/m;
    return RPCH::WebServer::answer('200 OK', 'x', 'X-User: ' . ($$user // 'nobody'));
});
my $members = join '', map { "BalancerMember http://127.0.0.1:$_\n" } sort values %back;
my %front = (
    one => front("http://127.0.0.1:$back{1}"),
    iis => front("http://127.0.0.1:$pinning->{port}"),
    turn => front('balancer://turn', "<Proxy balancer://turn>\n${members}ProxySet lbmethod=byrequests\n</Proxy>\n"),
    target => front('balancer://target', "<Proxy balancer://target>\n${members}ProxySet lbmethod=rpctarget\n</Proxy>\n"),
);
my %port = map { $_ => RPCH::Root::free_ports(1) } sort keys %front;
my $in_front = RPCH::Httpd->new(conf => join '', $LONG, @LOAD, map { vhost($port{$_}, $front{$_}) } sort keys %front);
$_->start for $httpd, $in_front;

# ---- what clients do: lists of steps, and between two of them others have their turn ----

my ($asked, %seen, @wrong) = (0);
sub wrong { my ($what) = @_; push @wrong, $what; return }

sub dial { my ($place) = @_; return RPCH::HTTP->dial(port => $port{$place}, name => $place) }
sub ask {
    my ($http, $user, $token, %opt) = @_;
    $asked++;
    my @headers = defined $token ? 'Authorization: NTLM ' . encode_base64($token, '') : ();
    push @headers, @{ $opt{headers} || [] };
    $http->request($opt{method} // 'RPC_IN_DATA', ($opt{path} // $RPC) . ($opt{bare} ? '' : "?$user:6001"), length => 0, headers => \@headers);
    return;
}
# The answer is for USER, with this status.
sub answered {
    my ($http, $user, $status, $what) = @_;
    my $head = $http->head;
    my $got = $head ? "$head->{status} " . ($head->{headers}{'x-user'} // '') : 'closed';
    my $want = "$status " . ($status == 401 ? '' : $user);
    $got =~ s/^401 .*/401 /;
    wrong("$what of $user: $got") if $got ne $want;
    $seen{"$what $status"}++;
    $http->body if $head;
    return $head;
}
sub login { my ($user, %opt) = @_; return RPCH::NTLM->new(user => $user, hash => $HASH{$user}, %opt) }

# The steps of a first leg on HTTP.
sub knocks {
    my ($http, $login, %opt) = @_;
    return (sub { ask($http, $login->{user}, $login->negotiate, %opt) },
            sub {
                my $head = answered($http, $login->{user}, 401, 'a challenge');
                my ($token) = (($head || {})->{headers}{'www-authenticate'} // '') =~ /^NTLM (\S+)/;
                defined $token ? $login->challenge(MIME::Base64::decode_base64($token)) : die "no challenge\n";
            });
}
sub logs_in {
    my ($http, $login, %opt) = @_;
    return (knocks($http, $login, %opt), sub { ask($http, $login->{user}, $login->authenticate, %opt) },
            sub { answered($http, $login->{user}, $opt{status} // 200, 'a login') });
}
sub echoes {
    my ($http, $user, $status, %opt) = @_;
    return (sub { ask($http, $user, undef, %opt) }, sub { answered($http, $user, $status, 'an echo') });
}
sub some { my ($user) = @_; return (bare => rand() < 0.3, path => rand() < 0.3 ? '/passed/rpcproxy.dll' : $RPC) }
sub any_user { return (sort keys %PASSWORD)[rand 2] }

my %does = (
    'logs in and asks' => sub {
        my ($place, $user) = @_;
        my $http = dial($place);
        my %opt = some();
        return (logs_in($http, login($user), %opt), (map { echoes($http, $user, 200, %opt) } 1 .. 3), sub { $http->close });
    },
    'becomes another' => sub {
        my ($place, $user) = @_;
        my $http = dial($place);
        my ($other) = grep { $_ ne $user } keys %PASSWORD;
        my %opt = some();
        return (logs_in($http, login($user), %opt), logs_in($http, login($other), %opt), echoes($http, $other, 200, %opt), sub { $http->close });
    },
    'is nobody' => sub {
        my ($place) = @_;
        my $http = dial($place);
        return ((map { echoes($http, 'nobody', 401, some()) } 1 .. 4), sub { $http->close });
    },
    'has a wrong password' => sub {
        my ($place, $user) = @_;
        my $http = dial($place);
        my $login = login($user, hash => 'x' x 16);
        my %opt = some();
        return (knocks($http, $login, %opt), sub { ask($http, 'nobody', $login->authenticate, %opt) },
                sub { answered($http, 'nobody', 401, 'a wrong password') }, echoes($http, 'nobody', 401, %opt), sub { $http->close });
    },
    'goes in the middle' => sub {
        my ($place, $user) = @_;
        my $http = dial($place);
        my $login = login($user);
        my @steps = (knocks($http, $login), sub { ask($http, $user, $login->authenticate) }, sub { });
        return (@steps[0 .. rand @steps], sub { $http->close });
    },
    "uses another connection's challenge" => sub {
        my ($place, $user) = @_;
        my ($mine, $yours) = map { dial($place) } 1 .. 2;
        my @logins = map { login($user) } 1 .. 2;
        return (knocks($mine, $logins[0]), knocks($yours, $logins[1]), sub { ask($mine, 'nobody', $logins[1]->authenticate) },
                sub { answered($mine, 'nobody', 401, 'a stolen challenge') }, echoes($mine, 'nobody', 401), sub { $_->close for $mine, $yours });
    },
    # What the proxy behind knows nothing of; but it knows who asks.
    'asks a gateway' => sub {
        my ($place, $user) = @_;
        my @ways = ({ method => 'RDG_OUT_DATA', status => 405 },
                    { method => 'GET', status => 404, headers => ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc'] });
        return map {
            my ($http, %opt) = (dial($place), path => $GATEWAY, %$_);
            (logs_in($http, login($user), %opt), (map { echoes($http, $user, $opt{status}, %opt) } 1 .. 2), sub { $http->close });
        } @ways;
    },
    'looks at pages' => sub {
        my ($place) = @_;
        my $http = dial($place);
        return ((map {
            my $user = rand() < 0.5 ? any_user() : undef;
            (sub { $asked++; $http->request('GET', '/page', defined $user ? (user => $user, password => $PASSWORD{$user}) : ()) },
             sub {
                my $head = $http->head;
                my $got = $head->{status} == 401 ? '' : $head->{headers}{'x-user'} // 'a stranger';
                wrong("a page of $got for " . ($user // 'nobody')) if $got ne ($user // '');
                $seen{ 'a page ' . ($user ? 200 : 401) }++;
                $http->body;
             });
        } 1 .. 4), sub { $http->close });
    },
    'opens channels' => sub {
        my ($place, $user) = @_;
        $place = 'target' if $place eq 'turn';      # which would lead its halves to two servers
        my $c = plain(port => $port{$place}, target => "$user:6001", user => undef);
        my @steps;
        for my $which (qw(in out)) {
            my $http = $c->dial($which);
            my ($login, $by_echo, $open) = (login($user), rand() < 0.5, "open_$which");
            push @steps, $by_echo ? logs_in($http, $login) : knocks($http, $login), sub {
                $asked++;
                my @headers = $by_echo ? () : 'Authorization: NTLM ' . encode_base64($login->authenticate, '');
                $c->$open(connection => $http, user => undef, headers => \@headers);
            };
        }
        return (@steps, sub { $c->send_a1 }, sub { $c->send_b1 }, sub {
            $c->opened;
            my $got = $c->{out}{head}{headers}{'x-user'} // '';
            wrong("a channel of $got for $user") if $got ne $user;
            $seen{'a channel 200'}++;
        }, sub { my $p = rpc_parse($c->call(request_pdu(1, $user))); wrong("$user: a call") if $p->{stub} ne $user }, sub { $c->close });
    },
);

my @things = (sort(keys %does), ('opens channels') x 2, 'is nobody', 'logs in and asks');
my @places = grep { $_ ne 'iis' } sort keys %port;
my @clients;
while ($asked < $REQUESTS || @clients) {
    push @clients, [$_, $does{$_}->($places[rand @places], any_user())]
        for $asked < $REQUESTS && @clients < 12 ? $things[rand @things] : ();
    my $n = int rand @clients;
    my ($what, @steps) = @{ $clients[$n] };
    my $step = shift @steps;
    eval { $step->(); 1 } or wrong("$what: $@"), @steps = ();
    if (@steps) { $clients[$n] = [$what, @steps] }
    else { splice @clients, $n, 1 }
    last if @wrong > 20;
}
is_deeply(\@wrong, [], "$asked requests: each was answered as who had sent it") or diag "RPCH_SEED=$ENV{RPCH_SEED}", @wrong > 1 ? map { substr "$_\n", 0, 200 } @wrong : ();
cmp_ok($seen{$_} // 0, '>=', 5, "$_: often enough") for sort 'a page 200', 'a page 401', 'a challenge 401', 'a login 200', 'an echo 200',
    'an echo 401', 'a wrong password 401', 'a stolen challenge 401', 'a channel 200', 'a login 404', 'a login 405';

# ---- a proxy behind that takes a whole connection for its user's, whatever comes on it ----
# The connections of mod_proxy_http, which serves what is no channel, are everybody's.
sub pinned {
    my ($who, $method, $path, %opt) = @_;
    my @headers = $opt{token} ? 'Authorization: NTLM ' . encode_base64($opt{token}, '') : ();
    $who->request($method, $path, length => 0, headers => \@headers);
    my $head = $who->head or return 'closed';
    $who->body;
    return $head->{status} == 405 ? 'nobody' : $head->{headers}{'x-user'} // "$head->{status}, no user";
}
for my $path ($RPC, '/passed/rpcproxy.dll') {
    my ($hers, $his, $theirs) = map { dial('iis') } 1 .. 3;
    is(pinned($hers, 'RPC_IN_DATA', $path, token => 'alice'), 'alice', "$path: alice logs in by an echo");
    is(pinned($his, 'RPC_IN_DATA', $path, token => 'bob'), 'bob', "$path: bob does");
    for (1 .. 3) {
        is(pinned($hers, 'GET', '/page'), 'nobody', 'a page on her connection is nobody\'s');
        is(pinned($hers, 'RPC_OUT_DATA', $path), 'alice', 'she is alice');
        is(pinned($theirs, 'RPC_OUT_DATA', $path), 'nobody', 'somebody is nobody');
        is(pinned($his, 'RPC_OUT_DATA', $path), 'bob', 'he is bob');
    }
    $_->close for $hers, $his, $theirs;
    for my $method (qw(GET POST)) {
        pinned(dial('iis'), $method, $path, token => 'alice');
        is(pinned(dial('iis'), $_, $path), 'nobody', "$_ $path: nobody is alice after her $method") for qw(GET POST RPC_OUT_DATA);
        is(pinned(dial('iis'), 'GET', '/page'), 'nobody', "nor elsewhere after her $method $path");
    }
}

# ---- what the proxy behind has seen ----
for my $user (sort keys %PASSWORD) {
    ok($httpd->logs(qr/^$user "RPC_${_}_DATA \S+\?$user:6001 \S+ 200 .* server-closed$/m, 'access_log'), "$_ channels of $user") for 'OUT';
}
my @others = grep { my ($user, $of) = /^(\S+) "\S+ \S+\?(\w+):6001 /; defined $of && $user ne '-' && $user ne $of } split /^/m, $httpd->log('access_log');
is_deeply(\@others, [], 'nobody has had what another asked for');
$_->close for $server, $pinning;
done_testing;
