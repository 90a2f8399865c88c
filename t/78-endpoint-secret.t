# Other programs that can reach the endpoint: programs that run as httpd's User and know its Unix socket,
# folders in which they may write, and connections to RpcEndpointListen that send nothing.

use strict;
use warnings;
use Test::More;
use IO::Socket::UNIX;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preface qw(preface secret_of);
use RPCH::Root;
use RPCH::Test;

my $tcp = tcp_server();
my $shared = RPCH::Root::free_ports(1);
my $location = RPCH::Httpd->location;
my $listen = "RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n";
my $httpd = RPCH::Httpd->new(conf => $listen . $location)->start;

sub socket_of { my ($httpd) = @_; return "$httpd->{dir}/rpcproxy.sock.$httpd->{pid}" }
sub client_of { my ($httpd) = @_; return plain(port => $httpd->{port}, target => "tcp.contoso.test:$tcp->{port}") }
sub strangers { my ($httpd) = @_; return scalar(() = $httpd->log =~ /\[rpcproxy:warn\] .*endpoint: a leg on the Unix socket is refused/g) }

# A leg to the Unix socket, which begins with these bytes.
sub leg {
    my ($bytes) = @_;
    my $fh = IO::Socket::UNIX->new(Peer => socket_of($httpd)) or die "endpoint: $!\n";
    my $leg = RPCH::Peer->new(fh => $fh, name => 'leg');
    $leg->put($bytes);
    return $leg;
}
# The preface that the second half of this client's virtual connection would send.
sub whose {
    my ($c) = @_;
    return (host => '127.0.0.1', port => $tcp->{port}, target => $c->{target}, user => 'alice',
            vhost => "localhost:$httpd->{port}", networks => 'loopback');
}

# ---- no other program can act for alice ----
{
    my $c = client_of($httpd);
    $c->open_out;
    $c->send_a1;
    wait_for('the first half', sub { turn(0.02); $httpd->log =~ m{endpoint: leg begins with CONN/A2} });
    my $b2 = rts('CONN/B2', vc => $c->{vc}, channel => $c->{in_cookie}, window => 65536, timeout => 120_000, group => RPCH::Client::cookie(), address => "127.0.0.1");
    my $secret = secret_of($httpd->{pid});
    my $other = $secret;
    substr($other, 31, 1) ^= "\x01";
    my $n = 0;
    for my $case ([preface(whose($c)), 'zeros for the secret'], [preface(whose($c), secret => $other), 'another last bit'],
                  [preface(whose($c), secret => substr $secret, 1), 'a byte less of it'], [preface(whose($c), secret => ''), 'no secret'],
                  [preface(whose($c), secret => '', version => 2), 'the preface of older versions'],
                  [preface(whose($c), secret => $secret, version => 2), 'the same with the secret'],
                  ['', 'no preface'], ["GET / HTTP/1.0\r\n\r\n", 'another protocol']) {
        my ($head, $name) = @$case;
        my $leg = leg($head . $b2);
        ok(eval { $leg->wait_eof }, "$name: the leg is refused");
        is($leg->{in}, 'ncacn_http/1.0', 'without a word');
        $leg->close;
        $n++;
        ok(eval { wait_for('the line', sub { turn(0.02); strangers($httpd) >= $n }) } && strangers($httpd) == $n, 'one line at warn says so');
    }
    ok($httpd->logs(qr/begins without the secret of this server: process $$ of user id $>,/), 'and who it was');
    unlike($httpd->log, qr{endpoint: leg begins with CONN/B2}, 'nothing of these was heard');
    my $leg = leg(preface(whose($c), secret => $secret) . $b2);
    ok(eval { wait_for('CONN/B3', sub { length $leg->{in} > 14 }) }, "with the secret alice's connection opens");
    $_->close for $leg, $c;

    # The secret is not where a CGI script can read it
    my @pids = ($httpd->{pid}, $httpd->children);
    for my $file ((map { ("/proc/$_/environ", "/proc/$_/cmdline") } @pids), glob "$httpd->{dir}/*") {
        next if !-f $file || !open my $fh, '<:raw', $file;
        my $text = do { local $/; <$fh> } // '';
        my @forms = ($secret, unpack('H*', $secret), uc unpack 'H*', $secret);
        fail("$file has the secret") if grep { index($text, $_) >= 0 } @forms;
    }
    ok(@pids > 2, 'it is in no environment, no command line and no file');
}

