# A user who opens channels and sends nothing uses up only the share of this user of the unpaired
# channels, and a server that hangs only the share of this server. A channel without a first PDU ends
# within seconds.

use strict;
use warnings;
use Test::More;
use IO::Poll qw(POLLIN);
use IO::Select;
use IO::Socket::IP;
use MIME::Base64 qw(encode_base64);
use RPCH::Httpd;
use RPCH::RPC qw(request_pdu rpc_parse);
use RPCH::Test;

my $LIMITS = "ServerLimit 1\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nAsyncRequestWorkerFactor 100\nListenBacklog 1024\n";
my $server = server(echo => 1);
my $hung = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 512) or die $!;
my $hung_target = '127.0.0.1:' . $hung->sockport;

# In /many/ there are no limits for one user. In /open/ nobody has to log in.
sub location {
    my ($path, @lines) = @_;
    return RPCH::Httpd->location(join "\n", @lines) =~ s{/rpc/rpcproxy\.dll}{/$path/rpcproxy.dll}r =~ s/^RpcBackend .*\n//mr;
}
sub httpd {
    my ($conf) = @_;
    return RPCH::Httpd->new(mpm => 'event', limits => $LIMITS, conf => $conf . location('rpc') . location('many', 'RpcMaxChannelsPerUser 0')
        . location('open', 'AuthType None', 'Require all granted', 'RpcAllowAnonymous on'))->start;
}

my %password = (alice => 'secret', bob => 'hidden');
sub client_of {
    my ($httpd, $user, %arg) = @_;
    return plain(port => $httpd->{port}, target => $server->target, user => $user, password => $password{$user}, %arg);
}

# Removes from OPEN the connections that have been answered and closed. Returns their status lines.
sub answered {
    my ($open, $poll) = @_;
    my @lines;
    $poll->poll(1);
    for my $fh ($poll->handles(POLLIN)) {
        my $line = <$fh> // 'closed';
        push @lines, $line =~ s/\r\n//r;
        $poll->remove($fh);
        delete $open->{$fh};
    }
    return @lines;
}

# Sends N requests, each with BYTES behind its header. Returns, when no more than MOST are left, the
# connections that stay open and the answers to the others.
sub ask {
    my ($httpd, $n, $most, %arg) = @_;
    my $head = sprintf "RPC_IN_DATA /%s/rpcproxy.dll?%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n%s\r\n",
        $arg{path}, $arg{target} // $server->target,
        $arg{user} ? 'Authorization: Basic ' . encode_base64("$arg{user}:$password{$arg{user}}", '') . "\r\n" : '';
    my ($poll, %open, @answers) = (IO::Poll->new);
    my $end = time + 60;
    for (1 .. $n) {
        my $fh = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $httpd->{port}, LocalHost => $arg{from} // '127.0.0.1') or die "$@\n";
        syswrite $fh, $head . ($arg{bytes} ? $arg{bytes}->() : '');
        $open{$fh} = $fh;
        $poll->mask($fh => POLLIN);
        push @answers, answered(\%open, $poll) while keys %open > $most + 50 && time < $end;
    }
    push @answers, answered(\%open, $poll) while keys %open > $most && time < $end;
    return ([values %open], \@answers);
}

# On a slow machine the first requests are ended, because they send nothing, before the last are sent.
sub is_asked {
    my ($open, $answers, $most, $n, $name) = @_;
    my $late = grep { m{^HTTP/1\.0 503 RPC Error: 6c0} } @$answers;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    cmp_ok(scalar @$open, $late ? '<=' : '==', $most, "$name: $most of $n stay");
    is(scalar(grep { m{^HTTP/1\.0 503 RPC Error: 6bb} } @$answers), $n - $late - @$open, "$name: the others are told that the server is too busy");
    return;
}

# Accepts N connections of the server that hangs, and says nothing on them. Returns them.
my @silent;
sub reach_hung {
    my ($n) = @_;
    my $end = time + 60;
    my @got;
    while (@got < $n && IO::Select->new($hung)->can_read($end - time)) { push @got, scalar $hung->accept }
    push @silent, @got;
    return @got;
}

sub works {
    my ($httpd, $user, $name, %arg) = @_;
    my $c = client_of($httpd, $user, %arg);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(eval { $c->connect; rpc_parse($c->call(request_pdu(1, 'works')))->{stub} eq 'works' }, $name) or diag $@;
    $c->close;
    @{ $server->{new} } = @{ $server->{opened} } = ();
    return;
}

my $defaults = httpd('');

# ---- bodies that httpd must not wait for; those that end after a time are checked at the end ----
sub part_of {
    my ($method, $body, @headers) = @_;
    my $http = RPCH::HTTP->dial(port => $defaults->{port}, name => "$method with @headers");
    $http->request($method, '/rpc/rpcproxy.dll?' . $server->target, headers => \@headers);
    return $http->put($body);
}
my $basic = 'Authorization: Basic ' . encode_base64('alice:secret', '');
for my $case (['IN, chunked', 401, 'RPC_IN_DATA', "5\r\nabc", 'Transfer-Encoding: chunked'],
              ['IN, chunked, with a user', 400, 'RPC_IN_DATA', "5\r\nabc", 'Transfer-Encoding: chunked', $basic],
              ['OUT, chunked', 401, 'RPC_OUT_DATA', "5\r\nabc", 'Transfer-Encoding: chunked'],
              ['OUT of 2 GiB', 401, 'RPC_OUT_DATA', 'abc', 'Content-Length: 2147483648'],
              ['IN of 2 GiB', 401, 'RPC_IN_DATA', 'abc', 'Content-Length: 2147483648'],
              ['POST of 2 GiB', 401, 'POST', 'abc', 'Content-Length: 2147483648'],
              ['POST of 2 GiB, with a user', 405, 'POST', 'abc', 'Content-Length: 2147483648', $basic],
              ['POST, chunked', 401, 'POST', "5\r\nabc", 'Transfer-Encoding: chunked']) {
    my ($name, $status, @request) = @$case;
    my $http = part_of(@request);
    is_answer($http->head, $status, "unfinished, $name: answered");
    ok(eval { $http->wait_eof(8) }, "unfinished, $name: and closed");
    $http->close;
}
my %unfinished = ('an echo' => part_of('RPC_IN_DATA', 'abc', 'Content-Length: 4', $basic),
                  'an echo without a user' => part_of('RPC_OUT_DATA', 'abc', 'Content-Length: 4'),
                  'an OUT request without a user' => part_of('RPC_OUT_DATA', 'abc', 'Content-Length: 76'));

