# An authenticated user looks for servers behind the proxy, on all ports of an address. Targets that are
# not allowed get the same answer whether the port is open or not, and the proxy does not connect to
# them. After a few tries every target gets this answer.

use strict;
use warnings;
use Test::More;
use MIME::Base64 qw(decode_base64 encode_base64);
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Test;
use Socket qw(PF_INET SOCK_STREAM inet_aton pack_sockaddr_in);

use constant LIMIT => 100;
use constant SCANNERS => 4;

my ($open, $secret) = (server(host => '127.0.0.2', echo => 1), server(host => '127.0.0.2', echo => 1));
my $users = vars('serverroot') . '/conf/users';
sub location {
    my ($path, @conf) = @_;
    return "<Location $path>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\n"
        . join('', map { "$_\n" } 'RpcRequireTLS off', "RpcValidPorts 127.0.0.2:$open->{port};gone.contoso.test:1-65535", @conf) . "</Location>\n";
}
my ($gone, $budget) = (scalar RPCH::Root::free_ports(1), LIMIT);
my $httpd = RPCH::Httpd->new(conf => "LogLevel rpcproxy:info\n"
    . location('/rpc', "RpcMaxFailedTargets $budget 1h")
    . location('/short', 'RpcMaxFailedTargets 3 2')
    . location('/off', 'RpcMaxFailedTargets 0')
    . location('/other', 'RpcMaxFailedTargets 3 59min', 'RpcBackend gone.contoso.test ncacn_http:127.0.0.2[' . $gone . ']'))->start;