# ---- restarts; two servers ----
{
    my $c = client_of($httpd)->connect;
    my $secret = secret_of($httpd->{pid});
    $httpd->restart;
    delete $RPCH::Preface::known{ $httpd->{pid} };
    ok(secret_of($httpd->{pid}) eq $secret, 'a graceful restart keeps the secret');
    ok(client_of($httpd)->serves && $c->works, 'old and new channels go on');
    $c->close;
    my $second = RPCH::Httpd->new(conf => $location)->start;
    ok(secret_of($second->{pid}) ne $secret, 'another server has another');
    $second->stop;
}

# ---- names of virtual connections in the log ----
{
    my $c = client_of($httpd)->connect;
    ok($c->works, 'a virtual connection at LogLevel debug');
    my ($log, @names);
    my $name = '';
    my $called = sub { scalar(() = $log =~ /RPC_(?:IN|OUT)_DATA channel of virtual connection $name\b/g) };
    eval {
        wait_for('the lines', sub {
            turn(0.02);
            $log = $httpd->log;
            @names = $log =~ /endpoint: leg begins with CONN\/\w+, virtual connection (\w{16})\b/g;
            $name = $names[-1] // '';
            $name && $called->() == 2;
        });
    };
    my $cookie = unpack 'H*', $c->{vc};
    unlike($log, qr/$cookie/i, 'no line has its cookie');
    unlike($log, qr/[0-9a-f]{32}/i, 'nor any other');
    is($called->(), 2, 'endpoint and proxies call it the same');
    $c->close;
}

# ---- a socket of another program in the place of ours ----
{
    my $path = socket_of($httpd);
    rename $path, "$path.aside" or die $!;
    my $impostor = IO::Socket::UNIX->new(Local => $path, Listen => 5) or die $!;
    chmod 0777, $path;
    is(client_of($httpd)->out_status, 503, "another program listens in the endpoint's place: 503");
    my $fh = $impostor->accept;
    my $heard = '';
    1 while sysread $fh, $heard, 4096, length $heard;
    is($heard, '', 'and it is told nothing');
    ok($httpd->logs(qr/the socket at \Q$path\E belongs to another program/), 'the log says so');
    close $_ for $fh, $impostor;
    unlink $path or die $!;
    rename "$path.aside", $path or die $!;
    ok(client_of($httpd)->serves, 'once ours is back all is well');
}

# ---- a file that is not a socket is neither followed nor removed ----
{
    my $dir = "$httpd->{dir}/other";
    mkdir $dir or die $!;
    open my $fh, '>', "$dir/precious" or die $!;
    my $link = "$dir/s.$httpd->{pid}";
    symlink "$dir/precious", $link or die $!;
    my @before = lstat $link;
    $httpd->restart("RpcEndpointSocket $dir/s\n$listen$location");
    like($httpd->log, qr{cannot listen at RpcEndpointSocket \Q$link\E: the file belongs to another program}, 'a symbolic link has the name of the socket: the log says so');
    is_deeply([(stat "$dir/precious")[1, 2, 4, 5]], [(stat $fh)[1, 2, 4, 5]], 'what it leads to is as it was');
    is((lstat $link)[1], $before[1], 'and the link is there');
    unlink $link or die $!;
    $httpd->restart;
    ok(-S $link && client_of($httpd)->serves, 'without it the next restart serves');
    $httpd->restart($listen . $location);
    ok(!-e $link, 'a socket that is needed no more is removed');
}

