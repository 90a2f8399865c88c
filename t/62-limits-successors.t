# A successor is served even when a limit has been reached, because the session would be lost otherwise. A
# new channel that is not a successor is refused, at once or at its first PDU. This is tested within one
# child (R2) and with many children (R1 as a rule).

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test;

my %LIMITS = (event => "ServerLimit 4\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nAsyncRequestWorkerFactor 48\n",
              prefork => "ServerLimit 16\nStartServers 12\nMinSpareServers 4\nMaxSpareServers 16\nMaxRequestWorkers 16\n");
my $server = server(echo => 1);
my $gone = RPCH::Root::free_ports(1);

sub location { my ($path, $more) = @_; return RPCH::Httpd->location($more) =~ s{^<Location \S+>}{<Location /$path>}mr =~ s/^RpcBackend .*\n//mr }

my $n = 0;

# The answer to an OUT channel with this first PDU.
sub answer {
    my ($c, $pdu) = @_;
    $c->open_out(length => 120);
    $c->out->put($pdu // $c->a1);
    my $head = $c->out->head;
    $c->out->close;
    return $head ? $head->{reason} =~ s/,.*//r : 'nothing';
}

for my $mpm (sort keys %LIMITS) {
    my $main = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, conf => location('user', 'RpcMaxChannelsPerUser 2')
        . location('address', 'RpcMaxChannelsPerAddress 2') . location('failed', 'RpcMaxFailedTargets 1 3600'))->start;
    my $all = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, conf => "RpcMaxChannels 2\nRpcMaxUnpairedChannels 0\n" . location('all'))->start;
    my $unpaired = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, conf => "RpcMaxUnpairedChannels 2\n" . location('unpaired'))->start;
    for (['user', $main, '6bb', 'too-many-of-user'], ['address', $main, '6bb', 'too-many-of-address'], ['all', $all, '6bb', 'too-many-channels'],
         ['unpaired', $unpaired, '6bb', 'too-many-unpaired'], ['failed', $main, '6ba', 'too-many-failed']) {
        my ($path, $httpd, $code, $reason) = @$_;
        my $from = '127.0.62.' . ++$n;
        # Channels that the previous test has closed may still count for a moment
        my %who = $path eq 'user' ? () : (user => 'bob', password => 'hidden');
        my $client = sub { plain(port => $httpd->{port}, path => "/$path/rpcproxy.dll", target => $server->target, %who, from => $from, @_) };
        my $name = "$mpm, $reason";
        my $c = $client->()->connect;
        my $vc = $server->vc;
        ok($c->works, "$name: a virtual connection");
        my @silent;
        if ($path eq 'unpaired') {
            @silent = map { my $s = $client->(); $s->open_out; $s } 1, 2;
            wait_for('the silent ones to count', sub { turn(0.02); answer($client->()) eq "RPC Error: $code" });
        }
        elsif ($path eq 'failed') {
            is(answer($client->(target => "127.0.0.1:$gone")), 'RPC Error: 6ba', "$name: asked in vain");
            ok($httpd->logs(qr/RpcMaxFailedTargets\)/), 'once too often');
        }
        is(answer($client->()), "RPC Error: $code", "$name: a newcomer is refused");
        my $thief = $client->(vc => 'no such channel!', out_cookie => $c->{out_cookie});
        is(answer($thief, RPCH::PDU::rts('OUT_R1/A3', vc => $thief->{vc}, old => $c->{out_cookie}, new => RPCH::Client::cookie(), window => 65536)),
           "RPC Error: $code", "$name: so is a successor of nothing");
        for my $round (1, 2) {
            $c->replace_in;
            ok(eval { $c->finish_in; 1 }, "$name: the IN channel is replaced, $round") or diag $@;
            $vc->recycle_out;
            $c->expect('OUT_R1/A2');
            $c->replace_out;
            my $got = eval { $c->finish_out } // $@;
            like($got, $mpm eq 'prefork' ? qr/^OUT_R[12]$/ : qr/^OUT_R2$/, "$name: and the OUT channel");
            ok($c->works, "$name: it goes on");
        }
        is(answer($client->()), "RPC Error: $code", "$name: a newcomer is still refused");
        ok($httpd->logs(qr/\Q$reason\E/), "$name: the log names the limit");
        $_->out->close for @silent;
        $c->close;
        ok(eval { wait_for('room', sub { turn(0.05); answer($client->()) eq 'Success' }) }, "$name: room again when they have gone") if $path ne 'failed';
    }
    $_->signal('TERM') for $main, $all, $unpaired;
}
$server->close;
done_testing;
