# Virtual connections that outlive their channels: with a lifetime of 128 KiB, a pattern each way
# on many of them at once, every byte checked at both ends, while IN and OUT channels are
# replaced hundreds of times; within one process (R2) and across processes and machines (R1).
#
# RPCH_LONG=N in the environment: N times as much.

use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use RPCH::Httpd;
use RPCH::Needs qw(modules);
use RPCH::Poll qw(wait_for turn);
use RPCH::Test;

# The load programs lie beside the module, if they have been built
my ($build) = grep { -x "${_}rpcload" } ($ENV{RPCPROXY_SO} // '') =~ s{[^/]*\z}{}r, 'build/';
my $times = $ENV{RPCH_LONG} || 1;
my ($lifetime, $window) = (131_072, 65_536);
my $root = vars('serverroot');
alarm 0 if $times > 1;

# Room for 100 channels, their successors, and channels that are about to end.
my %threads = (event => 10, worker => 250);
sub limits {
    my ($mpm, $children) = @_;
    my $all = $children * $threads{$mpm};
    return ($mpm eq 'event' ? "AsyncRequestWorkerFactor 60\n" : "ThreadLimit $threads{$mpm}\n") . <<"CONF";
ServerLimit $children
StartServers $children
ThreadsPerChild $threads{$mpm}
MaxRequestWorkers $all
MinSpareThreads 1
MaxSpareThreads $all
CONF
}

# ---- the two servers: a native one, and one behind an endpoint ----

my %errors = map { $_ => "$root/long-$_.errors" } qw(native plain load);
my @servers;    # to close the pipe would wait for the end of the server
sub rpcserver {
    my ($name, @args) = @_;
    my $pid = open my $out, '-|', "exec ${build}rpcserver @args 2>$errors{$name}" or die "rpcserver: $!\n";
    push @servers, [$pid, $out];
    chomp(my $port = <$out> // die "rpcserver does not start\n");
    return $port;
}
END { local $?; kill TERM => map { $_->[0] } @servers if @servers }
my %target = (native => 'localhost:' . rpcserver('native', "-w $window"),
              endpoint => 'tcp.contoso.test:' . (my $plain = rpcserver('plain', '-t')));
my $listen = RPCH::Root::free_ports(1);     # the address of an endpoint that several machines share
$target{shared} = "localhost:$listen";

sub slurp { open my $fh, '<', shift or return ''; local $/; return scalar <$fh> // '' }

# ---- a run ----

my @stopping;   # servers that have done their work end while others begin theirs

sub conf {
    my ($arg) = @_;
    my $tls = $arg->{tls} ? RPCH::Httpd->tls_lines : '';
    # 100 channels are replaced again and again; two proxies close the old ones later than one does.
    return "LogLevel warn rpcproxy:info\nRpcMaxChannelsPerUser 0\n$tls" . ($arg->{conf} // '') . "\n"
           . RPCH::Httpd->location("RpcChannelLifetime $lifetime\nRpcReceiveWindow $window\n"
                                   . qq(RpcValidPorts "localhost:1024-65535;tcp.contoso.test:1024-65535"\n));
}

# The lines of the access logs, when all channels have ended.
sub channels {
    my ($requests, @httpds) = @_;
    my @lines;
    eval { wait_for('the channels to end', sub {
        turn(0.02);
        @lines = map { split /\n/, $_->log('access_log') } @httpds;
        return @lines >= $requests;
    }) };
    return @lines;
}

# What httpd logged of a failed run, without the ends that the failed client caused.
sub causes {
    my (@httpds) = @_;
    my @lines = grep { !/client-closed|recycled/ } map { split /^/, $_->log } @httpds;
    return @lines > 20 ? @lines[0 .. 19] : @lines;
}

# Another machine, and what has others go on to it.
sub start_behind {
    my ($mpm, $arg) = @_;
    my $back = RPCH::Httpd->new(mpm => $mpm, limits => limits($mpm, $arg->{behind}), conf => conf($arg))->start;
    my $modules = modules();
    my $load = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http);
    return ($back, "${load}RpcBackend localhost http://127.0.0.1:$back->{port}\n");
}

# ARG: mpm, children, machines, to (one of the targets), vcs, slow, bytes (of each), tls, conf, behind (so
# many children of an RPC proxy that the machines go on to), and first (of the first machine alone),
# which counts cannot be zero (forms), or must be (not).
sub long_run {
    my ($name, %arg) = (@_);
    my $mpm = $arg{mpm} // 'event';
    (my $back, $arg{conf}) = start_behind($mpm, \%arg) if $arg{behind};
    my @httpds = map { RPCH::Httpd->new(mpm => $mpm, limits => limits($mpm, $arg{children} // 1),
                                        conf => conf(\%arg) . ($_ == 1 && $arg{first} || ''))->start }
        1 .. $arg{machines} // 1;
    my $bytes = $arg{bytes} * $times;
    my @args = (-u => encode_base64('alice:secret', ''), -t => $target{ $arg{to} }, -n => $arg{vcs},
                -S => $arg{slow} // 0, -b => $bytes, -l => $lifetime, -w => $window,
                $arg{tls} ? '-s' : (), map { $_->{port} } @httpds);
    my $out = qx(${build}rpcload long @args 2>$errors{load});
    my $status = $?;
    my %got = $out =~ /^(\w+) (\d+)$/mg;
    is($status, 0, $name) or diag((map { slurp($_) } @errors{qw(load native plain)}), causes(@httpds, $back // ()));
    return if $status;
    is_deeply([@got{qw(bytes_in bytes_out bytes_ok ended_early)}], [($arg{vcs} * $bytes) x 2, 1, 0],
              "$name: every byte, both ways");
    note "$name: $_ $got{$_}" for sort keys %got;
    ok($got{$_} > 0, "$name: $_") for @{ $arg{forms} // [] };
    is($got{$_}, 0, "$name: no $_") for @{ $arg{not} // [] };
    my $each = $bytes / $lifetime * $arg{vcs};
    cmp_ok($got{"${_}_R1"} + $got{"${_}_R2"}, '>=', int($each), "$name: $_ channels replaced") for qw(IN OUT);
    cmp_ok($got{slow_behind}, '>', $arg{slow} * $bytes / 2, "$name: the slow ones are behind the others")
        if $arg{slow};

    my @lines = channels($got{requests}, @httpds);
    is(scalar @lines, $got{requests}, "$name: every channel has ended");
    is(scalar(grep { / recycled$/ } @lines), $got{IN_R1} + $got{IN_R2} + $got{OUT_R1} + $got{OUT_R2},
       "$name: all but the last ones as recycled");
    is_deeply([grep { !/ (?:recycled|client-closed|server-closed)$/ } @lines], [], "$name: and none otherwise");
    push @stopping, map { $_->signal('TERM') } @httpds, $back // ();
    return;
}

my $MiB = 1 << 20;
my @r1 = qw(IN_R1 OUT_R1);
my @r2 = qw(IN_R2 OUT_R2);

# One child: every successor meets its predecessor. 200 MiB each way.
long_run('event, native', to => 'native', vcs => 50, bytes => 4 * $MiB, forms => \@r2, not => \@r1);
long_run('event, endpoint, 2 loops', to => 'endpoint', vcs => 50, bytes => $MiB, forms => \@r2, not => \@r1,
         conf => 'RpcIOThreads 2');
long_run('worker, native', mpm => 'worker', to => 'native', vcs => 50, bytes => $MiB, forms => \@r2, not => \@r1);
long_run('worker, endpoint', mpm => 'worker', to => 'endpoint', vcs => 50, bytes => $MiB / 2, forms => \@r2,
         not => \@r1);
long_run('TLS', to => 'native', vcs => 20, bytes => $MiB / 2, tls => 1, forms => \@r2);

# Slow readers stall because of their windows, and they slow down nobody else.
long_run('slow, native', to => 'native', vcs => 50, slow => 10, bytes => $MiB, forms => \@r2);
long_run('slow, endpoint', to => 'endpoint', vcs => 50, slow => 10, bytes => $MiB, forms => \@r2);

# Two machines with several children each: a successor may come to any of these.
long_run('two machines, native', machines => 2, to => 'native', vcs => 50, bytes => $MiB, forms => [@r1, @r2]);
long_run('two machines, slow, 2 loops', machines => 2, to => 'native', vcs => 50, slow => 10, bytes => $MiB,
         forms => [@r1, @r2], conf => 'RpcIOThreads 2');
long_run('two machines, one endpoint', machines => 2, to => 'shared', vcs => 50, bytes => $MiB,
         forms => [@r1, @r2],
         first => "RpcEndpointListen 127.0.0.1:$listen ncacn_ip_tcp:127.0.0.1[$plain]\n");
long_run('four children, native', children => 4, to => 'native', vcs => 50, bytes => $MiB);
long_run('four children, endpoint', children => 4, to => 'endpoint', vcs => 50, bytes => $MiB);
long_run('worker, two machines of two children', mpm => 'worker', machines => 2, children => 2, to => 'native',
         vcs => 50, bytes => $MiB / 2, forms => [@r1, @r2]);

# Before a proxy that is already there, which does the replacing.
long_run('relayed', behind => 1, to => 'native', vcs => 50, bytes => 4 * $MiB, forms => \@r2, not => \@r1);
long_run('relayed, four children behind', behind => 4, children => 2, to => 'native', vcs => 50, bytes => $MiB);
long_run('relayed, slow', behind => 1, to => 'native', vcs => 50, slow => 10, bytes => $MiB, forms => \@r2);

is(slurp($errors{$_}), '', "$_ server: nothing wrong") for qw(native plain);
done_testing;