# ---- folders ----
SKIP: {
    skip 'folders of others are a matter of root', 14 if $> != 0;
    my ($uid, $gid) = (scalar getpwnam(vars('user')), scalar getgrnam(vars('group')));
    my $test = RPCH::Httpd->new;
    my %folder = (own => [$uid, 0, 0755], group => [0, $gid, 0775], all => [0, 0, 01777], inside => [0, 0, 0755], fine => [0, 0, 0755]);
    mkdir "$test->{dir}/below" or die $!;
    chown $uid, 0, "$test->{dir}/below";
    for my $name (sort keys %folder) {
        my $path = $name eq 'inside' ? "$test->{dir}/below/run" : "$test->{dir}/$name";
        my ($owner, $group, $mode) = @{ $folder{$name} };
        mkdir $path or die $!;
        chown $owner, $group, $path;
        chmod $mode, $path;
        my ($status, $out) = $test->configure("RpcEndpointSocket $path/s\n$location")->configtest;
        if ($name eq 'fine') {
            is($status, 0, 'configtest: a folder of root is fine') or diag $out;
            next;
        }
        my $where = $name eq 'inside' ? "$test->{dir}/below" : $path;
        isnt($status, 0, "configtest: a folder that httpd's User may write to ($name)");
        like($out, qr/RpcEndpointSocket \S+: httpd's User may write into the folder \Q$where\E, .*let only root write there \(chown root, chmod go-w\), or name another folder/, 'and what to do');
        next if $name ne 'own' && $name ne 'inside';
        unlink "$test->{dir}/error_log";
        $test->run('-k start');
        ok(eval { wait_for('the end', sub { turn(0.02); !-e "$test->{dir}/httpd.pid" && $test->log =~ /cannot listen at RpcEndpointSocket \S+: httpd's User may write there/ }) }, 'a start refuses it, too');
    }
}

# ---- connections that send nothing ----
{
    # So few descriptors that the silent connections would take them all
    system('prlimit', '--nofile=240:4096', '--pid', $httpd->{pid}) == 0 or die "prlimit\n";
    $httpd->restart;
    my $warned = () = $httpd->log =~ /say nothing/g;
    my @silent = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $shared) // die "connection $_: $!\n" } 1 .. 400;
    ok(client_of($httpd)->serves, '400 connections to RpcEndpointListen say nothing: the Unix socket serves');
    ok($httpd->logs(qr/\[rpcproxy:warn\] .*endpoint: \d+ connections to RpcEndpointListen 127\.0\.0\.1:$shared say nothing: whenever another one comes the oldest of them is closed/), 'the log says what is going on');
    is((() = $httpd->log =~ /say nothing/g) - $warned, 1, 'in one line');
    unlike($httpd->log, qr/cannot accept a connection/, 'and was never out of descriptors');
    my $leg = RPCH::Peer->dial(port => $shared, name => 'a leg that speaks');
    my $vc = RPCH::Client::cookie();
    $leg->put(rts('CONN/A2', vc => $vc, channel => RPCH::Client::cookie(), lifetime => 1 << 30, window => 65536));
    my $in = RPCH::Peer->dial(port => $shared, name => 'its other half');
    $in->put(rts('CONN/B2', vc => $vc, channel => RPCH::Client::cookie(), window => 65536, timeout => 120_000, group => RPCH::Client::cookie(), address => "127.0.0.1"));
    ok(eval { wait_for('CONN/B3', sub { length $in->{in} > 14 }) }, 'who speaks is served there, too');
    $_->close for $leg, $in;
    close $_ for @silent;
    # The same at the Unix socket: a connection without a preface takes no place from others
    @silent = map { IO::Socket::UNIX->new(Peer => socket_of($httpd)) // die "connection $_: $!\n" } 1 .. 300;
    ok(client_of($httpd)->serves, '300 silent legs of another program at the Unix socket: our proxies get through');
    close $_ for @silent;
}

$tcp->close;
done_testing;