# ---- one user, with the defaults ----
my @kept;
{
    my ($open, $answers) = ask($defaults, 5000, 500, path => 'many', user => 'alice');
    push @kept, @$open;
    is_asked($open, $answers, 500, 5000, 'silent requests of a user');
    ok($defaults->logs(qr/rpcproxy:warn.*RPC_IN_DATA refused: too-many-unpaired-of-user: 500 channels of user "alice" wait for a server's answer, which is all that RpcMaxUnpairedPerUser allows/),
       'logged, with the directive');
    ok($defaults->logs(qr/^alice "RPC_IN_DATA .*" 503 .* too-many-unpaired-of-user$/m, 'access_log'), 'and in the access log');
    works($defaults, 'bob', 'another user opens a virtual connection');
    $defaults->logs(qr/^bob "RPC_${_}_DATA/m, 'access_log') for qw(IN OUT);     # when they are logged, they no longer count
    ($open, $answers) = ask($defaults, 250, 200, path => 'rpc', user => 'bob');
    push @kept, @$open;
    is_asked($open, $answers, 200, 250, 'RpcMaxChannelsPerUser is 200');
    ok($defaults->logs(qr/too-many-of-user: RpcMaxChannelsPerUser 200 is reached by user "bob"/), 'logged');
}

# ---- one address; one server ----
my $small = httpd("RpcMaxUnpairedChannels 200\n");
{
    my ($open, $answers) = ask($small, 1000, 68, path => 'open', from => '127.0.0.9');
    is_asked($open, $answers, 68, 1000, 'silent requests from an address');
    ok($small->logs(qr/rpcproxy:warn.*refused: too-many-unpaired-of-address: 68 channels of 127\.0\.0\.9 wait for a server's answer/), 'logged');
    works($small, 'alice', 'at another address somebody opens a virtual connection');
    close $_ for @$open;
}
{
    my @open;
    my $b1 = sub { client_of($small, 'alice')->b1 };
    for ([alice => '127.0.0.2', 50, 50], [bob => '127.0.0.3', 50, 37]) {
        my ($user, $from, $n, $most) = @$_;
        my ($open, $answers) = ask($small, $n, $most, path => 'many', target => $hung_target, user => $user, from => $from, bytes => $b1);
        is_asked($open, $answers, $most, $n, "a server that hangs, $user");
        push @open, @$open;
        # Who is connected to the server has been counted before: the next user finds all of them.
        is(scalar(reach_hung($most)), $most, "a server that hangs, $user: $most get there");
    }
    ok($small->logs(qr/rpcproxy:warn.*: too-many-unpaired-of-target.*127\.0\.0\.1.${\ $hung->sockport}/), 'logged, with its name');
    works($small, 'bob', 'at another server, a virtual connection');
    close $_ for @open;
}
undef $small;

# ---- shares that the administrator has set ----
my $own = httpd("RpcMaxUnpairedChannels 20\nRpcMaxUnpairedPerUser 4\n");
{
    my ($open, $answers) = ask($own, 30, 4, path => 'rpc', user => 'alice');
    is_asked($open, $answers, 4, 30, 'RpcMaxUnpairedPerUser 4');
    works($own, 'bob', 'and another user');
    close $_ for @$open;
}
my $none = httpd("RpcMaxUnpairedChannels 60\nRpcMaxUnpairedPerUser 0\n");
{
    my ($open, $answers) = ask($none, 70, 60, path => 'rpc', user => 'alice');
    is_asked($open, $answers, 60, 70, 'RpcMaxUnpairedPerUser 0: no shares');
    ok($none->logs(qr/refused: too-many-unpaired: RpcMaxUnpairedChannels 60 is reached/), 'but all of them');
    close $_ for @$open;
}

# ---- a first PDU is due at once, whatever RpcSetupTimeout is ----
{
    my $poll = IO::Poll->new;
    my %open = map { $_ => $_ } @kept;
    $poll->mask($_ => POLLIN) for @kept;
    my ($end, @answers) = time + 40;
    push @answers, answered(\%open, $poll) while %open && time < $end;
    is(scalar keys %open, 0, 'with an RpcSetupTimeout of 60 seconds: all silent channels have been ended');
    is(scalar(grep { !m{^HTTP/1\.0 503 RPC Error: 6c0} } @answers), 0, 'and told so') or diag grep { !/6c0/ } @answers;
    ok($defaults->logs(qr/^alice "RPC_IN_DATA .*" 503 .* first-pdu-timeout$/m, 'access_log'), 'in the access log by name');
    works($defaults, 'alice', 'and the user has room again');
}

for my $name (sort keys %unfinished) {
    my $http = $unfinished{$name};
    ok(eval { $http->wait_eof }, "unfinished, $name: closed") or diag $@;
    is_answer($http->head, 408, "unfinished, $name: answered");
    $http->close;
}
$server->close;
done_testing;