# The answer to the request of an OUT channel and A1, without the time in it. The test asks some 70,000
# times, so it uses bare sockets.
my ($address, $a1, $serial) = (pack_sockaddr_in($httpd->{port}, inet_aton('127.0.0.1')), RPCH::Client->new->a1, 0);
sub answer {
    my ($path, $target, $user, $password) = @_;
    substr($a1, 32, 8) = pack 'NN', $$, ++$serial;      # a virtual connection of its own
    socket my $fh, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    connect $fh, $address or return "no connection: $!";
    my $auth = encode_base64(($user // 'alice') . ':' . ($password // 'secret'), '');
    syswrite $fh, "RPC_OUT_DATA $path/rpcproxy.dll?$target HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic $auth\r\n"
        . "Content-Length: 76\r\n\r\n$a1";
    my $got = '';
    while ($got !~ /^HTTP\S+ 200 .*\r\n\r\n/s && sysread $fh, my $more, 8192) { $got .= $more }
    $got =~ s{(EEInfo: ?)([A-Za-z0-9+/=]+)}{ my $record = decode_base64($2); substr($record, 40, 8) = 't' x 8; $1 . unpack 'H*', $record }ge;
    return $got =~ s/^Date: .*?\r\n//mr;
}

# Asks for each of TARGETS, with several processes. Returns the answers: answer => how often it came.
sub scan {
    my ($path, @targets) = @_;
    my @pipes;
    for my $k (0 .. SCANNERS - 1) {
        pipe my $read, my $write or die "pipe: $!\n";
        defined(my $pid = fork) or die "fork: $!\n";
        if (!$pid) {
            my %answers;
            for (my $i = $k; $i < @targets; $i += SCANNERS) { push @{ $answers{ answer($path, $targets[$i]) } }, $targets[$i] }
            print $write map { unpack('H*', $_) . ' ' . @{ $answers{$_} } . " $answers{$_}[0]\n" } keys %answers;
            close $write;
            require POSIX;
            POSIX::_exit(0);
        }
        close $write;
        push @pipes, [$pid, $read, ''];
    }
    for my $p (@pipes) {
        $p->[1]->blocking(0);
        wait_for('a scanner', sub {
            turn(0.05);     # a server that got a connection would notice it now
            while (my $n = sysread $p->[1], $p->[2], 65536, length $p->[2]) { }
            return defined $p->[1] && eof_of($p);
        }, 240);
        waitpid $p->[0], 0;
    }
    my %answers;
    for (map { split /\n/, $_->[2] } @pipes) {
        my ($hex, $n, $first) = split / /;
        $answers{ pack 'H*', $hex }{n} += $n;
        $answers{ pack 'H*', $hex }{first} //= $first;
    }
    return \%answers;
}
# Has the writer's end been closed?
sub eof_of {
    my ($p) = @_;
    my $n = sysread $p->[1], $p->[2], 65536, length $p->[2];
    return defined $n && $n == 0;
}
sub heard { return $open->connections + $secret->connections }

# ---- below the limit of failed targets, refused targets get the usual answer ----
my $refused = answer('/off', "127.0.0.2:$secret->{port}");
like($refused, qr/^HTTP\/1\.0 503 RPC Error: 6ba, EEInfo: /, 'a port that is not allowed, where a server listens');
is(answer('/off', "127.0.0.2:$gone"), $refused, 'one where none listens');
is(heard(), 0, 'nobody is asked');
like(answer('/off', "127.0.0.2:$open->{port}"), qr/^HTTP\/1\.1 200 /, 'the port that is allowed');
$open->leg;
{
    my $before = heard();
    my @some = grep { $_ > 0 && $_ < 65536 } map { my $p = $_->{port}; $p - 500 .. $p + 500 } $open, $secret;
    my %seen;
    my $answers = scan('/off', map { "127.0.0.2:$_" } grep { !$seen{$_}++ } @some);
    is($answers->{$refused}{n}, keys(%seen) - 1, 'without a limit: all but one are refused alike');
    is(scalar(keys %$answers), 2, 'and the one that is allowed is found');
    wait_for('its leg', sub { heard() > $before });
    is(heard(), $before + 1, 'which alone is asked');
}

# ---- a scan ----
{
    my ($before, $lines) = (heard(), scalar(() = $httpd->log =~ /\n/g));
    # The scan also comes to the allowed port, which gets the same answer because the limit is reached: even if
    # the scanner that asks for it was the only one up to then.
    my @ports = grep { $_ != $open->{port} } 1 .. 65535;
    splice @ports, SCANNERS * (LIMIT + 1), 0, $open->{port};
    my $answers = scan('/rpc', map { "127.0.0.2:$_" } @ports);
    is($answers->{$refused} ? $answers->{$refused}{n} : 0, 65535, 'all ports are refused alike')
        || diag map { "$answers->{$_}{n} times, first $answers->{$_}{first}: $_\n" } keys %$answers;
    is(heard(), $before, 'and nobody is asked');
    my $log = $httpd->log;
    my @last = $log =~ /user "alice" at 127\.0\.0\.1 has asked for $budget targets in vain within 3600 seconds \(RpcMaxFailedTargets\)/g;
    is(scalar(@last), 1, 'the log says so once');
    my $more = (() = $log =~ /\n/g) - $lines;
    cmp_ok($more, '<', 3 * LIMIT, "and has $more lines of it all");
    ok($httpd->logs(qr/503 .* too-many-failed$/m, 'access_log'), 'the access log has the reason');
    is(answer('/rpc', "127.0.0.2:$open->{port}"), $refused, 'the budget stays spent');
    is(answer('/rpc', 'nonsense'), $refused, 'whatever is asked for');
    like(answer('/rpc', "127.0.0.2:$open->{port}", 'bob', 'hidden'), qr/^HTTP\/1\.1 200 /, 'somebody else from there is served');
    like(answer('/off', "127.0.0.2:$open->{port}"), qr/^HTTP\/1\.1 200 /, 'as is everybody where there is no limit');
    is(plain(port => $httpd->{port}, path => '/rpc/rpcproxy.dll')->open_out(length => 0)->head->{status}, 200, 'an echo asks for nothing');
}

# ---- the window ends ----
{
    answer('/short', "x:$_", 'bob', 'hidden') for 1 .. 3;
    wait_for('the window to end', sub { turn(0.1); answer('/short', "127.0.0.2:$open->{port}", 'bob', 'hidden') =~ /^HTTP\/1\.1 200 / }, 20);
    pass('with its window the budget is whole again');
}

# ---- servers that do not answer count as well, each of them once ----
{
    my ($user, $password) = ('bob', 'hidden');
    my $down = answer('/other', "gone.contoso.test:1", $user, $password);
    like($down, qr/^HTTP\/1\.0 503 RPC Error: 6ba, /, 'a server that is not there');
    is(answer('/other', "gone.contoso.test:1", $user, $password), $down, 'asked for again and again') for 1 .. 5;
    like(answer('/other', "127.0.0.2:$open->{port}", $user, $password), qr/^HTTP\/1\.1 200 /, 'spends nothing');
    # This half was not connected to a server either, so that two targets have failed.
    is(answer('/other', "gone.contoso.test:2", $user, $password), $down, 'another');
    # The half counts when the proxy has noticed its end
    wait_for('the budget to be spent', sub { turn(0.1); answer('/other', "127.0.0.2:$open->{port}", $user, $password) eq $refused }, 20);
    pass('does');
}

done_testing;
